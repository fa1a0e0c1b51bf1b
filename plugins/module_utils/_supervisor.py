# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process behind a job: ``python -m PACKAGE._supervisor JOB_DIR``.

It outlives the SSH connection, the controller and the service. If it is killed, the next
reconcile starts another one for the same job, which finds out how far the first had come:
the artifact published, the command ended, the command still running, or never started.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
import typing as t

from . import _process
from ._core import VERSION
from ._errors import CoreError, JobError
from ._files import (
    FileLock,
    disk_error,
    list_files,
    publish_dir,
    read_json,
    remove_tree,
    sha256_file,
    tail_lines,
    utc_now,
    write_json,
)
from ._flow import context, get_step, missing
from ._layout import RECEIPT, Layout
from ._runner import Probe, Runner, get_runner
from ._steps import Command, Step, StepContext
from ._store import CANCELLED, FAILED, SUCCEEDED, Run

#: A command that was lost this often (with its supervisor: a crash, a reboot) is given up.
MAX_STARTS = 20
_POLL_SECONDS = 0.1


def load_run(job_dir: str) -> tuple[Layout, Run, dict[str, t.Any]]:
    """The data directory, the run and the job record that a job's directory belongs to."""
    run_dir = os.path.dirname(os.path.abspath(job_dir))
    layout = Layout(os.path.dirname(os.path.dirname(os.path.dirname(run_dir))))
    return (
        layout,
        Run.from_dict(read_json(os.path.join(run_dir, "run.json"))),
        read_json(os.path.join(job_dir, "job.json")),
    )


def load_context(job_dir: str) -> StepContext:
    """What the step of a job works on."""
    layout, run, job = load_run(job_dir)
    return context(layout, run.step(job["label"]).spec, run.toolchain, os.path.abspath(job_dir))


