# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests for datasets: list, read, publish, validate, delete."""

from __future__ import annotations

import typing as t

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ia_homelab_core.datasets.rules.registry import FORMATS
from ia_homelab_core.messages.message import Message
from ia_homelab_core.messages.suggestions import nearest

from ..application.errors import FieldError, FieldErrors
from ..application.operations import Operations
from ..application.schemas import DatasetChange
from ..http.access import READ, TRAIN
from ..http.bodies import receive_upload
from ..http.problem_details import language_of, problem_response
from ..http.security import needs
from ..http.upload_routes import receives_files
from .responses import error_responses, json_response
from .schemas import DatasetList, DatasetRows

_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "format": {"type": "string", "enum": list(FORMATS)},
                    },
                }
            }
        },
    }
}
DatasetName = t.Annotated[str, Path(max_length=110)]


def add_dataset_routes(router: APIRouter, operations: Operations) -> None:
    datasets = operations.datasets

    @router.get("/datasets", dependencies=[needs(READ)], response_model=DatasetList)
    def list_datasets() -> Response:
        return json_response(DatasetList(datasets=datasets.all()))

    @router.get(
        "/datasets/{name}", dependencies=[needs(READ)], response_model=DatasetRows, responses=error_responses(404)
    )
    def dataset(name: DatasetName, sample: t.Annotated[int, Query(ge=0, le=100)] = 0) -> Response:
        info = datasets.get(name)
        return json_response(DatasetRows(**dict(info), sample=datasets.sample(name, sample)))

    async def apply_upload(
        request: Request, name: str, filename: str, format: str, check: bool, force: bool
    ) -> Response:
        async with receive_upload(request, datasets, ("format",), filename) as form:
            chosen = form.fields.get("format", format)
            if "format" in request.query_params and chosen != format:
                content = Message("service.field_given_twice", field="format", other="format")
                raise FieldErrors([FieldError("format", content)])
            if chosen not in FORMATS:
                suggestion = nearest(chosen, FORMATS)
                content = Message("service.row_format_unknown", format=chosen, suggestion=suggestion)
                raise FieldErrors([FieldError("format", content)])
            source = form.file.source()
            change = await to_thread.run_sync(lambda: datasets.apply(name, [source], chosen, force=force, check=check))
        if change.valid or check:
            return json_response(change, 201 if change.changed and not check else 200)
        first = change.problems[0]
        row = [Message("datasets.at_row", row=first["row"])] if first.get("row") else []
        return problem_response(
            request.url.path,
            422,
            Message(
                "service.rows_wrong",
                total=change.problems_total,
                place=[first.get("file", ""), *row],
                problem=Message.from_stored({**first, "text": first.get("what"), "hint": first.get("fix")}),
            ),
            language_of(request),
            redactor=operations.redactor,
            problems=operations.redactor.value(change.problems),
            problems_total=change.problems_total,
        )

    @router.post(
        "/datasets/{name}",
        dependencies=[needs(TRAIN)],
        status_code=201,
        response_model=DatasetChange,
        responses={**error_responses(409), 200: {"model": DatasetChange, "description": "It was so before"}},
        openapi_extra=_FILE,
        summary="Publish the rows of a file under a name",
    )
    @receives_files
    async def publish(
        request: Request, name: DatasetName, filename: str = "", format: str = "auto", force: bool = False
    ) -> Response:
        return await apply_upload(request, name, filename, format, False, force)

    @router.post(
        "/datasets/{name}/validate",
        dependencies=[needs(READ)],
        response_model=DatasetChange,
        openapi_extra=_FILE,
        summary="Check the rows of a file; changes nothing",
    )
    @receives_files
    async def validate(request: Request, name: DatasetName, filename: str = "", format: str = "auto") -> Response:
        return await apply_upload(request, name, filename, format, True, False)

    @router.delete(
        "/datasets/{name}", dependencies=[needs(TRAIN)], status_code=204, responses=error_responses(404, 409)
    )
    def delete(name: DatasetName, purge: bool = False) -> Response:
        datasets.delete(name, purge)
        return Response(status_code=204)
