# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs as the service presents them: the core's status together with the declaration and the results."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import threading
import time
import typing as t

from ia_homelab_core.artifacts.integrity import receipt_results
from ia_homelab_core.artifacts.layout import TRAINER_LOG_FILE, Layout
from ia_homelab_core.engine.engine import Engine
from ia_homelab_core.engine.ollama_password import without_password
from ia_homelab_core.engine.results import place_of
from ia_homelab_core.errors import InputError, StoreError
from ia_homelab_core.evaluations.store import KIND
from ia_homelab_core.runs.progress import Progress as CoreProgress
from ia_homelab_core.runs.run import Run
from ia_homelab_core.runs.statements import place_of_result, state_of
from ia_homelab_core.runs.states import RunState, StepState
from ia_homelab_core.runs.status import RunView
from ia_homelab_core.runs.store import is_run_id
from ia_homelab_core.system.files import discard, make_dirs, read_record, write_json
from ia_homelab_core.training import checkpoints as training_checkpoints
from ia_homelab_core.training import trainer_log

from ..settings import Settings
from .errors import NotFoundError
from .evaluations import lines_of
from .redaction import Redactor
from .schemas import Checkpoint, Job, MessageBody, Point, Problem, Progress, Status, Step

#: Seconds for which a cached job is valid: while the run is active, and after it has ended with its record unchanged.
_ACTIVE_TTL, _DONE_TTL = 0.25, 30.0
#: Number of cached jobs.
_CACHE_SIZE = 1000
#: Options of a training that a job has in fields of their own.
_SEPARATE_FIELDS = ("method", "template", "tool_format", "thinking", "quantizations", "stage")


def goal_of(run: Run) -> t.Literal["train", "model", "other"]:
    """Return what a run is meant to produce."""
    kinds = {run.step(label).spec.kind for label in run.goals}
    if kinds == {"train"}:
        return "train"
    return "model" if "register" in kinds else "other"


def step_spec(run: Run | None, kind: str) -> t.Any:
    """Return the spec of a run's step of that kind; None if it has none."""
    return next((step.spec for step in run.steps if step.spec.kind == kind), None) if run else None


def to_job(
    layout: Layout, view: RunView, run: Run | None, redactor: Redactor, paused: bool = False, root_path: str = ""
) -> Job:
    """Convert a run and its status to a job."""
    base_step, train_step = step_spec(run, "base"), step_spec(run, "train")
    resolved = dict((train_step.options.get("resolved") or {}) if train_step else {})
    declared = run.declaration if run else {}
    digest = str(train_step.upstream.get("dataset", "")) if train_step else ""
    dataset_results = receipt_results(layout, "dataset", digest) if digest else {}
    results = {
        step.label: receipt_results(layout, step.kind, step.fingerprint)
        for step in view.steps
        if step.state is StepState.WHOLE
    }
    results = {label: values for label, values in results.items() if values}
    model = version = ""
    if run and goal_of(run) == "model" and view.state is RunState.SUCCEEDED:
        registrations = [
            results[step.label] for step in view.steps if step.label in results and results[step.label].get("tag")
        ]
        names = [name for one in registrations for name in one.get("aliases") or ()] + [
            one["tag"] for one in registrations
        ]
        model = str(names[0]) if names else ""
        version = str(registrations[0]["tag"]) if registrations else ""
    path = place_of({step.kind: step.path for step in view.steps if step.state is StepState.WHOLE})
    has_place = path and not version and view.state is RunState.SUCCEEDED
    status: Status = "paused" if paused and view.state is RunState.CANCELLED else _status(view)
    return Job(
        job_id=view.id,
        name=view.name,
        goal=goal_of(run) if run else "other",
        status=status,
        state=MessageBody(**state_of(status, view.position, view.cancelling).as_dict()),
        cancelling=view.cancelling,
        position=view.position,
        waiting_for=view.waiting_for,
        waiting_for_message=MessageBody(**view.waiting_for_message) if view.waiting_for_message else None,
        current_step=view.current,
        progress=to_progress(view.progress) if view.progress else None,
        steps=[
            Step(
                label=one.label,
                kind=one.kind,
                fingerprint=one.fingerprint,
                state=one.state.value,
                reason=one.reason,
                causes=[MessageBody(**one.cause)] if one.cause else [],
            )
            for one in view.steps
        ],
        error=to_problem(redactor.value(view.error)) if view.error else None,
        submitted_at=view.submitted_at,
        submitted_by=view.submitted_by,
        started_at=view.job_started_at,
        finished_at=view.finished_at,
        base_model=str(declared.get("base_model") or (base_step.options.get("description", "") if base_step else "")),
        base=str(base_step.options.get("description") or "") if base_step else "",
        template=str(resolved.get("template") or ""),
        dataset=str(declared.get("dataset") or dataset_results.get("name") or ""),
        dataset_digest=digest,
        dataset_rows=dataset_results.get("rows"),
        stage=str((resolved.get("stage") or "sft") if train_step else ""),
        method=str(resolved.get("method") or ""),
        method_reason=str((train_step.options.get("method_reason") or "") if train_step else ""),
        method_cause=(train_step.options.get("method_cause") or None) if train_step else None,
        tool_format=str(resolved.get("tool_format") or ""),
        tool_format_cause=(train_step.options.get("tool_format_cause") or None) if train_step else None,
        thinking=str(resolved.get("thinking") or ""),
        thinking_cause=(train_step.options.get("thinking_cause") or None) if train_step else None,
        hyperparameters={key: value for key, value in resolved.items() if key not in _SEPARATE_FIELDS},
        results=results,
        findings=[MessageBody(**finding) for finding in view.findings],
        evaluations={
            tag: MessageBody(**line.as_dict())
            for one in view.steps
            if one.kind == KIND and one.state is StepState.WHOLE
            for tag, line in lines_of(layout, one.fingerprint).items()
        },
        model=model,
        version=version,
        place=MessageBody(**place_of_result(view.name, path).as_dict()) if has_place else None,
        trained_by=str(declared.get("trained_by") or ""),
        links={
            "self": f"{root_path}/api/status/{view.id}",
            "events": f"{root_path}/api/jobs/{view.id}/events",
            "log": f"{root_path}/api/jobs/{view.id}/log",
        },
    )


