# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job store: runs, their jobs, and what became of them. The one file that knows its schema.

::

    jobs/schema.json                        {"schema": 1}
    jobs/lock                               taken by whoever changes the queue
    jobs/active/RUN/run.json                what shall be made (replaced only when it is asked for again)
    jobs/active/RUN/state.json              what has become of it
    jobs/active/RUN/cancel.json             somebody wants it stopped
    jobs/active/RUN/LABEL-N/job.json        one attempt at one step
    jobs/active/RUN/LABEL-N/outcome.json    how it ended
    jobs/done/RUN/…                         the same, once nothing is left to do

A newer core reads an older store; an older core refuses to write a newer one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import typing as t

from . import _process
from ._errors import InputError, StoreError
from ._files import FileLock, fsync_dir, read_json, remove_tree, utc_now, write_json
from ._layout import PARENTS, Layout
from ._steps import StepSpec, Toolchain

SCHEMA = 1

QUEUED = "queued"
RUNNING = "running"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"
ENDED = (SUCCEEDED, FAILED, CANCELLED)

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\Z")


@dataclasses.dataclass(frozen=True)
class RunStep:
    """One step of a run, with the name it is shown and stored under (``train``, ``gguf-q4_K_M``)."""

    label: str
    spec: StepSpec


@dataclasses.dataclass(frozen=True)
class Run:
    """The ordered steps of one fine-tune on this host.

    :param id: derived from what it shall make: the same request is the same run.
    :param name: the fine-tune's name.
    :param steps: in an order in which each comes after what it is made from.
    :param goals: labels of the steps that are wanted for their own sake.
    :param toolchain: where the tools are.
    :param runner: name of the runner of its jobs.
    :param declaration: what was declared, for people to read.
    :param submitted_by: ansible, rest, openai or mcp.
    :param seq: place in the queue.
    :param round: how often it has been asked for when there was something to do.
    :param submitted_at: when it was asked for last.
    :param core_dir: the installed core its supervisors run from.
    :param python: the interpreter its supervisors run with.
    """

    id: str
    name: str
    steps: tuple[RunStep, ...]
    goals: tuple[str, ...]
    toolchain: Toolchain
    runner: str = "process"
    declaration: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    submitted_by: str = "ansible"
    seq: int = 0
    round: int = 0
    submitted_at: str = ""
    core_dir: str = ""
    python: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        """Plain values for the store."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "schema": SCHEMA,
            "steps": [{"label": step.label, "spec": step.spec.as_dict()} for step in self.steps],
            "goals": list(self.goals),
            "toolchain": dataclasses.asdict(self.toolchain),
        }

    @classmethod
    def from_dict(cls, value: t.Mapping[str, t.Any]) -> Run:
        """The run that :meth:`as_dict` wrote; unknown keys of a later core are passed over."""
        plain = {
            name: value[name]
            for name in (
                "id", "name", "runner", "declaration", "submitted_by", "seq", "round", "submitted_at",
                "core_dir", "python",
            )
            if name in value
        }  # fmt: skip
        return cls(
            steps=tuple(RunStep(step["label"], StepSpec.from_dict(step["spec"])) for step in value["steps"]),
            goals=tuple(value["goals"]),
            toolchain=Toolchain(**value["toolchain"]),
            **plain,
        )

    def step(self, label: str) -> RunStep:
        """The step of that label."""
        for step in self.steps:
            if step.label == label:
                return step
        raise StoreError(f"The run {self.id} has no step {label!r}.")


@dataclasses.dataclass(frozen=True)
class Job:
    """One attempt at one step of a run.

    :param directory: where its log, its progress and its outcome lie.
    :param label: label of the step.
    :param round: the round of the run it belongs to.
    :param outcome: how it ended; None while it has not.
    """

    directory: str
    label: str
    round: int
    outcome: dict[str, t.Any] | None

    @property
    def name(self) -> str:
        """``LABEL-N``."""
        return os.path.basename(self.directory)

    def supervisor_alive(self) -> bool:
        """Whether its supervisor runs."""
        recorded = read_json(os.path.join(self.directory, "supervisor.json"))
        return bool(recorded) and _process.alive(_process.Identity.from_dict(recorded))


class Store:
    """The runs and jobs under one data directory."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._schema_file = os.path.join(layout.jobs, "schema.json")

    def prepare(self) -> None:
        """Make the store, or check that this core may write it.

        :raises StoreError: when a newer core has written it.
        """
        found = read_json(self._schema_file)
        if found is None:
            self.layout.create()
            write_json(self._schema_file, {"schema": SCHEMA})
        elif int(found.get("schema", 0)) > SCHEMA:
            raise StoreError(
                f"The job store {self.layout.jobs} has schema {found['schema']}, this core writes {SCHEMA}.",
                "A newer version of the collection has been here: upgrade this one.",
            )

    def lock(self) -> FileLock:
        """The one lock of the queue. Held for moments, never while something long goes on."""
        return FileLock(os.path.join(self.layout.jobs, "lock"))

    def _folder(self, section: str) -> str:
        return os.path.join(self.layout.jobs, section)

    def find_dir(self, run_id: str) -> str | None:
        """Where a run lies; None when it was never asked for."""
        if not _RUN_ID.match(run_id):
            raise InputError(f"{run_id!r} is not the id of a run.")
        for section in ("active", "done", "active"):  # it may move while we look
            path = os.path.join(self._folder(section), run_id)
            if os.path.exists(os.path.join(path, "run.json")):
                return path
        return None

    def is_active(self, run_id: str) -> bool:
        """Whether the run is in the queue."""
        return os.path.exists(os.path.join(self._folder("active"), run_id, "run.json"))

    def load(self, run_id: str) -> Run | None:
        """A run by its id."""
        for _attempt in range(2):
            path = self.find_dir(run_id)
            if path is None:
                return None
            raw = read_json(os.path.join(path, "run.json"))
            if raw is not None:
                return Run.from_dict(raw)
        return None

    def _ids(self, section: str) -> list[str]:
        try:
            return [name for name in os.listdir(self._folder(section)) if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def active(self) -> list[Run]:
        """The queue: active runs in the order they came."""
        runs = [run for run in map(self.load, self._ids("active")) if run is not None and self.is_active(run.id)]
        return sorted(runs, key=lambda run: run.seq)

    def done_ids(self, limit: int) -> list[str]:
        """Ids of ended runs, the latest first."""
        folder = self._folder("done")
        stamped = []
        for name in self._ids("done"):
            with contextlib.suppress(FileNotFoundError):
                stamped.append((os.stat(os.path.join(folder, name, "state.json")).st_mtime_ns, name))
        return [name for _mtime, name in sorted(stamped, reverse=True)[:limit]]

    def state(self, run_id: str) -> dict[str, t.Any]:
        """What has become of a run: ``state``, ``error``, ``finished_at``."""
        path = self.find_dir(run_id)
        found = read_json(os.path.join(path, "state.json")) if path else None
        return found or {"state": QUEUED}

    def next_seq(self) -> int:
        """The next place in the queue. Only under the lock."""
        path = os.path.join(self.layout.jobs, "seq.json")
        value = int((read_json(path) or {"seq": 0})["seq"]) + 1
        write_json(path, {"seq": value})
        return value

    def enqueue(self, run: Run) -> None:
        """Put a run into the queue, new or again. Only under the lock."""
        active = os.path.join(self._folder("active"), run.id)
        old = self.find_dir(run.id)
        if old is None:
            fresh = os.path.join(self._folder("active"), ".new-" + run.id)
            remove_tree(fresh)
            os.makedirs(fresh)
            write_json(os.path.join(fresh, "state.json"), {"state": QUEUED})
            write_json(os.path.join(fresh, "run.json"), run.as_dict())
            os.rename(fresh, active)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(old, "cancel.json"))
            write_json(os.path.join(old, "run.json"), run.as_dict())
            write_json(os.path.join(old, "state.json"), {"state": QUEUED})
            if old != active:
                os.rename(old, active)
        fsync_dir(self._folder("active"))

    def set_state(self, run_id: str, state: str, error: t.Mapping[str, t.Any] | None = None) -> None:
        """Write what has become of a run. Only under the lock."""
        path = self.find_dir(run_id)
        if path is None:
            raise StoreError(f"The run {run_id} is not in the store.")
        value: dict[str, t.Any] = {"state": state}
        if error:
            value["error"] = dict(error)
        if state in ENDED:
            value["finished_at"] = utc_now()
        write_json(os.path.join(path, "state.json"), value)

    def retire(self, run_id: str) -> None:
        """Move an ended run out of the queue. Only under the lock."""
        os.rename(os.path.join(self._folder("active"), run_id), os.path.join(self._folder("done"), run_id))
        fsync_dir(self._folder("active"))
        fsync_dir(self._folder("done"))

    def request_cancel(self, run_id: str) -> bool:
        """Ask for a run to be stopped; False when it is not in the queue. Only under the lock."""
        if not self.is_active(run_id):
            return False
        write_json(os.path.join(self._folder("active"), run_id, "cancel.json"), {"at": utc_now()})
        return True

    def cancel_requested(self, run_id: str) -> bool:
        """Whether somebody wants the run stopped."""
        path = self.find_dir(run_id)
        return path is not None and os.path.exists(os.path.join(path, "cancel.json"))

    def jobs(self, run_id: str) -> list[Job]:
        """All attempts of a run, in the order they were made."""
        path = self.find_dir(run_id)
        if path is None:
            return []
        found: list[tuple[int, Job]] = []
        for name in os.listdir(path):
            raw = read_json(os.path.join(path, name, "job.json")) if not name.startswith(".") else None
            if raw is not None:
                directory = os.path.join(path, name)
                outcome = read_json(os.path.join(directory, "outcome.json"))
                found.append((int(raw["order"]), Job(directory, raw["label"], int(raw["round"]), outcome)))
        return [job for _order, job in sorted(found, key=lambda pair: pair[0])]

    def add_job(self, run: Run, label: str) -> Job:
        """Make a new attempt at a step. Only under the lock."""
        earlier = self.jobs(run.id)
        number = sum(job.label == label for job in earlier) + 1
        run_dir = os.path.join(self._folder("active"), run.id)
        fresh = os.path.join(run_dir, f".new-{label}-{number}")
        remove_tree(fresh)
        os.makedirs(fresh)
        write_json(
            os.path.join(fresh, "job.json"),
            {"schema": SCHEMA, "run": run.id, "label": label, "round": run.round, "order": len(earlier) + 1,
             "created_at": utc_now()},
        )  # fmt: skip
        directory = os.path.join(run_dir, f"{label}-{number}")
        os.rename(fresh, directory)
        fsync_dir(run_dir)
        return Job(directory, label, run.round, None)

    def sweep(self) -> None:
        """Remove what a crash left half made or half removed. Only under the lock."""
        for folder in [self._folder("active"), self._folder("done"), *map(self.layout.parent, PARENTS)]:
            try:
                names = os.listdir(folder)
            except FileNotFoundError:
                continue
            for name in names:
                if name.startswith((".new-", ".gone-")):
                    shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
