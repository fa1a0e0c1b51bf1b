# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of runs, numbered, in journals that outlive the service process.

The core keeps no history: the state of a run is in its record, its jobs and the training's log. From these the service
writes an append-only journal for each run, ``service/events/RUN.jsonl``. Each event has a key that identifies what it
was derived from (``start:train-1``, ``log:<bytes read>``). After a crash the next process therefore appends exactly the
missing events: none is lost or duplicated, and ids count from 1 without gaps.

In memory is only where each event begins in its file. Of a training with many log lines every n-th becomes an event;
the curve (:meth:`Jobs.curve`) has all of its losses.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import threading
import typing as t
from collections import OrderedDict

from ia_homelab_core.artifacts.layout import TRAINER_LOG_FILE
from ia_homelab_core.engine.engine import Engine
from ia_homelab_core.evaluations.store import KIND
from ia_homelab_core.json_text import parse_json
from ia_homelab_core.messages.message import Message, as_json
from ia_homelab_core.runs.names import JOB_FILE, SUPERVISOR_FILE
from ia_homelab_core.runs.progress import Progress
from ia_homelab_core.runs.run import Job, Record, Run
from ia_homelab_core.runs.states import ENDED, RunState, StepState
from ia_homelab_core.system.clock import utc_now
from ia_homelab_core.system.files import discard, make_dirs, read_record
from ia_homelab_core.system.locks import FileLock
from ia_homelab_core.training import trainer_log

from ..settings import Settings
from .evaluations import lines_of
from .jobs import Jobs, to_point
from .schemas import Event

#: Number of runs whose journals are indexed in memory.
_CACHE_SIZE = 200
#: Largest number of events from the log of one attempt at a training, except those with a validation loss.
_METRICS = 2000
#: Bytes of a training's log that are read at a time.
_BLOCK = 1024 * 1024


