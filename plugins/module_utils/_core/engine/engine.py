# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface to runs: observe, submit, cancel, reconcile, follow.

Level-triggered: every decision is based on the current state of the disk and of the process table, never on the
intention of an earlier call. Therefore any call may be killed at any point.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import time
import typing as t

from ..artifacts.integrity import findings_of, step_defect
from ..artifacts.layout import Layout
from ..base_models.model_files import HashCache
from ..errors import CoreError, InputError, JobError, NotReadyError, StoreError
from ..messages.message import Message
from ..messages.suggestions import did_you_mean
from ..runners.registry import get_runner
from ..runs.job_context import step_context
from ..runs.names import LOG_FILE, SUPERVISOR_FILE, WAITING_FILE
from ..runs.run import Job, Record, Run
from ..runs.states import RunState, StepState
from ..runs.status import RunView, StepView
from ..runs.store import Store, is_supervised
from ..steps.registry import get_step
from ..steps.step import Drift
from ..system.clock import utc_now
from ..system.disk import disk_errors
from ..system.files import read_record
from ..system.locks import LockedError
from . import gpu_lease, installation, launcher
from .drift_checks import DriftChecks
from .ollama_password import without_password
from .pending_steps import PendingSteps, find_pending_steps
from .reconciler import Reconciler, damage_error

#: Seconds that killed processes of a command may take to end before a request joins its job.
_SETTLE_SECONDS = 2.0

#: Seconds between two reconciles while a waiting run is followed. Supervisors reconcile when a job ends; this covers
#: the case that a supervisor was killed.
_RECONCILE_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Submission:
    """The result of submitting a run.

    :param view: the run after the submission.
    :param pending: labels of the steps that were pending at submission, in order.
    :param attached: whether the run was already queued or running.
    """

    view: RunView
    pending: tuple[str, ...]
    attached: bool = False