def _status(view: RunView) -> Status:
    # absent: not submitted yet; with a position in the queue: its next step waits for another run
    return "queued" if view.state is RunState.ABSENT or view.position else t.cast(Status, view.state.value)


def to_progress(plain: t.Mapping[str, t.Any]) -> Progress:
    """Convert the core's progress, and add the percentage."""
    return Progress(**plain, percent=CoreProgress.from_dict(plain).percent)


def to_problem(error: t.Mapping[str, t.Any]) -> Problem:
    """Convert an error from the job store."""
    details = error.get("details")
    return Problem(
        message=str(error.get("message", "")),
        hint=str(error.get("hint") or ""),
        code=str(error.get("code") or ""),
        parameters=dict(error.get("parameters") or {}),
        step=str(error.get("step") or ""),
        details=dict(details) if isinstance(details, dict) else {},
    )


class _CacheEntry(t.NamedTuple):
    """A job that is cached for a while."""

    until: float
    revision: tuple[t.Any, ...] | None
    job: Job
    json: bytes


class Jobs:
    """Runs as jobs, cached for a moment so that concurrent clients share one read of the store."""

    def __init__(self, settings: Settings, engine: Engine, redactor: Redactor) -> None:
        self.settings = settings
        self.engine = engine
        self.redactor = redactor
        self._lock = threading.Lock()
        self._cache: dict[str, _CacheEntry] = {}

    # -- runs -------------------------------------------------------------------------------------------------------

    def run(self, job_id: str) -> Run:
        """Return a run from the store, or from the remembered requests that had nothing to do.

        :raises NotFoundError: when there is none.
        """
        run = self._find_run(job_id)
        if run is None:
            raise self._not_found_error(job_id)
        return run

    def _find_run(self, job_id: str) -> Run | None:
        try:
            record = self.engine.store.record(job_id)
        except InputError as error:
            raise NotFoundError("service.job_id_invalid", job=job_id) from error
        if record is not None and record.run is not None:
            return record.run
        request = read_record(self._request_path(job_id))
        try:
            return Run.from_dict(request) if request else None
        except StoreError:
            return None

    def _request_path(self, job_id: str) -> str:
        return self.settings.path("requests", f"{job_id}.json")

    def remember_request(self, run: Run) -> None:
        """Store a submitted run that had nothing to do: clients know its id, but it has no record."""
        if self.engine.store.record(run.id) is None and not os.path.exists(self._request_path(run.id)):
            make_dirs(self.settings.path("requests"))
            stored = dataclasses.replace(run, toolchain=without_password(self.engine.layout, run.toolchain))
            write_json(self._request_path(run.id), stored.as_dict())

    def _not_found_error(self, job_id: str) -> NotFoundError:
        try:
            self.engine.observe(job_id)
        except InputError as error:
            return NotFoundError("service.job_unknown_suggested", job=job_id, problem=error.content)
        return NotFoundError("service.job_unknown", job=job_id)

    # -- pauses ----------------------------------------------------------------------------------------------------

    def _pause_path(self, job_id: str) -> str:
        return self.settings.path("paused", job_id)

    def set_paused(self, job_id: str) -> None:
        """Mark a run as paused rather than cancelled."""
        make_dirs(self.settings.path("paused"))
        write_json(self._pause_path(job_id), {})

    def clear_paused(self, job_id: str) -> None:
        """Remove that mark."""
        discard(self._pause_path(job_id))

    def forget(self, job_id: str) -> None:
        """Remove what the service has stored beside the record of a run."""
        for path in (self._pause_path(job_id), self._request_path(job_id)):
            discard(path)
        self.invalidate(job_id)

    # -- jobs ------------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """Return a job in its current state, at most a moment old.

        :raises NotFoundError: when there is none.
        """
        entry = self._cached(job_id)
        if entry is not None:
            return entry.job
        revision, now = self.revision(job_id), time.monotonic()
        job = self._observe(job_id)
        lifetime = _DONE_TTL if job.ended and revision is not None and revision[0] == "done" else _ACTIVE_TTL
        with self._lock:
            self._cache[job_id] = _CacheEntry(now + lifetime, revision, job, job.model_dump_json().encode("utf-8"))
            while len(self._cache) > _CACHE_SIZE:
                self._cache.pop(next(iter(self._cache)))
        return job

    def cached_json(self, job_id: str) -> bytes | None:
        """Return the cached job as JSON, or None; never blocks."""
        entry = self._cached(job_id)
        return entry.json if entry is not None else None

    def _cached(self, job_id: str) -> _CacheEntry | None:
        with self._lock:
            entry = self._cache.get(job_id)
        if entry is None or time.monotonic() >= entry.until or entry.revision != self.revision(job_id):
            return None
        return entry

    def invalidate(self, job_id: str) -> None:
        """Drop a job from the cache."""
        with self._lock:
            self._cache.pop(job_id, None)

    def revision(self, job_id: str) -> tuple[t.Any, ...] | None:
        """Return a value that changes with the record of a run; None if it has no record."""
        if not is_run_id(job_id):
            return None
        paused = os.path.exists(self._pause_path(job_id))
        for section in ("active", "done"):
            folder = os.path.join(self.engine.layout.jobs, section, job_id)
            try:
                return (section, paused, os.stat(folder).st_mtime_ns, _mtime(os.path.join(folder, "state.json")))
            except OSError:
                continue
        return None

    def _observe(self, job_id: str) -> Job:
        run = self.run(job_id)
        try:
            view = self.engine.observe(job_id)
        except InputError:
            view = self.engine.preview(run)
        return self.describe(view, run)

    def describe(self, view: RunView, run: Run | None) -> Job:
        """Convert a run and its status to a job, with its redacted error and pause."""
        paused = os.path.exists(self._pause_path(view.id))
        return to_job(self.engine.layout, view, run, self.redactor, paused, self.settings.root_path)

    def all(self, limit: int, matches: t.Callable[[Job], bool] | None = None) -> list[Job]:
        """Return active runs in the order of the queue, then the latest finished ones.

        :param limit: the largest number of finished ones.
        :param matches: which runs are returned; by default all of them.
        """
        queue = [record.id for record in self.engine.store.active()]
        wanted = limit if matches is None else sys.maxsize
        ended = self.engine.store.done_ids(wanted)
        # requests that had nothing to do have no record, but their clients look for them in the list
        known = {*queue, *ended}
        requests = [one for one in self._request_ids() if one not in known and self.engine.store.record(one) is None]
        if requests:
            ended = sorted([*ended, *requests], key=self._ended_at, reverse=True)
        done = [one for one in ended if one not in queue]
        finished = itertools.islice(self._matching(done, matches), limit)
        return [*self._matching(queue, matches), *finished]

    def _request_ids(self) -> list[str]:
        """Return the ids of the remembered requests."""
        try:
            names = os.listdir(self.settings.path("requests"))
        except FileNotFoundError:
            return []
        return [name[: -len(".json")] for name in names if name.endswith(".json") and is_run_id(name[: -len(".json")])]

    def _ended_at(self, job_id: str) -> int:
        """Return when a run ended, or when a request that had nothing to do was made, in nanoseconds."""
        return _mtime(os.path.join(self.engine.layout.jobs, "done", job_id, "state.json")) or _mtime(
            self._request_path(job_id)
        )

    def _matching(self, job_ids: t.Iterable[str], matches: t.Callable[[Job], bool] | None) -> t.Iterator[Job]:
        for job_id in job_ids:
            try:
                job = self.get(job_id)
            except InputError:
                continue  # its record is damaged, or was removed in the meantime
            if matches is None or matches(job):
                yield job

    # -- output of a training --------------------------------------------------------------------------------------

    def train_directory(self, run: Run) -> str:
        """Return the directory of a run's training output; empty if the run trains nothing."""
        spec = step_spec(run, "train")
        if spec is None:
            return ""
        done = self.engine.layout.artifact("train", spec.fingerprint)
        return done if os.path.isdir(done) else self.engine.layout.work("train", spec.fingerprint)

    def curve(self, job_id: str, limit: int = 2000) -> list[Point]:
        """Return the lines of a training's log; for repeated steps the later one.

        :param limit: the largest number of points: of more lines every n-th is returned.
        """
        lines = self._losses(self.train_directory(self.run(job_id)))
        steps = sorted(lines)
        stride = -(-len(steps) // limit)
        return [Point(**lines[step]._asdict()) for step in steps[:: stride or 1]]

    @staticmethod
    def _losses(folder: str) -> dict[float, _Line]:
        """Return the lines of a training's log that have a loss, by step.

        :param folder: output of the training; empty if there is none.
        """
        lines: dict[float, _Line] = {}
        for entry in trainer_log.read_all(os.path.join(folder, TRAINER_LOG_FILE)) if folder else ():
            line = _to_line(entry)
            if line.loss is None and line.eval_loss is None:
                continue
            before = lines.get(line.step)
            if before is not None and line.loss is None:  # the validation line of the same step
                line = before._replace(eval_loss=line.eval_loss)
            lines[line.step] = line
        return lines

    def checkpoints(self, job_id: str) -> list[Checkpoint]:
        """Return the checkpoints that a training can resume from, the last first."""
        folder = self.train_directory(self.run(job_id))
        losses = self._losses(folder)
        checkpoints = []
        for step, name in training_checkpoints.checkpoints(folder) if folder else ():
            path = os.path.join(folder, name)
            if not training_checkpoints.defect(path, step):
                point = losses.get(step)
                checkpoints.append(
                    Checkpoint(
                        step=step,
                        created_at=os.stat(path).st_mtime,
                        loss=point.loss if point else None,
                        eval_loss=point.eval_loss if point else None,
                    )
                )
        return checkpoints


class _Line(t.NamedTuple):
    """A line of a training's log, with the fields of a :class:`Point`. Much smaller: a curve may have many of them."""

    step: float
    loss: float | None
    eval_loss: float | None
    learning_rate: float | None
    epoch: float | None
    seconds: float | None


def _to_line(entry: t.Mapping[str, t.Any]) -> _Line:
    def number(key: str) -> float | None:
        value = entry.get(key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    return _Line(
        step=float(entry["current_steps"]),
        loss=number("loss"),
        eval_loss=number("eval_loss"),
        learning_rate=number("lr"),
        epoch=number("epoch"),
        seconds=trainer_log.parse_duration(entry.get("elapsed_time")),
    )


def to_point(entry: t.Mapping[str, t.Any]) -> Point:
    """Convert a line of a training's log."""
    return Point(**_to_line(entry)._asdict())


def _mtime(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
