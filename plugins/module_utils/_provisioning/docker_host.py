# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has for containers: its system, NVIDIA GPUs and their driver, Docker packages, and the engine."""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import re
import shutil
import typing as t

from .._core.errors import StoreError
from .._core.system.docker import LABEL_JOB
from .apt_sources import Repository, architecture, is_own, read_sources, state_of
from .system import nvidia_pci_devices, os_release, read, read_text, run, runs_systemd, user_is_root

#: In the name or a label of every container of this collection.
_OWN_CONTAINER = re.compile(r"ia[_-]homelab")
#: Packages of the engine: Debian's and Ubuntu's own, and Docker's.
_ENGINE_PACKAGES = ("docker.io", "docker-ce")

_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_MODULE_VERSION = re.compile(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s")
_DRIVER_LIBRARY = re.compile(r"lib(?:cuda|nvidia-ml)\.so\.(\d+(?:\.\d+)+)")
_MODULE_PLACES = ("updates/dkms", "updates", "kernel/drivers/video", "kernel/nvidia*")


def driver(root: str = "/") -> dict[str, t.Any]:
    """The NVIDIA driver.

    ``version`` of the loaded kernel module (empty if none is loaded), whether one is ``installed`` for this kernel,
    whether ``secure_boot`` makes the kernel refuse unsigned modules, and the ``error`` of nvidia-smi.
    """
    loaded = _MODULE_VERSION.search(read_text(os.path.join(root, "proc/driver/nvidia/version")) + " ")
    modules = os.path.join(root, "lib/modules", os.uname().release)
    installed = any(glob.glob(os.path.join(modules, place, "nvidia*.ko*")) for place in _MODULE_PLACES)
    error = ""
    if root == "/" and shutil.which("nvidia-smi"):
        status, text = run("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
        error = text if status else ""
    return {
        "version": loaded.group(1) if loaded else "",
        "installed": installed,
        # Four bytes of attributes, then one of value.
        "secure_boot": read(os.path.join(root, _SECURE_BOOT))[4:5] == b"\x01",
        "error": error,
    }


def packages(names: t.Iterable[str], pins: t.Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Installed packages and missing ones.

    :param pins: version, or pattern of versions, by name; empty for any.
    :returns: the version of each installed package; and, as arguments of apt, those that are missing or have another
        version.
    """
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


def engine() -> dict[str, t.Any]:
    """The Docker engine.

    Its ``version`` and that of ``compose`` (empty if there is none, or the engine does not answer), whether it is part
    of a ``swarm``, the names of the containers of ``jobs`` that run, and of ``other_containers`` that do not belong to
    this collection.
    """
    value: dict[str, t.Any] = {"version": "", "compose": "", "swarm": False, "jobs": [], "other_containers": []}
    lines = _lines("docker", "info", "--format", "{{.ServerVersion}}\t{{.Swarm.LocalNodeState}}")
    fields = lines[-1].split("\t") if lines else []
    # A client whose engine does not answer leaves the fields empty and may end with status 0.
    if len(fields) == 2 and fields[0]:
        value.update(version=fields[0], swarm=fields[1] == "active")
        value["jobs"] = _lines("docker", "ps", "--filter", f"label={LABEL_JOB}", "--format", "{{.Names}}")
        containers = _lines("docker", "ps", "--all", "--format", "{{.Names}} {{.Labels}}")
        value["other_containers"] = [line.split()[0] for line in containers if not _OWN_CONTAINER.search(line)]
    value["compose"] = "".join(_lines("docker", "compose", "version", "--short")).lstrip("v")
    return value


def image_ids(names: t.Iterable[str]) -> dict[str, str]:
    """Id of each image by its name; empty where the engine does not have it."""
    return {name: "".join(_lines("docker", "image", "inspect", "--format", "{{.Id}}", name)) for name in names}


def images_of(repositories: t.Iterable[str]) -> list[str]:
    """Ids of all images of the engine in these repositories."""
    filters = [word for name in repositories for word in ("--filter", f"reference={name}")]
    return sorted(set(_lines("docker", "images", "--no-trunc", "--quiet", *filters))) if filters else []


def _lines(*command: str) -> list[str]:
    """The lines that a command prints; none if it fails."""
    status, text = run(*command, stderr=False)
    return text.splitlines() if status == 0 else []


def cdi_devices() -> list[str]:
    """The CDI devices of the NVIDIA Container Toolkit."""
    return [word for line in _lines("nvidia-ctk", "cdi", "list") for word in line.split() if "nvidia.com/" in word]


def cdi_driver_version(root: str = "/") -> str:
    """Version of the driver whose libraries the CDI description of the role names; empty if it names none.

    ``nvidia-ctk cdi generate`` writes the names of the files of the driver, which contain its version.
    """
    match = _DRIVER_LIBRARY.search(read_text(os.path.join(root, "etc/cdi/nvidia.yaml")))
    return match.group(1) if match else ""


def toolkit_version() -> str:
    """Version of the NVIDIA Container Toolkit; empty if it is not installed."""
    match = re.search(r"version (\d\S*)", run("nvidia-ctk", "--version")[1])
    return match.group(1) if match else ""


def recorded_packages(path: str) -> list[str]:
    """The packages that the role nvidia_docker has recorded as installed by itself; none without a record.

    :raises StoreError: if the record is damaged.
    """
    return list(_record(path)["packages"])


def record_is_legacy(path: str) -> bool:
    """Whether a record exists that was begun by a version of the role that did not record its changes of
    ``daemon.json``.

    :raises StoreError: if the record is damaged.
    """
    value = _record(path)
    return bool(value["packages"]) and value.get("settings_recorded") is not True


def _record(path: str) -> dict[str, t.Any]:
    raw = read(path) if path else b""
    if not raw:
        return {"packages": []}
    try:
        value = json.loads(raw)
        names = value["packages"]
    except (ValueError, KeyError, TypeError):
        value, names = {}, None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise StoreError("provisioning.no_package_record", path=path)
    return dict(value)


def apt_sources(
    repositories: t.Mapping[str, t.Mapping[str, t.Any]], legacy: bool, root: str = "/"
) -> dict[str, dict[str, t.Any]]:
    """What apt's sources have of each repository; see :func:`apt_sources.state_of`.

    :param repositories: by name: ``path``, ``key``, ``uri``, ``suite``, ``components``, and ``text``, the content of
        the source that the role writes.
    :param legacy: whether an earlier version of the role, which wrote that text without a header, has been on this
        host.
    """
    sources = read_sources(root)
    arch = architecture()
    found = {}
    for name, value in repositories.items():
        repository = Repository(
            value["path"], value["key"], value["uri"], value["suite"], tuple(value.get("components", ()))
        )
        own = is_own(repository.path, value["text"] if legacy else "", root)
        found[name] = state_of(repository, sources, own=own, arch=arch, root=root)
    return found


def host(names: t.Iterable[str] = (), pins: t.Mapping[str, str] | None = None, root: str = "/") -> dict[str, t.Any]:
    """Everything about the host but its images and its record.

    :param names: packages to look for.
    :param pins: their versions.
    :param root: directory that holds the files of the system.
    """
    installed, missing = packages(names, pins or {})
    engines = packages(_ENGINE_PACKAGES, {})[0]
    return {
        "system": os_release(root),
        "user_is_root": user_is_root(),
        "systemd": runs_systemd(root),
        "gpus": nvidia_pci_devices(root),
        "driver": driver(root),
        "installed": installed,
        "missing": missing,
        "engines": sorted(engines),
        "engine_packages": engines,
        "engine": engine(),
        "toolkit": toolkit_version(),
        "cdi_devices": cdi_devices(),
        "cdi_driver": cdi_driver_version(root),
    }
