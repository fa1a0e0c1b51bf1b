# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that submit, control and inspect jobs."""

from __future__ import annotations

import typing as t

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from ..application.operations import Operations
from ..application.schemas import Checkpoint, Job, Log, Machine, Plan, Point, Submitted
from ..http.access import READ, TRAIN
from ..http.security import needs
from .parameters import JobId
from .responses import error_responses, json_response, submitted_response
from .schemas import ExportRequest, FinetuneRequest, JobList, State


def add_control_routes(router: APIRouter, operations: Operations) -> None:
    async def submit(request: Request, ask: t.Callable[..., Submitted], *arguments: t.Any) -> Response:
        return submitted_response(await to_thread.run_sync(ask, *arguments), request)

    @router.post(
        "/train",
        dependencies=[needs(TRAIN)],
        status_code=202,
        response_model=Submitted,
        responses=error_responses(409),
        summary="Ask for a fine-tune; the same request is the same job",
    )
    async def train(request: Request, body: FinetuneRequest) -> Response:
        return await submit(request, operations.train, body.root)

    @router.post(
        "/export",
        dependencies=[needs(TRAIN)],
        status_code=202,
        response_model=Submitted,
        responses=error_responses(404, 409),
        summary="Take a trained model to Ollama",
    )
    async def export(request: Request, body: ExportRequest) -> Response:
        return await submit(request, operations.export, body.job_id, body.format)

    @router.post(
        "/plan",
        dependencies=[needs(READ)],
        response_model=Plan,
        summary="What asking for a fine-tune would do; changes nothing",
    )
    async def plan(body: FinetuneRequest) -> Response:
        return json_response(await to_thread.run_sync(operations.plan, body.root, "train"))

    @router.post(
        "/jobs/{job_id}/resume",
        dependencies=[needs(TRAIN)],
        status_code=202,
        response_model=Submitted,
        responses=error_responses(404, 409),
    )
    async def resume(request: Request, job_id: JobId) -> Response:
        return await submit(request, operations.resume, job_id)

    @router.post(
        "/jobs/{job_id}/retry",
        dependencies=[needs(TRAIN)],
        status_code=202,
        response_model=Submitted,
        responses=error_responses(404, 409),
    )
    async def retry(request: Request, job_id: JobId) -> Response:
        return await submit(request, operations.retry, job_id)

    @router.post(
        "/jobs/{job_id}/cancel", dependencies=[needs(TRAIN)], response_model=Job, responses=error_responses(404, 409)
    )
    async def cancel(job_id: JobId) -> Response:
        return json_response(await to_thread.run_sync(operations.cancel, job_id))

    @router.post(
        "/jobs/{job_id}/pause", dependencies=[needs(TRAIN)], response_model=Job, responses=error_responses(404, 409)
    )
    async def pause(job_id: JobId) -> Response:
        return json_response(await to_thread.run_sync(operations.pause, job_id))

    @router.post(
        "/jobs/{job_id}/dismiss",
        dependencies=[needs(TRAIN)],
        response_model=Job,
        responses=error_responses(404, 409),
        summary="Remove an ended job with its logs and events; what it has made is kept",
    )
    async def dismiss(job_id: JobId) -> Response:
        return json_response(await to_thread.run_sync(operations.dismiss, job_id))


def add_status_routes(router: APIRouter, operations: Operations) -> None:
    @router.get("/status", dependencies=[needs(READ)], response_model=State)
    def state(limit: t.Annotated[int, Query(ge=0, le=500)] = 20) -> Response:
        jobs = operations.list_jobs(limit)
        busy = any(not job.ended for job in jobs)
        return json_response(State(status="busy" if busy else "idle", jobs=jobs, machine=operations.machine()))

    @router.get("/status/{job_id}", dependencies=[needs(READ)], response_model=Job, responses=error_responses(404))
    @router.get(
        "/jobs/{job_id}",
        dependencies=[needs(READ)],
        response_model=Job,
        responses=error_responses(404),
        include_in_schema=False,
    )
    async def status(job_id: JobId) -> Response:
        body = operations.jobs.cached_json(job_id)
        if body is None:
            body = await to_thread.run_sync(operations.job_json, job_id)
        return Response(body, media_type="application/json")

    @router.get("/jobs", dependencies=[needs(READ)], response_model=JobList)
    def jobs(
        limit: t.Annotated[int, Query(ge=0, le=500)] = 50,
        name: str = "",
        status: str = "",
    ) -> Response:
        return json_response(JobList(jobs=operations.list_jobs(limit, name, status)))

    @router.get("/jobs/{job_id}/log", dependencies=[needs(READ)], response_model=Log, responses=error_responses(404))
    def log(job_id: JobId, lines: t.Annotated[int, Query(ge=0, le=5000)] = 200, step: str = "") -> Response:
        return json_response(operations.log(job_id, lines, step))

    @router.get(
        "/jobs/{job_id}/curve", dependencies=[needs(READ)], response_model=list[Point], responses=error_responses(404)
    )
    def curve(job_id: JobId, limit: t.Annotated[int, Query(ge=1, le=100_000)] = 2000) -> list[Point]:
        return operations.curve(job_id, limit)

    @router.get(
        "/jobs/{job_id}/checkpoints",
        dependencies=[needs(READ)],
        response_model=list[Checkpoint],
        responses=error_responses(404),
    )
    def checkpoints(job_id: JobId) -> list[Checkpoint]:
        return operations.checkpoints(job_id)

    @router.get("/gpu", dependencies=[needs(READ)], response_model=Machine)
    def gpu() -> Response:
        return json_response(operations.machine())

    @router.get("/schema", dependencies=[needs(READ)], response_model=dict[str, t.Any])
    def schema() -> Response:
        return JSONResponse(operations.schema())
