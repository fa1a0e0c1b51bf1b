# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of a job: as JSON with a long poll, or as a stream of server-sent events."""

from __future__ import annotations

import asyncio
import json
import typing as t

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from ia_homelab_core.messages.message import Message

from ..application.operations import Operations
from ..application.watcher import Watcher
from ..http.access import READ
from ..http.problem_details import language_of, problem_response
from ..http.security import needs
from .parameters import JobId
from .responses import error_responses, json_response
from .schemas import EventList

#: Upper bound for ids of events.
_MAX_EVENT_ID = 2**53


def add_event_routes(router: APIRouter, operations: Operations, watcher: Watcher) -> None:
    streams = asyncio.Semaphore(operations.settings.event_streams)

    @router.get(
        "/jobs/{job_id}/events",
        dependencies=[needs(READ)],
        response_model=EventList,
        responses={
            **error_responses(404),
            200: {"description": "Events", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        },
        summary="What happened: JSON (with a long poll), or a stream for Accept: text/event-stream",
    )
    async def events(
        request: Request,
        job_id: JobId,
        after: t.Annotated[int, Query(ge=0, le=_MAX_EVENT_ID, description="Only events with a greater id.")] = 0,
        wait: t.Annotated[float, Query(ge=0, le=60, description="Seconds to wait for one.")] = 0,
        limit: t.Annotated[int, Query(ge=1, le=10_000)] = 1000,
    ) -> Response:
        if "text/event-stream" not in request.headers.get("accept", ""):
            # read from the store, not from the watcher's last poll, so that status and events always agree
            new_events = await to_thread.run_sync(operations.events, job_id, after, limit)
            if not new_events and wait:
                new_events = (await watcher.wait_for_events(job_id, after, wait))[:limit]
            return json_response(EventList(events=new_events))
        last = request.headers.get("last-event-id", "")
        if last.isdigit() and len(last) < 16:
            after = max(after, int(last))
        await to_thread.run_sync(operations.jobs.run, job_id)
        if streams.locked():
            content = Message("service.too_many_streams")
            headers = {"Retry-After": "5"}
            return problem_response(request.url.path, 503, content, language_of(request), headers=headers)
        return StreamingResponse(
            _stream(operations, watcher, job_id, after, streams),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )


async def _stream(
    operations: Operations, watcher: Watcher, job_id: str, after: int, streams: asyncio.Semaphore
) -> t.AsyncIterator[str]:
    async with streams:
        yield "retry: 2000\n\n"
        async for event in watcher.follow(job_id, after):
            if event is None:
                yield ": still here\n\n"
            else:
                yield f"id: {event.id}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n"
        job = await to_thread.run_sync(operations.get_job, job_id)
        yield f"event: end\ndata: {json.dumps({'job_id': job_id, 'status': job.status})}\n\n"
