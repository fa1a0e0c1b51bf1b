# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of requests, and bodies of responses that the REST interface adds to :mod:`application.schemas`."""

from __future__ import annotations

import typing as t

import pydantic

from ..application import finetune_request
from ..application.schemas import Dataset, EvaluatedVersion, Event, Job, Machine, Model
from ..http.bodies import JsonObject, RequestBody


def _finetune_schema(schema: dict[str, t.Any]) -> None:
    schema.pop("additionalProperties", None)
    schema.update(finetune_request.request_schema())


class FinetuneRequest(JsonObject):
    """A fine-tune: its options in any of their spellings."""

    model_config = pydantic.ConfigDict(json_schema_extra=_finetune_schema)


class ExportRequest(RequestBody):
    """A trained job to take to Ollama."""

    job_id: str
    format: str = pydantic.Field(default="gguf", json_schema_extra={"enum": ["gguf"]})


class PromoteRequest(RequestBody):
    """The version that gets the public tags."""

    tag: str


class ReleaseRequest(RequestBody):
    """The model whose hold ends."""

    name: str


class RollbackRequest(RequestBody):
    """The model that is rolled back."""

    name: str
    to: str = pydantic.Field(default="", description="A content tag; by default that of the version before.")


class JobList(pydantic.BaseModel):
    """Jobs, active ones first in the order of the queue."""

    jobs: list[Job]


class State(JobList):
    """Jobs and the machine."""

    status: t.Literal["idle", "busy"]
    machine: Machine


class EventList(pydantic.BaseModel):
    """Events of a job, in order."""

    events: list[Event]


class DatasetList(pydantic.BaseModel):
    """Datasets by name."""

    datasets: list[Dataset]


class DatasetRows(Dataset):
    """A dataset with its first rows."""

    sample: list[str] = []


class ModelList(pydantic.BaseModel):
    """Registered models, the latest first."""

    models: list[Model]


class EvaluationList(pydantic.BaseModel):
    """The last evaluation of each version that has one, the latest version first."""

    evaluations: list[EvaluatedVersion]
