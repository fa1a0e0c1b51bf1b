# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finalizes finished jobs and starts the next ones. Called by every operation that changes a run, and by supervisors.

Level-triggered: every decision is based on the current state of the disk and of the process table, never on the
intention of an earlier call. Therefore any call may be killed at any point. A run that cannot be processed ends with
its own error and does not block other runs. A run of which it cannot be determined now whether it is complete, because
a server does not answer, stays in the queue. Servers are asked before the queue is locked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import typing as t

from ..artifacts.integrity import artifact_defect
from ..artifacts.layout import Layout
from ..base_models.model_files import HashCache
from ..errors import CoreError, JobError, StoreError, as_error
from ..messages.message import Message
from ..runners.registry import get_runner
from ..runs.names import OUTCOME_FILE, SPAWNS_FILE, SUPERVISOR_FILE, SUPERVISOR_LOCK, SUPERVISOR_LOG
from ..runs.run import Job, Record, Run, RunStep, read_outcome
from ..runs.states import RunState
from ..runs.store import Store, is_supervised, job_dirs
from ..steps.registry import get_step, runner_of
from ..system.clock import utc_now
from ..system.disk import DiskFullError, disk_errors
from ..system.files import read_record, tail_lines, write_json
from ..system.locks import FileLock
from ..system.processes import Identity, this_process
from . import gpu_lease, installation, launcher
from .drift_checks import DriftChecks, NotAskedError
from .pending_steps import find_pending_steps

#: A job fails when this many supervisors in a row die before they record their identity.
MAX_FAILED_SPAWNS = 5

#: Passes over the queue in one call. A pass is repeated when another process changed a run after the servers were asked
#: about it. In the last one the servers are asked while the queue is locked, so that it comes to an end.
_PASSES = 5

