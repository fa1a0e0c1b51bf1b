# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The REST interface: the seed's requests word for word, and what goes beyond them."""

from __future__ import annotations

import asyncio
import json
import typing as t

import pydantic
from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from . import fields
from .bodies import json_object, upload
from .errors import FieldError, FieldErrors
from .loop import Loop
from .operations import Operations
from .problems import PROBLEM, problem
from .shapes import (
    Checkpoint,
    Dataset,
    DatasetChange,
    Event,
    Job,
    Log,
    Machine,
    Model,
    Plan,
    Point,
    Promotion,
    Submitted,
)

#: The same requests answer under both.
PREFIXES = ("/api", "/api/training/llamafactory")


class ProblemBody(pydantic.BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    hint: str = ""
    errors: list[dict[str, str]] = pydantic.Field(default=[], description="field, message and hint of each.")


class JobList(pydantic.BaseModel):
    """Jobs, active ones first in the order of the queue."""

    jobs: list[Job]


class State(JobList):
    """What goes on."""

    status: t.Literal["idle", "busy"]
    machine: Machine


class EventList(pydantic.BaseModel):
    """Events in order."""

    events: list[Event]


class DatasetList(pydantic.BaseModel):
    """Datasets by name."""

    datasets: list[Dataset]


class DatasetRows(Dataset):
    """A dataset with its first rows."""

    sample: list[str] = []


class ModelList(pydantic.BaseModel):
    """Registered models, the latest first."""

    models: list[Model]


def _answers(*statuses: int) -> dict[int | str, dict[str, t.Any]]:
    schema = {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
    always = (400, 401, 403, 413, 415, 421, 422, 500, 502, 503)
    return {status: {"description": "Refused", "content": {PROBLEM: schema}} for status in (*always, *statuses)}


def _body(schema: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _object(required: t.Sequence[str], **properties: t.Any) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


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
                        "format": {"type": "string", "enum": ["auto", "alpaca", "sharegpt", "openai"]},
                    },
                }
            }
        },
    }
}
_EXPORT = _object(["job_id"], job_id={"type": "string"}, format={"type": "string", "enum": ["gguf"], "default": "gguf"})
_PROMOTE = _object(["tag"], tag={"type": "string"})
_RELEASE = _object(["name"], name={"type": "string"})
_ROLLBACK = _object(["name"], name={"type": "string"}, to={"type": "string"})

Body = t.Annotated[dict[str, t.Any], Depends(json_object)]
JobId = t.Annotated[str, Path(description="Id of a run.", max_length=151)]
DatasetName = t.Annotated[str, Path(max_length=110)]
#: Largest id of an event; more than any run will have.
_MOST = 2**53


def answer(value: pydantic.BaseModel, status: int = 200, headers: t.Mapping[str, str] | None = None) -> Response:
    """A value as it is: it was checked when it was made."""
    return Response(value.model_dump_json(), status, dict(headers or {}), "application/json")