class Supervisor:
    """Takes one job from wherever it stands to its outcome."""

    def __init__(self, job_dir: str) -> None:
        self.job_dir = os.path.abspath(job_dir)
        self.layout, self.run, self.job = load_run(job_dir)
        self.ctx = load_context(job_dir)
        self.step: Step = get_step(self.ctx.spec.kind)
        self.runner: Runner = get_runner(self.run.runner)
        self.started_at = utc_now()
        self._stop_deadline: float | None = None

    def _path(self, name: str) -> str:
        return os.path.join(self.job_dir, name)

    def supervise(self) -> None:
        """Do it. Returns when the outcome is written, or at once when another supervisor has the job."""
        lock = FileLock(self._path("supervisor.lock"), timeout=0)
        if not lock.acquire():
            return
        if read_json(self._path("outcome.json")) is None:
            me = _process.identify(os.getpid())
            earlier = read_json(self._path("supervisor.json"), {})
            starts = int(earlier.get("starts", 0)) + 1
            self.started_at = earlier.get("at", self.started_at)
            write_json(
                self._path("supervisor.json"),
                {**(me.as_dict() if me else {}), "at": self.started_at, "starts": starts, "core_version": VERSION},
            )
            self._write_outcome(starts)
        lock.release()

    def _write_outcome(self, starts: int) -> None:
        outcome: dict[str, t.Any]
        try:
            if starts > MAX_STARTS:
                raise JobError(f"Given up: the supervisor of this job was lost {MAX_STARTS} times.")
            outcome = {"state": SUCCEEDED, "results": self._make()}
        except CoreError as error:
            cancelled = os.path.exists(self._cancel_file())
            outcome = {
                "state": CANCELLED if cancelled else FAILED,
                "error": {"message": error.message, "hint": error.hint, "details": error.details},
            }
        except Exception as error:
            traceback.print_exc()
            outcome = {
                "state": FAILED,
                "error": {
                    "message": f"{type(error).__name__}: {error}",
                    "hint": f"A defect of the collection: please report it, with {self._path('supervisor.log')}.",
                },
            }
        self.runner.clear(self.job_dir)
        outcome.update(started_at=self.started_at, finished_at=utc_now())
        write_json(self._path("outcome.json"), outcome)

    def _cancel_file(self) -> str:
        return os.path.join(os.path.dirname(self.job_dir), "cancel.json")

    def _make(self) -> dict[str, t.Any]:
        spec = self.ctx.spec
        if not missing(self.layout, spec.kind, spec.fingerprint) and not self.step.drift(self.ctx):
            return dict((self.layout.receipt(spec.kind, spec.fingerprint) or {}).get("results") or {})
        try:
            os.makedirs(self.ctx.work, exist_ok=True)
            return self._run_and_publish()
        except OSError as error:
            known = disk_error(error, error.filename or self.ctx.work)
            raise known from error

    def _run_and_publish(self) -> dict[str, t.Any]:
        probe = self.runner.probe(self.job_dir)
        argv: list[str] = list((read_json(self._path("command.json")) or {}).get("argv", []))
        if probe.state == "running":
            self._note("The command still runs: following it.")
            probe = self._wait()
        elif probe.state == "absent":
            argv, probe = self._start_and_wait()
        if probe.state == "ended" and probe.exit_code is None:
            # nobody saw it end: what it left tells whether it had come to its end
            try:
                return self._publish(argv, self.step.finish(self.ctx))
            except CoreError:
                self._note("The command was lost with its supervisor: starting it again.")
                self.runner.clear(self.job_dir)
                for name in ("command.json", "exit.json"):
                    if os.path.exists(self._path(name)):
                        os.unlink(self._path(name))
                argv, probe = self._start_and_wait()
        if probe.exit_code:
            raise self._failure(probe)
        return self._publish(argv, self.step.finish(self.ctx))

    def _start_and_wait(self) -> tuple[list[str], Probe]:
        if os.path.exists(self._path("error.json")):
            os.unlink(self._path("error.json"))
        command: Command | None = self.step.command(self.ctx)
        if command is None:
            return [], Probe("ended", 0)
        self.runner.start(command, self.job_dir)
        return command.argv, self._wait()

    def _wait(self) -> Probe:
        while True:
            probe = self.runner.probe(self.job_dir)
            if probe.state != "running":
                return probe
            if os.path.exists(self._cancel_file()):
                self._stop()
            time.sleep(_POLL_SECONDS)

    def _stop(self) -> None:
        now = time.monotonic()
        if self._stop_deadline is None:
            self._note("Asked to stop.")
            grace = self.step.stop(self.ctx, lambda number: self.runner.signal(self.job_dir, number))
            self._stop_deadline = now + grace
        elif now > self._stop_deadline:
            self._note("It did not stop in time: killed.")
            self.runner.clear(self.job_dir)
            self._stop_deadline = now + 3600

    def _failure(self, probe: Probe) -> JobError:
        recorded = read_json(self._path("error.json"))
        code = probe.exit_code or 0
        details: dict[str, t.Any] = {"exit_code": code, "log": self._path("log.txt")}
        if os.path.exists(self._cancel_file()):
            return JobError(f"{self.step.kind} was cancelled.", "", details)
        if recorded:
            return JobError(recorded["message"], recorded["hint"], {**recorded["details"], **details})
        tail = tail_lines(self._path("log.txt"), 40)
        message, hint = self.step.explain(tail)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        details["log_tail"] = tail[-15:]
        return JobError(f"{self.step.kind} {how}: {message}", hint, details)

    def _publish(self, argv: list[str], results: dict[str, t.Any]) -> dict[str, t.Any]:
        spec, work = self.ctx.spec, self.ctx.work
        files = {}
        for name in list_files(work, skip=(RECEIPT,)):
            path = os.path.join(work, name)
            stat = os.stat(path)
            files[name] = {"bytes": stat.st_size, "sha256": sha256_file(path), "mtime_ns": stat.st_mtime_ns}
        receipt = {
            "schema": 1,
            "kind": spec.kind,
            "fingerprint": spec.fingerprint,
            "settings": spec.settings,
            "upstream": spec.upstream,
            "options": spec.options,
            "files": files,
            "results": results,
            "command": argv,
            "run": self.run.id,
            "job": os.path.basename(self.job_dir),
            "started_at": self.started_at,
            "finished_at": utc_now(),
            "core_version": VERSION,
        }
        write_json(os.path.join(work, RECEIPT), receipt)
        final = self.layout.artifact(spec.kind, spec.fingerprint)
        if os.path.isdir(final):  # pruned, damaged, or its copy outside drifted: it makes room for the whole one
            remove_tree(final)
        publish_dir(work, final)
        return results

    def _note(self, text: str) -> None:
        print(f"{utc_now()} {text}", flush=True)


def main(job_dir: str) -> int:
    """Supervise the job, then start what is next."""
    supervisor = Supervisor(job_dir)
    supervisor.supervise()
    from ._engine import Engine

    Engine(supervisor.layout.root).reconcile()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
