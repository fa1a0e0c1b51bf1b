# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settles what has ended and starts what is next. Called by whoever asks for something, and by every supervisor.

Level-triggered: every decision is made from what is on the disk and in the process table at that moment, never from
what an earlier call had in mind. So any call may be killed anywhere. One run that cannot be handled ends with an
error of its own and keeps no other from going on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
import typing as t

from . import _core, _gpu_loan
from ._errors import CoreError
from ._files import DiskFullError, FileLock, disk_errors, read_record, tail_lines, utc_now, write_json
from ._flow import get_runner, get_step, need, runner_of
from ._layout import Layout
from ._process import Identity, this_process
from ._run import CANCELLED, FAILED, RUNNING, SUCCEEDED, Job, Record, Run, RunStep, read_outcome
from ._store import Store, is_supervised, job_dirs

#: A job whose supervisors died this often in a row before they had so much as said who they are is given up.
MAX_VAIN_SPAWNS = 5


@dataclasses.dataclass
class _Slots:
    """What is at work.

    :param made: kind and fingerprint of what is being made.
    :param heavy: whether somebody has the machine for himself.
    """

    made: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    heavy: bool = False

    def take(self, kind: str, fingerprint: str, heavy: bool) -> None:
        self.made.add((kind, fingerprint))
        self.heavy = self.heavy or heavy

    def take_for(self, record: Record) -> None:
        """What is at work in a run; when that cannot be read, take it for heavy."""
        job = record.unfinished
        if job is not None:
            self.take(job.kind, job.fingerprint, job.heavy)
        else:
            self.heavy = True

    def free_for(self, kind: str, fingerprint: str, heavy: bool) -> bool:
        return (kind, fingerprint) not in self.made and not (heavy and self.heavy)


