# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of the operations as typed values, shared by REST, MCP and the page.

Docstrings and descriptions of these classes are part of the OpenAPI document.
"""

from __future__ import annotations

import typing as t

import pydantic

from ia_homelab_core.artifacts.kinds import KINDS

Status = t.Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]


class Schema(pydantic.BaseModel):
    """An immutable value."""

    model_config = pydantic.ConfigDict(frozen=True)


class MessageBody(Schema):
    """A message for people: what it is about, for programs, and its text in English."""

    code: str
    parameters: dict[str, t.Any] = {}
    text: str
    hint: str = ""


class Problem(Schema):
    """Why a run failed."""

    message: str
    hint: str = ""
    code: str = pydantic.Field(default="", description="What kind of error it is, for programs.")
    parameters: dict[str, t.Any] = pydantic.Field(default={}, description="What message and hint name, by name.")
    step: str = ""
    details: dict[str, t.Any] = {}


class Step(Schema):
    """One step of a run."""

    label: str = pydantic.Field(description="Its name within the run, such as train or gguf-q4_K_M.")
    kind: str = pydantic.Field(description=f"{', '.join(KINDS[:-1])} or {KINDS[-1]}.")
    fingerprint: str = pydantic.Field(description="Identifies its result.")
    state: str = pydantic.Field(description="whole, idle, needed, running or failed.")
    reason: str = pydantic.Field(default="", description="Why it is not complete, or was not checked.")
    causes: list[MessageBody] = pydantic.Field(default=[], description="The reason as messages.")


class Progress(Schema):
    """Progress of the current step; unknown values are null."""

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
    note_message: MessageBody | None = None


class Job(Schema):
    """A run: all the steps of one fine-tune, under the id that clients call job_id."""

    job_id: str
    name: str = pydantic.Field(description="Name of the fine-tune, and of its model in Ollama.")
    goal: t.Literal["train", "model", "other"] = pydantic.Field(
        description="train: up to the trained adapter. model: up to the model that answers in Ollama."
    )
    status: Status
    state: MessageBody = pydantic.Field(description="The same, as all interfaces show it, with the place in the queue.")
    cancelling: bool = False
    position: int | None = pydantic.Field(
        default=None, description="Place in the queue; 0 is next. Null when not queued."
    )
    waiting_for: str = pydantic.Field(default="", description="What it waits for, in English.")
    waiting_for_message: MessageBody | None = None
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
    stage: str = pydantic.Field(default="", description="Kind of training: sft, dpo, kto, pt or rm.")
    method: str = ""
    method_reason: str = ""
    method_cause: MessageBody | None = None
    tool_format: str = pydantic.Field(default="", description="Tool format that the training takes.")
    tool_format_cause: MessageBody | None = pydantic.Field(default=None, description="Why, if rows have tools.")
    thinking: str = pydantic.Field(default="", description="What becomes of thoughts: keep, off, or as the rows are.")
    thinking_cause: MessageBody | None = pydantic.Field(default=None, description="Why, if something depends on it.")
    hyperparameters: dict[str, t.Any] = {}
    results: dict[str, dict[str, t.Any]] = pydantic.Field(default={}, description="Results of each finished step.")
    findings: list[MessageBody] = pydantic.Field(
        default=[], description="What its training found out about itself, such as a loss that did not fall."
    )
    evaluations: dict[str, MessageBody] = pydantic.Field(
        default={}, description="What its evaluation found in one line, by the tag of each version."
    )
    model: str = pydantic.Field(default="", description="Name in Ollama, once it is registered.")
    version: str = pydantic.Field(
        default="", description="Content tag of that model, once it is registered: unlike its name, it never moves."
    )
    place: MessageBody | None = pydantic.Field(
        default=None, description="Where its result lies on the host, if it has succeeded and registered no model."
    )
    trained_by: str = pydantic.Field(default="", description="For an export: the job that trained the adapter.")
    links: dict[str, str] = {}

    @property
    def ended(self) -> bool:
        """Whether the job is finished: it changes only if it is submitted again."""
        return self.status in ("paused", "succeeded", "failed", "cancelled")


class Estimate(Schema):
    """Requirements of a fine-tune; null where no estimate is possible."""

    vram_bytes: int | None = None
    vram_total_bytes: int | None = None
    vram_free_bytes: int | None = None
    fits: bool | None = None
    ram_bytes: int | None = pydantic.Field(default=None, description="Largest RAM of the steps still to be made.")
    disk_bytes: int | None = pydantic.Field(default=None, description="Disk that the steps still to be made write.")
    disk_free_bytes: int | None = None
    optimizer_steps: int | None = pydantic.Field(
        default=None, description="Steps of the training, over all epochs; null if it is not to be made."
    )
    seconds: float | None = None
    advice: str = ""
    details: dict[str, t.Any] = {}


class Submitted(Job):
    """A run that was just submitted."""

    created: bool = pydantic.Field(description="False if the same run was active, or all of its results existed.")
    pending: list[str] = pydantic.Field(default=[], description="Steps that were incomplete when it was submitted.")
    warnings: list[str] = []
    warning_messages: list[MessageBody] = []
    estimate: Estimate = Estimate()


class Plan(Schema):
    """What submitting a fine-tune would do."""

    job: Job
    pending: list[str] = []
    summary: list[MessageBody] = pydantic.Field(
        default=[], description="What the terminal says of the plan as well: what would run, and what that needs."
    )
    warnings: list[str] = []
    warning_messages: list[MessageBody] = []
    base_unchecked: str = pydantic.Field(
        default="", description="Why the files of the base model were not checked, in English; empty if they were."
    )
    base_unchecked_message: MessageBody | None = None
    estimate: Estimate = Estimate()
    declaration: dict[str, t.Any] = pydantic.Field(default={}, description="The equivalent entry of finetunes.")
    yaml: str = pydantic.Field(default="", description="The entry as YAML for an inventory.")
    curl: str = pydantic.Field(default="", description="The request as a shell command.")


class Event(Schema):
    """An event of a run. Ids count from 1 without gaps, and never change."""

    id: int
    job_id: str
    at: str
    type: t.Literal["status", "step", "metrics"]
    level: t.Literal["info", "warn", "error"] = "info"
    message: str = pydantic.Field(description="What happened, in English.")
    code: str = pydantic.Field(default="", description="What kind of event it is; empty in events of older versions.")
    parameters: dict[str, t.Any] = pydantic.Field(default={}, description="What the message names, by name.")
    data: dict[str, t.Any] = {}


class Point(Schema):
    """One line of a training's log."""

    step: float
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    epoch: float | None = None
    seconds: float | None = None


