# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters and bodies of requests, and their schemas for the OpenAPI document."""

from __future__ import annotations

import typing as t

from fastapi import Depends, Path

from ..application import finetune_request
from ..application.errors import FieldError, FieldErrors
from ..http.bodies import json_object


def json_body(schema: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def object_schema(required: t.Sequence[str], **properties: t.Any) -> dict[str, t.Any]:
    schema: dict[str, t.Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


Body = t.Annotated[dict[str, t.Any], Depends(json_object)]
JobId = t.Annotated[str, Path(description="Id of a run.", max_length=151)]


def text_fields(body: t.Mapping[str, t.Any], schema: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return the fields of a request whose values are all text.

    :raises FieldErrors: with every invalid field.
    """
    known, errors = schema["properties"], []
    for key, value in body.items():
        if key not in known:
            errors.append(finetune_request.unknown_field(key, known))
        elif not isinstance(value, str):
            errors.append(FieldError(key, f"{key} must be text, not {value!r}."))
    errors += [FieldError(key, f"{key} is missing.") for key in schema["required"] if key not in body]
    if errors:
        raise FieldErrors(errors)
    return {key: str(value) for key, value in body.items()}
