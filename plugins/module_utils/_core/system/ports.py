# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a port of this host, and what the kernel tells of a process.

Sources: proc(5) on /proc/net/tcp, /proc/PID/fd, cgroup, cmdline, environ, exe and field 4 (parent) of stat.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import typing as t

_LISTEN = "0A"
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")


def is_local(host: str) -> bool:
    """Whether an address is one of this host's: only those can be bound."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, _number, _name, address in found:
        with contextlib.suppress(OSError), socket.socket(family, kind) as trial:
            trial.bind(address)
            return True
    return False


def accepts(host: str, port: int) -> bool:
    """Whether something takes connections there."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def listeners(port: int) -> list[int]:
    """Ids of the processes that listen on a TCP port of this host, as far as this user may see them."""
    wanted = f":{port:04X}"
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as stream:
            for line in stream:
                fields = line.split()
                if len(fields) > 9 and fields[1].endswith(wanted) and fields[3] == _LISTEN:
                    sockets.add(f"socket:[{fields[9]}]")
    found = []
    for name in os.listdir("/proc") if sockets else ():
        if name.isdigit() and any(link in sockets for link in _open_files(name)):
            found.append(int(name))
    return sorted(found)


def _open_files(pid: str) -> t.Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                yield os.readlink(f"/proc/{pid}/fd/{entry}")


def cgroups(pid: int) -> str:
    """The control groups a process is in, a line each; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""


def container_ids(pid: int) -> set[str]:
    """What in its control groups may be the id of its container."""
    return set(_CONTAINER_ID.findall(cgroups(pid)))


def children(pid: int) -> list[int]:
    """All that a process has started, and they in turn."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/stat", "rb") as stream:
                parents.setdefault(int(stream.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    found, todo = [], [pid]
    while todo:
        begun = parents.get(todo.pop(), [])
        found += begun
        todo += begun
    return found


def arguments(pid: int) -> list[str]:
    """A process's argument list; empty when it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as stream:
        return [os.fsdecode(part) for part in stream.read().split(b"\0")[:-1]]
    return []


def program(pid: int) -> str:
    """Path of the program that a process runs; empty when it is gone, or another user's."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def variables(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty when it is gone, or another user's."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as stream:
        pairs = (os.fsdecode(entry).partition("=") for entry in stream.read().split(b"\0"))
        return {name: value for name, equals, value in pairs if equals}
    return {}
