# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner for a plain process in a session of its own."""

from __future__ import annotations

import os
import subprocess
import typing as t

from . import _process
from ._errors import NotReadyError
from ._files import append_json_line, read_json, utc_now, write_json
from ._runner import Probe, Runner
from ._steps import Command

_COMMAND = "command.json"
_EXIT = "exit.json"


class ProcessRunner(Runner):
    """Runs a job's command as the leader of its own session, known by (pid, start time, boot id)."""

    name = "process"

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, command: Command, job_dir: str) -> None:
        def record() -> None:
            # runs in the child, after setsid and before exec: if we are killed right here no command ever ran
            identity = _process.identify(os.getpid())
            if identity is not None:
                write_json(os.path.join(job_dir, _COMMAND), {"argv": command.argv, **identity.as_dict()})

        with open(os.path.join(job_dir, "log.txt"), "ab") as log:
            try:
                # PLW1509: the supervisor has one thread
                self._children[job_dir] = subprocess.Popen(  # noqa: PLW1509
                    command.argv,
                    cwd=command.cwd,
                    env=command.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=record,
                )
            except OSError as error:
                raise NotReadyError(f"{command.argv[0]} could not be started: {error.strerror}.") from error

    def _leader(self, job_dir: str) -> _process.Identity | None:
        recorded = read_json(os.path.join(job_dir, _COMMAND))
        return _process.Identity.from_dict(recorded) if recorded else None

    def probe(self, job_dir: str) -> Probe:
        ended: dict[str, t.Any] | None = read_json(os.path.join(job_dir, _EXIT))
        if ended is not None:
            return Probe("ended", ended.get("exit_code"), bool(ended.get("out_of_memory")))
        child = self._children.get(job_dir)
        if child is not None:
            code = child.poll()
            if code is None:
                return Probe("running")
            # SIGKILL that nobody here sent: on Linux nearly always the kernel's out-of-memory killer
            verdict = Probe("ended", code, out_of_memory=False)
            write_json(os.path.join(job_dir, _EXIT), {"exit_code": code, "at": utc_now()})
            return verdict
        leader = self._leader(job_dir)
        if leader is None:
            return Probe("absent")
        return Probe("running") if _process.alive(leader) else Probe("ended")

    def signal(self, job_dir: str, number: int) -> None:
        leader = self._leader(job_dir)
        if leader is not None:
            append_json_line(os.path.join(job_dir, "signals.jsonl"), {"signal": number, "at": utc_now()})
            _process.send(_process.session_members(leader), number)

    def clear(self, job_dir: str, grace: float = 0.0) -> None:
        leader = self._leader(job_dir)
        if leader is not None:
            _process.end_session(leader, grace)
