# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner for a plain process in a session of its own.

Where root runs jobs in another user's data directory, their commands run as its owner (``system.ownership``): so he
can go on with what root began.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import typing as t

from ..errors import JobError, NotReadyError
from ..system import processes
from ..system.clock import utc_now
from ..system.files import read_record, write_json
from ..system.ownership import Owner, foreign_owner, give_to_owner
from .command import Command
from .runner import COMMAND, EXIT, Probe, Runner, job_marker, note_signal


class ProcessRunner(Runner):
    """Runs a job's command as the leader of its own session, known by (pid, start time, boot id)."""

    name = "process"

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, command: Command, job_dir: str) -> None:
        def become() -> None:
            # Runs in the child, after setsid and before exec. The child still has its supervisor's lock open: should
            # the supervisor be killed right here, the next one gets the lock when this is written (or we are dead).
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            me = processes.this_process().as_dict()
            write_json(record, {"argv": command.argv, "oom_kills": processes.oom_kills(), **me})

        record = os.path.join(job_dir, COMMAND)
        env = {**command.env, processes.JOB_MARKER: job_marker(job_dir)}
        owner = foreign_owner(job_dir)
        if owner is not None:
            env = _environment(owner, env)
            _need_access(owner, command, env)
        path = os.path.join(job_dir, "log.txt")
        with open(path, "ab") as log:
            give_to_owner(path)
            try:
                # PLW1509: the supervisor has one thread
                self._children[job_dir] = subprocess.Popen(  # noqa: PLW1509
                    command.argv,
                    cwd=command.cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=become,
                    **(owner.become() if owner else {}),
                )
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                self.forget(job_dir)
                if isinstance(error, subprocess.SubprocessError):
                    write_json(record, {})  # says what is wrong with the disk: an exception does not cross from a child
                    self.forget(job_dir)
                reason = getattr(error, "strerror", None) or str(error)
                at = getattr(error, "filename", None) or command.argv[0]
                raise NotReadyError(f"{command.argv[0]} could not be started: {at}: {reason}.") from error

    def _record(self, job_dir: str) -> dict[str, t.Any] | None:
        return read_record(os.path.join(job_dir, COMMAND))

    def probe(self, job_dir: str) -> Probe:
        ended = read_record(os.path.join(job_dir, EXIT))
        if ended is not None:
            code = ended.get("exit_code")
            return Probe("ended", code if isinstance(code, int) else None, bool(ended.get("out_of_memory")))
        recorded = self._record(job_dir)
        if recorded is not None and processes.alive(processes.Identity.from_dict(recorded)):
            return Probe("running")
        if recorded is not None or os.path.exists(os.path.join(job_dir, COMMAND)):
            return Probe("ended")
        return Probe("absent")

    def refresh(self, job_dir: str) -> Probe:
        child = self._children.get(job_dir)
        if child is None or os.path.exists(os.path.join(job_dir, EXIT)):
            probe = self.probe(job_dir)
            if probe.state == "ended":
                self.clear(job_dir)
            return probe
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return Probe("running")
        self.clear(job_dir)  # before it is reaped: till then its pid, and with it its session, is nobody else's
        code = child.wait()
        before = (self._record(job_dir) or {}).get("oom_kills")
        now = processes.oom_kills()
        starved = code != 0 and isinstance(before, int) and now is not None and now > before
        write_json(
            os.path.join(job_dir, EXIT),
            {"exit_code": code, "out_of_memory": starved, "at": utc_now()},
        )
        return Probe("ended", code, starved)

    def signal(self, job_dir: str, number: int) -> None:
        note_signal(job_dir, number)
        leader = processes.Identity.from_dict(self._record(job_dir))
        processes.send(processes.members(leader, job_marker(job_dir)), number)

    def clear(self, job_dir: str, grace: float = 0.0) -> None:
        leader = processes.Identity.from_dict(self._record(job_dir))
        left = processes.end(leader, job_marker(job_dir), grace)
        if left:
            pids = [found.pid for found in left]
            raise JobError(
                f"{len(left)} of the command's processes cannot be ended (pid {', '.join(map(str, pids))}).",
                "They wait inside the kernel, for a disk or a GPU that does not answer: a reboot may be needed.",
                {"pids": pids},
            )

    def forget(self, job_dir: str) -> None:
        # the exit status first: without a command it would be taken for the next one's
        for name in (EXIT, COMMAND):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(job_dir, name))


def _environment(owner: Owner, env: t.Mapping[str, str]) -> dict[str, str]:
    """The environment of a command that runs as the owner: of what it has from root, home and name become his."""
    theirs = owner.environment().items()
    made = {**env, **{name: value for name, value in theirs if env.get(name) in (None, os.environ.get(name))}}
    if "TMPDIR" in made and owner.denied([("-w", made["TMPDIR"])]):
        del made["TMPDIR"]  # root's alone
    return made


def _need_access(owner: Owner, command: Command, env: t.Mapping[str, str]) -> None:
    """Make sure that the owner can run a command, and read what it is told of, before anything starts.

    :raises NotReadyError: with what it is that he cannot reach.
    """
    program = shutil.which(command.argv[0], path=env.get("PATH"))
    if program is None:
        return  # nobody can run it: starting it tells so
    wanted = [("-x", os.path.join(command.cwd, path)) for path in (program, *_interpreter(program))]
    wanted += [("-x", command.cwd)]
    wanted += [("-r", part) for part in command.argv[1:] if os.path.isabs(part) and os.path.exists(part)]
    owner.require(wanted)


def _interpreter(program: str) -> list[str]:
    """What a script is run by, as its first line tells; nothing for what is no script."""
    with contextlib.suppress(OSError), open(program, "rb") as stream:
        first = stream.readline(512)
        if first.startswith(b"#!"):
            return [os.fsdecode(part) for part in first[2:].split()[:1]]
    return []
