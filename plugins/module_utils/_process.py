# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes known for certain: a pid alone is reused, (pid, start time, boot id) is not.

Sources: proc(5), fields 5 (pgrp), 6 (session) and 22 (starttime, clock ticks since boot) of /proc/PID/stat.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
import typing as t


@dataclasses.dataclass(frozen=True)
class Identity:
    """One process, and no other one that gets the same pid later.

    :param pid: process id.
    :param started: clock ticks after boot at which it started.
    :param boot: the kernel's id of this boot.
    """

    pid: int
    started: int
    boot: str

    def as_dict(self) -> dict[str, t.Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, value: t.Mapping[str, t.Any]) -> Identity:
        """The identity that :meth:`as_dict` gave."""
        return cls(pid=int(value["pid"]), started=int(value["started"]), boot=str(value["boot"]))


def boot_id() -> str:
    """The kernel's id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def _stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            # the second field is the program's name in brackets and may hold blanks and brackets itself
            return stream.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def identify(pid: int) -> Identity | None:
    """Who runs under a pid now; None when nobody does (a zombie has ended)."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return Identity(pid, int(fields[19]), boot_id())


def alive(identity: Identity) -> bool:
    """Whether this very process still runs."""
    return identify(identity.pid) == identity


def session_members(leader: Identity) -> list[int]:
    """Pids of the live processes in the session that this process led, itself included if it lives."""
    if leader.boot != boot_id():
        return []
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        fields = _stat(int(name))
        # a session id is not given to a new process while anybody is still in that session
        if fields and fields[0] not in "ZX" and int(fields[3]) == leader.pid and int(fields[19]) >= leader.started:
            found.append(int(name))
    return sorted(found)


def send(pids: t.Iterable[int], number: int) -> None:
    """Send a signal to processes; those that are gone already are passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end_session(leader: Identity, grace: float = 0.0) -> None:
    """End everything in a session: SIGTERM, ``grace`` seconds, then SIGKILL until nothing is left."""
    if grace > 0:
        send(session_members(leader), signal.SIGTERM)
        end = time.monotonic() + grace
        while time.monotonic() < end and session_members(leader):
            time.sleep(0.05)
    for _attempt in range(200):
        members = session_members(leader)
        if not members:
            return
        send(members, signal.SIGKILL)
        time.sleep(0.02)
