# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of requests in OpenAI's format."""

from __future__ import annotations

import typing as t

import pydantic

from ..http.bodies import JsonObject

_TEXT = {"type": "string", "minLength": 1}


class ModelRequest(pydantic.BaseModel):
    """A request for a model: forwarded to the server of the model, with all other fields."""

    model_config = pydantic.ConfigDict(extra="allow")

    model: str = pydantic.Field(min_length=1, description="Name of the model to query.")
    stream: bool | None = pydantic.Field(default=None, strict=True)


def _job_schema(schema: dict[str, t.Any]) -> None:
    schema.pop("additionalProperties", None)
    schema["required"] = ["model", "training_file"]
    schema["properties"] = {
        "model": _TEXT,
        "training_file": _TEXT,
        "suffix": {"type": "string"},
        "seed": {"type": "integer", "minimum": 0, "maximum": 4294967295},
        "hyperparameters": {"type": "object"},
        "method": {"type": "object"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
    }


class JobRequest(JsonObject):
    """A fine-tuning job: OpenAI's fields, and any option of a fine-tune."""

    model_config = pydantic.ConfigDict(json_schema_extra=_job_schema)
