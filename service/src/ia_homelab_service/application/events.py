# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to runs, as numbered events that outlive this service.

The core keeps no history of its own: what has become of a run stands in its record, its jobs and the training's log.
From these a journal is written for each run, ``service/events/RUN.jsonl``, to which is only ever added. Each event
has a key that tells what in the store it stands for (``start:train-1``, ``log:<bytes read>``), so that whoever goes on
after a kill adds exactly what is missing: none is lost, none comes twice, and ids count from 1 without a gap.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import typing as t
from collections import OrderedDict

from ia_homelab_core import _trainer_log
from ia_homelab_core._engine import Engine
from ia_homelab_core._files import FileLock, make_dirs, read_record, utc_now
from ia_homelab_core._progress import Progress
from ia_homelab_core._run import CANCELLED, ENDED, FAILED, SUCCEEDED, Job, Record

from ..settings import Settings
from .jobs import Jobs, to_point
from .schemas import Event

#: Runs whose events are kept in memory.
_CACHE_SIZE = 200
#: Most of a training's log that is read at a time.
_BLOCK = 1024 * 1024


class Journal:
    """The events of runs. Methods may be called from any thread."""

    def __init__(self, settings: Settings, engine: Engine, jobs: Jobs) -> None:
        self.settings = settings
        self.engine = engine
        self.jobs = jobs
        #: Told the id of a run that got events, from whatever thread wrote them down.
        self.listener: t.Callable[[str], None] | None = None
        self._lock = threading.Lock()
        self._states: OrderedDict[str, _JournalState] = OrderedDict()

    def path(self, job_id: str) -> str:
        """The journal of a run."""
        return self.settings.path("events", f"{job_id}.jsonl")

    def exists(self, job_id: str) -> bool:
        """Whether anything of a run was ever written down."""
        return os.path.exists(self.path(job_id))

    def read(self, job_id: str, after: int = 0, limit: int = 10_000) -> list[Event]:
        """Events with an id greater than ``after``, in order.

        :raises NotFoundError: when there is no such run.
        """
        journal = self._load(job_id)
        if not journal.events:
            self.sync(job_id)
            journal = self._load(job_id)
        return journal.events[max(after, 0) : max(after, 0) + limit]

    def sync(self, job_id: str) -> list[Event]:
        """Write down what has happened since the last time; returns what is new.

        :raises NotFoundError: when there is no such run.
        """
        run = self.jobs.run(job_id)
        stamp = self.jobs.revision(job_id)  # before it is read: what changes meanwhile is looked at again
        record = self.engine.store.record(job_id)
        if record is None:
            # asked for when all of it was there: its id was handed out, and nothing will ever happen to it
            record = Record(job_id, "", run, {"state": SUCCEEDED, "finished_at": utc_now()}, (), False, False)
        make_dirs(self.settings.path("events"))
        with self._lock, FileLock(self.settings.path("events", ".lock")):
            journal = self._load_locked(job_id)
            new_events = list(self._missing_events(record, journal))
            if new_events:
                self._append(job_id, journal, new_events)
            journal.stamp = stamp
        if new_events and self.listener is not None:
            self.listener(job_id)
        return [event for _key, event in new_events]

    def ended(self, job_id: str) -> bool:
        """Whether the last event tells an end: nothing follows unless the run is asked for again."""
        journal = self._load(job_id)
        return bool(journal.events) and journal.events[-1].data.get("ended") is True

    def is_current(self, job_id: str) -> bool:
        """Whether nothing is missing: the last event tells an end, and the run was not asked for again since."""
        journal = self._load(job_id)
        return self.ended(job_id) and journal.stamp is not None and journal.stamp == self.jobs.revision(job_id)

    # -- memory ----------------------------------------------------------------------------------------------------

    def _load(self, job_id: str) -> _JournalState:
        with self._lock:
            return self._load_locked(job_id)

    def _load_locked(self, job_id: str) -> _JournalState:
        found = self._states.get(job_id)
        if found is None:
            found = self._states[job_id] = _read_file(self.path(job_id))
        self._states.move_to_end(job_id)
        while len(self._states) > _CACHE_SIZE:
            self._states.popitem(last=False)
        return found

    def _append(self, job_id: str, journal: _JournalState, new_events: list[tuple[str, Event]]) -> None:
        path = self.path(job_id)
        text = "".join(
            json.dumps({"key": key, **event.model_dump()}, ensure_ascii=False, separators=(",", ":")) + "\n"
            for key, event in new_events
        ).encode("utf-8")
        with open(path, "ab") as stream:
            # what a kill left half written is no event
            stream.truncate(journal.size)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        journal.add(new_events, len(text))

    # -- what is missing -------------------------------------------------------------------------------------------

    def _missing_events(self, record: Record, journal: _JournalState) -> t.Iterator[tuple[str, Event]]:
        number = len(journal.events)
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
                        "message": self.jobs.redactor.text(message),
                        "data": self.jobs.redactor.value(data),
                    }
                ),
            )

    def _all_events(self, record: Record, journal: _JournalState) -> t.Iterator[_RawEvent]:
        """Everything that the store tells now, in the order it happened; what is known may be left out."""
        run = record.run
        attempts: dict[int, list[Job]] = {}
        for job in record.jobs:
            attempts.setdefault(job.round, []).append(job)
        current = run.round if run else max(attempts, default=1)
        attempts.setdefault(current, [])
        for number in sorted(attempts):
            if number == current:
                at, supervisor = (run.submitted_at, run.submitted_by) if run else ("", "")
                words = "Queued" if number <= 1 else "Asked for again"
                yield (
                    f"queued:{number}",
                    at,
                    "status",
                    "info",
                    f"{words}.",
                    {"status": "queued", "submitted_by": supervisor},
                )
            for job in attempts[number]:
                yield from self._attempt_events(record, job, journal)
            if number == current and record.cancelling and record.at_work:
                yield f"cancel:{number}", "", "status", "info", "Asked to stop.", {"status": "cancelling"}
        if record.state["state"] in ENDED:
            yield _end_event(record, current)

    def _attempt_events(self, record: Record, job: Job, journal: _JournalState) -> t.Iterator[_RawEvent]:
        job_record = read_record(os.path.join(job.directory, "job.json")) or {}
        supervisor = read_record(os.path.join(job.directory, "supervisor.json"))
        about = {"step": job.label, "attempt": job.name}
        if supervisor is not None or job.outcome is not None:
            at = str((supervisor or {}).get("at") or job_record.get("created_at") or "")
            yield f"start:{job.name}", at, "step", "info", f"{job.label} started.", {**about, "state": "running"}
        if job.kind == "train" and record.run is not None and f"end:{job.name}" not in journal.keys:
            last = record.jobs[-1] is job
            yield from self._log_events(record, job, journal, last)
        if job.outcome is not None:
            state, error = str(job.outcome["state"]), job.outcome.get("error")
            words = {FAILED: "failed", CANCELLED: "was stopped"}.get(state, "is done")
            told = str(error.get("message", "")) if state == FAILED and isinstance(error, dict) else ""
            level = "error" if state == FAILED else "info"
            at = str(job.outcome.get("finished_at") or "")
            message = f"{job.label} {words}: {told}" if told else f"{job.label} {words}."
            yield f"end:{job.name}", at, "step", level, message, {**about, "state": state}

    def _log_events(self, record: Record, job: Job, journal: _JournalState, last: bool) -> t.Iterator[_RawEvent]:
        """The lines of the training's log that were not read yet. The log is only added to, whoever trains."""
        if not last or record.run is None:
            return
        path = os.path.join(self.jobs.train_directory(record.run), _trainer_log.NAME)
        offset = journal.offset
        while True:
            try:
                with open(path, "rb") as stream:
                    stream.seek(offset)
                    block = stream.read(_BLOCK)
            except (FileNotFoundError, NotADirectoryError):
                return
            whole, newline, _torn = block.rpartition(b"\n")
            if not newline:
                return
            for line in whole.split(b"\n"):
                offset += len(line) + 1
                entry = _trainer_log.parse_line(line.decode("utf-8", "replace"))
                if entry is not None:
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
        words = Progress(
            current=point.step,
            total=total if isinstance(total, (int, float)) else 0,
            loss=point.loss,
            eval_loss=point.eval_loss,
        ).words()
        return f"log:{offset}", "", "metrics", "info", words, {key: one for key, one in data.items() if one is not None}


