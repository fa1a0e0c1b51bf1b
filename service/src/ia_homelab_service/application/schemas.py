# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operations answer, as typed plain values: the one form that REST, MCP and the page show."""

from __future__ import annotations

import typing as t

import pydantic

Status = t.Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]


class Schema(pydantic.BaseModel):
    """A value that is made here and only read elsewhere."""

    model_config = pydantic.ConfigDict(frozen=True)


class Problem(Schema):
    """Why a run failed."""

    message: str
    hint: str = ""
    step: str = ""
    details: dict[str, t.Any] = {}


class Step(Schema):
    """One step of a run."""

    label: str = pydantic.Field(description="Its name within the run, such as train or gguf-q4_K_M.")
    kind: str = pydantic.Field(description="base, dataset, train, merge, gguf or register.")
    fingerprint: str = pydantic.Field(description="Names its result.")
    state: str = pydantic.Field(description="whole, idle, needed, running or failed.")
    reason: str = pydantic.Field(default="", description="Why it is not whole.")


class Progress(Schema):
    """How far the step at work is; what is not known is null."""

    current: float = 0
    total: float = 0
    unit: str = "step"
    percent: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    epoch: float | None = None
    eta_seconds: float | None = None
    note: str = ""


class Job(Schema):
    """A run: all the steps of one fine-tune, under the id that clients call job_id."""

    job_id: str
    name: str = pydantic.Field(description="Name of the fine-tune, and of its model in Ollama.")
    goal: t.Literal["train", "model", "other"] = pydantic.Field(
        description="train: up to the trained adapter. model: up to the model that answers in Ollama."
    )
    status: Status
    cancelling: bool = False
    position: int | None = pydantic.Field(
        default=None, description="Place in the queue; 0 is next. Null when not queued."
    )
    waiting_for: str = ""
    current_step: str = ""
    progress: Progress | None = None
    steps: list[Step] = []
    error: Problem | None = None
    submitted_at: str = ""
    submitted_by: str = ""
    started_at: str = ""
    finished_at: str = ""
    base_model: str = ""
    base: str = pydantic.Field(default="", description="What the base model's name was resolved to.")
    template: str = ""
    dataset: str = ""
    dataset_digest: str = ""
    dataset_rows: int | None = None
    method: str = ""
    method_reason: str = ""
    hyperparameters: dict[str, t.Any] = {}
    results: dict[str, dict[str, t.Any]] = pydantic.Field(default={}, description="What each finished step found out.")
    model: str = pydantic.Field(default="", description="Name in Ollama, once it is registered.")
    trained_by: str = pydantic.Field(default="", description="For an export: the job that trained.")
    links: dict[str, str] = {}

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more, unless it is asked for again."""
        return self.status in ("paused", "succeeded", "failed", "cancelled")


class Estimate(Schema):
    """What a fine-tune would take; what cannot be told is null."""

    vram_bytes: int | None = None
    vram_total_bytes: int | None = None
    vram_free_bytes: int | None = None
    fits: bool | None = None
    disk_bytes: int | None = None
    disk_free_bytes: int | None = None
    seconds: float | None = None
    advice: str = ""
    details: dict[str, t.Any] = {}


class Submitted(Job):
    """A run that was just asked for."""

    created: bool = pydantic.Field(description="False when the same request was there already, or all of it was made.")
    pending: list[str] = pydantic.Field(default=[], description="Steps that had to be made when it was asked for.")
    warnings: list[str] = []
    estimate: Estimate = Estimate()


class Plan(Schema):
    """What asking for a fine-tune would do."""

    job: Job
    pending: list[str] = []
    warnings: list[str] = []
    estimate: Estimate = Estimate()
    declaration: dict[str, t.Any] = pydantic.Field(
        default={}, description="The entry of finetunes that means the same."
    )
    yaml: str = pydantic.Field(default="", description="The same for the inventory.")
    curl: str = pydantic.Field(default="", description="The same as a request.")


class Event(Schema):
    """Something that happened to a run. Ids count from 1 without a gap, and never change."""

    id: int
    job_id: str
    at: str
    type: t.Literal["status", "step", "metrics"]
    level: t.Literal["info", "warn", "error"] = "info"
    message: str
    data: dict[str, t.Any] = {}


class Point(Schema):
    """One line of a training's log."""

    step: float
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    epoch: float | None = None
    seconds: float | None = None


class Log(Schema):
    """The end of a job's output."""

    job_id: str
    step: str
    lines: list[str]


class Checkpoint(Schema):
    """A point that a training can go on from."""

    step: int
    created_at: float
    loss: float | None = None
    eval_loss: float | None = None


class Dataset(Schema):
    """A dataset by its name."""

    name: str
    digest: str = pydantic.Field(
        default="", description="Fingerprint of its version; empty for one registered by others."
    )
    rows: int | None = None
    format: str = ""
    bytes: int | None = None
    systems: dict[str, t.Any] = {}
    sources: list[dict[str, t.Any]] = []
    managed: bool = pydantic.Field(
        default=True, description="False when somebody else registered it: it cannot be trained on."
    )


class DatasetChange(Schema):
    """What publishing or validating rows did, or would do."""

    valid: bool
    changed: bool = False
    dataset: Dataset | None = None
    reasons: list[str] = []
    problems: list[dict[str, t.Any]] = pydantic.Field(
        default=[], description="file, row, line, field, what and fix of each."
    )
    problems_total: int = 0
    changes: dict[str, t.Any] = {}


class Model(Schema):
    """A model that was registered in Ollama by a run, and where it comes from."""

    name: str
    tag: str = pydantic.Field(description="Its content tag; never given to another model.")
    fingerprint: str
    digest: str = ""
    quantization: str = ""
    served: list[str] = pydantic.Field(
        default=[], description="Names that stand for it now, such as homelab-model:latest."
    )
    present: bool | None = pydantic.Field(
        default=None, description="Whether Ollama has it; null when it does not answer."
    )
    registered_at: str = ""
    lineage: dict[str, t.Any] = {}
    gate: dict[str, t.Any] | None = pydantic.Field(default=None, description="How its gate was answered last.")
    declared: bool = pydantic.Field(default=False, description="Whether it is the one that was declared last.")
    held: bool = pydantic.Field(default=False, description="Whether a rollback holds it in place of that one.")


class Promotion(Schema):
    """What moving the tags people use came to."""

    name: str
    tag: str
    moved: list[str]
    before: str = pydantic.Field(default="", description="The content tag that answered before.")
    held: bool = pydantic.Field(default=False, description="Whether it is held against what is declared.")


class Gpu(Schema):
    """One GPU."""

    index: int
    name: str
    total_bytes: int
    free_bytes: int


class Machine(Schema):
    """What there is to train on, and who has it."""

    accelerator: str
    gpus: list[Gpu]
    holder: str = pydantic.Field(default="", description="Id of the run that has the machine for itself.")
    queue: list[str] = []
    disk_free_bytes: int = 0
    loaded_models: list[str] | None = None