class LogCause(Schema):
    """The first cause of a failure in a log."""

    path: str = pydantic.Field(description="The log, on the host.")
    line: int = pydantic.Field(description="Number of the line, from 1.")
    text: str
    first: int = pydantic.Field(description="Number of the first line of the excerpt.")
    excerpt: list[str] = pydantic.Field(description="The lines around it.")
    problem: MessageBody = pydantic.Field(description="What it means, and what to do.")


class Log(Schema):
    """The last lines of a job's output."""

    job_id: str
    step: str
    path: str = pydantic.Field(default="", description="The log, on the host; empty if there is none.")
    lines: list[str]
    cause: LogCause | None = pydantic.Field(
        default=None, description="Where and why the step failed; null if it did not, or if no line names an error."
    )


class Checkpoint(Schema):
    """A checkpoint that a training can resume from."""

    step: int
    created_at: float
    loss: float | None = None
    eval_loss: float | None = None


class Dataset(Schema):
    """A dataset by its name."""

    name: str
    digest: str = pydantic.Field(
        default="", description="Fingerprint of its version; empty if another tool registered it."
    )
    rows: int | None = None
    format: str = ""
    bytes: int | None = None
    systems: dict[str, t.Any] = {}
    sources: list[dict[str, t.Any]] = []
    managed: bool = pydantic.Field(
        default=True, description="False if another tool registered it: it cannot be used for training."
    )


class DatasetChange(Schema):
    """What publishing or validating rows did, or would do."""

    valid: bool
    published: bool = pydantic.Field(default=False, description="False if the rows were only checked.")
    changed: bool = pydantic.Field(default=False, description="Whether publishing changed, or would change, anything.")
    dataset: Dataset | None = None
    reasons: list[str] = []
    reason_messages: list[MessageBody] = []
    problems: list[dict[str, t.Any]] = pydantic.Field(
        default=[], description="file, row, line, field, what and fix of each."
    )
    problems_total: int = 0
    changes: dict[str, t.Any] = {}


