# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finalizes finished jobs and starts the next ones. Called by every operation that changes a run, and by supervisors.

Level-triggered: every decision is based on the current state of the disk and of the process table, never on the
intention of an earlier call. Therefore any call may be killed at any point. A run that cannot be processed ends with
its own error and does not block other runs.
"""

from __future__ import annotations

import dataclasses
import os
import time
import typing as t

from ..artifacts.layout import Layout
from ..errors import CoreError, as_error
from ..runners.registry import get_runner
from ..runs.names import OUTCOME_FILE, SPAWNS_FILE, SUPERVISOR_FILE, SUPERVISOR_LOCK, SUPERVISOR_LOG
from ..runs.run import CANCELLED, FAILED, RUNNING, SUCCEEDED, Job, Record, Run, RunStep, read_outcome
from ..runs.store import Store, is_supervised, job_dirs
from ..steps.registry import get_step, runner_of
from ..system.clock import utc_now
from ..system.disk import DiskFullError, disk_errors
from ..system.files import read_record, tail_lines, write_json
from ..system.locks import FileLock
from ..system.processes import Identity, this_process
from . import gpu_lease, installation, launcher
from .pending_steps import find_pending_steps

#: A job fails when this many supervisors in a row die before they record their identity.
MAX_FAILED_SPAWNS = 5


@dataclasses.dataclass
class _Slots:
    """What the running jobs occupy.

    :param artifacts: kind and fingerprint of the artifacts being produced.
    :param exclusive: whether a running job has exclusive use of the machine.
    """

    artifacts: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    exclusive: bool = False

    def reserve(self, kind: str, fingerprint: str, exclusive: bool) -> None:
        self.artifacts.add((kind, fingerprint))
        self.exclusive = self.exclusive or exclusive

    def reserve_for(self, record: Record) -> None:
        """Reserve what the current job of a run occupies; an unreadable job is treated as exclusive."""
        job = record.current_job
        if job is not None:
            self.reserve(job.kind, job.fingerprint, job.exclusive)
        else:
            self.exclusive = True

    def is_free(self, kind: str, fingerprint: str, exclusive: bool) -> bool:
        return (kind, fingerprint) not in self.artifacts and not (exclusive and self.exclusive)


class Reconciler:
    """Processes the queue of one data directory.

    :param idle: whether this process is a supervisor whose job has ended. The reconciler may then assign the next job
        to this process instead of starting another supervisor; :attr:`assigned_job` is the directory of that job.
    """

    def __init__(self, layout: Layout, idle: bool = False) -> None:
        self.layout = layout
        self.store = Store(layout)
        self._idle = idle
        self.assigned_job: str | None = None

    def reconcile(self) -> None:
        """Finalize finished jobs and start the next ones.

        :raises DiskFullError: when a required write fails because the disk is full.
        """
        with disk_errors(self.layout.jobs):
            self.store.prepare()
            try:
                with self.store.lock():
                    self._reconcile()
            finally:
                gpu_lease.release_stale(self.layout)

    def _reconcile(self) -> None:
        self.store.sweep()
        slots = _Slots()
        idle: list[Record] = []
        problems: list[Exception] = []
        for record in self.store.active():
            try:
                if self._is_running(record, slots):
                    continue
            except (CoreError, OSError) as error:
                problems.append(error)
                slots.reserve_for(record)
            else:
                idle.append(record)
        for record in idle:
            try:
                self._start_next(record.id, slots)
            except (CoreError, OSError) as error:
                problems.append(error)
        if problems:
            raise problems[0]

    def _is_running(self, record: Record, slots: _Slots) -> bool:
        """Whether the run has a running job; ensures that this job has a supervisor and reserves its slots."""
        if record.run is None or record.damage:
            if is_supervised(record):
                slots.reserve_for(record)
                return True
            return False
        job = record.current_job
        if job is None or not self._ensure_supervisor(record.run, job):
            return False
        slots.reserve_for(record)
        if record.state["state"] != RUNNING:
            self.store.set_state(record.id, RUNNING)
        return True

    def _start_next(self, run_id: str, slots: _Slots) -> None:
        """Start the next job of a run if its slots are free, or end the run."""
        record = self.store.record(run_id)
        if record is None:
            return
        if record.run is None or record.damage:
            self._retire_damaged(record)
            return
        run = record.run
        step = self._next_step(record, run)
        if step is None:
            return
        kind, fingerprint, exclusive = step.spec.kind, step.spec.fingerprint, get_step(step.spec.kind).exclusive
        if slots.is_free(kind, fingerprint, exclusive):
            slots.reserve(kind, fingerprint, exclusive)
            job = self.store.add_job(record, run, step.label, exclusive, runner_of(run, step.spec))
            self.store.set_state(run.id, RUNNING)
            self._ensure_supervisor(run, job)

    # -- a run without a running job ---------------------------------------------------------------------------

    def _next_step(self, record: Record, run: Run) -> RunStep | None:
        """Return the next step to run; None when the run has ended, and then write its end to the store."""
        if not record.is_unfinished:
            self.store.retire(run.id)
            return None
        jobs = [job for job in record.jobs if job.round == run.round]
        last_outcome = jobs[-1].outcome if jobs else None
        if last_outcome is not None and last_outcome["state"] == FAILED:
            error = last_outcome.get("error")
            return self._end(run, FAILED, {**(error if isinstance(error, dict) else {}), "step": jobs[-1].label})
        if last_outcome is not None and last_outcome["state"] == CANCELLED:
            return self._end(run, CANCELLED)
        try:
            pending = find_pending_steps(self.layout, run)
            for label in pending:
                get_step(run.step(label).spec.kind)
        except CoreError as error:
            return self._end(run, CANCELLED if record.cancelling else FAILED, as_error(error))
        except Exception as error:  # an unexpected error of one run must not block the other runs
            return self._end(run, FAILED, as_error(error))
        if not pending:
            return self._end(run, SUCCEEDED)
        if record.cancelling:
            return self._end(run, CANCELLED)
        label = next(iter(pending))
        if any(job.label == label and (job.outcome or {}).get("state") == SUCCEEDED for job in jobs):
            return self._end(
                run,
                FAILED,
                {
                    "message": f"{label} succeeded, but its result is incomplete or has drifted: {pending[label]}.",
                    "hint": "Something else changes it: look for another program that writes there.",
                    "step": label,
                },
            )
        return run.step(label)

    def _end(self, run: Run, state: str, error: dict[str, t.Any] | None = None) -> RunStep | None:
        self.store.set_state(run.id, state, error if state == FAILED else None)
        self.store.retire(run.id)
        return None

    def _retire_damaged(self, record: Record) -> None:
        """End a run whose record cannot be read and that has no supervised job."""
        runners = {job.directory: job.runner for job in record.jobs}
        for directory in job_dirs(record.directory):
            _kill_remaining(directory, runners.get(directory, record.run.runner if record.run else "process"))
        self.store.set_state(record.id, FAILED, damage_error(record))
        self.store.retire(record.id)

    # -- a job and its supervisor ------------------------------------------------------------------------------

    def _ensure_supervisor(self, run: Run, job: Job) -> bool:
        """Start a supervisor for the job if it has none; False when the job fails because none can be started."""
        if job.is_supervised():
            return True
        record_path = os.path.join(job.directory, SPAWNS_FILE)
        spawn_record = read_record(record_path) or {}
        last_spawned = Identity.from_dict(spawn_record)
        last_supervisor = Identity.from_dict(read_record(os.path.join(job.directory, SUPERVISOR_FILE)))
        count = spawn_record.get("count")
        has_started = last_spawned is not None and last_spawned == last_supervisor
        failed_spawns = 0 if has_started or not isinstance(count, int) else count
        if failed_spawns >= MAX_FAILED_SPAWNS:
            tail = tail_lines(os.path.join(job.directory, SUPERVISOR_LOG), 15)
            return not self._fail_job(
                job,
                {
                    "message": "The supervisor of this job does not start: "
                    + (tail[-1] if tail else "it says nothing."),
                    "hint": f"Look into {os.path.basename(job.directory)}/supervisor.log.",
                    "details": {"log_tail": tail},
                },
            )
        write_json(record_path, {"count": failed_spawns + 1})
        try:
            spawned = self._spawn(run, job)
        except DiskFullError:
            raise
        except CoreError as error:
            return not self._fail_job(job, as_error(error))
        if spawned is not None:
            write_json(record_path, {"count": failed_spawns + 1, **spawned.as_dict()})
        return True

    def _spawn(self, run: Run, job: Job) -> Identity | None:
        core_dir = installation.core_for(self.layout, run.core_dir, self._idle)
        python = launcher.current_python()
        if self._idle and self.assigned_job is None and core_dir == installation.current_core_dir():
            self.assigned_job = job.directory
            return this_process()
        return launcher.spawn(
            core_dir,
            python,
            "supervise",
            job.directory,
            os.path.join(job.directory, SUPERVISOR_LOG),
            f"ia-homelab-{run.id}-{job.name}-{time.time_ns()}",
        )

    def _fail_job(self, job: Job, error: dict[str, t.Any]) -> bool:
        """Fail a job for which no supervisor can be started; False when a supervisor holds its lock after all."""
        lock = FileLock(os.path.join(job.directory, SUPERVISOR_LOCK), timeout=0)
        if not lock.acquire():
            return False
        try:
            if read_outcome(job.directory) is None:
                _kill_remaining(job.directory, job.runner)
                path = os.path.join(job.directory, OUTCOME_FILE)
                write_json(path, {"state": FAILED, "error": error, "finished_at": utc_now()})
        finally:
            lock.release()
        return True


def _kill_remaining(job_dir: str, runner: str) -> None:
    try:
        get_runner(runner).clear(job_dir)
    except CoreError:
        pass  # a process that cannot be killed is found by its environment marker when the step is retried


def damage_error(record: Record) -> dict[str, t.Any]:
    """Return the error of a run whose record cannot be read."""
    return {
        "message": f"The record of this run is damaged: {record.damage}",
        "hint": "It was changed from outside. Apply again: what was finished is kept, and the record is rewritten.",
        "details": {"directory": record.directory},
    }
