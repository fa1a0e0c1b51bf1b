# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GPU there is. Asked of the driver; nothing is guessed."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess

from ._errors import InputError

_MIB = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU.

    :param index: as the driver counts.
    :param name: product name.
    :param total_bytes: memory in all.
    :param free_bytes: memory nobody holds now.
    """

    index: int
    name: str
    total_bytes: int
    free_bytes: int


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that the driver knows; none without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    fields = "index,name,memory.total,memory.free"
    try:
        result = subprocess.run(
            [program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse(result.stdout) if result.returncode == 0 else []


def parse(text: str) -> list[Gpu]:
    """The GPUs in the output of ``nvidia-smi --query-gpu=index,name,memory.total,memory.free`` (CSV, MiB)."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4 and parts[0].isdigit() and parts[2].isdigit() and parts[3].isdigit():
            found.append(Gpu(int(parts[0]), parts[1], int(parts[2]) * _MIB, int(parts[3]) * _MIB))
    return found


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
