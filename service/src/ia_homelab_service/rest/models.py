# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests for registered models: list, promote, roll back, release."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter
from starlette.responses import Response

from ..application.operations import Operations
from ..application.schemas import Promotion
from .parameters import Body, json_body, object_schema, text_fields
from .responses import error_responses, json_response
from .schemas import ModelList

_PROMOTE = object_schema(["tag"], tag={"type": "string"})
_RELEASE = object_schema(["name"], name={"type": "string"})
_ROLLBACK = object_schema(["name"], name={"type": "string"}, to={"type": "string"})


def add_model_routes(router: APIRouter, operations: Operations) -> None:
    @router.get("/models", response_model=ModelList)
    def models(name: str = "") -> Response:
        return json_response(ModelList(models=operations.list_models(name)))

    @router.post(
        "/models/promote",
        response_model=Promotion,
        responses=error_responses(404, 409),
        openapi_extra=json_body(_PROMOTE),
    )
    async def promote(body: Body) -> Response:
        fields = text_fields(body, _PROMOTE)
        return json_response(await to_thread.run_sync(operations.promote, fields["tag"]))

    @router.post("/models/release", response_model=ModelList, responses=error_responses(404, 409),
               openapi_extra=json_body(_RELEASE), summary="End the hold of a rollback")  # fmt: skip
    async def release(body: Body) -> Response:
        name = text_fields(body, _RELEASE)["name"]
        await to_thread.run_sync(operations.release, name)
        return json_response(ModelList(models=await to_thread.run_sync(operations.list_models, name)))

    @router.post("/models/rollback", response_model=Promotion, responses=error_responses(404, 409),
               openapi_extra=json_body(_ROLLBACK))  # fmt: skip
    async def rollback(body: Body) -> Response:
        fields = text_fields(body, _ROLLBACK)
        return json_response(await to_thread.run_sync(operations.rollback, fields["name"], fields.get("to", "")))
