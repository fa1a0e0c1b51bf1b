# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run, its jobs, and their state in the store, as values."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..errors import StoreError
from ..system import processes
from ..system.files import read_record
from .names import OUTCOME_FILE, SPAWNS_FILE, SUPERVISOR_FILE
from .spec import StepSpec, Toolchain
from .states import ENDED


@dataclasses.dataclass(frozen=True)
class RunStep:
    """One step of a run, with the label under which it is displayed and stored (``train``, ``gguf-q4_K_M``)."""

    label: str
    spec: StepSpec


@dataclasses.dataclass(frozen=True)
class Run:
    """The ordered steps of one fine-tune on this host.

    :param id: derived from the requested results: the same request is the same run.
    :param name: name of the fine-tune.
    :param steps: in an order in which each step follows its inputs.
    :param goals: labels of the steps whose results are requested.
    :param toolchain: locations of the tools.
    :param runner: name of the runner of its jobs.
    :param declaration: the declared values, for human readers.
    :param submitted_by: ansible, rest, openai or mcp.
    :param seq: sequence number in the queue.
    :param round: number of submissions that had pending steps.
    :param submitted_at: time of the last submission.
    :param core_dir: directory of the installed core that submitted it. Only its name is used
        (:func:`installation.core_for`); a supervisor of version 0.1.0 uses the path.
    :param python: path of the interpreter of the submitter, for supervisors of version 0.1.0 only.
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
        """Return plain values for the store."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "steps": [{"label": step.label, "spec": step.spec.as_dict()} for step in self.steps],
            "goals": list(self.goals),
            "toolchain": dataclasses.asdict(self.toolchain),
        }

    @classmethod
    def from_dict(cls, value: t.Any) -> Run:
        """Create the run from the result of :meth:`as_dict`; unknown keys of a later core are ignored.

        :raises StoreError: when the value is not the record of a run.
        """
        plain_fields = ("name", "runner", "declaration", "submitted_by", "submitted_at", "core_dir", "python")
        tools = {field.name for field in dataclasses.fields(Toolchain)}
        try:
            return cls(
                id=str(value["id"]),
                steps=tuple(RunStep(str(step["label"]), StepSpec.from_dict(step["spec"])) for step in value["steps"]),
                goals=tuple(value["goals"]),
                toolchain=Toolchain(**{name: item for name, item in value["toolchain"].items() if name in tools}),
                seq=int(value["seq"]),
                round=int(value["round"]),
                **{name: value[name] for name in plain_fields},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError("runs.no_run", type=type(error).__name__, reason=error) from error

    def step(self, label: str) -> RunStep:
        """Return the step with that label.

        :raises StoreError: when the run has no such step.
        """
        for step in self.steps:
            if step.label == label:
                return step
        raise StoreError("runs.no_step", run=self.id, step=label)


@dataclasses.dataclass(frozen=True)
class Job:
    """One attempt at one step of a run.

    :param directory: directory with its log, progress and outcome.
    :param label: label of the step.
    :param kind: kind of the step.
    :param fingerprint: fingerprint of the artifact it produces.
    :param exclusive: whether it needs exclusive use of the machine.
    :param runner: name of the runner of its command.
    :param round: the round of the run to which it belongs.
    :param order: its position among the jobs of the run.
    :param outcome: how it ended; None while it has not ended.
    """

    directory: str
    label: str
    kind: str
    fingerprint: str
    exclusive: bool
    runner: str
    round: int
    order: int
    outcome: dict[str, t.Any] | None

    @property
    def name(self) -> str:
        """``LABEL-N``."""
        return os.path.basename(self.directory)

    def is_supervised(self) -> bool:
        """Whether a live process supervises the job or was started to supervise it."""
        return any(supervisors(self.directory))


def supervisors(job_dir: str) -> t.Iterator[processes.Identity]:
    """Yield the live processes that supervise a job or were started to supervise it."""
    for name in (SUPERVISOR_FILE, SPAWNS_FILE):
        identity = processes.Identity.from_dict(read_record(os.path.join(job_dir, name)))
        if identity is not None and processes.alive(identity):
            yield identity


@dataclasses.dataclass(frozen=True)
class Record:
    """A snapshot of a run in the store.

    :param id: id of the run.
    :param directory: directory of the run.
    :param run: the run; None when its record cannot be read.
    :param state: its state: ``state``, ``error``, ``finished_at``.
    :param jobs: all attempts, in chronological order.
    :param active: whether it is in the queue.
    :param cancelling: whether its cancellation was requested.
    :param damage: the part of it that cannot be read, and why; empty when all of it can be read.
    """

    id: str
    directory: str
    run: Run | None
    state: dict[str, t.Any]
    jobs: tuple[Job, ...]
    active: bool
    cancelling: bool
    damage: str = ""

    @property
    def is_unfinished(self) -> bool:
        """Whether it is in the queue and has not ended."""
        return self.active and self.state["state"] not in ENDED

    @property
    def current_job(self) -> Job | None:
        """The last job if it has no outcome yet; otherwise None."""
        return self.jobs[-1] if self.jobs and self.jobs[-1].outcome is None else None

    @property
    def round(self) -> int:
        """The current round of the run, as far as its records can be read."""
        return max([self.run.round if self.run else 0, *(job.round for job in self.jobs)])


def read_outcome(job_dir: str) -> dict[str, t.Any] | None:
    """Read how a job ended; None while it has not ended or when the file is damaged."""
    outcome = read_record(os.path.join(job_dir, OUTCOME_FILE))
    return outcome if outcome is not None and outcome.get("state") in ENDED else None