#: What was known of a run when the servers were asked: its round, and its jobs with their outcomes.
_Snapshot = tuple[int, tuple[tuple[str, str], ...]]


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
        self._checks = DriftChecks(layout)
        self._asked: dict[str, _Snapshot] = {}

    def reconcile(self) -> None:
        """Finalize finished jobs and start the next ones.

        :raises DiskFullError: when a required write fails because the disk is full.
        """
        with disk_errors(self.layout.jobs):
            self.store.prepare()
            try:
                for number in range(1, _PASSES + 1):
                    is_last = number == _PASSES
                    self._ask_servers()
                    with self.store.lock(), contextlib.suppress(NotAskedError):
                        self._reconcile(self._checks if is_last else self._checks.closed(), is_last)
                        break
            finally:
                gpu_lease.release_stale(self.layout)

    def _ask_servers(self) -> None:
        """Ask for the drift of the complete steps of all runs that have no running job, and of all local bases.

        A local base that was touched is read here, and not while the queue is locked. The result is kept for other
        processes.
        """
        self._checks, self._asked = DriftChecks(self.layout), {}
        for record in self.store.active():
            if record.run is None or record.damage or not record.is_unfinished:
                continue
            if record.current_job is not None:
                self._ask_bases(record.run)
                continue
            self._asked[record.id] = _snapshot(record)
            with contextlib.suppress(Exception):  # it is raised again, and handled, when the run is processed
                find_pending_steps(self.layout, record.run, self._checks)

        HashCache.keep(self.layout)

    def _ask_bases(self, run: Run) -> None:
        """Ask for the drift of the bases of a run whose job may end at any moment."""
        for spec in (step.spec for step in run.steps if step.spec.kind == "base"):
            with contextlib.suppress(Exception):  # it is raised again, and handled, when the run is processed
                if artifact_defect(self.layout, spec.kind, spec.fingerprint) is None:
                    self._checks.check(spec, run.toolchain)

    def _reconcile(self, checks: DriftChecks, is_last: bool) -> None:
        """Process the queue once.

        :raises NotAskedError: when a run changed after the servers were asked. What was done so far is valid.
        """
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
                self._start_next(record.id, slots, checks, is_last)
            except NotAskedError:
                raise
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
        if record.state["state"] != RunState.RUNNING:
            self.store.set_state(record.id, RunState.RUNNING)
        return True

    def _start_next(self, run_id: str, slots: _Slots, checks: DriftChecks, is_last: bool) -> None:
        """Start the next job of a run if its slots are free, or end the run."""
        record = self.store.record(run_id)
        if record is None:
            return
        if record.run is None or record.damage:
            self._retire_damaged(record)
            return
        if not is_last and record.is_unfinished and self._asked.get(record.id) != _snapshot(record):
            raise NotAskedError("engine.run_changed", run=record.id)
        run = record.run
        step = self._next_step(record, run, checks)
        if step is None:
            return
        kind, fingerprint, exclusive = step.spec.kind, step.spec.fingerprint, get_step(step.spec.kind).exclusive
        if slots.is_free(kind, fingerprint, exclusive):
            slots.reserve(kind, fingerprint, exclusive)
            job = self.store.add_job(record, run, step.label, exclusive, runner_of(run, step.spec))
            self.store.set_state(run.id, RunState.RUNNING)
            self._ensure_supervisor(run, job)

    # -- a run without a running job ---------------------------------------------------------------------------

    def _next_step(self, record: Record, run: Run, checks: DriftChecks) -> RunStep | None:
        """Return the next step to run.

        :returns: None when the run has ended, and then its end is written to the store; also when it waits for the
            answer of a server.
        """
        if not record.is_unfinished:
            self.store.retire(run.id)
            return None
        jobs = [job for job in record.jobs if job.round == run.round]
        last_outcome = jobs[-1].outcome if jobs else None
        if last_outcome is not None and last_outcome["state"] == RunState.FAILED:
            error = last_outcome.get("error")
            return self._end(
                run, RunState.FAILED, {**(error if isinstance(error, dict) else {}), "step": jobs[-1].label}
            )
        if last_outcome is not None and last_outcome["state"] == RunState.CANCELLED:
            return self._end(run, RunState.CANCELLED)
        try:
            pending = find_pending_steps(self.layout, run, checks)
            for label in pending.reasons:
                get_step(run.step(label).spec.kind)
        except NotAskedError:
            raise
        except CoreError as error:
            return self._end(run, RunState.CANCELLED if record.cancelling else RunState.FAILED, as_error(error))
        except Exception as error:  # an unexpected error of one run must not block the other runs
            return self._end(run, RunState.FAILED, as_error(error))
        if not pending.labels:
            return self._end(run, RunState.SUCCEEDED)
        if record.cancelling:
            return self._end(run, RunState.CANCELLED)
        label = pending.next
        reason = pending.reasons.get(label)
        if not label:
            return None
        if any(job.label == label and (job.outcome or {}).get("state") == RunState.SUCCEEDED for job in jobs):
            lost = JobError("engine.result_lost", step=label, cause=reason)
            return self._end(run, RunState.FAILED, {**as_error(lost), "step": label})
        return run.step(label)

    def _end(self, run: Run, state: RunState, error: dict[str, t.Any] | None = None) -> RunStep | None:
        self.store.set_state(run.id, state, error if state is RunState.FAILED else None)
        self.store.retire(run.id)
        return None

    def _retire_damaged(self, record: Record) -> None:
        """End a run whose record cannot be read and that has no supervised job."""
        runners = {job.directory: job.runner for job in record.jobs}
        for directory in job_dirs(record.directory):
            _kill_remaining(directory, runners.get(directory, record.run.runner if record.run else "process"))
        self.store.set_state(record.id, RunState.FAILED, damage_error(record))
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
            error = JobError(
                "engine.supervisor_does_not_start",
                reason=tail[-1] if tail else Message("engine.says_nothing"),
                log=f"{os.path.basename(job.directory)}/supervisor.log",
                details={"log_tail": tail},
            )
            return not self._fail_job(job, as_error(error))
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
                write_json(path, {"state": RunState.FAILED, "error": error, "finished_at": utc_now()})
        finally:
            lock.release()
        return True


def _snapshot(record: Record) -> _Snapshot:
    return record.round, tuple((job.name, str((job.outcome or {}).get("state", ""))) for job in record.jobs)


def _kill_remaining(job_dir: str, runner: str) -> None:
    try:
        get_runner(runner).clear(job_dir)
    except CoreError:
        pass  # a process that cannot be killed is found by its environment marker when the step is retried


def damage_error(record: Record) -> dict[str, t.Any]:
    """Return the error of a run whose record cannot be read."""
    return as_error(
        StoreError("engine.run_record_damaged", reason=record.damage, details={"directory": record.directory})
    )