class Model(Schema):
    """A model that a run registered in Ollama, with its lineage."""

    name: str
    tag: str = pydantic.Field(description="Its content tag; never given to another model.")
    fingerprint: str
    digest: str = ""
    quantization: str = ""
    served: list[str] = pydantic.Field(default=[], description="Names that point at it, such as homelab-model:latest.")
    present: bool | None = pydantic.Field(
        default=None, description="Whether Ollama has it; null if Ollama does not respond."
    )
    state: MessageBody = pydantic.Field(description="Its state, as all interfaces show it.")
    registered_at: str = ""
    lineage: dict[str, t.Any] = {}
    gate: dict[str, t.Any] | None = pydantic.Field(default=None, description="Report of its last gate.")
    declared: bool = pydantic.Field(default=False, description="Whether it is the model that was declared last.")
    held: bool = pydantic.Field(default=False, description="Whether a rollback holds it instead of the declared model.")
    base_of: str = pydantic.Field(
        default="", description="The model that an evaluation compares with it, which is its base; empty for a version."
    )


class ModelDifference(Schema):
    """How a model differs from another one by one measure, question by question."""

    model: str
    against: str
    measure: str
    difference: float = pydantic.Field(description="Mean over the questions: of shares 0 to 1, of text 0 to 100.")
    low: float = pydantic.Field(description="Lower bound of the 95 % confidence interval.")
    high: float
    asked: int = pydantic.Field(description="Number of questions that both answered.")
    worse: int = pydantic.Field(description="Number of answers that are worse.")
    better: int
    verdict: MessageBody = pydantic.Field(description="Better, worse, or undecided within the bounds of chance.")


class EvaluatedVersion(Schema):
    """What the last evaluation of a version found."""

    name: str
    tag: str
    fingerprint: str = pydantic.Field(description="Fingerprint of the evaluation.")
    label: str = pydantic.Field(description="How the report names the version: its quantization.")
    asked_at: str
    questions: int = pydantic.Field(description="Number of questions.")
    line: MessageBody = pydantic.Field(description="What is said of it in one line.")
    passed: bool | None = pydantic.Field(description="Whether it meets the requirements; null if there are none.")
    measures: dict[str, dict[str, t.Any]] = pydantic.Field(
        description="By measure: value, low, high (95 % confidence interval), asked, and met of a share."
    )
    tokens_per_answer: float | None = None
    seconds_per_answer: float | None = None
    comparisons: list[ModelDifference] = []
    quantization: dict[str, t.Any] | None = pydantic.Field(
        default=None,
        description="What it costs against the largest one: size, differences, likelihood; null for a single one.",
    )
    requirements: list[dict[str, t.Any]] = pydantic.Field(default=[], description="name, wanted, value, bound, met.")
    lines: list[MessageBody] = pydantic.Field(
        default=[], description="What else is said: what a judge said, the requirements, and notes."
    )


class Evaluation(EvaluatedVersion):
    """The last evaluation of a version, with its report."""

    report: dict[str, t.Any] = pydantic.Field(description="The report on all models that were asked.")


class AnsweredQuestion(Schema):
    """A question of an evaluation, and the answers of models."""

    item: dict[str, t.Any] = pydantic.Field(
        description="id, part, messages, tools, and reference or expect: what the answer is measured by."
    )
    answers: dict[str, dict[str, t.Any] | None] = pydantic.Field(
        description="By label of the model: answer, scores and unmet; null without an answer."
    )
    change: float | None = pydantic.Field(
        default=None, description="From -1 (worse) to 1 (better); null if one of both did not answer."
    )


class QuestionPage(Schema):
    """Questions of an evaluation, those whose answers became worse first."""

    tag: str
    label: str = pydantic.Field(description="Name of the version among the answers.")
    against: str = pydantic.Field(description="Name of what it is compared with; empty if there is none.")
    total: int
    worse: int = pydantic.Field(description="Number of answers that became worse, of all questions.")
    better: int
    next: int | None = pydantic.Field(default=None, description="Value of after for the next page; null on the last.")
    questions: list[AnsweredQuestion]


class Comparison(Schema):
    """Two versions compared by the questions that both have answered."""

    tag: str
    against: str
    measures: list[ModelDifference]


class Promotion(Schema):
    """Result of moving the public tags."""

    name: str
    tag: str
    moved: list[str]
    before: str = pydantic.Field(default="", description="The content tag that was served before.")
    held: bool = pydantic.Field(default=False, description="Whether it is held instead of the declared model.")


class Gpu(Schema):
    """One GPU."""

    index: int
    name: str
    total_bytes: int
    free_bytes: int


class Machine(Schema):
    """GPUs and resources of the machine, and the run that uses them."""

    accelerator: str
    gpus: list[Gpu]
    holder: str = pydantic.Field(default="", description="Id of the run that has exclusive use of the machine.")
    queue: list[str] = []
    disk_free_bytes: int = 0
    loaded_models: list[str] | None = None
