# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor process of a job: ``python -m PACKAGE.main supervise JOB_DIR``.

It outlives the SSH connection, the controller and the service. If it is killed, the next reconcile starts another
supervisor for the same job. That one determines the state of the job and resumes from there: the artifact is
published, the command has ended, the command is still running, or the command was never started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
import typing as t

from ..artifacts.integrity import step_defect
from ..artifacts.layout import MODEL_CARD_FILE, RECEIPT, Layout
from ..distributed.node_link import Link, NodeLost
from ..errors import CoreError, JobError, StoreError, as_error
from ..evaluations.summaries import lines_of_card
from ..messages.message import Message
from ..releases.model_card import model_card
from ..runners.command import Command
from ..runners.registry import RUNNERS, get_runner
from ..runners.runner import Probe, Runner
from ..runs.job_context import data_dir_of, load_context, load_run
from ..runs.names import (
    COMMAND_FILE,
    ERROR_FILE,
    JOB_FILE,
    LOG_FILE,
    OUTCOME_FILE,
    SUPERVISOR_FILE,
    SUPERVISOR_LOCK,
    SUPERVISOR_LOG,
    WAITING_FILE,
)
from ..runs.run import read_outcome
from ..runs.states import RunState
from ..steps.log_cause import first_cause, problem_in
from ..steps.registry import get_step
from ..steps.step import Step
from ..steps.tool_errors import is_peer_failure
from ..system import processes
from ..system.clock import utc_now
from ..system.disk import DiskFullError, disk_errors, free_bytes
from ..system.files import (
    list_files,
    make_dirs,
    publish_dir,
    read_record,
    remove_tree,
    sha256_file,
    sweep,
    tail_lines,
    write_atomic,
    write_json,
)
from ..system.locks import FileLock
from ..system.log import log_line
from ..system.ownership import become_owner
from ..version import VERSION
from . import gpu_users
from .gpu_lease import GpuLease
from .host_gpus import HostGpus
from .ollama_access import holder_of
from .ollama_use import POLL_SECONDS, OllamaUse
from .reconciler import Reconciler

#: A job fails after this many starts of its supervisor. A supervisor is lost by a crash or a reboot.
MAX_STARTS = 20
_POLL_SECONDS = 0.1

#: Seconds between two queries of the processes on the GPU: the driver's tool takes a large part of a second.
_GPU_POLL_SECONDS = 2.0

#: The previous supervisor may be exiting, or its command may be about to start and hold the lock until then.
_LOCK_SECONDS = 5.0

#: Attempts to start the next job, and seconds before the first retry; the delay doubles with each retry.
_NEXT_ATTEMPTS, _NEXT_SECONDS = 8, 1.0

#: If a command fails with less free disk space than this, the most likely cause is the full disk.
_LOW_DISK_BYTES = 1024 * 1024


