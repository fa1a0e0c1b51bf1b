# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chat, completions, embeddings and models: forwarded to Ollama, or to LLaMA-Factory's API for models it serves."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import json
import typing as t

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ia_homelab_core.json_text import parse_json
from ia_homelab_core.messages.message import Message
from ia_homelab_core.ollama.syntax import with_scheme

from ..http.errors import RequestError
from ..http.problem_details import language_of, problem_response
from ..settings import Settings
from .fields import Fields, translate

#: Responses can take long: a model may have to be loaded first.
_TIMEOUT = httpx.Timeout(1800.0, connect=5.0)
#: Statuses of Ollama after which LLaMA-Factory's API is tried: unknown model, and no connection.
_TRY_NEXT = (404, 502)
_FORWARDED_HEADERS = ("content-type",)
#: Status in the metrics of a request whose client has hung up; nobody receives it.
_CLIENT_CLOSED = 499


class Upstream:
    """The servers that requests are forwarded to."""

    def __init__(self, settings: Settings) -> None:
        self._ollama = with_scheme(settings.ollama_url).rstrip("/")
        self._llamafactory = with_scheme(settings.llamafactory_api_url, 80).rstrip("/")
        self._client: httpx.AsyncClient | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self) -> t.AsyncIterator[None]:
        """Provide the HTTP client while the application runs."""
        async with httpx.AsyncClient(
            timeout=_TIMEOUT, trust_env=False, limits=httpx.Limits(max_connections=200)
        ) as one:
            self._client = one
            yield
        self._client = None

    @property
    def client(self) -> httpx.AsyncClient:
        """The HTTP client, while the application runs."""
        if self._client is None:
            raise RequestError(503, Message("service.stopping"))
        return self._client

    async def forward(self, request: Request, body: t.Mapping[str, t.Any], fields: Fields) -> Response:
        """Forward a request to the server that has the model; streams the response if requested.

        If the client hangs up, the request to the server ends, and so does the server's work on it.

        :param body: the body of the request, which has been read.
        :param fields: which of its fields the server supports.
        :raises FieldErrors: for fields that the server does not support.
        """
        translated = translate(fields, body)
        answering = asyncio.ensure_future(self._forward(request.url.path, translated, language_of(request)))
        leaving = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
            # from its first part on, Starlette ends a stream whose client has hung up
            return await answering if answering.done() else Response(status_code=_CLIENT_CLOSED)
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _forward(self, path: str, body: t.Mapping[str, t.Any], language: str) -> Response:
        answer = await self._post(f"{self._ollama}{path}", path, body, language)
        # LLaMA-Factory accepts any model name: it gets only requests for the name that it lists
        if answer.status_code in _TRY_NEXT and self._llamafactory:
            if any(one["id"] == body["model"] for one in await self._list_models(self._llamafactory) or ()):
                return await self._post(f"{self._llamafactory}{path}", path, body, language)
        return answer

    async def _post(self, url: str, path: str, body: t.Mapping[str, t.Any], language: str) -> Response:
        request = self.client.build_request("POST", url, json=body)
        try:
            reply = await self.client.send(request, stream=True)
        except httpx.HTTPError as error:
            where = f"{request.url.scheme}://{request.url.host}:{request.url.port}"
            content = Message("service.server_silent", server=where, reason=type(error).__name__)
            return problem_response(path, 502, content, language)
        headers = {name: reply.headers[name] for name in _FORWARDED_HEADERS if name in reply.headers}
        if reply.status_code >= 400 or not body.get("stream"):
            try:
                raw = await reply.aread()
            except httpx.HTTPError as error:
                return problem_response(path, 502, _broken_off(error), language)
            finally:
                await reply.aclose()
            if reply.status_code >= 400:
                return problem_response(path, reply.status_code, _error_message(raw), language)
            return Response(raw, reply.status_code, headers)
        return StreamingResponse(_relay(reply, language), reply.status_code, headers)

    async def models(self) -> list[dict[str, t.Any]]:
        """Return all available models."""
        answers = [await self._list_models(url) for url in (self._ollama, self._llamafactory) if url]
        if all(answer is None for answer in answers):
            raise RequestError(502, Message("service.no_server_answers"))
        models: dict[str, dict[str, t.Any]] = {}
        for model in itertools.chain.from_iterable(answer or () for answer in answers):
            models.setdefault(str(model["id"]), _model(model))
        return list(models.values())

    async def _list_models(self, url: str) -> list[dict[str, t.Any]] | None:
        """Return the models of a server; None if it does not respond."""
        try:
            reply = await self.client.get(f"{url}/v1/models", timeout=10.0)
            return list(reply.json().get("data") or [])
        except (httpx.HTTPError, ValueError):
            return None


async def _disconnected(request: Request) -> None:
    """Wait until the client of a request, whose body has been read, hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _relay(reply: httpx.Response, language: str) -> t.AsyncIterator[bytes]:
    try:
        async for piece in reply.aiter_raw():
            yield piece
    except httpx.HTTPError as error:
        error_event = {"error": {"message": _broken_off(error).render(language).message, "type": "server_error"}}
        yield f"data: {json.dumps(error_event)}\n\n".encode()
    finally:
        await reply.aclose()


def _model(raw: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    created = raw.get("created")
    if not isinstance(created, int):
        created = int(datetime.datetime.now().timestamp())
    return {
        "id": str(raw["id"]),
        "object": "model",
        "created": created,
        "owned_by": str(raw.get("owned_by") or "library"),
    }


def _broken_off(error: httpx.HTTPError) -> Message:
    return Message("service.answer_broke_off", reason=type(error).__name__)


def _error_message(raw: bytes) -> Message:
    """Return the error that a server of models has answered with."""
    try:
        body = parse_json(raw)
        error: t.Any = body["error"] if "error" in body else body["detail"]
    except (ValueError, KeyError, TypeError):
        reason = raw.decode("utf-8", "replace")[:500]
        return Message("service.server_error", reason=reason) if reason else Message("service.server_gave_no_reason")
    return Message("service.server_error", reason=str(error.get("message") if isinstance(error, dict) else error))
