# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about this host that several parts of the provisioning need."""

from __future__ import annotations

import glob
import os
import shutil

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import typing as t

NVIDIA_VENDOR = "0x10de"
#: Class of display controllers on the PCI bus; compute cards appear as 0x0302.
DISPLAY_CLASS = "0x03"

_SECONDS = 60.0
NOT_FOUND = 127
TIMED_OUT = 124


def run(*command: str, env: t.Mapping[str, str] | None = None, stderr: bool = True) -> tuple[int, str]:
    """Run a short command and return its exit status and what it printed.

    The status is 127 if the program cannot be started, and 124 if it runs for more than a minute.

    :param env: variables to set besides those of this process.
    :param stderr: whether the text includes standard error.
    """
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C", "PATH": path, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if stderr else subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except OSError:
        return NOT_FOUND, ""
    except subprocess.TimeoutExpired:
        return TIMED_OUT, ""
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def read(path: str) -> bytes:
    """Content of a file; empty if it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def read_text(path: str) -> str:
    """Content of a file as text; empty if it cannot be read."""
    return read(path).decode("utf-8", "replace")


def os_release(root: str = "/") -> dict[str, str]:
    """The operating system: ``id``, ``version``, ``codename`` and ``name``.

    :param root: directory that holds the files of the system.
    """
    values: dict[str, str] = {}
    for line in read_text(os.path.join(root, "etc/os-release")).splitlines():
        name, _equals, value = line.partition("=")
        values[name] = value.strip("\"'")
    return {
        "id": values.get("ID", ""),
        "version": values.get("VERSION_ID", ""),
        "codename": values.get("VERSION_CODENAME", ""),
        "name": values.get("PRETTY_NAME", "an unknown system"),
    }


def nvidia_pci_devices(root: str = "/") -> list[dict[str, str]]:
    """NVIDIA's display controllers on the PCI bus, with or without a driver: ``slot`` and ``device``."""
    devices = []
    for directory in sorted(glob.glob(os.path.join(root, "sys/bus/pci/devices/*"))):
        value = {name: read_text(os.path.join(directory, name)).strip() for name in ("vendor", "class", "device")}
        if value["vendor"] == NVIDIA_VENDOR and value["class"].startswith(DISPLAY_CLASS):
            devices.append({"slot": os.path.basename(directory), "device": value["device"]})
    return devices


def has_nvidia_gpu(root: str = "/") -> bool:
    """Whether an NVIDIA GPU is present: known by its driver, or on the PCI bus before a driver is installed."""
    driver_files = ("proc/driver/nvidia/version", "dev/nvidia0")
    return any(os.path.exists(os.path.join(root, name)) for name in driver_files) or bool(nvidia_pci_devices(root))


def user_is_root() -> bool:
    """Whether this process runs as root."""
    return os.geteuid() == 0


def has_apt() -> bool:
    """Whether the system installs packages with apt."""
    return shutil.which("apt-get") is not None


def runs_systemd(root: str = "/") -> bool:
    """Whether systemd is the init of this system."""
    return os.path.isdir(os.path.join(root, "run/systemd/system"))


def has_program(*names: str) -> bool:
    """Whether at least one of these programs is in the PATH."""
    return any(shutil.which(name) for name in names)