class Supervisor:
    """Brings one job from its current state to its outcome."""

    def __init__(self, job_dir: str) -> None:
        self.job_dir = os.path.abspath(job_dir)
        self.layout, self.run, _label = load_run(job_dir)
        self.ctx = load_context(job_dir)
        self.step: Step = get_step(self.ctx.spec.kind)
        job = read_record(self._path(JOB_FILE)) or {}
        self.runner: Runner = get_runner(str(job.get("runner") or self.run.runner))
        self.started_at = utc_now()
        self._stop_deadline: float | None = None
        self._link: Link | None = None
        self._waiting_for: Message | None = None
        self._lease = GpuLease(self.layout, self.job_dir, self.ctx.toolchain)
        count = (self.ctx.spec.options.get("resolved") or {}).get("gpus")
        self._host_gpus = HostGpus(self.ctx.toolchain, RUNNERS.get(self.runner.name, False), count)
        self._ollama = OllamaUse(self.layout, holder_of(self.job_dir), self.ctx.toolchain.ollama_address)

    def _path(self, name: str) -> str:
        return os.path.join(self.job_dir, name)

    def supervise(self) -> None:
        """Supervise the job. Returns when the outcome is written, or when another supervisor holds the job.

        :raises DiskFullError: when the outcome cannot be written; the next supervisor determines it again.
        """
        lock = FileLock(self._path(SUPERVISOR_LOCK), timeout=_LOCK_SECONDS)
        if not lock.acquire():
            return
        try:
            # the previous supervisor may have ended the job and its run may have moved: no outcome is here then
            if read_outcome(self.job_dir) is None and os.path.isdir(self.job_dir):
                previous = read_record(self._path(SUPERVISOR_FILE)) or {}
                previous_starts = previous.get("starts")
                starts = (previous_starts if isinstance(previous_starts, int) else 0) + 1
                self.started_at = str(previous.get("at") or self.started_at)
                identity = processes.this_process().as_dict()
                write_json(
                    self._path(SUPERVISOR_FILE),
                    {**identity, "at": self.started_at, "starts": starts, "core_version": VERSION},
                )
                try:
                    outcome = self._determine_outcome(starts)
                finally:
                    self._ollama.release()
                # release before the outcome is published: the next step may need Ollama
                for problem in self._lease.release():
                    self._log(problem)
                self._host_gpus.release()
                outcome.update(started_at=self.started_at, finished_at=utc_now())
                sweep(self.job_dir)
                write_json(self._path(OUTCOME_FILE), outcome)
        finally:
            lock.release()

    def _determine_outcome(self, starts: int) -> dict[str, t.Any]:
        try:
            if starts > MAX_STARTS:
                raise JobError("engine.supervisor_lost", times=MAX_STARTS)
            with disk_errors(self.ctx.work):
                return {"state": RunState.SUCCEEDED, "results": self._ensure_artifact()}
        except Exception as error:
            if not isinstance(error, CoreError):
                traceback.print_exc()
            error = self._root_error(error)
            details = as_error(error)
            state = RunState.CANCELLED if self._cancelled() and isinstance(error, CoreError) else RunState.FAILED
            try:
                self.runner.clear(self.job_dir)
            except CoreError as clear_error:
                problem = Message.from_stored(details)
                both = Message("engine.not_cleared", problem=problem, failure=clear_error.content)
                details = as_error(JobError(both, details=details.get("details")))
            return {"state": state, "error": details}

    def _root_error(self, error: Exception) -> Exception:
        """Return the error to report: that of another node if this node failed only as a consequence of it."""
        link, self._link = self._link, None
        if link is None or isinstance(error, NodeLost):
            return error
        is_consequence = is_peer_failure(tail_lines(self._path(LOG_FILE), 200)) and not self._cancelled()
        link.report_failure(Message.from_stored(as_error(error)), is_consequence)
        peer_error = link.peer_failure() if is_consequence else None
        link.close()
        return peer_error or error

    def _cancelled(self) -> bool:
        return os.path.exists(os.path.join(os.path.dirname(self.job_dir), "cancel.json"))

    def _ensure_artifact(self) -> dict[str, t.Any]:
        spec = self.ctx.spec
        if self.step.uses_ollama:
            self._wait_for_ollama()
        if not step_defect(self.layout, spec.kind, spec.fingerprint, spec.options) and not self.step.drift(self.ctx):
            self.runner.clear(self.job_dir)
            results = dict((self.layout.receipt(spec.kind, spec.fingerprint) or {}).get("results") or {})
        else:
            make_dirs(self.ctx.work)
            results = self._run_and_publish()
        remove_tree(self.ctx.work)  # what remains of the work directory after publishing
        sweep(self.layout.parent(spec.kind))
        return results

    def _run_and_publish(self) -> dict[str, t.Any]:
        probe = self.runner.refresh(self.job_dir)
        if probe.state != "absent" and self._new_link() is not None:
            raise JobError("engine.node_supervisor_lost")
        if probe.state == "running":
            self._log("The command still runs: following it.")
            if self.step.on_gpu(self.ctx):
                self._host_gpus.request()  # the lock was lost with the previous supervisor
            probe = self._wait_for_command()
        if probe.state == "ended" and probe.exit_code is None:
            # the exit status was lost: the files in the work directory show whether the command had completed
            if read_record(self._path(ERROR_FILE)):
                raise self._failure(probe)
            try:
                return self._publish(self.step.finish(self.ctx))
            except DiskFullError:
                raise
            except Exception:  # any error means that the result is incomplete
                self._log("The command was lost with its supervisor: starting it again.")
            self.runner.forget(self.job_dir)
            probe = Probe("absent")
        if probe.state == "absent":
            probe = self._start_and_wait()
        if probe.exit_code != 0:
            raise self._failure(probe)
        if self._link is not None:
            self._link.done()
        return self._publish(self.step.finish(self.ctx))

    def _new_link(self) -> Link | None:
        return self.step.link(self.ctx, f"{self.run.id}:{self.run.round}")

    def _start_and_wait(self) -> Probe:
        if self._cancelled():
            raise JobError("engine.cancelled_before_start", kind=self.step.kind)
        if os.path.exists(self._path(ERROR_FILE)):
            os.unlink(self._path(ERROR_FILE))
        self._link = self._new_link()
        if self._link is not None:
            self._join_nodes(self._link)
        if self.step.on_gpu(self.ctx):
            self._acquire_gpu()
        command: Command | None = self.step.command(self.ctx)
        if command is None:
            return Probe("ended", 0)
        if self._link is not None:
            with self._waiting():
                self._link.ready(self._wait_for_nodes)
        self.runner.start(command, self.job_dir)
        return self._wait_for_command()

    def _join_nodes(self, link: Link) -> None:
        """Wait for the other nodes. If the training is already complete, release them and close the link."""
        with self._waiting():
            agreement = link.join(self._wait_for_nodes)
        if agreement.trained:
            link.done()
            link.close()
            self._link = None

    @contextlib.contextmanager
    def _waiting(self) -> t.Iterator[None]:
        """The context in which :meth:`_wait_for` may be called; removes the record of the wait at its end."""
        self._waiting_for = None
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(WAITING_FILE))

    def _wait_for(self, description: Message, seconds: float) -> None:
        """Record what the job waits for, and sleep once.

        :param description: what the job waits for, as in ``engine.run_awaited``.
        :param seconds: how long to sleep.
        :raises JobError: when the run is cancelled meanwhile.
        """
        if description != self._waiting_for:
            self._log(f"Waiting for {description}.")
            record = {"for": str(description), "message": description.as_dict(), "since": utc_now()}
            write_json(self._path(WAITING_FILE), record)
            self._waiting_for = description
        if self._cancelled():
            raise JobError("engine.cancelled_before_start", kind=self.step.kind)
        if self._link is not None:
            self._link.check()
        time.sleep(seconds)

    def _wait_for_nodes(self, description: Message) -> None:
        self._wait_for(description, _POLL_SECONDS)

    def _wait_for_ollama(self) -> None:
        """Wait until no other job stops or restarts Ollama, and keep others from it until the job ends.

        :raises JobError: when the run is cancelled meanwhile.
        """
        with self._waiting():
            while True:
                blocker = self._ollama.request()
                if blocker is None:
                    break
                self._wait_for(blocker, POLL_SECONDS)

    def _acquire_gpu(self) -> None:
        """Wait until the GPU is free and no job uses an Ollama to stop, then acquire the GPU lease.

        :raises JobError: when the run is cancelled meanwhile.
        """
        with self._waiting():
            while True:
                other = self._host_gpus.request()
                if other is None:
                    break
                self._wait_for(other, POLL_SECONDS)
        # after the wait: a training of another data directory may have stopped Ollama in the meantime
        self._lease.find_users()
        with self._waiting():
            while True:
                description = self._gpu_blocker()
                if description is None:
                    break
                self._wait_for(description, _GPU_POLL_SECONDS)
        for message in self._lease.acquire():
            self._log(message)

    def _gpu_blocker(self) -> Message | None:
        """Return what has to end before the GPU lease is acquired; None when nothing does."""
        description = gpu_users.foreign_processes(self._lease.covers, self.layout.jobs, self._host_gpus.uuids)
        if description is not None:
            self._lease.withdraw()  # the process may run for hours: jobs that use Ollama must not wait for it
            return description
        users = self._lease.ollama_users()
        return Message("engine.ollama_in_use", users=users) if users else None

    def _wait_for_command(self) -> Probe:
        while True:
            probe = self.runner.refresh(self.job_dir)
            if probe.state != "running":
                return probe
            if not os.path.isdir(self.job_dir):
                raise StoreError("engine.job_directory_removed", job_dir=self.job_dir)
            if self._cancelled():
                self._stop_command()
            elif self._link is not None:
                self._link.check()
            time.sleep(_POLL_SECONDS)

    def _stop_command(self) -> None:
        now = time.monotonic()
        if self._stop_deadline is None:
            self._log("Asked to stop.")
            grace = self.step.stop(self.ctx, lambda number: self.runner.signal(self.job_dir, number))
            self._stop_deadline = now + grace
        elif now > self._stop_deadline:
            self._log("It did not stop in time: killed.")
            self.runner.clear(self.job_dir)
            self._stop_deadline = now + 3600

    def _failure(self, probe: Probe) -> CoreError:
        details: dict[str, t.Any] = {"exit_code": probe.exit_code, "log": self._path(LOG_FILE)}
        if self._cancelled():
            return JobError("engine.step_cancelled", kind=self.step.kind, details=details)
        recorded = read_record(self._path(ERROR_FILE))
        if recorded:
            recorded_details = recorded.get("details")
            if isinstance(recorded_details, dict):
                details = {**recorded_details, **details}
            return JobError(Message.from_stored(recorded), details=details)
        tail = tail_lines(self._path(LOG_FILE), 40)
        cause = first_cause(self._path(LOG_FILE))
        problem = problem_in(tail, cause, self.step.explain(tail))
        code = probe.exit_code or 0
        details["log_tail"] = tail[-15:]
        if cause is not None:
            details["log_cause"] = {"line": cause.line, "text": cause.text}
        free = free_bytes(self.ctx.work)
        if free < _LOW_DISK_BYTES or any("No space left on device" in line for line in tail):
            if problem.code == "steps.tool_disk_full":
                problem = Message("engine.disk_full", free=free, path=self.ctx.work)
            else:
                problem = Message("engine.disk_full_as_well", problem=problem, free=free, path=self.ctx.work)
            details["free_bytes"] = free
        elif probe.out_of_memory:
            limit = self.run.toolchain.memory_limit if RUNNERS.get(self.runner.name) else ""
            container = Message("engine.limit_of_container", limit=limit) if limit else None
            hint = "" if problem.code == "steps.tool_out_of_memory" else problem.hint
            problem = Message("engine.ended_by_kernel", problem=problem, container=container, hint=hint)
        if code < 0:
            return JobError(
                "engine.command_killed", kind=self.step.kind, signal=-code, problem=problem, details=details
            )
        return JobError("engine.command_failed", kind=self.step.kind, status=code, problem=problem, details=details)

    def _publish(self, results: dict[str, t.Any]) -> dict[str, t.Any]:
        spec, work = self.ctx.spec, self.ctx.work
        argv = (read_record(self._path(COMMAND_FILE)) or {}).get("argv", [])
        sweep(work, deep=True)
        artifact = {**spec.as_dict(), "results": results}
        card = model_card(self.layout, artifact, lines_of_card(self.layout, artifact))
        if card:
            write_atomic(os.path.join(work, MODEL_CARD_FILE), card)
        files = {}
        for name in list_files(work, skip=(RECEIPT,)):
            path = os.path.join(work, name)
            stat = os.stat(path)
            files[name] = {"bytes": stat.st_size, "sha256": sha256_file(path), "mtime_ns": stat.st_mtime_ns}
        receipt = {
            **artifact,
            "schema": 1,
            "files": files,
            "command": argv,
            "run": self.run.id,
            "job": os.path.basename(self.job_dir),
            "started_at": self.started_at,
            "finished_at": utc_now(),
            "core_version": VERSION,
        }
        write_json(os.path.join(work, RECEIPT), receipt)
        final = self.layout.artifact(spec.kind, spec.fingerprint)
        if os.path.isdir(final):  # pruned, damaged, or its external copy has drifted: the complete artifact replaces it
            remove_tree(final)
        publish_dir(work, final)
        return results

    def _log(self, text: str) -> None:
        log_line(f"{utc_now()} {text}")


