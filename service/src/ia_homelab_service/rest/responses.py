# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Responses of the REST interface, and how the OpenAPI document describes errors."""

from __future__ import annotations

import typing as t

import pydantic
from fastapi import Request
from starlette.responses import Response

from ..application.schemas import Submitted
from ..http.problem_details import PROBLEM


def error_responses(*statuses: int) -> dict[int | str, dict[str, t.Any]]:
    schema = {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
    always = (400, 401, 403, 413, 415, 421, 422, 500, 502, 503)
    return {status: {"description": "Refused", "content": {PROBLEM: schema}} for status in (*always, *statuses)}


def json_response(value: pydantic.BaseModel, status: int = 200, headers: t.Mapping[str, str] | None = None) -> Response:
    """Return a value as JSON, without validating it again."""
    return Response(value.model_dump_json(), status, dict(headers or {}), "application/json")


def submitted_response(submission: Submitted, request: Request) -> Response:
    """Return the response to a submitted run, with its location."""
    return json_response(
        submission, 202, {"Location": f"{request.scope.get('root_path', '')}/api/status/{submission.job_id}"}
    )
