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
from ..http.access import READ, TRAIN
from ..http.security import needs
from .responses import error_responses, json_response
from .schemas import ModelList, PromoteRequest, ReleaseRequest, RollbackRequest


def add_model_routes(router: APIRouter, operations: Operations) -> None:
    @router.get("/models", dependencies=[needs(READ)], response_model=ModelList)
    def models(name: str = "") -> Response:
        return json_response(ModelList(models=operations.list_models(name)))

    @router.post(
        "/models/promote",
        dependencies=[needs(TRAIN)],
        response_model=Promotion,
        responses=error_responses(404, 409),
    )
    async def promote(body: PromoteRequest) -> Response:
        return json_response(await to_thread.run_sync(operations.promote, body.tag))

    @router.post(
        "/models/release",
        dependencies=[needs(TRAIN)],
        response_model=ModelList,
        responses=error_responses(404, 409),
        summary="End the hold of a rollback",
    )
    async def release(body: ReleaseRequest) -> Response:
        await to_thread.run_sync(operations.release, body.name)
        return json_response(ModelList(models=await to_thread.run_sync(operations.list_models, body.name)))

    @router.post(
        "/models/rollback",
        dependencies=[needs(TRAIN)],
        response_model=Promotion,
        responses=error_responses(404, 409),
    )
    async def rollback(body: RollbackRequest) -> Response:
        return json_response(await to_thread.run_sync(operations.rollback, body.name, body.to))
