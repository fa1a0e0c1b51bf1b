# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs of this host and the processes that use them, as reported by the NVIDIA driver."""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
import shutil

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import typing as t

from ..errors import InputError
from .processes import marker_of

_MIB = 1024 * 1024
_SECONDS = 30

_GPU_FIELDS = ("index", "name", "memory.total", "memory.free", "uuid", "driver_version")
#: The name comes last because it may contain commas.
_PROCESS_FIELDS = ("gpu_uuid", "pid", "used_gpu_memory", "process_name")


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU.

    :param index: index assigned by the driver.
    :param name: product name.
    :param total_bytes: total memory.
    :param free_bytes: memory that is not allocated now.
    :param uuid: identifier assigned by the driver.
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

    :param pid: process id.
    :param name: program of the process.
    :param used_bytes: GPU memory it has allocated; None if the driver does not report it.
    :param uuid: UUID of the GPU.
    :param user: owner of the process; empty if it has ended or runs in another namespace.
    :param job: job of this collection that it belongs to; empty for a foreign process.
    """

    pid: int
    name: str
    used_bytes: int | None
    uuid: str = ""
    user: str = ""
    job: str = ""


def _query(query: str, fields: t.Sequence[str]) -> str:
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


def largest(found: t.Sequence[Gpu], count: int) -> list[Gpu]:
    """The GPUs with the most memory, the lower index first among equals; fewer if there are fewer.

    Total memory only: the choice is the same every day.
    """
    return sorted(found, key=lambda gpu: (-gpu.total_bytes, gpu.index))[:count]


def gpus() -> list[Gpu]:
    """List the NVIDIA GPUs known to the driver; empty without a driver.

    A GPU that shares the machine's memory (GB10) reports no memory size and is left out.
    """
    return parse(_query("gpu", _GPU_FIELDS))


def uuids() -> dict[str, str]:
    """Return the UUID of each NVIDIA GPU by its index; empty without a driver.

    It includes a GPU that shares the machine's memory.
    """
    rows = _rows(_query("gpu", _GPU_FIELDS), _GPU_FIELDS, "name")
    return {row["index"]: row["uuid"] for row in rows if row.get("uuid", "").startswith("GPU-") and "index" in row}


def compute_capabilities() -> dict[int, tuple[int, int]]:
    """Return the compute capability of each GPU by its index, such as ``(8, 6)``; empty if the driver reports none.

    A query of its own, because drivers before 470 do not know the field and refuse a query that names it.
    """
    lines = _query("gpu", ("index", "compute_cap")).splitlines()
    matches = (re.match(r"(\d+), (\d+)\.(\d+)$", line) for line in lines)
    return {int(match.group(1)): (int(match.group(2)), int(match.group(3))) for match in matches if match}


def processes() -> list[GpuProcess]:
    """List the processes that compute on the GPUs now. Processes that only render, such as a desktop, are left out."""
    return [
        dataclasses.replace(process, user=_user_of(process.pid), job=marker_of(process.pid))
        for process in parse_processes(_query("compute-apps", _PROCESS_FIELDS))
    ]


def foreign(gpu_processes: t.Iterable[GpuProcess], store: str = "", used: t.Collection[str] = ()) -> list[GpuProcess]:
    """Return the processes that belong to no job of this collection.

    :param store: the directory of a job store: jobs of others count as foreign, too; empty for all stores of this host.
    :param used: UUIDs of GPUs: only processes on these count; empty for all GPUs.
    """
    own = f"{os.path.realpath(store)}:" if store else ""

    def counts(process: GpuProcess) -> bool:
        is_foreign = not process.job or not process.job.startswith(own)
        return is_foreign and (not used or not process.uuid or process.uuid in used)

    return [process for process in gpu_processes if counts(process)]


def parse(text: str) -> list[Gpu]:
    """Parse the output of ``nvidia-smi --query-gpu=… --format=csv``.

    The columns may come in any order, with or without units. Without a header they are index, name, memory.total,
    memory.free, uuid and driver_version.
    """
    parsed: list[Gpu] = []
    for row in _rows(text, _GPU_FIELDS, "name"):
        index, total, free = (_number(row.get(key, "")) for key in ("index", "memory.total", "memory.free"))
        if total and free is not None:
            gpu_index = len(parsed) if index is None else index
            uuid, driver = row.get("uuid", ""), row.get("driver_version", "")
            parsed.append(Gpu(gpu_index, row["name"], total * _MIB, free * _MIB, uuid, driver))
    return parsed


def parse_processes(text: str) -> list[GpuProcess]:
    """Parse the output of ``nvidia-smi --query-compute-apps=… --format=csv``."""
    parsed = []
    for row in _rows(text, _PROCESS_FIELDS, "process_name"):
        pid, used = _number(row.get("pid", "")), _number(row.get("used_gpu_memory", ""))
        if pid is not None:
            size = None if used is None else used * _MIB
            parsed.append(GpuProcess(pid, row.get("process_name", ""), size, row.get("gpu_uuid", "")))
    return parsed


def _rows(text: str, fields: t.Sequence[str], wide: str) -> t.Iterator[dict[str, str]]:
    """Yield each line as a dictionary by column name. Surplus commas belong to the column ``wide``."""
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
            position = columns.index(wide)
            parts[position : position + surplus + 1] = [", ".join(parts[position : position + surplus + 1])]
        if len(parts) >= 2:
            yield dict(zip(columns_here, parts))


def _number(text: str) -> int | None:
    match = re.match(r"(\d+)(?: MiB)?$", text)
    return int(match.group(1)) if match else None


def _user_of(pid: int) -> str:
    try:
        return user_name(os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return ""


def user_name(uid: int) -> str:
    """Return the name of a user; the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def accelerator(declared: str) -> str:
    """Return the device trainings run on: ``cuda`` or ``cpu``.

    :param declared: auto, cuda or cpu. ``auto`` selects cuda if the NVIDIA driver's device file exists.
    :raises InputError: for any other value.
    """
    if declared in ("cuda", "cpu"):
        return declared
    if declared == "auto":
        return "cuda" if os.path.exists("/dev/nvidiactl") else "cpu"
    raise InputError("system.accelerator_unknown", accelerator=declared)
