# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, submit, reconcile, cancel: all that happens to runs happens here.

Level-triggered: every decision is made from what is on the disk and in the process table at
that moment, never from what an earlier call had in mind. So any call may be killed anywhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import time
import typing as t

from ..artifacts.integrity import artifact_defect
from ..artifacts.layout import Layout
from ..errors import CoreError, InputError, JobError
from ..runners.registry import get_runner
from ..runs.job_context import step_context
from ..runs.run import CANCELLED, ENDED, FAILED, RUNNING, SUCCEEDED, WAITING, Job, Record, Run
from ..runs.status import FAILED as STEP_FAILED
from ..runs.status import IDLE, NEEDED, WHOLE, RunView, StepView
from ..runs.status import RUNNING as STEP_RUNNING
from ..runs.store import Store, is_supervised
from ..steps.registry import get_step
from ..system.clock import utc_now
from ..system.disk import disk_errors
from ..system.files import read_record
from ..system.locks import LockedError
from . import installation, launcher
from .pending_steps import find_pending_steps
from .reconciler import Reconciler, damage_error

#: Seconds between two reconciles of somebody who follows a run that waits: supervisors do it when a job ends, this
#: is for when one of them was killed.
_PUSH_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Submission:
    """What asking for a run came to.

    :param view: the run afterwards.
    :param pending: labels of the steps that had to be made when it was asked for, in order.
    :param attached: whether it was at work already.
    """

    view: RunView
    pending: tuple[str, ...]
    attached: bool = False


