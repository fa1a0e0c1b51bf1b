# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unique identification of processes: a pid is reused, the triple (pid, start time, boot id) is not.

Sources: proc(5), fields 3 (state), 6 (session), 9 (flags) and 22 (starttime, clock ticks since boot) of /proc/PID/stat;
SigPnd and ShdPnd of /proc/PID/status; /proc/PID/environ; the counter ``oom_kill`` of /proc/vmstat.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
import typing as t

#: Environment marker that every process of a job inherits. A launcher may start its workers in sessions of their own
#: (as torchrun does) and exit before them: the marker still identifies them.
JOB_MARKER = "IA_HOMELAB_JOB"
#: Environment variable of a server that a role started without systemd: path of the file that records its process.
SERVER_RECORD = "IA_HOMELAB_RECORD"

#: PF_EXITING of linux/sched.h: the process has begun to exit.
_EXITING = 0x4
_SETTLE_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Identity:
    """One process, distinct from any later process with the same pid.

    :param pid: process id.
    :param started: clock ticks after boot at which it started.
    :param boot: the kernel's id of the boot.
    """

    pid: int
    started: int
    boot: str

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, value: t.Any) -> Identity | None:
        """Restore an identity from :meth:`as_dict`; None for anything else, such as a missing or damaged record."""
        try:
            return cls(pid=int(value["pid"]), started=int(value["started"]), boot=str(value["boot"]))
        except (KeyError, TypeError, ValueError):
            return None


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def _stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            # the second field is the program name in parentheses, which may itself contain spaces and parentheses
            return stream.read().rpartition(")")[2].split() or None
    except (FileNotFoundError, ProcessLookupError):
        return None


def identify(pid: int) -> Identity | None:
    """Return the process that runs under a pid now; None if there is none (a zombie has ended)."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return Identity(pid, int(fields[19]), boot_id())


def this_process() -> Identity:
    """Return the identity of this process.

    :raises OSError: if /proc is not mounted.
    """
    identity = identify(os.getpid())
    if identity is None:
        raise OSError("/proc has no entry for this process: it has to be mounted.")
    return identity


def alive(identity: Identity | None) -> bool:
    """Return whether exactly this process still runs."""
    return identity is not None and identify(identity.pid) == identity


def is_dying(pid: int) -> bool:
    """Return whether a process has ended without being reaped, or is about to end because of SIGKILL.

    The kernel only notes a SIGKILL: on a busy machine the process exists, and looks alive, until it is scheduled.
    """
    fields = _stat(pid)
    if fields is None:
        return False
    if fields[0] in "ZX" or int(fields[6]) & _EXITING:
        return True
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as stream:
            pending = [line.split()[1] for line in stream if line.startswith(("SigPnd:", "ShdPnd:"))]
    except (OSError, IndexError):
        return False
    return any(int(mask, 16) & 1 << signal.SIGKILL - 1 for mask in pending)


def settle(leader: Identity | None, marker: str, seconds: float) -> None:
    """Wait until no process of a command is dying, at most so many seconds; no-op if none is.

    A killed process of a command that still looks alive may decide about its end: the leader itself, or a child whose
    end makes it fail.
    """
    deadline = time.monotonic() + seconds
    while any(is_dying(pid) for pid in _session_members(leader)) or any(
        is_dying(process.pid) for process in members(leader, marker)
    ):
        if time.monotonic() >= deadline:
            return
        # once more after the last one has gone: who waited for it acts on that now
        time.sleep(_SETTLE_SECONDS)


def _session_members(leader: Identity | None) -> list[int]:
    """Return all processes of a command's session, those that have ended without being reaped included."""
    if leader is None or leader.boot != boot_id():
        return []
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        fields = _stat(int(name))
        if fields is not None and int(fields[3]) == leader.pid and int(fields[19]) >= leader.started:
            found.append(int(name))
    return found


def _has_in_environment(pid: int, needle: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return needle in b"\0" + stream.read() + b"\0"
    except OSError:
        return False  # it has ended or belongs to another user, so it is not part of the command


def marker_of(pid: int) -> str:
    """Return the job in a process's environment marker; empty for a foreign process or one that has ended."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            entries = stream.read().split(b"\0")
    except OSError:
        return ""
    head = f"{JOB_MARKER}=".encode()
    return next((entry[len(head) :].decode("utf-8", "replace") for entry in entries if entry.startswith(head)), "")


def members(leader: Identity | None, marker: str) -> list[Identity]:
    """Return the live processes of a command.

    These are all processes with its environment marker, and all processes of its session as long as the leader exists
    (even as a zombie): after that its pid, and therefore the session id, may belong to a foreign process.

    :param leader: first process of the command, a session leader; None if unknown.
    :param marker: value of :data:`JOB_MARKER` in the command's environment.
    """
    boot = boot_id()
    needle = f"\0{JOB_MARKER}={marker}\0".encode("utf-8", "surrogateescape")
    session = None
    if leader is not None and leader.boot == boot:
        fields = _stat(leader.pid)
        if fields is not None and int(fields[19]) == leader.started:
            session = leader.pid
    processes = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        fields = _stat(int(name))
        if fields is None or fields[0] in "ZX":
            continue
        if int(fields[3]) == session or _has_in_environment(int(name), needle):
            processes.append(Identity(int(name), int(fields[19]), boot))
    return sorted(processes, key=lambda identity: identity.pid)


def send(targets: t.Iterable[Identity], number: int) -> None:
    """Send a signal to processes; those that have ended or belong to another user are skipped."""
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
            # the handle refers to one process: checked after opening, it cannot refer to a later one with that pid
            try:
                if alive(target):
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)
            return
    if alive(target):
        os.kill(target.pid, number)


def end(leader: Identity | None, marker: str, grace: float = 0.0, patience: float = 10.0) -> list[Identity]:
    """End all processes of a command: SIGTERM, ``grace`` seconds, then SIGKILL until no process is left.

    :param patience: seconds to wait for processes that SIGKILL does not end (in an uninterruptible system call).
    :returns: the processes that are still alive after that.
    """
    if grace > 0:
        send(members(leader, marker), signal.SIGTERM)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and members(leader, marker):
            time.sleep(0.05)
    deadline = time.monotonic() + patience
    if leader is not None:
        # The leader must neither start more processes nor end before the others: its existence identifies them.
        send([leader], signal.SIGSTOP)
    while True:
        remaining = members(leader, marker)
        if not remaining or time.monotonic() >= deadline:
            return remaining
        send([process for process in remaining if process != leader] or remaining, signal.SIGKILL)
        time.sleep(0.01)


def oom_kills() -> int | None:
    """Return the number of processes the kernel killed for lack of memory since boot; None if it does not report it."""
    try:
        with open("/proc/vmstat", encoding="ascii") as stream:
            for line in stream:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


def killed_for_memory(exit_code: int, kills_at_start: object) -> bool:
    """Return whether a command that failed probably failed for lack of memory.

    The kernel counts its kills for the whole host, memory limits of containers included, so a kill of another program
    during the command counts too.

    :param exit_code: the command's exit status; negative: the number of the signal that ended it
    :param kills_at_start: what :func:`oom_kills` returned when the command started, as read from a record
    """
    kills_now = oom_kills()
    return exit_code != 0 and isinstance(kills_at_start, int) and kills_now is not None and kills_now > kills_at_start
