# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job store: runs, their jobs, and what became of them. The one file that knows its schema.

::

    jobs/schema.json                        {"schema": 1}
    jobs/lock                               taken by whoever changes the queue
    jobs/seq.json                           the last place in the queue that was given
    jobs/active/RUN/run.json                what shall be made (replaced only when it is asked for again)
    jobs/active/RUN/state.json              what has become of it
    jobs/active/RUN/cancel.json             somebody wants it stopped
    jobs/active/RUN/LABEL-N/job.json        one attempt at one step
    jobs/active/RUN/LABEL-N/spawns.json     who was started last to supervise it, and how often in vain
    jobs/active/RUN/LABEL-N/supervisor.json who supervises it
    jobs/active/RUN/LABEL-N/outcome.json    how it ended
    jobs/done/RUN/…                         the same, once nothing is left to do; nothing is written there

A newer core reads an older store; an older core refuses to write a newer one. Of all these only ``run.json`` and
``job.json`` cannot be done without: what else is damaged is taken for missing, and found out again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import typing as t

from ._errors import InputError, StoreError
from ._files import (
    NEW,
    DiskFullError,
    FileLock,
    aside,
    discard,
    fsync_dir,
    make_temporary_dir,
    read_json,
    read_record,
    remove_tree,
    sweep,
    utc_now,
    write_json,
)
from ._layout import SCHEMA, Layout
from ._run import ENDED, FAILED, QUEUED, RUNNING, Job, Record, Run, read_outcome, supervisors

#: How often a run is read that seems damaged: it may only have been moved meanwhile.
_ATTEMPTS = 5

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\Z")