#: key, time, type, level, message, data
_RawEvent = tuple[str, str, str, str, str, dict[str, t.Any]]


def _end_event(record: Record, number: int) -> _RawEvent:
    state = str(record.state["state"])
    error = record.state.get("error")
    message = {"succeeded": "Succeeded.", "cancelled": "Cancelled."}.get(state, "Failed.")
    if isinstance(error, dict) and error.get("message"):
        message = f"Failed: {error['message']}"
    data = {"status": state, "ended": True}
    if isinstance(error, dict):
        data["error"] = {key: error.get(key, "") for key in ("message", "hint", "step")}
    level = "error" if state == FAILED else "info"
    at = str(record.state.get("finished_at") or "")
    # a run may end again without having been asked for again: its record was damaged
    return f"ended:{number}:{at if record.directory else ''}", at, "status", level, message, data


class _JournalState:
    """What stands in a journal."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.keys: set[str] = set()
        self.size = 0
        self.offset = 0
        #: Of the run's record when it was last looked at; None when it was not, since this service began.
        self.stamp: tuple[t.Any, ...] | None = None

    def add(self, new_events: t.Iterable[tuple[str, Event]], size: int) -> None:
        for key, event in new_events:
            self.events.append(event)
            # the place in a log goes only forward: one number tells all of its lines
            if event.type == "metrics":
                self.offset = max(self.offset, int(event.data.get("offset", 0)))
            else:
                self.keys.add(key)
        self.size += size


def _read_file(path: str) -> _JournalState:
    journal = _JournalState()
    with contextlib.suppress(FileNotFoundError):
        with open(path, "rb") as stream:
            for line in stream:
                try:
                    if not line.endswith(b"\n"):
                        raise ValueError("torn")
                    raw = json.loads(line)
                    key = str(raw.pop("key"))
                    event = Event.model_validate(raw)
                except (ValueError, KeyError):
                    break  # a kill left it so: it is written again
                journal.add([(key, event)], len(line))
    return journal