def texts(body: t.Mapping[str, t.Any], schema: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The fields of a small request whose values are all text.

    :raises FieldErrors: with every field that is wrong.
    """
    known, errors = schema["properties"], []
    for key, value in body.items():
        if key not in known:
            errors.append(fields.unknown(key, known))
        elif not isinstance(value, str):
            errors.append(FieldError(key, f"{key} must be text, not {value!r}."))
    errors += [FieldError(key, f"{key} is missing.") for key in schema["required"] if key not in body]
    if errors:
        raise FieldErrors(errors)
    return {key: str(value) for key, value in body.items()}


def submitted(found: Submitted, request: Request) -> Response:
    """The answer to whoever asked for a run."""
    return answer(found, 202, {"Location": f"{request.scope.get('root_path', '')}/api/status/{found.job_id}"})


def router(operations: Operations, loop: Loop) -> APIRouter:
    """All requests but health."""
    made = APIRouter(responses=_answers())
    _add_runs(made, operations, loop)
    _add_looks(made, operations)
    _add_events(made, operations, loop)
    _add_datasets(made, operations)
    _add_models(made, operations)
    return made


def _add_runs(made: APIRouter, operations: Operations, loop: Loop) -> None:
    async def asked(request: Request, ask: t.Callable[..., Submitted], *arguments: t.Any) -> Response:
        found = await to_thread.run_sync(ask, *arguments)
        loop.kick()
        return submitted(found, request)

    @made.post(
        "/train",
        status_code=202,
        response_model=Submitted,
        responses=_answers(409),
        openapi_extra=_body(fields.request_schema()),
        summary="Ask for a fine-tune; the same request is the same job",
    )
    async def train(request: Request, body: Body) -> Response:
        return await asked(request, operations.train, body)

    @made.post("/export", status_code=202, response_model=Submitted, responses=_answers(404, 409),
               openapi_extra=_body(_EXPORT), summary="Take a trained model to Ollama")  # fmt: skip
    async def export(request: Request, body: Body) -> Response:
        wanted = texts(body, _EXPORT)
        return await asked(request, operations.export, wanted["job_id"], wanted.get("format", "gguf"))

    @made.post("/plan", response_model=Plan, openapi_extra=_body(fields.request_schema()),
               summary="What asking for a fine-tune would do; changes nothing")  # fmt: skip
    async def plan(body: Body) -> Response:
        return answer(await to_thread.run_sync(operations.plan, body))

    @made.post("/jobs/{job_id}/resume", status_code=202, response_model=Submitted, responses=_answers(404, 409))
    async def resume(request: Request, job_id: JobId) -> Response:
        return await asked(request, operations.resume, job_id)

    @made.post("/jobs/{job_id}/retry", status_code=202, response_model=Submitted, responses=_answers(404, 409))
    async def retry(request: Request, job_id: JobId) -> Response:
        return await asked(request, operations.retry, job_id)

    @made.post("/jobs/{job_id}/cancel", response_model=Job, responses=_answers(404, 409))
    async def cancel(job_id: JobId) -> Response:
        found = await to_thread.run_sync(operations.cancel, job_id)
        loop.kick()
        return answer(found)

    @made.post("/jobs/{job_id}/pause", response_model=Job, responses=_answers(404, 409))
    async def pause(job_id: JobId) -> Response:
        found = await to_thread.run_sync(operations.pause, job_id)
        loop.kick()
        return answer(found)


def _add_looks(made: APIRouter, operations: Operations) -> None:
    @made.get("/status", response_model=State)
    def state(limit: t.Annotated[int, Query(ge=0, le=500)] = 20) -> Response:
        jobs = operations.list_jobs(limit)
        busy = any(not job.ended for job in jobs)
        return answer(State(status="busy" if busy else "idle", jobs=jobs, machine=operations.machine()))

    @made.get("/status/{job_id}", response_model=Job, responses=_answers(404))
    @made.get("/jobs/{job_id}", response_model=Job, responses=_answers(404), include_in_schema=False)
    async def status(job_id: JobId) -> Response:
        known = operations.jobs.fresh(job_id)
        if known is None:
            known = await to_thread.run_sync(operations.look_json, job_id)
        return Response(known, media_type="application/json")

    @made.get("/jobs", response_model=JobList)
    def jobs(
        limit: t.Annotated[int, Query(ge=0, le=500)] = 50,
        name: str = "",
        status: str = "",
    ) -> Response:
        return answer(JobList(jobs=operations.list_jobs(limit, name, status)))

    @made.get("/jobs/{job_id}/log", response_model=Log, responses=_answers(404))
    def log(job_id: JobId, lines: t.Annotated[int, Query(ge=0, le=5000)] = 200, step: str = "") -> Response:
        return answer(operations.log(job_id, lines, step))

    @made.get("/jobs/{job_id}/curve", response_model=list[Point], responses=_answers(404))
    def curve(job_id: JobId, limit: t.Annotated[int, Query(ge=1, le=100_000)] = 2000) -> list[Point]:
        return operations.curve(job_id, limit)

    @made.get("/jobs/{job_id}/checkpoints", response_model=list[Checkpoint], responses=_answers(404))
    def checkpoints(job_id: JobId) -> list[Checkpoint]:
        return operations.checkpoints(job_id)

    @made.get("/gpu", response_model=Machine)
    def gpu() -> Response:
        return answer(operations.machine())

    @made.get("/schema", response_model=dict[str, t.Any])
    def schema() -> Response:
        return JSONResponse(operations.schema())


def _add_events(made: APIRouter, operations: Operations, loop: Loop) -> None:
    streams = asyncio.Semaphore(operations.settings.event_streams)

    @made.get(
        "/jobs/{job_id}/events",
        response_model=EventList,
        responses={
            **_answers(404),
            200: {"description": "Events", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        },
        summary="What happened: JSON (with a long poll), or a stream for Accept: text/event-stream",
    )
    async def events(
        request: Request,
        job_id: JobId,
        after: t.Annotated[int, Query(ge=0, le=_MOST, description="Only events with a greater id.")] = 0,
        wait: t.Annotated[float, Query(ge=0, le=60, description="Seconds to wait for one.")] = 0,
        limit: t.Annotated[int, Query(ge=1, le=10_000)] = 1000,
    ) -> Response:
        if "text/event-stream" not in request.headers.get("accept", ""):
            # looked up in the store, not in what the loop has come to so far: status and events agree at any moment
            found = await to_thread.run_sync(operations.events, job_id, after, limit)
            if not found and wait:
                found = (await loop.wait(job_id, after, wait))[:limit]
            return answer(EventList(events=found))
        last = request.headers.get("last-event-id", "")
        if last.isdigit() and len(last) < 16:
            after = max(after, int(last))
        await to_thread.run_sync(operations.jobs.run, job_id)
        if streams.locked():
            return problem(request.url.path, 503, "There are too many event streams.", headers={"Retry-After": "5"})
        return StreamingResponse(
            _stream(operations, loop, job_id, after, streams),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )


async def _stream(
    operations: Operations, loop: Loop, job_id: str, after: int, streams: asyncio.Semaphore
) -> t.AsyncIterator[str]:
    async with streams:
        yield "retry: 2000\n\n"
        async for event in loop.follow(job_id, after):
            if event is None:
                yield ": still here\n\n"
            else:
                yield f"id: {event.id}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n"
        job = await to_thread.run_sync(operations.look, job_id)
        yield f"event: end\ndata: {json.dumps({'job_id': job_id, 'status': job.status})}\n\n"


def _add_datasets(made: APIRouter, operations: Operations) -> None:
    datasets = operations.datasets

    @made.get("/datasets", response_model=DatasetList)
    def list_datasets() -> Response:
        return answer(DatasetList(datasets=datasets.all()))

    @made.get("/datasets/{name}", response_model=DatasetRows, responses=_answers(404))
    def dataset(name: DatasetName, sample: t.Annotated[int, Query(ge=0, le=100)] = 0) -> Response:
        found = datasets.get(name)
        return answer(DatasetRows(**dict(found), sample=datasets.sample(name, sample)))

    async def take(request: Request, name: str, filename: str, format: str, check: bool, force: bool) -> Response:
        async with upload(request, datasets, filename) as form:
            assert form.file is not None
            chosen = form.fields.get("format", format)
            if chosen not in ("auto", "alpaca", "sharegpt", "openai"):
                raise FieldErrors([FieldError("format", f"There is no format {chosen!r}.")])
            source = form.file.source()
            change = await to_thread.run_sync(lambda: datasets.apply(name, [source], chosen, force=force, check=check))
        if change.valid or check:
            return answer(change, 201 if change.changed and not check else 200)
        first = change.problems[0]
        where = f"{first.get('file', '')}, row {first.get('row')}" if first.get("row") else str(first.get("file", ""))
        return problem(
            request.url.path,
            422,
            f"{change.problems_total} things are wrong with the rows. The first: {where}: {first.get('what', '')}.",
            str(first.get("fix", "")),
            problems=operations.redactor.value(change.problems),
            problems_total=change.problems_total,
        )

    @made.post("/datasets/{name}", status_code=201, response_model=DatasetChange,
               responses={**_answers(409), 200: {"model": DatasetChange, "description": "It was so before"}},
               openapi_extra=_FILE, summary="Publish the rows of a file under a name")  # fmt: skip
    async def publish(
        request: Request, name: DatasetName, filename: str = "", format: str = "auto", force: bool = False
    ) -> Response:
        return await take(request, name, filename, format, False, force)

    @made.post("/datasets/{name}/validate", response_model=DatasetChange, openapi_extra=_FILE,
               summary="Check the rows of a file; changes nothing")  # fmt: skip
    async def validate(request: Request, name: DatasetName, filename: str = "", format: str = "auto") -> Response:
        return await take(request, name, filename, format, True, False)

    @made.delete("/datasets/{name}", status_code=204, responses=_answers(404, 409))
    def delete(name: DatasetName, purge: bool = False) -> Response:
        datasets.delete(name, purge)
        return Response(status_code=204)


def _add_models(made: APIRouter, operations: Operations) -> None:
    @made.get("/models", response_model=ModelList)
    def models(name: str = "") -> Response:
        return answer(ModelList(models=operations.list_models(name)))

    @made.post("/models/promote", response_model=Promotion, responses=_answers(404, 409), openapi_extra=_body(_PROMOTE))
    async def promote(body: Body) -> Response:
        wanted = texts(body, _PROMOTE)
        return answer(await to_thread.run_sync(operations.promote, wanted["tag"]))

    @made.post("/models/release", response_model=ModelList, responses=_answers(404, 409),
               openapi_extra=_body(_RELEASE), summary="End the hold of a rollback")  # fmt: skip
    async def release(body: Body) -> Response:
        name = texts(body, _RELEASE)["name"]
        await to_thread.run_sync(operations.release, name)
        return answer(ModelList(models=await to_thread.run_sync(operations.list_models, name)))

    @made.post("/models/rollback", response_model=Promotion, responses=_answers(404, 409),
               openapi_extra=_body(_ROLLBACK))  # fmt: skip
    async def rollback(body: Body) -> Response:
        wanted = texts(body, _ROLLBACK)
        return answer(await to_thread.run_sync(operations.rollback, wanted["name"], wanted.get("to", "")))
