# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of the tools, short enough for the context of a language model.

Docstrings and descriptions are part of the output schemas that clients get.
"""

from __future__ import annotations

import pydantic

from ..application import schemas


class JobInfo(pydantic.BaseModel):
    """A training job, short enough to be read in passing."""

    job_id: str = pydantic.Field(description="What to name it by. Empty while the base model is still looked up.")
    name: str = pydantic.Field(default="", description="Name of the fine-tune, and of its model in Ollama.")
    status: str = pydantic.Field(description="starting, queued, running, paused, succeeded, failed or cancelled.")
    state: str = pydantic.Field(
        default="", description="The same as all interfaces show it, with its place in the queue."
    )
    message: str = pydantic.Field(description="How it stands, in a sentence.")
    next: str = pydantic.Field(description="What to do next.")
    step: str = pydantic.Field(default="", description="The step at work: base, train, merge, gguf-… or register-….")
    percent: int | None = pydantic.Field(default=None, description="How far that step is.")
    loss: float | None = None
    eta_seconds: float | None = None
    position: int | None = pydantic.Field(default=None, description="Place in the queue; 0 is next.")
    base_model: str = ""
    dataset: str = ""
    method: str = ""
    model: str = pydantic.Field(default="", description="Name in Ollama, once it is served.")
    error: schemas.Problem | None = None
    warnings: list[str] = []
    unchecked: list[str] = pydantic.Field(
        default=[], description="Steps that are only taken to be as their receipts say, and why they were not checked."
    )
    findings: list[str] = pydantic.Field(
        default=[], description="What the training found out about itself, with the setting to change."
    )
    evaluations: list[str] = pydantic.Field(
        default=[], description="What its evaluation found, in a line for each version."
    )
    resources: list[str] = pydantic.Field(default=[], description="Its log, and the receipts of what it made.")


class JobList(pydantic.BaseModel):
    """Jobs: those at work in the order of the queue, then the latest that have ended."""

    jobs: list[JobInfo]
    next: str


class EvaluatedAnswer(pydantic.BaseModel):
    """A question whose answer became worse, or is not as it should be."""

    question: str
    expected: str = pydantic.Field(description="The reference, or the expectations.")
    answers: dict[str, str] = pydantic.Field(description="By model: the version, and what it is compared with.")
    change: float | None = pydantic.Field(default=None, description="From -1 (worse) to 1 (better).")


class EvaluationInfo(pydantic.BaseModel):
    """What the evaluation of a version found, short enough to be read in passing."""

    version: str
    line: str = pydantic.Field(description="Its measures in one line. Behind ± is half of a 95 % confidence interval.")
    passed: bool | None = pydantic.Field(description="Whether it meets its requirements; null if there are none.")
    lines: list[str] = pydantic.Field(default=[], description="Requirements, what a judge said, and notes.")
    against: str = ""
    worse: int = pydantic.Field(default=0, description="Number of answers that became worse.")
    better: int = 0
    answers: list[EvaluatedAnswer] = pydantic.Field(default=[], description="The worst ones.")
    next: str


class DatasetList(pydantic.BaseModel):
    """The datasets by their names."""

    datasets: list[schemas.Dataset]
    next: str


class Estimated(pydantic.BaseModel):
    """What a fine-tune would do and take. Nothing was started or written."""

    summary: list[str] = pydantic.Field(default=[], description="What would run, and what that needs, in words.")
    to_be_made: list[str] = pydantic.Field(description="Steps that would have to be made; empty when all is there.")
    method: str
    method_reason: str = ""
    estimate: schemas.Estimate
    warnings: list[str] = []
    unchecked: list[str] = pydantic.Field(
        default=[], description="What was not checked, and why: the files of the base model, or complete steps."
    )
    inventory: str = pydantic.Field(description="The same as an entry of the Ansible inventory (YAML).")
    next: str