class Store:
    """The runs and jobs under one data directory."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def prepare(self) -> None:
        """Make the store, or check that this core may write it.

        :raises StoreError: when a newer core has written it.
        """
        number = self.layout.check_schema()
        self.layout.create()
        if number is None:
            write_json(self.layout.schema_file, {"schema": SCHEMA})

    def lock(self) -> FileLock:
        """The one lock of the queue. Held for moments, never while something long goes on."""
        return FileLock(os.path.join(self.layout.jobs, "lock"))

    # -- looking -----------------------------------------------------------------------------------------------

    def _folder(self, section: str) -> str:
        return os.path.join(self.layout.jobs, section)

    def _find(self, run_id: str) -> str | None:
        if not _RUN_ID.match(run_id):
            raise InputError(f"{run_id!r} is not the id of a run.")
        for section in ("active", "done", "active"):  # it may move while we look
            path = os.path.join(self._folder(section), run_id)
            if os.path.isdir(path):
                return path
        return None

    def record(self, run_id: str) -> Record | None:
        """A run by its id; None when it was never asked for.

        :raises InputError: when that is no id.
        """
        found = None
        for _attempt in range(_ATTEMPTS):
            path = self._find(run_id)
            if path is None:
                return None
            try:
                found = self._read(run_id, path)
            except FileNotFoundError:
                continue  # it moved just now
            if not found.damage:
                break
        return found

    def _read(self, run_id: str, path: str) -> Record:
        # through the open directory, which stays the same wherever it is moved meanwhile
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            base = f"/proc/self/fd/{handle}"
            run, damage = None, ""
            try:
                raw = read_json(os.path.join(base, "run.json"))
                if raw is None:
                    raise StoreError("It is missing.")
                run = Run.from_dict(raw)
                if run.id != run_id:
                    raise StoreError(f"It belongs to the run {run.id}.")
            except (StoreError, IsADirectoryError) as error:
                damage = f"run.json: {error}".replace(base, path)
            jobs, job_damage = _read_jobs(base)
            state = read_record(os.path.join(base, "state.json")) or {}
            cancelling = os.path.exists(os.path.join(base, "cancel.json"))
            section = os.path.basename(os.path.dirname(os.readlink(base)))
        finally:
            os.close(handle)
        directory = os.path.join(self._folder(section), run_id)
        active = section == "active"
        if active and state.get("state") not in (QUEUED, RUNNING, *ENDED):
            state = {"state": QUEUED}
        elif not active and state.get("state") not in ENDED:
            state = {"state": FAILED}
            damage = damage or "state.json: It does not tell how the run ended."
        return Record(
            id=run_id,
            directory=directory,
            run=run,
            state=state,
            jobs=tuple(dataclasses.replace(job, directory=os.path.join(directory, job.name)) for job in jobs),
            active=active,
            cancelling=cancelling,
            damage=damage or job_damage,
        )

    def _ids(self, section: str) -> list[str]:
        try:
            return [name for name in os.listdir(self._folder(section)) if _RUN_ID.match(name)]
        except FileNotFoundError:
            return []

    def is_idle(self) -> bool:
        """Whether the queue is empty."""
        return not self._ids("active")

    def is_active(self, run_id: str) -> bool:
        """Whether the run is in the queue."""
        return os.path.isdir(os.path.join(self._folder("active"), run_id))

    def active(self) -> list[Record]:
        """The queue: active runs in the order they came."""
        found = [record for record in map(self.record, self._ids("active")) if record is not None and record.active]
        return sorted(found, key=lambda record: (record.run.seq if record.run else 0, record.id))

    def done_ids(self, limit: int) -> list[str]:
        """Ids of the latest ended runs, the last one first. One stat each, whatever they hold."""
        folder = self._folder("done")
        stamped = []
        for name in self._ids("done"):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                stamped.append((os.stat(os.path.join(folder, name, "state.json")).st_mtime_ns, name))
        return [name for _mtime, name in sorted(stamped, reverse=True)[:limit]]

    # -- changing: only under the lock -------------------------------------------------------------------------

    def next_seq(self) -> int:
        """The next place in the queue."""
        path = os.path.join(self.layout.jobs, "seq.json")
        last = (read_record(path) or {}).get("seq")
        known = [record.run.seq for record in self.active() if record.run]
        value = max([last if isinstance(last, int) else 0, *known]) + 1
        write_json(path, {"seq": value})
        return value

    def enqueue(self, run: Run) -> None:
        """Put a run into the queue, new or again."""
        active = os.path.join(self._folder("active"), run.id)
        old = self._find(run.id)
        if old is None:
            with _fresh_dir(active) as fresh:
                write_json(os.path.join(fresh, "state.json"), {"state": QUEUED})
                write_json(os.path.join(fresh, "run.json"), _run_file(run))
        else:
            if old != active:
                os.rename(old, active)
                fsync_dir(self._folder("done"))
            for directory in job_dirs(active):
                try:
                    _read_job(directory)
                except StoreError:
                    os.rename(directory, os.path.join(active, ".damaged-" + os.path.basename(directory)))
            self.ask_again(run)
            # last: until this is written the run has ended, and goes back to where it was
            write_json(os.path.join(active, "state.json"), {"state": QUEUED})
        fsync_dir(self._folder("active"))

    def ask_again(self, run: Run) -> None:
        """Write an active run anew: what was to stop it is over, how its earlier jobs end is of no matter."""
        directory = os.path.join(self._folder("active"), run.id)
        write_json(os.path.join(directory, "run.json"), _run_file(run))
        discard(os.path.join(directory, "cancel.json"))

    def set_state(self, run_id: str, state: str, error: t.Mapping[str, t.Any] | None = None) -> None:
        """Write what has become of a run."""
        value: dict[str, t.Any] = {"state": state}
        if error:
            value["error"] = dict(error)
        if state in ENDED:
            value["finished_at"] = utc_now()
        write_json(os.path.join(self._folder("active"), run_id, "state.json"), value)

    def retire(self, run_id: str) -> None:
        """Move an ended run out of the queue."""
        done = os.path.join(self._folder("done"), run_id)
        if os.path.lexists(done):  # a copy that somebody put there
            sweep(self._folder("done"))
            remove_tree(done)
        os.rename(os.path.join(self._folder("active"), run_id), done)
        fsync_dir(self._folder("active"))
        fsync_dir(self._folder("done"))

    def request_cancel(self, run_id: str) -> None:
        """Ask for an active run to be stopped."""
        path = os.path.join(self._folder("active"), run_id, "cancel.json")
        try:
            write_json(path, {"at": utc_now()})
        except DiskFullError:
            # that it is there is enough: what fills the disk must not be what cannot be stopped
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))

    def add_job(self, record: Record, run: Run, label: str, heavy: bool, runner: str = "") -> Job:
        """Make a new attempt at a step.

        :param runner: name of the runner of its command; that of the run by default.
        """
        number = 1
        while any(
            os.path.lexists(os.path.join(record.directory, f"{prefix}{label}-{number}")) for prefix in ("", ".damaged-")
        ):
            number += 1
        spec = run.step(label).spec
        order = record.jobs[-1].order + 1 if record.jobs else 1
        directory = os.path.join(record.directory, f"{label}-{number}")
        job = Job(directory, label, spec.kind, spec.fingerprint, heavy, runner or run.runner, run.round, order, None)
        plain = dataclasses.asdict(job)
        del plain["directory"], plain["outcome"]
        with _fresh_dir(directory) as fresh:
            write_json(
                os.path.join(fresh, "job.json"), {**plain, "schema": SCHEMA, "run": run.id, "created_at": utc_now()}
            )
        fsync_dir(record.directory)
        return job

    def sweep(self) -> None:
        """Remove what a crash left half made or half removed in the queue."""
        sweep(self.layout.jobs)
        sweep(self._folder("active"))
        for run_id in self._ids("active"):
            sweep(os.path.join(self._folder("active"), run_id))


@contextlib.contextmanager
def _fresh_dir(path: str) -> t.Iterator[str]:
    """A directory that gets its name when everything is in it, or is not there at all."""
    fresh = make_temporary_dir(aside(NEW), os.path.dirname(path))
    try:
        os.chmod(fresh, 0o755)
        yield fresh
        os.rename(fresh, path)
    except BaseException:
        discard(fresh)
        raise


def _run_file(run: Run) -> dict[str, t.Any]:
    return {**run.as_dict(), "schema": SCHEMA}


def job_dirs(run_dir: str) -> list[str]:
    """The directories of a run's attempts, readable or not."""
    try:
        entries = list(os.scandir(run_dir))
    except FileNotFoundError:
        return []
    return sorted(entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def is_supervised(record: Record) -> bool:
    """Whether somebody is at work in a run, as far as the process table tells."""
    return record.active and any(any(supervisors(directory)) for directory in job_dirs(record.directory))


def _read_jobs(run_dir: str) -> tuple[list[Job], str]:
    found: list[Job] = []
    damage = ""
    for directory in job_dirs(run_dir):
        try:
            found.append(_read_job(directory))
        except (StoreError, IsADirectoryError) as error:
            damage = f"{os.path.basename(directory)}/job.json: {error}"
    return sorted(found, key=lambda job: job.order), damage


def _read_job(directory: str) -> Job:
    raw = read_json(os.path.join(directory, "job.json"))
    try:
        return Job(
            directory=directory,
            label=str(raw["label"]),
            kind=str(raw["kind"]),
            fingerprint=str(raw["fingerprint"]),
            heavy=bool(raw["heavy"]),
            runner=str(raw["runner"]),
            round=int(raw["round"]),
            order=int(raw["order"]),
            outcome=read_outcome(directory),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"It is not the record of a job: {type(error).__name__}: {error}.") from error
