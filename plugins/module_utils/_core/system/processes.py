# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes known for certain: a pid alone is reused, (pid, start time, boot id) is not.

Sources: proc(5), fields 3 (state), 6 (session) and 22 (starttime, clock ticks since boot) of /proc/PID/stat;
/proc/PID/environ; the counter ``oom_kill`` of /proc/vmstat.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
import typing as t

#: Environment variable that every process of a job inherits. A launcher may put its workers into sessions of their
#: own (torchrun does) and die before them: this is how they are found all the same.
JOB_MARKER = "IA_HOMELAB_JOB"


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
    def from_dict(cls, value: t.Any) -> Identity | None:
        """The identity that :meth:`as_dict` gave; None for anything else (a record that is missing or damaged)."""
        try:
            return cls(pid=int(value["pid"]), started=int(value["started"]), boot=str(value["boot"]))
        except (KeyError, TypeError, ValueError):
            return None


def boot_id() -> str:
    """The kernel's id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def _stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            # the second field is the program's name in brackets and may hold blanks and brackets itself
            return stream.read().rpartition(")")[2].split() or None
    except (FileNotFoundError, ProcessLookupError):
        return None


def identify(pid: int) -> Identity | None:
    """Who runs under a pid now; None when nobody does (a zombie has ended)."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return Identity(pid, int(fields[19]), boot_id())


def this_process() -> Identity:
    """Who we are."""
    found = identify(os.getpid())
    if found is None:
        raise OSError("/proc does not tell of this process: it has to be mounted.")
    return found


def alive(identity: Identity | None) -> bool:
    """Whether this very process still runs."""
    return identity is not None and identify(identity.pid) == identity


def _carries(pid: int, needle: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return needle in b"\0" + stream.read() + b"\0"
    except OSError:
        return False  # gone, or another user's: then not ours


def marker_of(pid: int) -> str:
    """The job a process belongs to, by the mark in its environment; empty for a stranger's, or one that is gone."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            entries = stream.read().split(b"\0")
    except OSError:
        return ""
    head = f"{JOB_MARKER}=".encode()
    return next((entry[len(head) :].decode("utf-8", "replace") for entry in entries if entry.startswith(head)), "")


def members(leader: Identity | None, mark: str) -> list[Identity]:
    """The live processes of a command.

    Those that carry its mark, wherever they are; and all in its session, as long as its leader is there (be it as a
    zombie): after that the pid, and with it the number of the session, may belong to a stranger.

    :param leader: the command's first process, a session leader; None when it is not known.
    :param mark: value of :data:`JOB_MARKER` in the command's environment.
    """
    boot = boot_id()
    needle = f"\0{JOB_MARKER}={mark}\0".encode("utf-8", "surrogateescape")
    session = None
    if leader is not None and leader.boot == boot:
        fields = _stat(leader.pid)
        if fields is not None and int(fields[19]) == leader.started:
            session = leader.pid
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        fields = _stat(int(name))
        if fields is None or fields[0] in "ZX":
            continue
        if int(fields[3]) == session or _carries(int(name), needle):
            found.append(Identity(int(name), int(fields[19]), boot))
    return sorted(found, key=lambda identity: identity.pid)


def send(targets: t.Iterable[Identity], number: int) -> None:
    """Send a signal to processes; those that are gone already, or are not ours to signal, are passed over."""
    for target in targets:
        try:
            _send(target, number)
        except (ProcessLookupError, PermissionError):
            continue


def _send(target: Identity, number: int) -> None:
    if hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal"):
        try:
            handle = os.pidfd_open(target.pid)
        except OSError as error:
            if isinstance(error, ProcessLookupError):
                raise
        else:
            # the handle holds on to one process: looked at after it was opened, it cannot become another's
            try:
                if alive(target):
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)
            return
    if alive(target):
        os.kill(target.pid, number)


def end(leader: Identity | None, mark: str, grace: float = 0.0, patience: float = 10.0) -> list[Identity]:
    """End all processes of a command: SIGTERM, ``grace`` seconds, then SIGKILL until nothing is left.

    :param patience: seconds after which processes that SIGKILL does not end (in an uninterruptible call) are given up.
    :returns: those.
    """
    if grace > 0:
        send(members(leader, mark), signal.SIGTERM)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and members(leader, mark):
            time.sleep(0.05)
    deadline = time.monotonic() + patience
    if leader is not None:
        send([leader], signal.SIGSTOP)  # it shall neither start more nor go before the others: it vouches for them
    while True:
        left = members(leader, mark)
        if not left or time.monotonic() >= deadline:
            return left
        send([found for found in left if found != leader] or left, signal.SIGKILL)
        time.sleep(0.01)


def oom_kills() -> int | None:
    """How many processes the kernel has ended for want of memory since boot; None where it does not tell."""
    try:
        with open("/proc/vmstat", encoding="ascii") as stream:
            for line in stream:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None
