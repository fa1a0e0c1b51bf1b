# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that submit, control and inspect jobs."""

from __future__ import annotations

import typing as t

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from ..application import finetune_request
from ..application.operations import Operations
from ..application.schemas import Checkpoint, Job, Log, Machine, Plan, Point, Submitted
from .parameters import Body, JobId, json_body, object_schema, text_fields
from .responses import error_responses, json_response, submitted_response
from .schemas import JobList, State

_EXPORT = object_schema(
    ["job_id"], job_id={"type": "string"}, format={"type": "string", "enum": ["gguf"], "default": "gguf"}
)


def add_control_routes(router: APIRouter, operations: Operations) -> None:
    async def submit(request: Request, ask: t.Callable[..., Submitted], *arguments: t.Any) -> Response:
        return submitted_response(await to_thread.run_sync(ask, *arguments), request)

    @router.post(
        "/train",
        status_code=202,
        response_model=Submitted,
        responses=error_responses(409),
        openapi_extra=json_body(finetune_request.request_schema()),
        summary="Ask for a fine-tune; the same request is the same job",
    )
    async def train(request: Request, body: Body) -> Response:
        return await submit(request, operations.train, body)

    @router.post("/export", status_code=202, response_model=Submitted, responses=error_responses(404, 409),
               openapi_extra=json_body(_EXPORT), summary="Take a trained model to Ollama")  # fmt: skip
    async def export(request: Request, body: Body) -> Response:
        fields = text_fields(body, _EXPORT)
        return await submit(request, operations.export, fields["job_id"], fields.get("format", "gguf"))

    @router.post("/plan", response_model=Plan, openapi_extra=json_body(finetune_request.request_schema()),
               summary="What asking for a fine-tune would do; changes nothing")  # fmt: skip
    async def plan(body: Body) -> Response:
        return json_response(await to_thread.run_sync(operations.plan, body))

    @router.post(
        "/jobs/{job_id}/resume", status_code=202, response_model=Submitted, responses=error_responses(404, 409)
    )
    async def resume(request: Request, job_id: JobId) -> Response:
        return await submit(request, operations.resume, job_id)

    @router.post("/jobs/{job_id}/retry", status_code=202, response_model=Submitted, responses=error_responses(404, 409))
    async def retry(request: Request, job_id: JobId) -> Response:
        return await submit(request, operations.retry, job_id)

    @router.post("/jobs/{job_id}/cancel", response_model=Job, responses=error_responses(404, 409))
    async def cancel(job_id: JobId) -> Response:
        return json_response(await to_thread.run_sync(operations.cancel, job_id))

    @router.post("/jobs/{job_id}/pause", response_model=Job, responses=error_responses(404, 409))
    async def pause(job_id: JobId) -> Response:
        return json_response(await to_thread.run_sync(operations.pause, job_id))


def add_status_routes(router: APIRouter, operations: Operations) -> None:
    @router.get("/status", response_model=State)
    def state(limit: t.Annotated[int, Query(ge=0, le=500)] = 20) -> Response:
        jobs = operations.list_jobs(limit)
        busy = any(not job.ended for job in jobs)
        return json_response(State(status="busy" if busy else "idle", jobs=jobs, machine=operations.machine()))

    @router.get("/status/{job_id}", response_model=Job, responses=error_responses(404))
    @router.get("/jobs/{job_id}", response_model=Job, responses=error_responses(404), include_in_schema=False)
    async def status(job_id: JobId) -> Response:
        body = operations.jobs.cached_json(job_id)
        if body is None:
            body = await to_thread.run_sync(operations.job_json, job_id)
        return Response(body, media_type="application/json")

    @router.get("/jobs", response_model=JobList)
    def jobs(
        limit: t.Annotated[int, Query(ge=0, le=500)] = 50,
        name: str = "",
        status: str = "",
    ) -> Response:
        return json_response(JobList(jobs=operations.list_jobs(limit, name, status)))

    @router.get("/jobs/{job_id}/log", response_model=Log, responses=error_responses(404))
    def log(job_id: JobId, lines: t.Annotated[int, Query(ge=0, le=5000)] = 200, step: str = "") -> Response:
        return json_response(operations.log(job_id, lines, step))

    @router.get("/jobs/{job_id}/curve", response_model=list[Point], responses=error_responses(404))
    def curve(job_id: JobId, limit: t.Annotated[int, Query(ge=1, le=100_000)] = 2000) -> list[Point]:
        return operations.curve(job_id, limit)

    @router.get("/jobs/{job_id}/checkpoints", response_model=list[Checkpoint], responses=error_responses(404))
    def checkpoints(job_id: JobId) -> list[Checkpoint]:
        return operations.checkpoints(job_id)

    @router.get("/gpu", response_model=Machine)
    def gpu() -> Response:
        return json_response(operations.machine())

    @router.get("/schema", response_model=dict[str, t.Any])
    def schema() -> Response:
        return JSONResponse(operations.schema())
