# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what system this is, which GPU and driver it has, and what of Docker is here. Reads, never writes.

Fed to an interpreter on standard input (Python 3.9+, standard library only), with one argument, a JSON object:

    packages: names of those to look for
    pins: {name: version}, a pattern or empty for any
    root: where the system's files are, "/" outside of tests

Prints a JSON object.
"""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

NVIDIA = "0x10de"
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
VERSION = re.compile(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s")


def read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def run(*command: str) -> tuple[int, str]:
    """Exit status and what was printed; 127 where the program is missing, 124 where it does not come back."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
            env={**os.environ, "LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"},
        )
    except OSError:
        return 127, ""
    except subprocess.TimeoutExpired:
        return 124, ""
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def system(root: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in read(os.path.join(root, "etc/os-release")).decode("utf-8", "replace").splitlines():
        name, _equals, value = line.partition("=")
        found[name] = value.strip("\"'")
    return {
        "id": found.get("ID", ""),
        "version": found.get("VERSION_ID", ""),
        "codename": found.get("VERSION_CODENAME", ""),
        "name": found.get("PRETTY_NAME", "an unknown system"),
    }


def gpus(root: str) -> list[dict[str, str]]:
    """NVIDIA's display controllers on the PCI bus, with or without a driver. 0x0302 are compute cards."""
    found = []
    for device in sorted(glob.glob(os.path.join(root, "sys/bus/pci/devices/*"))):
        names = ("vendor", "class", "device")
        value = {name: read(os.path.join(device, name)).decode("ascii", "replace").strip() for name in names}
        if value["vendor"] == NVIDIA and value["class"].startswith("0x03"):
            found.append({"slot": os.path.basename(device), "device": value["device"]})
    return found


def driver(root: str) -> dict[str, Any]:
    """Version of the loaded kernel module; whether one is installed; whether the firmware refuses unsigned ones."""
    loaded = VERSION.search(read(os.path.join(root, "proc/driver/nvidia/version")).decode("utf-8", "replace") + " ")
    kernel = os.uname().release
    modules = [
        path
        for place in ("updates/dkms", "updates", "kernel/drivers/video", "kernel/nvidia*")
        for path in glob.glob(os.path.join(root, "lib/modules", kernel, place, "nvidia*.ko*"))
    ]
    # Four bytes of attributes, then one of value.
    secure = read(os.path.join(root, SECURE_BOOT))[4:5] == b"\x01"
    value = {
        "version": loaded.group(1) if loaded else "",
        "installed": bool(modules),
        "secure_boot": secure,
        "says": "",
    }
    if root == "/" and shutil.which("nvidia-smi"):
        status, text = run("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
        value["says"] = text if status else ""
    return value


def packages(names: list[str], pins: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Versions of those that are installed; and as apt takes them, those that are missing or of another version."""
    installed = {}
    missing = []
    for name in names:
        status, text = run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name)
        if status == 0 and text.startswith("installed "):
            installed[name] = text.partition(" ")[2]
        pin = pins.get(name, "")
        if name not in installed or (pin and not fnmatch.fnmatchcase(installed[name], pin)):
            missing.append(f"{name}={pin}" if pin else name)
    return installed, missing


def engine() -> dict[str, Any]:
    value: dict[str, Any] = {"version": "", "compose": "", "swarm": False, "jobs": [], "containers": 0}
    status, text = run("docker", "info", "--format", "{{.ServerVersion}}\t{{.Swarm.LocalNodeState}}\t{{.Containers}}")
    fields = text.splitlines()[-1].split("\t") if text else []
    # A client whose engine does not answer fills in nothing, and may end well all the same.
    if status == 0 and len(fields) == 3 and fields[0]:
        value.update(version=fields[0], swarm=fields[1] == "active", containers=int(fields[2]))
        status, names = run("docker", "ps", "--filter", "label=ia-homelab.job", "--format", "{{.Names}}")
        value["jobs"] = names.split() if status == 0 else []
    status, text = run("docker", "compose", "version", "--short")
    if status == 0:
        value["compose"] = text.lstrip("v")
    return value


def main(arguments: dict[str, Any]) -> dict[str, Any]:
    root = arguments.get("root", "/")
    installed, missing = packages(arguments.get("packages", []), arguments.get("pins", {}))
    _status, toolkit = run("nvidia-ctk", "--version")
    version = re.search(r"version (\d\S*)", toolkit)
    return {
        "system": system(root),
        "user_is_root": os.geteuid() == 0,
        "systemd": os.path.isdir(os.path.join(root, "run/systemd/system")),
        "gpus": gpus(root),
        "driver": driver(root),
        "installed": installed,
        "missing": missing,
        "engines": sorted(packages(["docker.io", "docker-ce"], {})[0]),
        "engine": engine(),
        "toolkit": version.group(1) if version else "",
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
