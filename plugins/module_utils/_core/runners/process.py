# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner for a plain process in its own session, of the user that runs the supervisor."""

from __future__ import annotations

import contextlib
import os
import signal

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import typing as t

from ..errors import JobError, NotReadyError
from ..runs.names import COMMAND_FILE, EXIT_FILE, LOG_FILE
from ..system import processes
from ..system.clock import utc_now
from ..system.files import read_record, write_json
from ..system.ownership import denied_advice
from .command import Command
from .runner import Probe, Runner, job_marker, record_signal


class ProcessRunner(Runner):
    """Runs a job's command as the leader of its own session, identified by pid, start time and boot id."""

    name = "process"

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, command: Command, job_dir: str) -> None:
        def prepare_child() -> None:
            # Runs in the child, after setsid and before exec. The child still has its supervisor's lock open: if the
            # supervisor is killed now, the next one gets the lock only after the record is written or the child died.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            identity = processes.this_process().as_dict()
            write_json(record_path, {"argv": command.argv, "oom_kills": processes.oom_kills(), **identity})

        record_path = os.path.join(job_dir, COMMAND_FILE)
        env = {**command.env, processes.JOB_MARKER: job_marker(job_dir)}
        _require_readable(command.argv)
        with open(os.path.join(job_dir, LOG_FILE), "ab") as log:
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
                    preexec_fn=prepare_child,
                )
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                self.forget(job_dir)
                if isinstance(error, subprocess.SubprocessError):
                    # raises the error of a full disk again: Popen does not pass on the exception of the child
                    write_json(record_path, {})
                    self.forget(job_dir)
                reason = getattr(error, "strerror", None) or str(error)
                path = getattr(error, "filename", None) or command.argv[0]
                if isinstance(error, PermissionError):
                    advice = denied_advice(path)
                    program = command.argv[0]
                    raise NotReadyError(
                        "runners.not_permitted", program=program, path=path, reason=reason, advice=advice
                    ) from error
                raise NotReadyError("runners.not_started", program=command.argv[0], path=path, reason=reason) from error

    def _record(self, job_dir: str) -> dict[str, t.Any] | None:
        return read_record(os.path.join(job_dir, COMMAND_FILE))

    def probe(self, job_dir: str) -> Probe:
        exit_record = read_record(os.path.join(job_dir, EXIT_FILE))
        if exit_record is not None:
            code = exit_record.get("exit_code")
            return Probe("ended", code if isinstance(code, int) else None, bool(exit_record.get("out_of_memory")))
        record = self._record(job_dir)
        if record is not None and processes.alive(processes.Identity.from_dict(record)):
            return Probe("running")
        if record is not None or os.path.exists(os.path.join(job_dir, COMMAND_FILE)):
            return Probe("ended")
        return Probe("absent")

    def refresh(self, job_dir: str) -> Probe:
        child = self._children.get(job_dir)
        if child is None or os.path.exists(os.path.join(job_dir, EXIT_FILE)):
            probe = self.probe(job_dir)
            if probe.state == "ended":
                self.clear(job_dir)
            return probe
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return Probe("running")
        self.clear(job_dir)  # before the child is reaped: until then no other process can get its pid and session id
        code = child.wait()
        out_of_memory = processes.killed_for_memory(code, (self._record(job_dir) or {}).get("oom_kills"))
        write_json(
            os.path.join(job_dir, EXIT_FILE),
            {"exit_code": code, "out_of_memory": out_of_memory, "at": utc_now()},
        )
        return Probe("ended", code, out_of_memory)

    def settle(self, job_dir: str, seconds: float) -> None:
        processes.settle(processes.Identity.from_dict(self._record(job_dir)), job_marker(job_dir), seconds)

    def signal(self, job_dir: str, number: int) -> None:
        record_signal(job_dir, number)
        leader = processes.Identity.from_dict(self._record(job_dir))
        processes.send(processes.members(leader, job_marker(job_dir)), number)

    def clear(self, job_dir: str, grace: float = 0.0) -> None:
        leader = processes.Identity.from_dict(self._record(job_dir))
        survivors = processes.end(leader, job_marker(job_dir), grace)
        if survivors:
            pids = [survivor.pid for survivor in survivors]
            raise JobError("runners.processes_remain", count=len(survivors), pids=list(pids), details={"pids": pids})

    def forget(self, job_dir: str) -> None:
        # remove the exit status first: without the record of its command it would count for the next command
        for name in (EXIT_FILE, COMMAND_FILE):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(job_dir, name))


def _require_readable(argv: t.Sequence[str]) -> None:
    """Check, before a command starts, that this user may read the files in its arguments.

    :raises NotReadyError: with the first file that may not be read.
    """
    for part in argv[1:]:
        if os.path.isabs(part):
            try:
                os.stat(part)
                readable = os.access(part, os.R_OK)
            except PermissionError:
                readable = False
            except OSError:
                readable = True  # the command creates it, or it is no path
            if not readable:
                raise NotReadyError("runners.cannot_read", program=argv[0], path=part, advice=denied_advice(part))
