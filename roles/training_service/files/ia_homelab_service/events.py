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

from ia_homelab_core.engine.engine import Engine
from ia_homelab_core.runs.progress import Progress
from ia_homelab_core.runs.run import CANCELLED, ENDED, FAILED, SUCCEEDED, Job, Record
from ia_homelab_core.system.clock import utc_now
from ia_homelab_core.system.files import make_dirs, read_record
from ia_homelab_core.system.locks import FileLock
from ia_homelab_core.training import trainer_log

from .jobs import Jobs, to_point
from .settings import Settings
from .shapes import Event

#: Runs whose events are kept in memory.
_KEPT = 200
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
        self._known: OrderedDict[str, _Known] = OrderedDict()

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
        known = self._load(job_id)
        if not known.events:
            self.sync(job_id)
            known = self._load(job_id)
        return known.events[max(after, 0) : max(after, 0) + limit]

    def sync(self, job_id: str) -> list[Event]:
        """Write down what has happened since the last time; returns what is new.

        :raises NotFoundError: when there is no such run.
        """
        run = self.jobs.run(job_id)
        stamp = self.jobs.stamp(job_id)  # before it is read: what changes meanwhile is looked at again
        record = self.engine.store.record(job_id)
        if record is None:
            # asked for when all of it was there: its id was handed out, and nothing will ever happen to it
            record = Record(job_id, "", run, {"state": SUCCEEDED, "finished_at": utc_now()}, (), False, False)
        make_dirs(self.settings.path("events"))
        with self._lock, FileLock(self.settings.path("events", ".lock")):
            known = self._load_locked(job_id)
            fresh = list(self._missing(record, known))
            if fresh:
                self._append(job_id, known, fresh)
            known.stamp = stamp
        if fresh and self.listener is not None:
            self.listener(job_id)
        return [event for _key, event in fresh]

    def ended(self, job_id: str) -> bool:
        """Whether the last event tells an end: nothing follows unless the run is asked for again."""
        known = self._load(job_id)
        return bool(known.events) and known.events[-1].data.get("ended") is True

    def settled(self, job_id: str) -> bool:
        """Whether nothing is missing: the last event tells an end, and the run was not asked for again since."""
        known = self._load(job_id)
        return self.ended(job_id) and known.stamp is not None and known.stamp == self.jobs.stamp(job_id)

    # -- memory ----------------------------------------------------------------------------------------------------

    def _load(self, job_id: str) -> _Known:
        with self._lock:
            return self._load_locked(job_id)

    def _load_locked(self, job_id: str) -> _Known:
        found = self._known.get(job_id)
        if found is None:
            found = self._known[job_id] = _read(self.path(job_id))
        self._known.move_to_end(job_id)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return found

    def _append(self, job_id: str, known: _Known, fresh: list[tuple[str, Event]]) -> None:
        path = self.path(job_id)
        text = "".join(
            json.dumps({"key": key, **event.model_dump()}, ensure_ascii=False, separators=(",", ":")) + "\n"
            for key, event in fresh
        ).encode("utf-8")
        with open(path, "ab") as stream:
            # what a kill left half written is no event
            stream.truncate(known.size)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        known.add(fresh, len(text))

    # -- what is missing -------------------------------------------------------------------------------------------

    def _missing(self, record: Record, known: _Known) -> t.Iterator[tuple[str, Event]]:
        number = len(known.events)
        for key, at, kind, level, message, data in self._all(record, known):
            if key in known.keys:
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

    def _all(self, record: Record, known: _Known) -> t.Iterator[_Raw]:
        """Everything that the store tells now, in the order it happened; what is known may be left out."""
        run = record.run
        rounds: dict[int, list[Job]] = {}
        for job in record.jobs:
            rounds.setdefault(job.round, []).append(job)
        current = run.round if run else max(rounds, default=1)
        rounds.setdefault(current, [])
        for number in sorted(rounds):
            if number == current:
                at, who = (run.submitted_at, run.submitted_by) if run else ("", "")
                words = "Queued" if number <= 1 else "Asked for again"
                yield f"queued:{number}", at, "status", "info", f"{words}.", {"status": "queued", "submitted_by": who}
            for job in rounds[number]:
                yield from self._of_job(record, job, known)
            if number == current and record.cancelling and record.is_unfinished:
                yield f"cancel:{number}", "", "status", "info", "Asked to stop.", {"status": "cancelling"}
        if record.state["state"] in ENDED:
            yield _end(record, current)

    def _of_job(self, record: Record, job: Job, known: _Known) -> t.Iterator[_Raw]:
        made = read_record(os.path.join(job.directory, "job.json")) or {}
        who = read_record(os.path.join(job.directory, "supervisor.json"))
        about = {"step": job.label, "attempt": job.name}
        if who is not None or job.outcome is not None:
            at = str((who or {}).get("at") or made.get("created_at") or "")
            yield f"start:{job.name}", at, "step", "info", f"{job.label} started.", {**about, "state": "running"}
        if job.kind == "train" and record.run is not None and f"end:{job.name}" not in known.keys:
            last = record.jobs[-1] is job
            yield from self._log(record, job, known, last)
        if job.outcome is not None:
            state, error = str(job.outcome["state"]), job.outcome.get("error")
            words = {FAILED: "failed", CANCELLED: "was stopped"}.get(state, "is done")
            told = str(error.get("message", "")) if state == FAILED and isinstance(error, dict) else ""
            level = "error" if state == FAILED else "info"
            at = str(job.outcome.get("finished_at") or "")
            message = f"{job.label} {words}: {told}" if told else f"{job.label} {words}."
            yield f"end:{job.name}", at, "step", level, message, {**about, "state": state}

    def _log(self, record: Record, job: Job, known: _Known, last: bool) -> t.Iterator[_Raw]:
        """The lines of the training's log that were not read yet. The log is only added to, whoever trains."""
        if not last or record.run is None:
            return
        path = os.path.join(self.jobs.train_directory(record.run), trainer_log.NAME)
        offset = known.offset
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
                entry = trainer_log.parse_line(line.decode("utf-8", "replace"))
                if entry is not None:
                    yield self._metrics(job, entry, offset)

    def _metrics(self, job: Job, entry: dict[str, t.Any], offset: int) -> _Raw:
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
        ).describe()
        return f"log:{offset}", "", "metrics", "info", words, {key: one for key, one in data.items() if one is not None}


#: key, time, type, level, message, data
_Raw = tuple[str, str, str, str, str, dict[str, t.Any]]


def _end(record: Record, number: int) -> _Raw:
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


class _Known:
    """What stands in a journal."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.keys: set[str] = set()
        self.size = 0
        self.offset = 0
        #: Of the run's record when it was last looked at; None when it was not, since this service began.
        self.stamp: tuple[t.Any, ...] | None = None

    def add(self, fresh: t.Iterable[tuple[str, Event]], size: int) -> None:
        for key, event in fresh:
            self.events.append(event)
            # the place in a log goes only forward: one number tells all of its lines
            if event.type == "metrics":
                self.offset = max(self.offset, int(event.data.get("offset", 0)))
            else:
                self.keys.add(key)
        self.size += size


def _read(path: str) -> _Known:
    known = _Known()
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
                known.add([(key, event)], len(line))
    return known
