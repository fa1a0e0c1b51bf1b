# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners on the ports of this host, and what the kernel reports about a process.

Sources: proc(5) on /proc/net/tcp, /proc/PID/fd, cgroup, cmdline, environ, exe and field 4 (parent) of stat.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import typing as t

#: Port of Ollama, unless another is configured (its ``envconfig/config.go``).
OLLAMA_PORT = 11434

_LISTEN = "0A"
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")


def is_local(host: str) -> bool:
    """Return whether an address belongs to this host. Only local addresses can be bound."""
    try:
        addresses = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, _number, _name, address in addresses:
        with contextlib.suppress(OSError), socket.socket(family, kind) as trial:
            trial.bind(address)
            return True
    return False


def accepts(host: str, port: int) -> bool:
    """Return whether a server accepts connections on an address."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def listeners(port: int) -> list[int]:
    """Return the ids of the processes that listen on a TCP port, limited to those this user may inspect."""
    port_suffix = f":{port:04X}"
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as stream:
            for line in stream:
                fields = line.split()
                if len(fields) > 9 and fields[1].endswith(port_suffix) and fields[3] == _LISTEN:
                    sockets.add(f"socket:[{fields[9]}]")
    pids = []
    for name in os.listdir("/proc") if sockets else ():
        if name.isdigit() and any(link in sockets for link in _open_files(name)):
            pids.append(int(name))
    return sorted(pids)


def _open_files(pid: str) -> t.Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                yield os.readlink(f"/proc/{pid}/fd/{entry}")


def cgroups(pid: int) -> str:
    """Return the control groups of a process, one per line; empty if the process has ended."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""


def container_ids(pid: int) -> set[str]:
    """Return the possible container ids in the control groups of a process."""
    return set(_CONTAINER_ID.findall(cgroups(pid)))


def children(pid: int) -> list[int]:
    """Return the ids of all descendants of a process."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/stat", "rb") as stream:
                parents.setdefault(int(stream.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    descendants, todo = [], [pid]
    while todo:
        started = parents.get(todo.pop(), [])
        descendants += started
        todo += started
    return descendants


def arguments(pid: int) -> list[str]:
    """Return the argument list of a process; empty if the process has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as stream:
        return [os.fsdecode(part) for part in stream.read().split(b"\0")[:-1]]
    return []


def program(pid: int) -> str:
    """Return the path of the program that a process runs; empty if it has ended or belongs to another user."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def variables(pid: int) -> dict[str, str]:
    """Return the initial environment of a process; empty if it has ended or belongs to another user."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as stream:
        pairs = (os.fsdecode(entry).partition("=") for entry in stream.read().split(b"\0"))
        return {name: value for name, equals, value in pairs if equals}
    return {}
