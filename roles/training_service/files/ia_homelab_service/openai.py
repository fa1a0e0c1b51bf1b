# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenAI's interface under /v1: the unmodified ``openai`` client trains here and asks what it has trained."""

from __future__ import annotations

import typing as t

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from . import openai_jobs
from .bodies import json_object, upload
from .errors import NotFoundError
from .loop import Loop
from .openai_files import Files
from .openai_models import Upstream
from .operations import Operations

Body = t.Annotated[dict[str, t.Any], Depends(json_object)]
Limit = t.Annotated[int, Query(ge=1, le=1000)]


def _json(schema: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_TEXT = {"type": "string", "minLength": 1}
_ASK = _json({"type": "object", "required": ["model"], "properties": {"model": _TEXT, "stream": {"type": "boolean"}}})
_CREATE = _json(
    {
        "type": "object",
        "required": ["model", "training_file"],
        "properties": {
            "model": _TEXT,
            "training_file": _TEXT,
            "suffix": {"type": "string"},
            "seed": {"type": "integer", "minimum": 0, "maximum": 4294967295},
            "hyperparameters": {"type": "object"},
            "method": {"type": "object"},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
)
_ERROR = {"application/json": {"schema": {"type": "object", "required": ["error"]}}}
_REFUSED: dict[int | str, dict[str, t.Any]] = {
    status: {"description": "Refused", "content": _ERROR}
    for status in (400, 401, 403, 404, 409, 413, 415, 421, 422, 500, 502, 503)
}


def router(operations: Operations, loop: Loop, upstream: Upstream) -> APIRouter:
    """All requests below /v1."""
    made = APIRouter(prefix="/v1", responses=_REFUSED)
    files = Files(operations)
    _add_models(made, upstream)
    _add_files(made, operations, files)
    _add_jobs(made, operations, loop, files)
    return made


def _add_models(made: APIRouter, upstream: Upstream) -> None:
    @made.post("/chat/completions", openapi_extra=_ASK)
    async def chat(body: Body) -> Response:
        return await upstream.pass_on("/v1/chat/completions", body)

    @made.post("/completions", openapi_extra=_ASK)
    async def completions(body: Body) -> Response:
        return await upstream.pass_on("/v1/completions", body)

    @made.post("/embeddings", openapi_extra=_ASK)
    async def embeddings(body: Body) -> Response:
        return await upstream.pass_on("/v1/embeddings", body)

    @made.get("/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": await upstream.models()})

    @made.get("/models/{model:path}")
    async def model(model: str) -> Response:
        for one in await upstream.models():
            if one["id"] in (model, f"{model}:latest"):
                return JSONResponse(one)
        raise NotFoundError(f"There is no model {model!r}.")


def _add_files(made: APIRouter, operations: Operations, files: Files) -> None:
    form = {
        "type": "object",
        "required": ["file", "purpose"],
        "properties": {"file": {"type": "string", "format": "binary"}, "purpose": {"type": "string"}},
    }

    @made.post("/files", openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": form}}}})
    async def create(request: Request) -> Response:
        async with upload(request, operations.datasets) as found:
            assert found.file is not None
            kept = await to_thread.run_sync(files.keep, found.file, found.fields.get("purpose", ""))
        return JSONResponse(kept)

    @made.get("/files")
    def listed(purpose: str = "", limit: Limit = 1000, after: str = "", order: str = "desc") -> Response:
        found = files.all()
        chosen = [one for one in found if not purpose or one["purpose"] == purpose]
        if order == "asc":
            chosen.reverse()
        return JSONResponse(openai_jobs.page_after(chosen, after, limit))

    @made.get("/files/{file_id}")
    def get(file_id: str) -> Response:
        return JSONResponse(files.get(file_id))

    @made.delete("/files/{file_id}")
    def delete(file_id: str) -> Response:
        return JSONResponse(files.delete(file_id))

    @made.get("/files/{file_id}/content")
    def content(file_id: str) -> Response:
        path, text = files.content(file_id)
        return FileResponse(path, media_type="application/octet-stream") if path else PlainTextResponse(text)


def _add_jobs(made: APIRouter, operations: Operations, loop: Loop, files: Files) -> None:
    @made.post("/fine_tuning/jobs", openapi_extra=_CREATE)
    async def create(body: Body) -> Response:
        found = await to_thread.run_sync(openai_jobs.create, operations, files, body)
        loop.kick()
        return JSONResponse(found)

    @made.get("/fine_tuning/jobs")
    def listed(after: str = "", limit: Limit = 20) -> Response:
        return JSONResponse(openai_jobs.jobs(operations, after, limit))

    @made.get("/fine_tuning/jobs/{job_id}")
    def get(job_id: str) -> Response:
        return JSONResponse(openai_jobs.get(operations, job_id))

    @made.get("/fine_tuning/jobs/{job_id}/events")
    def events(job_id: str, after: str = "", limit: Limit = 20) -> Response:
        return JSONResponse(openai_jobs.events(operations, job_id, after, limit))

    @made.get("/fine_tuning/jobs/{job_id}/checkpoints")
    def checkpoints(job_id: str, after: str = "", limit: Limit = 10) -> Response:
        return JSONResponse(openai_jobs.checkpoints(operations, job_id, after, limit))

    def add(name: str, act: t.Callable[[str], t.Any]) -> None:
        async def change(job_id: str) -> Response:
            await to_thread.run_sync(act, job_id)
            loop.kick()
            return JSONResponse(await to_thread.run_sync(openai_jobs.get, operations, job_id))

        made.add_api_route(f"/fine_tuning/jobs/{{job_id}}/{name}", change, methods=["POST"], name=name)

    add("cancel", operations.cancel)
    add("pause", operations.pause)
    add("resume", operations.resume)