def start_next(layout: Layout) -> str | None:
    """Start the next jobs. Retries on errors, because no other process may be there to do it.

    :returns: the directory of a job that is assigned to this process; None when there is none.
    """
    reconciler = Reconciler(layout, idle=True)
    for attempt in range(_NEXT_ATTEMPTS):
        try:
            reconciler.reconcile()
            break
        except CoreError as error:
            log_line(f"{utc_now()} What is next could not be started: {error}")
        if reconciler.assigned_job is not None:
            break
        time.sleep(_NEXT_SECONDS * 2**attempt)
    return reconciler.assigned_job


def redirect_output(log: str) -> None:
    """Append the standard output and error of this process to another file from now on."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def main(job_dir: str) -> int:
    """Supervise the job, then start the next jobs and supervise, one after another, those assigned to this process.

    :returns: the exit status; 1 when the disk is full.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # a shell in the background, or nohup, starts children with them ignored
    os.umask(0o022)
    job_dir = os.path.abspath(job_dir)
    # an earlier version, or a person, may have started this as root
    become_owner(data_dir_of(job_dir))
    current_job: str | None = job_dir
    while current_job is not None:
        supervisor = Supervisor(current_job)
        try:
            supervisor.supervise()
        except DiskFullError as error:
            log_line(f"{utc_now()} {error}")
            return 1
        current_job = start_next(supervisor.layout)
        if current_job is not None:
            redirect_output(os.path.join(current_job, SUPERVISOR_LOG))
    return 0
