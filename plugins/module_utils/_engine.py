# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, submit, reconcile, cancel: all that happens to runs happens here.

Level-triggered: every decision is made from what is on the disk and in the process table at
that moment, never from what an earlier call had in mind. So any call may be killed anywhere.
"""

from __future__ import annotations

import dataclasses
import os
import time
import typing as t

from . import _core
from ._errors import CoreError, InputError, JobError, NotReadyError
from ._files import read_json, utc_now
from ._flow import context, depends_on, get_step, missing, not_whole
from ._layout import Layout
from ._store import CANCELLED, ENDED, FAILED, QUEUED, RUNNING, SUCCEEDED, Job, Run, RunStep, Store
from ._view import FAILED as STEP_FAILED
from ._view import IDLE, NEEDED, WHOLE, RunView, StepView
from ._view import RUNNING as STEP_RUNNING

_SPAWN_SECONDS = 5.0


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
        by_fingerprint = {(step.spec.kind, step.spec.fingerprint): step for step in run.steps}
        reasons: dict[str, str] = {}

        def visit(step: RunStep) -> None:
            if step.label in reasons:
                return
            reason = not_whole(self.layout, step.spec, run.toolchain)
            if not reason:
                return
            reasons[step.label] = reason
            for kind, fingerprint in depends_on(step.spec).items():
                source = by_fingerprint.get((kind, fingerprint))
                if source is not None:
                    visit(source)
                else:
                    gone = missing(self.layout, kind, fingerprint)
                    if gone:
                        raise NotReadyError(
                            f"{run.name}: {step.label} needs the {kind} {fingerprint[:12]}: {gone}.",
                            f"Make it first, with the module ia_homelab.llamafactory.{kind}.",
                        )

        for label in run.goals:
            visit(run.step(label))
        return {step.label: reasons[step.label] for step in run.steps if step.label in reasons}

    def observe(self, run_id: str) -> RunView:
        """A run as it stands now.

        :raises InputError: when there is no such run.
        """
        run = self.store.load(run_id)
        if run is None:
            raise InputError(f"There is no run {run_id!r} in {self.layout.jobs}.", self._nearest(run_id))
        return self._view(run)

    def _nearest(self, run_id: str) -> str:
        import difflib

        known = [run.id for run in self.store.active()] + self.store.done_ids(200)
        close = difflib.get_close_matches(run_id, known, 3, 0.5)
        return f"Did you mean {', '.join(close)}?" if close else ""

    def observe_all(self, limit: int = 50) -> list[RunView]:
        """Active runs in their order, then the latest ended ones."""
        views = [self._view(run) for run in self.store.active()]
        for run_id in self.store.done_ids(limit):
            run = self.store.load(run_id)
            if run is not None:
                views.append(self._view(run))
        return views

    def preview(self, run: Run) -> RunView:
        """A run as asking for it would find it, whether it is in the store or not. For check mode.

        Its state is ``absent`` when there is something to do that nobody has asked for yet.
        """
        known = self.store.load(run.id)
        if known is not None and self.store.is_active(run.id):
            return self._view(known)
        view = self._view(run, fresh=True)
        if not view.pending and known is not None:
            view.state = SUCCEEDED
        return view

    def _view(self, run: Run, fresh: bool = False) -> RunView:
        state = {"state": "absent"} if fresh else self.store.state(run.id)
        jobs = [] if fresh else self.store.jobs(run.id)
        last = jobs[-1] if jobs else None
        view = RunView(
            id=run.id,
            name=run.name,
            state=state["state"],
            submitted_at=run.submitted_at,
            submitted_by=run.submitted_by,
            finished_at=state.get("finished_at", ""),
            error=state.get("error"),
            cancelling=not fresh and state["state"] not in ENDED and self.store.cancel_requested(run.id),
        )
        live = last if last is not None and last.outcome is None else None
        problem = ""
        try:
            needed = {} if view.state == SUCCEEDED else self.need(run)
        except CoreError as error:
            needed, problem = {}, error.message
        for step in run.steps:
            whole = view.state == SUCCEEDED and step.label in run.goals
            reason = "" if whole else not_whole_quietly(self.layout, step, run)
            shown = NEEDED if step.label in needed else (IDLE if reason else WHOLE)
            if live is not None and live.label == step.label:
                shown = STEP_RUNNING
            elif view.state == FAILED and view.error and view.error.get("step") == step.label:
                shown = STEP_FAILED
            view.steps.append(
                StepView(
                    step.label, step.spec.kind, step.spec.fingerprint, shown, problem or reason,
                    self.layout.artifact(step.spec.kind, step.spec.fingerprint),
                )
            )  # fmt: skip
        if last is not None:
            view.job = last.directory
            recorded = read_json(os.path.join(last.directory, "supervisor.json")) or {}
            view.job_started_at = recorded.get("at", "")
            if view.error and "log" in view.error.get("details", {}):
                view.error["details"]["log"] = os.path.join(last.directory, "log.txt")  # the run may have moved since
        if live is not None:
            view.current = live.label
            view.progress = self._progress(run, live)
        elif view.state in (QUEUED, RUNNING):
            self._explain_waiting(run, view, needed)
        return view

    def _progress(self, run: Run, job: Job) -> dict[str, t.Any]:
        step = run.step(job.label)
        ctx = context(self.layout, step.spec, run.toolchain, job.directory)
        try:
            found = get_step(step.spec.kind).progress(ctx)
        except (CoreError, OSError, ValueError):
            return {}  # a file caught in the middle of a write: the next look will tell
        return found.as_dict() if found else {}

    def _explain_waiting(self, run: Run, view: RunView, needed: t.Mapping[str, str]) -> None:
        ahead = [other for other in self.store.active() if other.seq < run.seq]
        view.position = len(ahead)
        if ahead and needed:
            view.current = next(iter(needed))
            view.waiting_for = f"the run {ahead[-1].id}"

    # -- changing ----------------------------------------------------------------------------------------------

    def submit(self, run: Run) -> Submission:
        """Ask for a run. Nothing happens when all it wants is whole; a run at work is joined.

        :raises NotReadyError: when it needs something that it cannot make.
        """
        self.store.prepare()
        with self.store.lock():
            known = self.store.load(run.id)
            if known is not None and self.store.is_active(run.id) and self.store.state(run.id)["state"] not in ENDED:
                pending = tuple(self.need(known))
                attached = True
            else:
                pending = tuple(self.need(run))
                attached = False
                if pending:
                    self._enqueue(run, known)
        if not pending and not attached:
            return Submission(self.preview(run), ())
        self.reconcile()
        return Submission(self.observe(run.id), pending, attached)

    def _enqueue(self, run: Run, known: Run | None) -> None:
        self.store.enqueue(
            dataclasses.replace(
                run,
                seq=self.store.next_seq(),
                round=(known.round if known else 0) + 1,
                submitted_at=utc_now(),
                core_dir=_core.install(self.layout),
                python=_core.this_python(),
            )
        )

    def cancel(self, run_id: str) -> bool:
        """Ask for a run to be stopped, its checkpoint kept; False when it was not at work."""
        self.store.prepare()
        with self.store.lock():
            asked = self.store.request_cancel(run_id)
        self.reconcile()
        return asked

    def reconcile(self) -> None:
        """Settle what has ended and start what is next."""
        self.store.prepare()
        with self.store.lock():
            self.store.sweep()
            live: set[tuple[str, str]] = set()
            heavy = False
            idle: list[Run] = []
            for run in self.store.active():
                job = self._unfinished(run)
                if job is None:
                    idle.append(run)
                    continue
                spec = run.step(job.label).spec
                live.add((spec.kind, spec.fingerprint))
                heavy = heavy or get_step(spec.kind).heavy
                if not job.supervisor_alive():
                    self._spawn(run, job)
            for run in idle:
                step = self._next_step(run)
                if step is None:
                    continue
                key = (step.spec.kind, step.spec.fingerprint)
                takes_machine = get_step(step.spec.kind).heavy
                if key in live or (takes_machine and heavy):
                    continue
                live.add(key)
                heavy = heavy or takes_machine
                self._spawn(run, self.store.add_job(run, step.label))
                self.store.set_state(run.id, RUNNING)

    def _unfinished(self, run: Run) -> Job | None:
        jobs = self.store.jobs(run.id)
        return jobs[-1] if jobs and jobs[-1].outcome is None else None

    def _next_step(self, run: Run) -> RunStep | None:
        """The step whose turn it is; None when the run has ended, which is then written down."""
        if self.store.state(run.id)["state"] in ENDED:
            self.store.retire(run.id)
            return None
        mine = [job for job in self.store.jobs(run.id) if job.round == run.round]
        last = mine[-1].outcome if mine else None
        if last is not None and last["state"] == FAILED:
            return self._end(run, FAILED, {**last["error"], "step": mine[-1].label})
        if (last is not None and last["state"] == CANCELLED) or self.store.cancel_requested(run.id):
            return self._end(run, CANCELLED)
        try:
            needed = self.need(run)
        except CoreError as error:
            return self._end(run, FAILED, {"message": error.message, "hint": error.hint, "details": error.details})
        if not needed:
            return self._end(run, SUCCEEDED)
        label = next(iter(needed))
        if any(job.label == label and job.outcome and job.outcome["state"] == SUCCEEDED for job in mine):
            return self._end(
                run,
                FAILED,
                {
                    "message": f"{label} was made and is not whole all the same: {needed[label]}.",
                    "hint": "Something else changes it: look for another program that writes there.",
                    "step": label,
                },
            )
        return run.step(label)

    def _end(self, run: Run, state: str, error: dict[str, t.Any] | None = None) -> None:
        self.store.set_state(run.id, state, error)
        self.store.retire(run.id)

    def _spawn(self, run: Run, job: Job) -> None:
        before = read_json(os.path.join(job.directory, "supervisor.json"))
        _core.spawn(
            run.core_dir,
            run.python,
            "_supervisor",
            job.directory,
            os.path.join(job.directory, "supervisor.log"),
            f"ia-homelab-{run.id}-{job.name}-{time.time_ns()}",
        )
        end = time.monotonic() + _SPAWN_SECONDS
        while time.monotonic() < end:
            if read_json(os.path.join(job.directory, "supervisor.json")) != before:
                return
            time.sleep(0.01)

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
        while True:
            self.reconcile()
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


def not_whole_quietly(layout: Layout, step: RunStep, run: Run) -> str:
    """As :func:`_flow.not_whole`, from the data directory alone: no server is asked."""
    return missing(layout, step.spec.kind, step.spec.fingerprint)


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
