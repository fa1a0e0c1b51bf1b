# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job store: runs, their jobs and their outcomes. The only file that depends on its schema.

::

    jobs/schema.json                        {"schema": 1}
    jobs/lock                               held by the process that changes the queue
    jobs/seq.json                           the last sequence number in the queue
    jobs/active/RUN/run.json                the run (replaced only when it is submitted again)
    jobs/active/RUN/state.json              its state
    jobs/active/RUN/cancel.json             its cancellation was requested
    jobs/active/RUN/LABEL-N/job.json        one attempt at one step
    jobs/active/RUN/LABEL-N/spawns.json     the last process started to supervise it, and the number of failed starts
    jobs/active/RUN/LABEL-N/launch.json     how its supervisor is executed, until the unit of the job has read it
    jobs/active/RUN/LABEL-N/supervisor.json the process that supervises it
    jobs/active/RUN/LABEL-N/outcome.json    how it ended
    jobs/done/RUN/…                         the same, for ended runs; no file is written there

A newer core reads an older store; an older core refuses to write a newer one. Only ``run.json`` and ``job.json`` are
essential: any other damaged file is treated as missing, and its content is determined again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import typing as t

from ..artifacts.layout import Layout
from ..errors import InputError, StoreError
from ..system.clock import utc_now
from ..system.disk import DiskFullError
from ..system.files import (
    NEW,
    discard,
    fsync_dir,
    make_temporary_dir,
    read_json,
    read_record,
    remove_tree,
    sweep,
    temporary_prefix,
    write_json,
)
from ..system.locks import FileLock
from .names import JOB_FILE, RUN_FILE
from .run import Job, Record, Run, read_outcome, supervisors
from .schema import SCHEMA, prepare_schema
from .states import ENDED, RunState

#: Attempts to read a run that seems damaged: it may have been moved during the read.
_READ_ATTEMPTS = 5

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\Z")


def is_run_id(text: str) -> bool:
    """Whether a text may be the id of a run."""
    return _RUN_ID.match(text) is not None