class Reconciler:
    """Keeps the queue under one data directory moving.

    :param idle: whether this process is a supervisor that has nothing to do any more. Then it may be given the next job
        itself, which spares the start of another one: :attr:`mine` is the directory of that job.
    """

    def __init__(self, layout: Layout, idle: bool = False) -> None:
        self.layout = layout
        self.store = Store(layout)
        self._idle = idle
        self.mine: str | None = None

    def reconcile(self) -> None:
        """Settle what has ended and start what is next.

        :raises DiskFullError: when something has to be written and cannot.
        """
        with disk_errors(self.layout.jobs):
            self.store.prepare()
            try:
                with self.store.lock():
                    self._reconcile()
            finally:
                self.layout.mend_owner()
                _gpu_loan.settle(self.layout)

    def _reconcile(self) -> None:
        self.store.sweep()
        slots = _Slots()
        idle: list[Record] = []
        problems: list[Exception] = []
        for record in self.store.active():
            try:
                if self._at_work(record, slots):
                    continue
            except (CoreError, OSError) as error:
                problems.append(error)
                slots.take_for(record)
            else:
                idle.append(record)
        for record in idle:
            try:
                self._go_on(record.id, slots)
            except (CoreError, OSError) as error:
                problems.append(error)
        if problems:
            raise problems[0]

    def _at_work(self, record: Record, slots: _Slots) -> bool:
        """Whether a job of the run is being made; then it has its supervisor."""
        if record.run is None or record.damage:
            if is_supervised(record):
                slots.take_for(record)
                return True
            return False
        job = record.unfinished
        if job is None or not self._attend(record.run, job):
            return False
        slots.take_for(record)
        if record.state["state"] != RUNNING:
            self.store.set_state(record.id, RUNNING)
        return True

    def _go_on(self, run_id: str, slots: _Slots) -> None:
        """Start the next job of a run, if there is room for it, or end the run."""
        record = self.store.record(run_id)
        if record is None:
            return
        if record.run is None or record.damage:
            self._set_aside(record)
            return
        run = record.run
        step = self._next_step(record, run)
        if step is None:
            return
        kind, fingerprint, heavy = step.spec.kind, step.spec.fingerprint, get_step(step.spec.kind).heavy
        if slots.free_for(kind, fingerprint, heavy):
            slots.take(kind, fingerprint, heavy)
            job = self.store.add_job(record, run, step.label, heavy, runner_of(run, step.spec))
            self.store.set_state(run.id, RUNNING)
            self._attend(run, job)

    # -- a run whose turn it may be ----------------------------------------------------------------------------

    def _next_step(self, record: Record, run: Run) -> RunStep | None:
        """The step whose turn it is; None when the run has ended, which is then written down."""
        if not record.at_work:
            self.store.retire(run.id)
            return None
        mine = [job for job in record.jobs if job.round == run.round]
        last = mine[-1].outcome if mine else None
        if last is not None and last["state"] == FAILED:
            error = last.get("error")
            return self._end(run, FAILED, {**(error if isinstance(error, dict) else {}), "step": mine[-1].label})
        if last is not None and last["state"] == CANCELLED:
            return self._end(run, CANCELLED)
        try:
            needed = need(self.layout, run)
            for label in needed:
                get_step(run.step(label).spec.kind)
        except CoreError as error:
            return self._end(run, CANCELLED if record.cancelling else FAILED, as_error(error))
        except Exception as error:  # whatever it is: the other runs have a right to go on
            return self._end(run, FAILED, as_error(error))
        if not needed:
            return self._end(run, SUCCEEDED)
        if record.cancelling:
            return self._end(run, CANCELLED)
        label = next(iter(needed))
        if any(job.label == label and (job.outcome or {}).get("state") == SUCCEEDED for job in mine):
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

    def _end(self, run: Run, state: str, error: dict[str, t.Any] | None = None) -> RunStep | None:
        self.store.set_state(run.id, state, error if state == FAILED else None)
        self.store.retire(run.id)
        return None

    def _set_aside(self, record: Record) -> None:
        """End a run whose record cannot be read, and of which nothing is supervised."""
        runners = {job.directory: job.runner for job in record.jobs}
        for directory in job_dirs(record.directory):
            _clear(directory, runners.get(directory, record.run.runner if record.run else "process"))
        self.store.set_state(record.id, FAILED, damage_error(record))
        self.store.retire(record.id)

    # -- a job and its supervisor ------------------------------------------------------------------------------

    def _attend(self, run: Run, job: Job) -> bool:
        """See to it that somebody supervises a job; False when it had to be given up."""
        if job.attended():
            return True
        record_path = os.path.join(job.directory, "spawns.json")
        earlier = read_record(record_path) or {}
        before = Identity.from_dict(earlier)
        said = Identity.from_dict(read_record(os.path.join(job.directory, "supervisor.json")))
        count = earlier.get("count")
        vain = 0 if (before is not None and before == said) or not isinstance(count, int) else count
        if vain >= MAX_VAIN_SPAWNS:
            tail = tail_lines(os.path.join(job.directory, "supervisor.log"), 15)
            return not self._give_up(
                job,
                {
                    "message": "The supervisor of this job does not start: "
                    + (tail[-1] if tail else "it says nothing."),
                    "hint": f"Look into {os.path.basename(job.directory)}/supervisor.log.",
                    "details": {"log_tail": tail},
                },
            )
        write_json(record_path, {"count": vain + 1})
        try:
            spawned = self._spawn(run, job)
        except DiskFullError:
            raise
        except CoreError as error:
            return not self._give_up(job, as_error(error))
        if spawned is not None:
            write_json(record_path, {"count": vain + 1, **spawned.as_dict()})
        return True

    def _spawn(self, run: Run, job: Job) -> Identity | None:
        # a job goes on with the code and the interpreter it was started with, unless they were taken away, or that
        # core is of a version whose supervisor is another module: then this core takes over
        usable = _core.is_installed(run.core_dir, _core.SUPERVISOR)
        core_dir = run.core_dir if usable else _core.install(self.layout)
        python = run.python if os.access(run.python, os.X_OK) else _core.this_python()
        if self._idle and self.mine is None and (core_dir, python) == (_core.running_from(), _core.this_python()):
            self.mine = job.directory
            return this_process()
        return _core.spawn(
            core_dir,
            python,
            _core.SUPERVISOR,
            job.directory,
            os.path.join(job.directory, "supervisor.log"),
            f"ia-homelab-{run.id}-{job.name}-{time.time_ns()}",
        )

    def _give_up(self, job: Job, error: dict[str, t.Any]) -> bool:
        """End a job that nobody can supervise; False when somebody does after all."""
        lock = FileLock(os.path.join(job.directory, "supervisor.lock"), timeout=0)
        if not lock.acquire():
            return False
        try:
            if read_outcome(job.directory) is None:
                _clear(job.directory, job.runner)
                path = os.path.join(job.directory, "outcome.json")
                write_json(path, {"state": FAILED, "error": error, "finished_at": utc_now()})
        finally:
            lock.release()
        return True


def _clear(job_dir: str, runner: str) -> None:
    try:
        get_runner(runner).clear(job_dir)
    except CoreError:
        pass  # what cannot be ended is found by its mark when the step is tried again


def as_error(error: Exception) -> dict[str, t.Any]:
    """An exception as the store keeps it."""
    if isinstance(error, CoreError):
        details = json.loads(json.dumps(error.details, default=str))
        return {"message": error.message, "hint": error.hint, "details": details}
    return {"message": f"{type(error).__name__}: {error}", "hint": "A defect of the collection: please report it."}


def damage_error(record: Record) -> dict[str, t.Any]:
    """What is told of a run whose record cannot be read."""
    return {
        "message": f"The record of this run is damaged: {record.damage}",
        "hint": "It was changed from outside. Apply again: what was finished is kept, and the record is written anew.",
        "details": {"directory": record.directory},
    }