class Journal:
    """The event journals of all runs. Methods may be called from any thread."""

    def __init__(self, settings: Settings, engine: Engine, jobs: Jobs) -> None:
        self.settings = settings
        self.engine = engine
        self.jobs = jobs
        #: Called with the id of a run after new events were written, from the thread that wrote them.
        self.listener: t.Callable[[str], None] | None = None
        self._lock = threading.Lock()
        self._states: OrderedDict[str, _JournalState] = OrderedDict()

    def path(self, job_id: str) -> str:
        """Return the path of a run's journal."""
        return self.settings.path("events", f"{job_id}.jsonl")

    def exists(self, job_id: str) -> bool:
        """Whether a run has a journal."""
        return os.path.exists(self.path(job_id))

    def count(self, job_id: str) -> int:
        """Return the number of events of a run: the id of the last one."""
        return self._load(job_id).count

    def read(self, job_id: str, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return events with an id greater than ``after``, in order.

        :raises NotFoundError: when there is no such run.
        """
        if not self._load(job_id).count:
            self.sync(job_id)
        with self._lock:
            start, end = self._load_locked(job_id).span(max(after, 0), limit)
        if start == end:
            return []
        with open(self.path(job_id), "rb") as stream:
            stream.seek(start)
            return [_parse(line)[1] for line in stream.read(end - start).splitlines(keepends=True)]

    def sync(self, job_id: str) -> list[Event]:
        """Append the events that are missing, and return them.

        :raises NotFoundError: when there is no such run.
        """
        run = self.jobs.run(job_id)
        stamp = self.jobs.revision(job_id)  # taken before reading: later changes are read next time
        record = self.engine.store.record(job_id)
        if record is None:
            # submitted when all of its results existed: clients know its id, and it will never have a record
            record = Record(job_id, "", run, {"state": RunState.SUCCEEDED, "finished_at": utc_now()}, (), False, False)
        make_dirs(self.settings.path("events"))
        with self._lock, FileLock(self.settings.path("events", ".lock")):
            journal = self._load_locked(job_id)
            if journal.is_of_another(record):
                # dismissed in a terminal and submitted again: its rounds and attempts count from 1 again
                journal = self._remove_locked(job_id)
            new_events = list(self._missing_events(record, journal))
            if new_events:
                self._append(job_id, journal, new_events)
            journal.stamp = stamp
        if new_events and self.listener is not None:
            self.listener(job_id)
        return [event for _key, event in new_events]

    def forget(self, job_id: str) -> None:
        """Remove the journal of a run that was removed from the store."""
        make_dirs(self.settings.path("events"))
        with self._lock, FileLock(self.settings.path("events", ".lock")):
            self._remove_locked(job_id)

    def _remove_locked(self, job_id: str) -> _JournalState:
        discard(self.path(job_id))
        state = self._states[job_id] = _JournalState()
        return state

    def ended(self, job_id: str) -> bool:
        """Whether the last event reports the end of the run: no event follows unless it is submitted again."""
        return self._load(job_id).ended

    def is_current(self, job_id: str) -> bool:
        """Whether no event is missing: the last one reports the end, and the run's record is unchanged since."""
        journal = self._load(job_id)
        return self.ended(job_id) and journal.stamp is not None and journal.stamp == self.jobs.revision(job_id)

    # -- memory ----------------------------------------------------------------------------------------------------

    def _load(self, job_id: str) -> _JournalState:
        with self._lock:
            return self._load_locked(job_id)

    def _load_locked(self, job_id: str) -> _JournalState:
        state = self._states.get(job_id)
        if state is None:
            state = self._states[job_id] = _read_file(self.path(job_id))
        self._states.move_to_end(job_id)
        while len(self._states) > _CACHE_SIZE:
            self._states.popitem(last=False)
        return state

    def _append(self, job_id: str, journal: _JournalState, new_events: list[tuple[str, Event]]) -> None:
        path = self.path(job_id)
        lines = [
            json.dumps({"key": key, **event.model_dump()}, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
            + b"\n"
            for key, event in new_events
        ]
        with open(path, "ab") as stream:
            # removes a partial event that a crash left behind
            stream.truncate(journal.size)
            stream.write(b"".join(lines))
            stream.flush()
            os.fsync(stream.fileno())
        for (key, event), line in zip(new_events, lines, strict=True):
            journal.add(key, event, len(line))

    # -- missing events --------------------------------------------------------------------------------------------

    def _missing_events(self, record: Record, journal: _JournalState) -> t.Iterator[tuple[str, Event]]:
        number = journal.count
        for key, at, kind, level, message, data in self._all_events(record, journal):
            if key in journal.keys:
                continue
            number += 1
            yield (
                key,
                Event.model_validate(
                    {
                        "id": number,
                        "job_id": record.id,
                        "at": at or utc_now(),
                        "type": kind,
                        "level": level,
                        "message": self.jobs.redactor.text(message.text),
                        "code": message.code,
                        "parameters": self.jobs.redactor.value(as_json(message.parameters)),
                        "data": self.jobs.redactor.value(data),
                    }
                ),
            )

    def _all_events(self, record: Record, journal: _JournalState) -> t.Iterator[_RawEvent]:
        """Yield all events that the store implies, in order; those in the journal may be omitted."""
        run = record.run
        attempts: dict[int, list[Job]] = {}
        for job in record.jobs:
            attempts.setdefault(job.round, []).append(job)
        current = run.round if run else max(attempts, default=1)
        attempts.setdefault(current, [])
        for number in sorted(attempts):
            if number == current:
                at, supervisor = (run.submitted_at, run.submitted_by) if run else ("", "")
                yield (
                    f"queued:{number}",
                    at,
                    "status",
                    "info",
                    Message("service.event_queued" if number <= 1 else "service.event_queued_again"),
                    {"status": RunState.QUEUED.value, "submitted_by": supervisor},
                )
            for job in attempts[number]:
                yield from self._attempt_events(record, job, journal)
            if number == current and record.cancelling and record.is_unfinished:
                data = {"status": "cancelling"}
                yield f"cancel:{number}", "", "status", "info", Message("service.event_cancelling"), data
        if record.state["state"] in ENDED:
            yield _end_event(record, current)

    def _attempt_events(self, record: Record, job: Job, journal: _JournalState) -> t.Iterator[_RawEvent]:
        job_record = read_record(os.path.join(job.directory, JOB_FILE)) or {}
        supervisor = read_record(os.path.join(job.directory, SUPERVISOR_FILE))
        labels = {"step": job.label, "attempt": job.name}
        if supervisor is not None or job.outcome is not None:
            at = str((supervisor or {}).get("at") or job_record.get("created_at") or "")
            yield (
                f"start:{job.name}",
                at,
                "step",
                "info",
                Message("service.event_step_started", step=job.label),
                {**labels, "state": StepState.RUNNING.value},
            )
        if job.kind == "train" and record.run is not None and f"end:{job.name}" not in journal.keys:
            last = record.jobs[-1] is job
            yield from self._log_events(record, job, journal, last)
        if job.outcome is not None:
            state, error = RunState(job.outcome["state"]), job.outcome.get("error")
            level = "error" if state is RunState.FAILED else "info"
            at = str(job.outcome.get("finished_at") or "")
            if state is RunState.FAILED and isinstance(error, dict) and error.get("message"):
                message = Message(
                    "service.event_step_failed_because", step=job.label, problem=Message.from_stored(error)
                )
            else:
                message = Message(_STEP_EVENTS.get(state, "service.event_step_done"), step=job.label)
            yield f"end:{job.name}", at, "step", level, message, {**labels, "state": state.value}
            if job.kind == KIND and state is RunState.SUCCEEDED and record.run is not None:
                yield from self._evaluation_events(record.run, job, at)

    def _evaluation_events(self, run: Run, job: Job, at: str) -> t.Iterator[_RawEvent]:
        """Yield what an evaluation found of each version that it has asked."""
        fingerprint = next((step.spec.fingerprint for step in run.steps if step.label == job.label), "")
        for tag, line in lines_of(self.engine.layout, fingerprint).items():
            data = {"step": job.label, "attempt": job.name, "version": tag, "evaluation": fingerprint}
            message = Message("service.event_evaluated", version=tag, line=line)
            yield f"evaluation:{job.name}:{tag}", at, "step", "info", message, data

    def _log_events(self, record: Record, job: Job, journal: _JournalState, last: bool) -> t.Iterator[_RawEvent]:
        """Yield events for lines of the training's log that were not read yet. The log is append-only."""
        if not last or record.run is None:
            return
        path = os.path.join(self.jobs.train_directory(record.run), TRAINER_LOG_FILE)
        offset, previous = journal.offset, journal.step
        while True:
            try:
                with open(path, "rb") as stream:
                    stream.seek(offset)
                    block = stream.read(_BLOCK)
            except (FileNotFoundError, NotADirectoryError):
                return
            complete, newline, _partial = block.rpartition(b"\n")
            if not newline:
                return
            for line in complete.split(b"\n"):
                offset += len(line) + 1
                entry = trainer_log.parse_line(line.decode("utf-8", "replace"))
                if entry is not None and _is_event(entry, previous):
                    previous = float(entry["current_steps"])
                    yield self._metrics_event(job, entry, offset)

    def _metrics_event(self, job: Job, entry: dict[str, t.Any], offset: int) -> _RawEvent:
        point = to_point(entry)
        total = entry.get("total_steps")
        data = {"step": job.label, "attempt": job.name, "offset": offset, "total": total}
        data.update(
            current=point.step,
            loss=point.loss,
            eval_loss=point.eval_loss,
            learning_rate=point.learning_rate,
            epoch=point.epoch,
        )
        message = Progress(
            current=point.step,
            total=total if isinstance(total, (int, float)) else 0,
            loss=point.loss,
            eval_loss=point.eval_loss,
        ).as_message()
        return (
            f"log:{offset}",
            "",
            "metrics",
            "info",
            message,
            {key: one for key, one in data.items() if one is not None},
        )


#: key, time, type, level, message, data
_RawEvent = tuple[str, str, str, str, Message, dict[str, t.Any]]

#: Codes of events at the end of an attempt at a step, by its state; otherwise the step is done.
_STEP_EVENTS = {
    RunState.FAILED: "service.event_step_failed",
    RunState.CANCELLED: "service.event_step_stopped",
}
#: Codes of events at the end of a run, by its state; otherwise it has failed.
_END_EVENTS = {
    RunState.SUCCEEDED: "service.event_succeeded",
    RunState.CANCELLED: "service.event_cancelled",
}


def _end_event(record: Record, number: int) -> _RawEvent:
    state = RunState(record.state["state"])
    error = record.state.get("error")
    message = Message(_END_EVENTS.get(state, "service.event_failed"))
    if isinstance(error, dict) and error.get("message"):
        message = Message("service.event_failed_because", problem=Message.from_stored(error))
    data: dict[str, t.Any] = {"status": state.value, "ended": True}
    if isinstance(error, dict):
        data["error"] = {key: error.get(key, "") for key in ("message", "hint", "step")}
    level = "error" if state is RunState.FAILED else "info"
    at = str(record.state.get("finished_at") or "")
    # a run can end twice without being submitted again, if its record was damaged
    return f"ended:{number}:{at if record.directory else ''}", at, "status", level, message, data


def _is_event(entry: t.Mapping[str, t.Any], previous: float | None) -> bool:
    """Whether a line of a training's log becomes an event.

    :param previous: step of the last line that did; None if none did. It alone decides, so that a journal that is
        continued by another process has the same events.
    """
    step, total = float(entry["current_steps"]), entry.get("total_steps")
    last = max(float(total) if isinstance(total, (int, float)) else 0.0, step)
    stride = max(1.0, last / _METRICS)
    is_next = previous is None or step < previous or step // stride != previous // stride
    return is_next or step == last == total or entry.get("eval_loss") is not None


class _JournalState:
    """The index of a journal: where its events begin, and what is needed to continue it."""

    def __init__(self) -> None:
        self._starts = array.array("Q")
        self.keys: set[str] = set()
        #: When each round of the run was submitted, by the key of its event.
        self._submitted: dict[str, str] = {}
        self.size = 0
        #: Byte of the training's log after the last line that became an event, and the step of that line.
        self.offset = 0
        self.step: float | None = None
        #: Whether the last event reports the end of the run.
        self.ended = False
        #: Revision of the run's record at the last synchronization; None if there was none in this process.
        self.stamp: tuple[t.Any, ...] | None = None

    @property
    def count(self) -> int:
        return len(self._starts)

    def span(self, after: int, limit: int) -> tuple[int, int]:
        """Return the bytes of at most ``limit`` events behind the first ``after`` ones: their start and end."""
        ends = after + limit
        start = self._starts[after] if after < len(self._starts) else self.size
        return start, self._starts[ends] if ends < len(self._starts) else self.size

    def is_of_another(self, record: Record) -> bool:
        """Whether the events are those of an earlier run with the same id, which was removed from the store."""
        run = record.run
        if run is None or not run.submitted_at or "ended:1:" in self.keys:
            return False  # the last: a request that had nothing to do, which had no record
        return self._submitted.get(f"queued:{run.round}", run.submitted_at) not in ("", run.submitted_at)

    def add(self, key: str, event: Event, size: int) -> None:
        self._starts.append(self.size)
        self.size += size
        self.ended = event.data.get("ended") is True
        # the offset in the log only grows: one number covers all of its lines
        if event.type == "metrics":
            self.offset = max(self.offset, int(event.data.get("offset", 0)))
            self.step = float(event.data.get("current", 0.0))
        else:
            self.keys.add(key)
            if key.startswith("queued:"):
                self._submitted[key] = event.at


def _parse(line: bytes) -> tuple[str, Event]:
    """Return the key and the event of a line of a journal.

    :raises ValueError, KeyError: for a line that is incomplete.
    """
    if not line.endswith(b"\n"):
        raise ValueError("torn")
    raw = parse_json(line)
    return str(raw.pop("key")), Event.model_validate(raw)


def _read_file(path: str) -> _JournalState:
    journal = _JournalState()
    with contextlib.suppress(FileNotFoundError):
        with open(path, "rb") as stream:
            for line in stream:
                try:
                    key, event = _parse(line)
                except (ValueError, KeyError):
                    break  # a crash left it incomplete: it will be written again
                journal.add(key, event, len(line))
    return journal
