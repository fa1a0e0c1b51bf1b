# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd unit of an Ollama server, its drop-ins, and what they set.

The formats are described in systemd.unit(5) and systemd.exec(5).
"""

from __future__ import annotations

import glob
import ipaddress
import os
import shlex
import typing as t

from .system import read_text

#: First line of the systemd unit that the role ollama writes.
UNIT_HEADER = "# Managed by ia_homelab.llamafactory.ollama."
#: In descending precedence.
_DIRECTORIES = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
#: Name of the drop-ins of this collection, for the time of a training.
_OWN_DROP_IN = "ia-homelab-"
#: Settings other than variables that make a server another one.
_DIRECTIVES = ("ExecStart", "User", "Group")


def unit_file(name: str, root: str = "/") -> str:
    """Path of the systemd unit of this name; empty if there is none."""
    paths = (os.path.join(root, directory, name + ".service") for directory in _DIRECTORIES)
    return next((path for path in paths if os.path.exists(path)), "")


def unit_origin(name: str, root: str = "/") -> str:
    """Who wrote the systemd unit of this name: ``none`` (there is no unit), ``role`` or ``other``."""
    path = unit_file(name, root)
    if not path:
        return "none"
    return "role" if read_text(path).startswith(UNIT_HEADER) else "other"


def drop_ins(name: str, root: str = "/") -> list[str]:
    """Paths of the drop-ins of a unit, in the order in which systemd reads them; without those of this collection."""
    found: dict[str, str] = {}
    for directory in _DIRECTORIES:
        for path in glob.glob(os.path.join(root, directory, f"{name}.service.d", "*.conf")):
            if not os.path.basename(path).startswith(_OWN_DROP_IN):
                found.setdefault(os.path.basename(path), path)
    return [found[key] for key in sorted(found)]


def settings(path: str, root: str = "/") -> list[dict[str, str]]:
    """What a unit or a drop-in sets for the service, in its order: ``path``, ``name`` and ``value``.

    A name is that of an environment variable, or ``ExecStart``, ``User`` or ``Group``. The path of a variable from an
    ``EnvironmentFile`` is that file's.
    """
    found = []
    section = ""
    for line in read_text(path).replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line
        key, equals, value = (part.strip() for part in line.partition("="))
        if section != "[Service]" or not equals or line.startswith(("#", ";")):
            continue
        shown = "/" + os.path.relpath(path, root)
        if key == "Environment":
            found += [{"path": shown, "name": name, "value": text} for name, text in _assignments(value)]
        elif key == "EnvironmentFile" and value.lstrip("-"):
            file = value.lstrip("-")
            lines = read_text(os.path.join(root, file.lstrip("/"))).splitlines()
            lines = [entry for entry in lines if not entry.lstrip().startswith(("#", ";"))]
            pairs = [pair for entry in lines for pair in _assignments(entry)]
            found += [{"path": file, "name": name, "value": text} for name, text in pairs]
        elif key in _DIRECTIVES and value:
            found.append({"path": shown, "name": key, "value": value})
    return found


def _assignments(text: str) -> t.Iterator[tuple[str, str]]:
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            yield name, value


def is_open_address(value: str) -> bool:
    """Whether an Ollama with this value of ``OLLAMA_HOST`` can be reached from other machines.

    As Ollama reads it (``envconfig/config.go``): an address or a name, with or without scheme and port. With a port
    alone it listens on all addresses; without a value, on loopback.
    """
    host = value.strip().strip("\"'").rpartition("://")[2].partition("/")[0]
    if not host:
        return False
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def report(name: str, root: str = "/") -> dict[str, t.Any]:
    """What the module ollama_info reports of a unit.

    ``unit``, its origin; ``drop_ins``, what the drop-ins set; and ``open_address``, the setting because of which other
    machines can reach the server (empty if there is none).
    """
    origin = unit_origin(name, root)
    added = [setting for path in drop_ins(name, root) for setting in settings(path, root)]
    base = settings(unit_file(name, root), root) if origin == "other" else []
    addresses = [setting for setting in base + added if setting["name"] == "OLLAMA_HOST"]
    is_open = bool(addresses) and is_open_address(addresses[-1]["value"])
    return {"unit": origin, "drop_ins": added, "open_address": addresses[-1] if is_open else {}}