class Engine:
    """The runs under one data directory."""

    def __init__(self, data_dir: str) -> None:
        self.layout = Layout(data_dir)
        self.store = Store(self.layout)

    # -- read-only operations ----------------------------------------------------------------------------------

    def pending_steps(self, run: Run) -> dict[str, Message]:
        """Return the labels of the steps that must run, or of which that is unknown now, each with its reason.

        The search starts at the goals: if a result is complete, the steps before it are not checked.

        :raises NotReadyError: when an artifact is required that no step of the run produces.
        """
        return find_pending_steps(self.layout, run, DriftChecks(self.layout)).labels

    def observe(self, run_id: str) -> RunView:
        """Return the current state of a run.

        :raises InputError: when the run does not exist.
        """
        record = self.store.record(run_id)
        if record is None:
            raise InputError(
                "engine.run_unknown", run_id=run_id, directory=self.layout.jobs, suggestion=self._suggest(run_id)
            )
        return self._view_record(record, self.store.active() if record.active else [], DriftChecks(self.layout))

    def _suggest(self, run_id: str) -> Message | None:
        candidates = [record.id for record in self.store.active()] + self.store.done_ids(200)
        return did_you_mean(difflib.get_close_matches(run_id, candidates, 3, 0.5))

    def observe_all(self, limit: int = 50) -> list[RunView]:
        """Return the active runs in queue order, then the ended runs, latest first.

        :param limit: maximum number of ended runs.
        """
        queue = self.store.active()
        checks = DriftChecks(self.layout)  # the same for all, so that a server that does not answer is asked once
        views = [self._view_record(record, queue, checks) for record in queue]
        active_ids = {record.id for record in queue}
        for run_id in self.store.done_ids(limit):
            record = self.store.record(run_id) if run_id not in active_ids else None
            if record is not None:
                views.append(self._view_record(record, queue, checks))
        return views

    def preview(self, run: Run) -> RunView:
        """Return the state that a submission of the run would find, whether the run is in the store or not.

        For check mode. The state is ``absent`` when steps are pending and the run is not in the queue.
        """
        record = self.store.record(run.id)
        if record is not None and record.is_unfinished:
            return self._view_record(record, self.store.active(), DriftChecks(self.layout))
        return self._preview(run, record, DriftChecks(self.layout))

    def _preview(self, run: Run, record: Record | None, checks: DriftChecks) -> RunView:
        view = RunView(run.id, run.name, RunState.ABSENT, submitted_by=run.submitted_by)
        self._add_steps(view, run, None, checks)
        if view.pending:
            return view
        view.state = RunState.SUCCEEDED  # all results exist, no matter which run produced them
        if record is not None:
            if record.run is not None:
                view.submitted_at, view.submitted_by = record.run.submitted_at, record.run.submitted_by
            view.finished_at = str(record.state.get("finished_at", ""))
            self._add_job(view, record)
        return view

    def _view_record(self, record: Record, queue: t.Sequence[Record], checks: DriftChecks) -> RunView:
        run, job = record.run, record.current_job
        state = RunState(record.state["state"])
        error = record.state.get("error")
        if record.damage:
            state, error = (RunState.RUNNING if is_supervised(record) else RunState.FAILED), damage_error(record)
        elif record.is_unfinished and job is not None:
            state = RunState.RUNNING
        view = RunView(
            id=record.id,
            name=run.name if run else record.id,
            state=state,
            submitted_at=run.submitted_at if run else "",
            submitted_by=run.submitted_by if run else "",
            finished_at=str(record.state.get("finished_at", "")),
            error=error if isinstance(error, dict) else None,
            cancelling=record.is_unfinished and record.cancelling,
        )
        self._add_job(view, record)
        pending = None
        if run is not None:
            pending = self._add_steps(view, run, job, None if state is RunState.SUCCEEDED else checks)
        if job is not None:
            view.current = job.label
            view.progress = self._progress(run, job) if run is not None else {}
            waiting = read_record(os.path.join(job.directory, WAITING_FILE))
            if not job.is_supervised():
                view.wait_for(Message("engine.supervisor_awaited"))
            elif waiting:
                # 0.1.0 wrote the text only
                view.wait_for(Message.from_stored(waiting.get("message") or waiting.get("for")))
        elif record.is_unfinished:
            self._explain_waiting(record, view, queue, pending)
        return view

    def _add_job(self, view: RunView, record: Record) -> None:
        if not record.jobs:
            return
        last = record.jobs[-1]
        view.job = last.directory
        view.job_started_at = str((read_record(os.path.join(last.directory, SUPERVISOR_FILE)) or {}).get("at", ""))
        details = (view.error or {}).get("details")
        if isinstance(details, dict) and "log" in details:
            # the directory of the run may have moved since the error was recorded
            details["log"] = os.path.join(last.directory, LOG_FILE)

    def _add_steps(self, view: RunView, run: Run, job: Job | None, checks: DriftChecks | None) -> PendingSteps | None:
        """Add the steps of a run to its view.

        :param job: the current job; None when no step is running.
        :param checks: determine whether steps have drifted; None when no step is pending.
        :returns: the pending steps; None when they cannot be determined.
        """
        problem: Message | None = None
        found: PendingSteps | None = PendingSteps({}, {}, {}, "")
        try:
            found = find_pending_steps(self.layout, run, checks) if checks is not None else found
        except CoreError as error:
            found, problem = None, error.content
        if found is not None:
            pending = found.labels
            unchecked = found.unchecked
            view.leave_unchecked(found.unchecked)
        else:
            unchecked = {}
            unknown = problem or Message("engine.not_determined")
            # the pending steps cannot be determined: show every incomplete step as pending
            pending = {
                step.label: unknown
                for step in run.steps
                if step_defect(self.layout, step.spec.kind, step.spec.fingerprint, step.spec.options)
            }
        for step in run.steps:
            complete = view.state is RunState.SUCCEEDED and step.label in run.goals
            reason = (
                None if complete else step_defect(self.layout, step.spec.kind, step.spec.fingerprint, step.spec.options)
            )
            state = StepState.IDLE if reason else StepState.WHOLE
            if step.label in pending:
                state = StepState.NEEDED
            if job is not None and job.label == step.label:
                state = StepState.RUNNING
            elif view.state is RunState.FAILED and view.error and view.error.get("step") == step.label:
                state = StepState.FAILED
            if state is StepState.WHOLE:
                view.findings += findings_of(self.layout, step.spec.kind, step.spec.fingerprint)
            cause = problem or pending.get(step.label) or unchecked.get(step.label) or reason
            view.steps.append(
                StepView(
                    label=step.label,
                    kind=step.spec.kind,
                    fingerprint=step.spec.fingerprint,
                    state=state,
                    reason=cause.text if cause is not None else "",
                    path=self._artifact_path(step.spec.kind, step.spec.fingerprint),
                    cause=cause.as_dict() if cause is not None else {},
                )
            )
        return found

    def _artifact_path(self, kind: str, fingerprint: str) -> str:
        try:
            return self.layout.artifact(kind, fingerprint)
        except StoreError:
            return ""  # another version wrote this run: that must not hide the other runs

    def _progress(self, run: Run, job: Job) -> dict[str, t.Any]:
        step = run.step(job.label)
        ctx = step_context(self.layout, step.spec, run.toolchain, job.directory)
        try:
            progress = get_step(step.spec.kind).progress(ctx)
        except (CoreError, OSError, ValueError, TypeError, KeyError):
            return {}  # a file is incomplete while it is being written; the next poll reads it
        return progress.as_dict() if progress else {}

    def _explain_waiting(
        self, record: Record, view: RunView, queue: t.Sequence[Record], found: PendingSteps | None
    ) -> None:
        position = next((index for index, other in enumerate(queue) if other.id == record.id), 0)
        view.position = position
        pending = view.pending
        if found is not None and found.is_undetermined:
            view.leave_undetermined(*next(iter(found.unknown.items())))
        elif position and pending:
            view.current = pending[0]
            view.wait_for(Message("engine.run_awaited", run=queue[position - 1].id))

    def obstacles(self, runs: t.Sequence[Run]) -> list[Message]:
        """Return what keeps runs of fine-tunes from reaching their end: too little disk, a server that does not answer.

        Runs that are in the queue already are left out, and so are those of single steps, which begin with the step
        that would fail.
        """
        return self._obstacles(self._startable(runs))

    def check_start(self, runs: t.Sequence[Run]) -> list[Message]:
        """Check that the runs of one apply can reach their end, before any is submitted.

        :returns: what keeps those runs from it that declare ``preflight_check: warn``.
        :raises NotReadyError: when something keeps one of the others from it.
        """
        startable = self._startable(runs)
        enforced = [(run, pending) for run, pending in startable if not _only_warns(run)]
        found = self._obstacles(enforced)
        if found:
            raise NotReadyError(
                "planning.not_begun", obstacles=found, details={"runs": [run.id for run, _pending in enforced]}
            )
        return self._obstacles(startable) if len(enforced) < len(startable) else []

    def _startable(self, runs: t.Sequence[Run]) -> list[tuple[Run, tuple[str, ...]]]:
        """Return the runs of fine-tunes that a submission would put into the queue, with their incomplete steps."""
        found = []
        # what drifted in a server is made there, so that server answers
        checks = DriftChecks(self.layout).closed(Drift())
        for run in runs:
            record = self.store.record(run.id)
            if not run.declaration or (record is not None and record.is_unfinished):
                continue
            with contextlib.suppress(CoreError):  # it is raised again by the submission
                pending = tuple(find_pending_steps(self.layout, run, checks).labels)
                found += [(run, pending)] if pending else []
        return found

    def _obstacles(self, runs: t.Sequence[tuple[Run, tuple[str, ...]]]) -> list[Message]:
        if not runs:
            return []
        # imported here because modules that only follow runs start often
        from ..planning.readiness import obstacles

        return obstacles(self.layout, runs, _yields_to)

    # -- operations that change the store ----------------------------------------------------------------------

    def submit(self, run: Run) -> Submission:
        """Submit a run. No-op, without a write, if all goals are complete; attaches to the run if it is unfinished.

        A run of which it cannot be determined now whether its goals are complete is put into the queue and waits there.

        :raises NotReadyError: when an artifact is required that no step of the run produces.
        """
        record = self.store.record(run.id)
        checks = DriftChecks(self.layout)
        if record is None or not record.is_unfinished:
            if not find_pending_steps(self.layout, run, checks).labels:
                if not self.store.is_idle():
                    self.reconcile()
                return Submission(self._preview(run, record, checks), ())
        else:
            if record.damage:
                self.reconcile()  # retires the damaged run unless one of its jobs is supervised
            job = record.current_job
            if job is not None and not record.cancelling:
                # a command that was killed before this request must not be joined: its failure would be that of the run
                get_runner(job.runner).settle(job.directory, _SETTLE_SECONDS)
            with contextlib.suppress(CoreError):  # it is raised again, and handled, when the run is put into the queue
                find_pending_steps(self.layout, record.run or run, checks)
        HashCache.keep(self.layout)
        with disk_errors(self.layout.jobs):
            self.store.prepare()
            with self.store.lock():
                # an artifact that was completed since the servers were asked is intact
                pending, attached = self._enqueue(run, checks.closed(Drift()))
        self.reconcile()
        if not pending and not attached:
            return Submission(self.preview(run), ())
        return Submission(self.observe(run.id), pending, attached)

    def _enqueue(self, run: Run, checks: DriftChecks) -> tuple[tuple[str, ...], bool]:
        """Put a run into the queue unless it is already there.

        :returns: the labels of the pending steps, and whether the run was already in the queue.
        """
        record = self.store.record(run.id)
        if record is None or not record.is_unfinished:
            pending = tuple(find_pending_steps(self.layout, run, checks).labels)
            if pending:
                self.store.enqueue(self._prepare_run(run, record, self.store.next_seq()))
            return pending, False
        stored_run = record.run or run
        job = record.current_job
        last_outcome = record.jobs[-1].outcome if record.jobs and record.jobs[-1].round == stored_run.round else None
        is_ending = record.cancelling or (
            get_runner(job.runner).probe(job.directory).state == "ended"
            if job is not None
            else last_outcome is not None and last_outcome["state"] != RunState.SUCCEEDED
        )
        if is_ending and record.run is not None:
            # the run is being cancelled, or its command has ended: a failure predates this request and must not end it
            self.store.resubmit(self._prepare_run(run, record, stored_run.seq))
        try:
            return tuple(find_pending_steps(self.layout, stored_run, checks).labels), True
        except CoreError:
            return (), True  # the reconciler gets the same error and ends the run with it

    def _prepare_run(self, run: Run, record: Record | None, seq: int) -> Run:
        return dataclasses.replace(
            run,
            seq=seq,
            round=(record.round if record else 0) + 1,
            submitted_at=utc_now(),
            toolchain=without_password(self.layout, run.toolchain),
            core_dir=installation.install(self.layout),
            python=launcher.current_python(),
        )

    def cancel(self, run_id: str) -> bool:
        """Request that a run stops and keeps its checkpoint.

        :returns: False, without a write, when the run is neither queued nor running.
        """
        record = self.store.record(run_id)
        if record is None or not record.is_unfinished:
            return False
        with disk_errors(self.layout.jobs):
            self.store.prepare()
            with self.store.lock():
                record = self.store.record(run_id)
                requested = record is not None and record.is_unfinished
                if requested:
                    self.store.request_cancel(run_id)
        self.reconcile()
        return requested

    def dismiss(self, run_id: str) -> bool:
        """Remove an ended run with its logs from the store. What it has made is kept.

        :returns: False, without a write, when there is no such run.
        :raises InputError: when it is queued or running.
        """
        if self.store.record(run_id) is None:
            return False
        with disk_errors(self.layout.jobs):
            self.store.prepare()
            with self.store.lock():
                return self.store.forget(run_id)

    def reconcile(self) -> None:
        """Finalize finished jobs and start the next ones."""
        Reconciler(self.layout).reconcile()

    # -- follow ------------------------------------------------------------------------------------------------

    def follow(
        self,
        run_id: str,
        until: t.Container[str] | None = None,
        timeout: float | None = None,
        on_view: t.Callable[[RunView], None] | None = None,
        poll: float = 0.25,
    ) -> RunView:
        """Poll a run until it has ended or none of the steps ``until`` is pending.

        :param until: labels of steps.
        :param timeout: seconds; the run continues after the timeout.
        :param on_view: called with the view after every poll.
        :param poll: seconds between two polls.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        reconciled_at = None
        while True:
            view = self.observe(run_id)
            HashCache.keep(self.layout)  # the next process that follows the run does not read a touched base again
            now = time.monotonic()
            is_due = reconciled_at is None or now - reconciled_at >= max(_RECONCILE_SECONDS, poll)
            if is_due and not view.state.ended and not self._is_supervised(run_id):
                reconciled_at = now
                with contextlib.suppress(LockedError):  # another process is already reconciling
                    self.reconcile()
                view = self.observe(run_id)
            if view.state.ended and self.store.is_active(run_id):
                self.reconcile()  # moves the run out of the queue, so that the paths in the view remain valid
                view = self.observe(run_id)
            if on_view is not None:
                on_view(view)
            if view.state.ended:
                return view
            if until is not None and not any(label in until for label in view.pending):
                return view
            if deadline is not None and time.monotonic() >= deadline:
                return view
            time.sleep(poll)

    def _is_supervised(self, run_id: str) -> bool:
        record = self.store.record(run_id)
        job = record.current_job if record is not None else None
        return job is not None and job.is_supervised()


def _yields_to(layout: Layout, url: str) -> str:
    """Return the training for which a server is stopped or may be restarted at any moment; empty if there is none."""
    return gpu_lease.ollama_stopped_for(layout, url) or gpu_lease.ollama_lease(layout, url).get("name", "")


def _only_warns(run: Run) -> bool:
    return any(step.spec.options.get("preflight_check") == "warn" for step in run.steps)


def raise_if_failed(view: RunView) -> None:
    """Raise an error if a run failed or was cancelled.

    :raises JobError: with the cause, the run, the step and a hint.
    """
    if view.state is RunState.FAILED:
        error = view.error or {}
        raise JobError(
            "engine.run_failed",
            name=view.name,
            problem=Message.from_stored(error or {"message": "failed"}),
            details={**error.get("details", {}), "run": view.id, "step": error.get("step", "")},
        )
    if view.state is RunState.CANCELLED:
        raise JobError("engine.run_cancelled", name=view.name, run=view.id)