class Engine:
    """The runs under one data directory."""

    def __init__(self, data_dir: str) -> None:
        self.layout = Layout(data_dir)
        self.store = Store(self.layout)

    # -- looking: changes nothing ------------------------------------------------------------------------------

    def need(self, run: Run) -> dict[str, str]:
        """Labels of the steps that must be made, in order, and why.

        Found backwards from the goals: where a result is whole, nothing before it is looked at.

        :raises NotReadyError: when something is needed that the run itself cannot make.
        """
        return find_pending_steps(self.layout, run)

    def observe(self, run_id: str) -> RunView:
        """A run as it stands now.

        :raises InputError: when there is no such run.
        """
        record = self.store.record(run_id)
        if record is None:
            raise InputError(f"There is no run {run_id!r} in {self.layout.jobs}.", self._nearest(run_id))
        return self._view_record(record, self.store.active() if record.active else [])

    def _nearest(self, run_id: str) -> str:
        known = [record.id for record in self.store.active()] + self.store.done_ids(200)
        close = difflib.get_close_matches(run_id, known, 3, 0.5)
        return f"Did you mean {', '.join(close)}?" if close else ""

    def observe_all(self, limit: int = 50) -> list[RunView]:
        """Active runs in their order, then the latest ended ones.

        :param limit: how many ended ones at most.
        """
        queue = self.store.active()
        views = [self._view_record(record, queue) for record in queue]
        seen = {record.id for record in queue}
        for run_id in self.store.done_ids(limit):
            record = self.store.record(run_id) if run_id not in seen else None
            if record is not None:
                views.append(self._view_record(record, queue))
        return views

    def preview(self, run: Run) -> RunView:
        """A run as asking for it would find it, whether it is in the store or not. For check mode.

        Its state is ``absent`` when there is something to do that nobody has asked for yet.
        """
        record = self.store.record(run.id)
        if record is not None and record.at_work:
            return self._view_record(record, self.store.active())
        return self._preview(run, record, None)

    def _preview(self, run: Run, record: Record | None, needed: dict[str, str] | None) -> RunView:
        view = RunView(run.id, run.name, "absent", submitted_by=run.submitted_by)
        self._add_steps(view, run, None, needed)
        if view.pending:
            return view
        view.state = SUCCEEDED  # all of it is there: whether made for this run or for others
        if record is not None:
            if record.run is not None:
                view.submitted_at, view.submitted_by = record.run.submitted_at, record.run.submitted_by
            view.finished_at = str(record.state.get("finished_at", ""))
            self._add_job(view, record)
        return view

    def _view_record(self, record: Record, queue: t.Sequence[Record]) -> RunView:
        run, live = record.run, record.unfinished
        state = str(record.state["state"])
        error = record.state.get("error")
        if record.damage:
            state, error = (RUNNING if is_supervised(record) else FAILED), damage_error(record)
        elif record.at_work and live is not None:
            state = RUNNING
        view = RunView(
            id=record.id,
            name=run.name if run else record.id,
            state=state,
            submitted_at=run.submitted_at if run else "",
            submitted_by=run.submitted_by if run else "",
            finished_at=str(record.state.get("finished_at", "")),
            error=error if isinstance(error, dict) else None,
            cancelling=record.at_work and record.cancelling,
        )
        self._add_job(view, record)
        if run is not None:
            self._add_steps(view, run, live, {} if state == SUCCEEDED else None)
        if live is not None:
            view.current = live.label
            view.progress = self._progress(run, live) if run is not None else {}
            told = read_record(os.path.join(live.directory, WAITING))
            view.waiting_for = str(told.get("for", "")) if told else ""
            if not live.is_supervised():
                view.waiting_for = "a new supervisor, since its own was lost: whoever applies next starts one"
        elif record.at_work:
            self._explain_waiting(record, view, queue)
        return view

    def _add_job(self, view: RunView, record: Record) -> None:
        if not record.jobs:
            return
        last = record.jobs[-1]
        view.job = last.directory
        view.job_started_at = str((read_record(os.path.join(last.directory, "supervisor.json")) or {}).get("at", ""))
        details = (view.error or {}).get("details")
        if isinstance(details, dict) and "log" in details:
            details["log"] = os.path.join(last.directory, "log.txt")  # the run may have moved since

    def _add_steps(self, view: RunView, run: Run, live: Job | None, needed: dict[str, str] | None) -> None:
        """The steps of a run.

        :param needed: what is needed, when that is known already.
        """
        problem = ""
        if needed is None:
            try:
                needed = self.need(run)
            except CoreError as error:
                # what is needed cannot be told: all that is not there
                problem = error.message
                needed = {
                    step.label: problem
                    for step in run.steps
                    if artifact_defect(self.layout, step.spec.kind, step.spec.fingerprint)
                }
        for step in run.steps:
            whole = view.state == SUCCEEDED and step.label in run.goals
            reason = "" if whole else artifact_defect(self.layout, step.spec.kind, step.spec.fingerprint)
            shown = NEEDED if step.label in needed else (IDLE if reason else WHOLE)
            if live is not None and live.label == step.label:
                shown = STEP_RUNNING
            elif view.state == FAILED and view.error and view.error.get("step") == step.label:
                shown = STEP_FAILED
            view.steps.append(
                StepView(
                    label=step.label,
                    kind=step.spec.kind,
                    fingerprint=step.spec.fingerprint,
                    state=shown,
                    reason=problem or needed.get(step.label, "") or reason,
                    path=self.layout.artifact(step.spec.kind, step.spec.fingerprint),
                )
            )

    def _progress(self, run: Run, job: Job) -> dict[str, t.Any]:
        step = run.step(job.label)
        ctx = step_context(self.layout, step.spec, run.toolchain, job.directory)
        try:
            found = get_step(step.spec.kind).progress(ctx)
        except (CoreError, OSError, ValueError, TypeError, KeyError):
            return {}  # a file caught in the middle of a write: the next look will tell
        return found.as_dict() if found else {}

    def _explain_waiting(self, record: Record, view: RunView, queue: t.Sequence[Record]) -> None:
        place = next((index for index, other in enumerate(queue) if other.id == record.id), 0)
        view.position = place
        pending = view.pending
        if place and pending:
            view.current = pending[0]
            view.waiting_for = f"the run {queue[place - 1].id}"

    # -- changing ----------------------------------------------------------------------------------------------

    def submit(self, run: Run) -> Submission:
        """Ask for a run. Nothing happens, and nothing is written, when all it wants is whole; one at work is joined.

        :raises NotReadyError: when it needs something that it cannot make.
        """
        record = self.store.record(run.id)
        if record is None or not record.at_work:
            needed = self.need(run)
            if not needed:
                if not self.store.is_idle():
                    self.reconcile()
                return Submission(self._preview(run, record, needed), ())
        elif record.damage:
            self.reconcile()  # sets it aside, unless somebody is at work on it
        with disk_errors(self.layout.jobs):
            self.store.prepare()
            with self.store.lock():
                pending, attached = self._ask(run)
        self.reconcile()
        if not pending and not attached:
            return Submission(self.preview(run), ())
        return Submission(self.observe(run.id), pending, attached)

    def _ask(self, run: Run) -> tuple[tuple[str, ...], bool]:
        """Put a run into the queue unless it is there; labels of what is to be made, and whether it was there."""
        record = self.store.record(run.id)
        if record is None or not record.at_work:
            pending = tuple(self.need(run))
            if pending:
                self.store.enqueue(self._stamped(run, record, self.store.next_seq()))
            return pending, False
        known = record.run or run
        job = record.unfinished
        last = record.jobs[-1].outcome if record.jobs and record.jobs[-1].round == known.round else None
        ending = record.cancelling or (
            get_runner(job.runner).probe(job.directory).state == "ended"
            if job is not None
            else last is not None and last["state"] != SUCCEEDED
        )
        if ending and record.run is not None:
            # it was stopped, or its command has come to an end: should that be a failure, it was before this request
            self.store.resubmit(self._stamped(run, record, known.seq))
        try:
            return tuple(self.need(known)), True
        except CoreError:
            return (), True  # the queue finds the same, and ends the run with it

    def _stamped(self, run: Run, record: Record | None, seq: int) -> Run:
        return dataclasses.replace(
            run,
            seq=seq,
            round=(record.round if record else 0) + 1,
            submitted_at=utc_now(),
            core_dir=installation.install(self.layout),
            python=launcher.this_python(),
        )

    def cancel(self, run_id: str) -> bool:
        """Ask for a run to be stopped, its checkpoint kept; False, and nothing is written, when it was not at work."""
        record = self.store.record(run_id)
        if record is None or not record.at_work:
            return False
        with disk_errors(self.layout.jobs):
            self.store.prepare()
            with self.store.lock():
                record = self.store.record(run_id)
                asked = record is not None and record.at_work
                if asked:
                    self.store.request_cancel(run_id)
        self.reconcile()
        return asked

    def reconcile(self) -> None:
        """Settle what has ended and start what is next."""
        Reconciler(self.layout).reconcile()

    # -- following ---------------------------------------------------------------------------------------------

    def follow(
        self,
        run_id: str,
        until: t.Container[str] | None = None,
        timeout: float | None = None,
        on_view: t.Callable[[RunView], None] | None = None,
        poll: float = 0.25,
    ) -> RunView:
        """Watch a run until it has ended, or none of the steps ``until`` is still to be made.

        :param until: labels of steps.
        :param timeout: seconds; the run goes on after that.
        :param on_view: told every look.
        :param poll: seconds between two looks.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pushed = None
        while True:
            view = self.observe(run_id)
            now = time.monotonic()
            due = pushed is None or now - pushed >= max(_PUSH_SECONDS, poll)
            if due and view.state not in ENDED and not self._is_supervised(run_id):
                pushed = now
                with contextlib.suppress(LockedError):  # whoever holds it is at it
                    self.reconcile()
                view = self.observe(run_id)
            if view.state in ENDED and self.store.is_active(run_id):
                self.reconcile()  # it is about to be moved: what is told of its paths shall stay true
                view = self.observe(run_id)
            if on_view is not None:
                on_view(view)
            if view.state in ENDED:
                return view
            if until is not None and not any(label in until for label in view.pending):
                return view
            if end is not None and time.monotonic() >= end:
                return view
            time.sleep(poll)

    def _is_supervised(self, run_id: str) -> bool:
        record = self.store.record(run_id)
        job = record.unfinished if record is not None else None
        return job is not None and job.is_supervised()


def raise_if_failed(view: RunView) -> None:
    """Turn the end of a run that did not come to its goal into an error.

    :raises JobError: with what went wrong, where, and what to do.
    """
    if view.state == FAILED:
        error = view.error or {}
        raise JobError(
            f"{view.name}: {error.get('message', 'failed')}",
            error.get("hint", ""),
            {**error.get("details", {}), "run": view.id, "step": error.get("step", "")},
        )
    if view.state == CANCELLED:
        raise JobError(f"{view.name}: the run {view.id} was cancelled.", "Apply again to go on from its checkpoint.")
