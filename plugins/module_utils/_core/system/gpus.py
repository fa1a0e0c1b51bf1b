# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GPU there is, and who is on it. Asked of the driver; nothing is guessed."""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
import shutil
import subprocess
import typing as t

from ..errors import InputError
from .processes import marker_of

_MIB = 1024 * 1024
_SECONDS = 30

_GPU_FIELDS = ("index", "name", "memory.total", "memory.free", "uuid", "driver_version")
#: The name stands last: it may hold commas.
_PROCESS_FIELDS = ("gpu_uuid", "pid", "used_gpu_memory", "process_name")


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU.

    :param index: as the driver counts.
    :param name: product name.
    :param total_bytes: memory in all.
    :param free_bytes: memory nobody holds now.
    :param uuid: the driver's id of it.
    :param driver: version of the driver.
    """

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    uuid: str = ""
    driver: str = ""


@dataclasses.dataclass(frozen=True)
class GpuProcess:
    """One process that computes on a GPU.

    :param pid: its id.
    :param name: its program.
    :param used_bytes: memory it holds there; None where the driver does not tell.
    :param uuid: the GPU.
    :param user: whose it is; empty when it is gone, or in another namespace.
    :param job: the job of ours that it belongs to; empty for a stranger's.
    """

    pid: int
    name: str
    used_bytes: int | None
    uuid: str = ""
    user: str = ""
    job: str = ""


def _ask(query: str, fields: t.Sequence[str]) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        result = subprocess.run(
            [program, f"--query-{query}={','.join(fields)}", "--format=csv"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that the driver knows; none without a driver.

    One that shares the machine's memory (GB10) tells no size of its own and is left out.
    """
    return parse(_ask("gpu", _GPU_FIELDS))


def processes() -> list[GpuProcess]:
    """Who computes on the GPUs now. Desktops that only draw are not among them."""
    return [
        dataclasses.replace(found, user=_user_of(found.pid), job=marker_of(found.pid))
        for found in parse_processes(_ask("compute-apps", _PROCESS_FIELDS))
    ]


def foreign(found: t.Iterable[GpuProcess]) -> list[GpuProcess]:
    """Of the processes on a GPU, those that belong to no job of ours."""
    return [process for process in found if not process.job]


def parse(text: str) -> list[Gpu]:
    """The GPUs in the output of ``nvidia-smi --query-gpu=… --format=csv``: whatever was asked for, in any order, with
    or without units. Without a header the columns are index, name, memory.total, memory.free, uuid, driver_version.
    """
    found: list[Gpu] = []
    for row in _rows(text, _GPU_FIELDS, "name"):
        index, total, free = (_number(row.get(key, "")) for key in ("index", "memory.total", "memory.free"))
        if total and free is not None:
            place = len(found) if index is None else index
            uuid, driver = row.get("uuid", ""), row.get("driver_version", "")
            found.append(Gpu(place, row["name"], total * _MIB, free * _MIB, uuid, driver))
    return found


def parse_processes(text: str) -> list[GpuProcess]:
    """The processes in the output of ``nvidia-smi --query-compute-apps=… --format=csv``."""
    found = []
    for row in _rows(text, _PROCESS_FIELDS, "process_name"):
        pid, used = _number(row.get("pid", "")), _number(row.get("used_gpu_memory", ""))
        if pid is not None:
            size = None if used is None else used * _MIB
            found.append(GpuProcess(pid, row.get("process_name", ""), size, row.get("gpu_uuid", "")))
    return found


def _rows(text: str, fields: t.Sequence[str], wide: str) -> t.Iterator[dict[str, str]]:
    """The lines by the names of their columns; commas too many belong to the column ``wide``."""
    columns = list(fields)
    for number, line in enumerate(text.splitlines()):
        parts = [part.strip() for part in line.split(",")]
        names = [re.sub(r" \[.*\]$", "", part) for part in parts]
        if number == 0 and wide in names:
            columns = names
            continue
        if len(parts) < len(columns):
            columns_here = columns[: len(parts)]
        else:
            columns_here = columns
            surplus = len(parts) - len(columns)
            place = columns.index(wide)
            parts[place : place + surplus + 1] = [", ".join(parts[place : place + surplus + 1])]
        if len(parts) >= 2:
            yield dict(zip(columns_here, parts))


def _number(text: str) -> int | None:
    found = re.match(r"(\d+)(?: MiB)?$", text)
    return int(found.group(1)) if found else None


def _user_of(pid: int) -> str:
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)


def accelerator(declared: str) -> str:
    """What trainings run on: ``cuda`` or ``cpu``.

    :param declared: auto, cuda or cpu. ``auto`` is cuda where the NVIDIA driver has made its device.
    :raises InputError: for another word.
    """
    if declared in ("cuda", "cpu"):
        return declared
    if declared == "auto":
        return "cuda" if os.path.exists("/dev/nvidiactl") else "cpu"
    raise InputError(f"There is no accelerator {declared!r}.", "Declare auto, cuda or cpu.")
