# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run, its jobs, and what the store tells of them, as values."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..errors import StoreError
from ..system import processes
from ..system.files import read_record
from .spec import StepSpec, Toolchain

QUEUED = "queued"
RUNNING = "running"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"
ENDED = (SUCCEEDED, FAILED, CANCELLED)

#: In a job's directory while it waits to begin: what for, in words.
WAITING = "waiting.json"


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
            "steps": [{"label": step.label, "spec": step.spec.as_dict()} for step in self.steps],
            "goals": list(self.goals),
            "toolchain": dataclasses.asdict(self.toolchain),
        }

    @classmethod
    def from_dict(cls, value: t.Any) -> Run:
        """The run that :meth:`as_dict` wrote; unknown keys of a later core are passed over.

        :raises StoreError: when it is none.
        """
        plain = ("name", "runner", "declaration", "submitted_by", "submitted_at", "core_dir", "python")
        tools = {field.name for field in dataclasses.fields(Toolchain)}
        try:
            return cls(
                id=str(value["id"]),
                steps=tuple(RunStep(str(step["label"]), StepSpec.from_dict(step["spec"])) for step in value["steps"]),
                goals=tuple(value["goals"]),
                toolchain=Toolchain(**{name: item for name, item in value["toolchain"].items() if name in tools}),
                seq=int(value["seq"]),
                round=int(value["round"]),
                **{name: value[name] for name in plain},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"It is not the record of a run: {type(error).__name__}: {error}.") from error

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
    :param kind: which step it is.
    :param fingerprint: names what it makes.
    :param heavy: whether it takes the machine for itself.
    :param runner: name of the runner of its command.
    :param round: the round of the run it belongs to.
    :param order: its place among the jobs of the run.
    :param outcome: how it ended; None while it has not.
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
        """Whether somebody supervises it, or was started to do so and still runs."""
        return any(supervisors(self.directory))


def supervisors(job_dir: str) -> t.Iterator[processes.Identity]:
    """The live processes that supervise a job, or are about to."""
    for name in ("supervisor.json", "spawns.json"):
        identity = processes.Identity.from_dict(read_record(os.path.join(job_dir, name)))
        if identity is not None and processes.alive(identity):
            yield identity


@dataclasses.dataclass(frozen=True)
class Record:
    """A run as it stands in the store at one moment.

    :param id: its id.
    :param directory: where it lies.
    :param run: what shall be made; None when that cannot be read.
    :param state: what has become of it: ``state``, ``error``, ``finished_at``.
    :param jobs: all attempts, in the order they were made.
    :param active: whether it is in the queue.
    :param cancelling: whether somebody wants it stopped.
    :param damage: what of it cannot be read; empty when all can.
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
    def at_work(self) -> bool:
        """Whether it is in the queue and has not come to its end."""
        return self.active and self.state["state"] not in ENDED

    @property
    def unfinished(self) -> Job | None:
        """The attempt that is being made."""
        return self.jobs[-1] if self.jobs and self.jobs[-1].outcome is None else None

    @property
    def round(self) -> int:
        """How often it has been asked for, as far as can be told."""
        return max([self.run.round if self.run else 0, *(job.round for job in self.jobs)])


def read_outcome(job_dir: str) -> dict[str, t.Any] | None:
    """How a job ended; None while it has not, or when that cannot be told."""
    found = read_record(os.path.join(job_dir, "outcome.json"))
    return found if found is not None and found.get("state") in ENDED else None
