# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All routes of OpenAI's interface."""

from __future__ import annotations

import typing as t

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from ..application.errors import NotFoundError
from ..application.operations import Operations
from ..http.access import READ, TRAIN
from ..http.bodies import receive_upload
from ..http.routing import ServiceRoute
from ..http.security import needs
from ..http.upload_routes import receives_chats, receives_files
from . import jobs
from .fields import CHAT, COMPLETIONS, EMBEDDINGS
from .files import Files
from .models import Upstream
from .schemas import JobRequest, ModelRequest

Limit = t.Annotated[int, Query(ge=1, le=1000)]

_ERROR = {"application/json": {"schema": {"type": "object", "required": ["error"]}}}
_ERROR_RESPONSES: dict[int | str, dict[str, t.Any]] = {
    status: {"description": "Refused", "content": _ERROR}
    for status in (400, 401, 403, 404, 408, 409, 413, 415, 421, 422, 500, 502, 503)
}


def create_router(operations: Operations, upstream: Upstream) -> APIRouter:
    """Return the routes below ``/v1``."""
    router = APIRouter(prefix="/v1", route_class=ServiceRoute, responses=_ERROR_RESPONSES)
    files = Files(operations)
    _add_models(router, upstream)
    _add_deletion(router, operations)
    _add_files(router, operations, files)
    _add_jobs(router, operations, files)
    return router


def _add_models(router: APIRouter, upstream: Upstream) -> None:
    @router.post("/chat/completions", dependencies=[needs(READ)])
    @receives_chats
    async def chat(request: Request, body: ModelRequest) -> Response:
        return await upstream.forward(request, body.model_dump(exclude_unset=True), CHAT)

    @router.post("/completions", dependencies=[needs(READ)])
    @receives_chats
    async def completions(request: Request, body: ModelRequest) -> Response:
        return await upstream.forward(request, body.model_dump(exclude_unset=True), COMPLETIONS)

    @router.post("/embeddings", dependencies=[needs(READ)])
    @receives_chats
    async def embeddings(request: Request, body: ModelRequest) -> Response:
        return await upstream.forward(request, body.model_dump(exclude_unset=True), EMBEDDINGS)

    @router.get("/models", dependencies=[needs(READ)])
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": await upstream.models()})

    @router.get("/models/{model:path}", dependencies=[needs(READ)])
    async def model(model: str) -> Response:
        for one in await upstream.models():
            if one["id"] in (model, f"{model}:latest"):
                return JSONResponse(one)
        raise NotFoundError("service.model_unknown", model=model)


def _add_deletion(router: APIRouter, operations: Operations) -> None:
    @router.delete("/models/{model:path}", dependencies=[needs(TRAIN)])
    async def delete(model: str) -> Response:
        await to_thread.run_sync(operations.delete_model, model)
        return JSONResponse({"id": model, "object": "model", "deleted": True})


def _add_files(router: APIRouter, operations: Operations, files: Files) -> None:
    form = {
        "type": "object",
        "required": ["file", "purpose"],
        "properties": {"file": {"type": "string", "format": "binary"}, "purpose": {"type": "string"}},
    }

    @router.post(
        "/files",
        dependencies=[needs(TRAIN)],
        openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": form}}}},
    )
    @receives_files
    async def create(request: Request) -> Response:
        async with receive_upload(request, operations.datasets, ("purpose",)) as form:
            stored = await to_thread.run_sync(files.store, form.file, form.fields.get("purpose", ""))
        return JSONResponse(stored)

    @router.get("/files", dependencies=[needs(READ)])
    def listed(purpose: str = "", limit: Limit = 1000, after: str = "", order: str = "desc") -> Response:
        stored = files.all()
        selected = [one for one in stored if not purpose or one["purpose"] == purpose]
        if order == "asc":
            selected.reverse()
        return JSONResponse(jobs.paginate(selected, after, limit))

    @router.get("/files/{file_id}", dependencies=[needs(READ)])
    def get(file_id: str) -> Response:
        return JSONResponse(files.get(file_id))

    @router.delete("/files/{file_id}", dependencies=[needs(TRAIN)])
    def delete(file_id: str) -> Response:
        return JSONResponse(files.delete(file_id))

    @router.get("/files/{file_id}/content", dependencies=[needs(READ)])
    def content(file_id: str) -> Response:
        path, text = files.content(file_id)
        return FileResponse(path, media_type="application/octet-stream") if path else PlainTextResponse(text)


def _add_jobs(router: APIRouter, operations: Operations, files: Files) -> None:
    @router.post("/fine_tuning/jobs", dependencies=[needs(TRAIN)])
    async def create(body: JobRequest) -> Response:
        return JSONResponse(await to_thread.run_sync(jobs.create, operations, files, body.root))

    @router.get("/fine_tuning/jobs", dependencies=[needs(READ)])
    def listed(after: str = "", limit: Limit = 20) -> Response:
        return JSONResponse(jobs.list_jobs(operations, after, limit))

    @router.get("/fine_tuning/jobs/{job_id}", dependencies=[needs(READ)])
    def get(job_id: str) -> Response:
        return JSONResponse(jobs.get(operations, job_id))

    @router.get("/fine_tuning/jobs/{job_id}/events", dependencies=[needs(READ)])
    def events(job_id: str, after: str = "", limit: Limit = 20) -> Response:
        return JSONResponse(jobs.events(operations, job_id, after, limit))

    @router.get("/fine_tuning/jobs/{job_id}/checkpoints", dependencies=[needs(READ)])
    def checkpoints(job_id: str, after: str = "", limit: Limit = 10) -> Response:
        return JSONResponse(jobs.checkpoints(operations, job_id, after, limit))

    def add(name: str, act: t.Callable[[str], t.Any]) -> None:
        async def change(job_id: str) -> Response:
            await to_thread.run_sync(act, job_id)
            return JSONResponse(await to_thread.run_sync(jobs.get, operations, job_id))

        router.add_api_route(
            f"/fine_tuning/jobs/{{job_id}}/{name}", change, methods=["POST"], name=name, dependencies=[needs(TRAIN)]
        )

    add("cancel", operations.cancel)
    add("pause", operations.pause)
    add("resume", operations.resume)


def mount(app: FastAPI) -> None:
    """Add OpenAI's interface to the application."""
    upstream = Upstream(app.state.settings)
    app.state.lifespans.append(upstream.lifespan())
    app.include_router(create_router(app.state.operations, upstream))