class Store:
    """The runs and jobs under one data directory."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def prepare(self) -> None:
        """Create the store, or check that this core may write to it.

        :raises StoreError: when a newer core has written it, or when its schema file is damaged.
        """
        prepare_schema(self.layout)

    def lock(self) -> FileLock:
        """Return the lock of the queue. Hold it only briefly, never during a long operation."""
        return FileLock(os.path.join(self.layout.jobs, "lock"))

    # -- reading -----------------------------------------------------------------------------------------------

    def _folder(self, section: str) -> str:
        return os.path.join(self.layout.jobs, section)

    def _find(self, run_id: str) -> str | None:
        if not is_run_id(run_id):
            raise InputError("runs.id_invalid", run=run_id)
        for section in ("active", "done", "active"):  # the run may move during the search
            path = os.path.join(self._folder(section), run_id)
            if os.path.isdir(path):
                return path
        return None

    def record(self, run_id: str) -> Record | None:
        """Return the record of a run; None when the run does not exist.

        :raises InputError: when the id is not valid.
        """
        record = None
        for _attempt in range(_READ_ATTEMPTS):
            path = self._find(run_id)
            if path is None:
                return None
            try:
                record = self._read(run_id, path)
            except FileNotFoundError:
                continue  # the run moved after the search
            if not record.damage:
                break
        return record

    def _read(self, run_id: str, path: str) -> Record:
        # read through the open directory, which stays the same directory when the run is moved
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            base = f"/proc/self/fd/{handle}"
            run, damage = None, ""
            try:
                raw = read_json(os.path.join(base, RUN_FILE))
                if raw is None:
                    raise StoreError("runs.record_missing")
                run = Run.from_dict(raw)
                if run.id != run_id:
                    raise StoreError("runs.record_of_other_run", run=run.id)
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
        if active and state.get("state") not in (RunState.QUEUED, RunState.RUNNING, *ENDED):
            state = {"state": RunState.QUEUED}
        elif not active and state.get("state") not in ENDED:
            state = {"state": RunState.FAILED}
            damage = damage or "state.json: It does not say how the run ended."
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
        """Return the queue: the active runs in the order of their submission."""
        records = [record for record in map(self.record, self._ids("active")) if record is not None and record.active]
        return sorted(records, key=lambda record: (record.run.seq if record.run else 0, record.id))

    def done_ids(self, limit: int) -> list[str]:
        """Return the ids of the ended runs, latest first. Costs one stat per run and reads no file."""
        folder = self._folder("done")
        by_mtime = []
        for name in self._ids("done"):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                by_mtime.append((os.stat(os.path.join(folder, name, "state.json")).st_mtime_ns, name))
        return [name for _mtime, name in sorted(by_mtime, reverse=True)[:limit]]

    # -- writing: only while the lock is held ------------------------------------------------------------------

    def next_seq(self) -> int:
        """Return the next sequence number in the queue and store it as used."""
        path = os.path.join(self.layout.jobs, "seq.json")
        last = (read_record(path) or {}).get("seq")
        active = [record.run.seq for record in self.active() if record.run]
        value = max([last if isinstance(last, int) else 0, *active]) + 1
        write_json(path, {"seq": value})
        return value

    def enqueue(self, run: Run) -> None:
        """Put a new or an ended run into the queue."""
        active = os.path.join(self._folder("active"), run.id)
        current = self._find(run.id)
        if current is None:
            with _atomic_dir(active) as temporary:
                write_json(os.path.join(temporary, "state.json"), {"state": RunState.QUEUED})
                write_json(os.path.join(temporary, RUN_FILE), _run_record(run))
        else:
            if current != active:
                os.rename(current, active)
                fsync_dir(self._folder("done"))
            for directory in job_dirs(active):
                try:
                    _read_job(directory)
                except StoreError:
                    os.rename(directory, os.path.join(active, ".damaged-" + os.path.basename(directory)))
            # those of an earlier version could be read by every user
            for directory in (active, *job_dirs(active)):
                os.chmod(directory, 0o750)
            self.resubmit(run)
            # must be the last write: until then the run counts as ended, and the reconciler moves it back to done/
            write_json(os.path.join(active, "state.json"), {"state": RunState.QUEUED})
        fsync_dir(self._folder("active"))

    def resubmit(self, run: Run) -> None:
        """Rewrite an active run with a new round: drops a cancellation; outcomes of earlier jobs no longer count."""
        directory = os.path.join(self._folder("active"), run.id)
        write_json(os.path.join(directory, RUN_FILE), _run_record(run))
        discard(os.path.join(directory, "cancel.json"))

    def set_state(self, run_id: str, state: RunState, error: t.Mapping[str, t.Any] | None = None) -> None:
        """Write the state of an active run."""
        value: dict[str, t.Any] = {"state": state}
        if error:
            value["error"] = dict(error)
        if state in ENDED:
            value["finished_at"] = utc_now()
        write_json(os.path.join(self._folder("active"), run_id, "state.json"), value)

    def retire(self, run_id: str) -> None:
        """Move an ended run out of the queue."""
        done = os.path.join(self._folder("done"), run_id)
        if os.path.lexists(done):  # a foreign copy with the same name
            sweep(self._folder("done"))
            remove_tree(done)
        os.rename(os.path.join(self._folder("active"), run_id), done)
        fsync_dir(self._folder("active"))
        fsync_dir(self._folder("done"))

    def forget(self, run_id: str) -> bool:
        """Remove an ended run; False when there is none.

        :raises InputError: when it is active.
        """
        path = self._find(run_id)
        if path is None:
            return False
        if os.path.dirname(path) != self._folder("done"):
            raise InputError("runs.dismiss_active", run=run_id)
        discard(path)
        fsync_dir(self._folder("done"))
        return True

    def request_cancel(self, run_id: str) -> None:
        """Request the cancellation of an active run."""
        path = os.path.join(self._folder("active"), run_id, "cancel.json")
        try:
            write_json(path, {"at": utc_now()})
        except DiskFullError:
            # an empty file is enough: it must be possible to cancel the run that fills the disk
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))

    def add_job(self, record: Record, run: Run, label: str, exclusive: bool, runner: str = "") -> Job:
        """Create a job, the next attempt at a step.

        :param exclusive: whether the job needs exclusive use of the machine.
        :param runner: name of the runner of its command; by default the runner of the run.
        """
        number = 1
        while any(
            os.path.lexists(os.path.join(record.directory, f"{prefix}{label}-{number}")) for prefix in ("", ".damaged-")
        ):
            number += 1
        spec = run.step(label).spec
        order = record.jobs[-1].order + 1 if record.jobs else 1
        directory = os.path.join(record.directory, f"{label}-{number}")
        job = Job(
            directory, label, spec.kind, spec.fingerprint, exclusive, runner or run.runner, run.round, order, None
        )
        values = dataclasses.asdict(job)
        del values["directory"], values["outcome"]
        values["heavy"] = values.pop("exclusive")  # the key in the store, which every version reads
        with _atomic_dir(directory) as temporary:
            write_json(
                os.path.join(temporary, JOB_FILE),
                {**values, "schema": SCHEMA, "run": run.id, "created_at": utc_now()},
            )
        fsync_dir(record.directory)
        return job

    def sweep(self) -> None:
        """Remove temporary and partly removed files that a crash left in the queue."""
        sweep(self.layout.jobs)
        sweep(self._folder("active"))
        for run_id in self._ids("active"):
            sweep(os.path.join(self._folder("active"), run_id))


@contextlib.contextmanager
def _atomic_dir(path: str) -> t.Iterator[str]:
    """Yield a temporary directory that is renamed to ``path`` on success and removed on an error."""
    temporary = make_temporary_dir(temporary_prefix(NEW), os.path.dirname(path))
    try:
        os.chmod(temporary, 0o750)
        yield temporary
        os.rename(temporary, path)
    except BaseException:
        discard(temporary)
        raise


def _run_record(run: Run) -> dict[str, t.Any]:
    return {**run.as_dict(), "schema": SCHEMA}


def job_dirs(run_dir: str) -> list[str]:
    """Return the directories of a run's jobs, including those with a damaged record."""
    try:
        entries = list(os.scandir(run_dir))
    except FileNotFoundError:
        return []
    return sorted(entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def is_supervised(record: Record) -> bool:
    """Whether the process table contains a supervisor for any job of an active run."""
    return record.active and any(any(supervisors(directory)) for directory in job_dirs(record.directory))


def _read_jobs(run_dir: str) -> tuple[list[Job], str]:
    jobs: list[Job] = []
    damage = ""
    for directory in job_dirs(run_dir):
        try:
            jobs.append(_read_job(directory))
        except (StoreError, IsADirectoryError) as error:
            damage = f"{os.path.basename(directory)}/job.json: {error}"
    return sorted(jobs, key=lambda job: job.order), damage


def _read_job(directory: str) -> Job:
    raw = read_json(os.path.join(directory, JOB_FILE))
    try:
        return Job(
            directory=directory,
            label=str(raw["label"]),
            kind=str(raw["kind"]),
            fingerprint=str(raw["fingerprint"]),
            exclusive=bool(raw["heavy"]),
            runner=str(raw["runner"]),
            round=int(raw["round"]),
            order=int(raw["order"]),
            outcome=read_outcome(directory),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError("runs.no_job", type=type(error).__name__, reason=error) from error
