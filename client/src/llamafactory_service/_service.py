# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client."""

from __future__ import annotations

import asyncio
import os
import time
import types
import typing as t
from urllib.parse import quote

import httpx

from ._errors import Timeout, TokenError, Unreachable, refused
from ._events import Event, Reader

#: Environment variables with the token, and with the path of a file that has it; used if none is given.
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "LLAMAFACTORY_TOKEN", "LLAMAFACTORY_TOKEN_FILE"
#: Name of the last event of a job.
END = "end"

#: Seconds between the first two attempts to reconnect, and the maximum between later ones.
_RETRY_FIRST, _RETRY_MOST = 0.5, 10.0
#: Seconds without a byte after which a stream is considered dead; the service sends a comment every 15 s.
_STREAM_SILENCE = 45.0
#: Statuses of a service, or of a proxy in front of it, that is temporarily unavailable.
_PASSING = (429, 502, 503, 504)


class LlamaFactoryService:
    """Client of the training service.

    :param base_url: URL of the training service.
    :param token: token of the service. By default the value of ``LLAMAFACTORY_TOKEN``, or else the content of the file
        that ``LLAMAFACTORY_TOKEN_FILE`` names.
    :param token_file: file with the token, instead of ``token``. It is read with each request, so a token that is
        replaced there is used at once.
    :param timeout: timeout of a request in seconds: of connecting, and of each wait for data.
    :param retries: how often a request is repeated if the service cannot be reached, or says that it is not ready (503)
        or has too many requests (429). All requests of this class may be repeated: the same one has the same result.
    :param client: an ``httpx.AsyncClient`` to use (for proxies or certificates) instead of creating one. It is not
        closed by this class; the token is sent with each request.
    """

    def __init__(
        self,
        base_url: str = "http://pc-ia:8000",
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        if token is not None and token_file is not None:
            raise ValueError("token and token_file are both given.")
        if token is None and token_file is None:
            token = os.environ.get(TOKEN_VARIABLE) or None
            token_file = os.environ.get(TOKEN_FILE_VARIABLE) or None if token is None else None
        self._token = token or ""
        self._token_file = token_file
        self._owned = client is None
        self._timeout = timeout
        self._retries = retries
        self.client = client if client is not None else httpx.AsyncClient(timeout=timeout)

    async def __aenter__(self) -> LlamaFactoryService:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._owned:
            await self.client.aclose()

    def __repr__(self) -> str:
        return f"LlamaFactoryService({self.base_url!r})"  # without the token

    # -- the specified methods ----------------------------------------------------------------------------------

    async def start_training(
        self,
        model_name: str,
        dataset_path: str,
        method: str = "lora",
        epochs: float = 3,
        learning_rate: float = 2e-4,
        **options: t.Any,
    ) -> dict[str, t.Any]:
        """Submit a training. The same request again is the same job.

        :param model_name: an Ollama-style name (``qwen2.5:7b``), a Hugging Face id, or a directory on the PC IA.
        :param dataset_path: name of a dataset of the service; ``/app/data/homelab.json`` means ``homelab``.
        :param method: lora, qlora, full, freeze or auto.
        :param options: more options of a fine-tune, by their names in playbooks (``lora_rank``, ``name``…).
        :returns: the job: ``job_id``, state, resolved inputs, position in the queue.
        :raises Refused: if the request is invalid; ``fields`` has every invalid field.
        :raises Unreachable: if the service does not answer.
        """
        body = {
            "model_name": model_name,
            "dataset": dataset_path,
            "training_method": method,
            "num_epochs": epochs,
            "learning_rate": learning_rate,
            **options,
        }
        return await self._json("POST", "/api/train", body)

    async def get_status(self, job_id: str) -> dict[str, t.Any]:
        """Return a job: state, steps, progress, and the error if it failed."""
        return await self._json("GET", f"/api/status/{_part(job_id)}")

    async def export_model(self, job_id: str, format: str = "gguf") -> dict[str, t.Any]:
        """Merge, convert and quantize the result of a training, and register it in Ollama.

        :param format: ``gguf``.
        :returns: the job of the export.
        """
        return await self._json("POST", "/api/export", {"job_id": job_id, "format": format})

    # -- more methods ------------------------------------------------------------------------------------------

    async def list_jobs(self, limit: int | None = None) -> list[dict[str, t.Any]]:
        """Return the jobs in the order of the queue, then the latest finished ones.

        :param limit: maximum number of finished jobs; by default the service decides.
        """
        query = "" if limit is None else f"?limit={int(limit)}"
        found = await self._json("GET", f"/api/jobs{query}")
        return list(found["jobs"])

    async def cancel(self, job_id: str) -> dict[str, t.Any]:
        """Stop a job gracefully and keep its checkpoint. Submitting the same training again resumes it."""
        return await self._json("POST", f"/api/jobs/{_part(job_id)}/cancel")

    async def dismiss(self, job_id: str) -> dict[str, t.Any]:
        """Remove an ended job with its logs and events, and return it as it was. What it has made is kept.

        :raises Refused: if it has not ended.
        """
        return await self._json("POST", f"/api/jobs/{_part(job_id)}/dismiss")

    async def follow(
        self, job_id: str, *, last_event_id: str = "", give_up_after: float = 600.0
    ) -> t.AsyncIterator[Event]:
        """Yield the events of a job until it has ended, each exactly once, even if the connection breaks.

        If the connection breaks or the service restarts, the client reconnects and continues after the last event.

        :param last_event_id: continue after this event; by default, start with the first one.
        :param give_up_after: maximum time without a connection in seconds.
        :raises Unreachable: if the service was unreachable for longer.
        :raises Refused: if there is no such job, or the token is not accepted.
        """
        reader = Reader(last_id=last_event_id)
        url = f"{self.base_url}/api/jobs/{_part(job_id)}/events"
        lost_at: float | None = None
        pause = _RETRY_FIRST
        while True:
            try:
                async for event in self._stream(url, reader):
                    lost_at, pause = None, _RETRY_FIRST
                    yield event
                    if event.name == END:
                        return
                reason = "the stream ended"
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
            except _Passing as error:
                reason = str(error)
            now = time.monotonic()
            lost_at = now if lost_at is None else lost_at
            if now - lost_at >= give_up_after:
                raise Unreachable(f"{self.base_url} was unreachable for {now - lost_at:.0f} s: {reason}.")
            await asyncio.sleep(pause if reader.retry_ms is None else max(pause, reader.retry_ms / 1000))
            pause = min(pause * 2, _RETRY_MOST)

    async def _stream(self, url: str, reader: Reader) -> t.AsyncIterator[Event]:
        headers = {**self._headers(), "Accept": "text/event-stream", "Cache-Control": "no-store"}
        if reader.last_id:
            headers["Last-Event-ID"] = reader.last_id
        reader.begin()
        timeout = httpx.Timeout(self._timeout, read=_STREAM_SILENCE)
        async with self.client.stream("GET", url, headers=headers, timeout=timeout) as response:
            if response.status_code in _PASSING:
                raise _Passing(f"HTTP {response.status_code}")
            if response.status_code != 200:
                await response.aread()
                raise refused(response)
            async for line in response.aiter_lines():
                event = reader.line(line)
                if event is not None:
                    yield event

    # -- requests ----------------------------------------------------------------------------------------------

    def _headers(self) -> dict[str, str]:
        token = self._token if self._token_file is None else _read_token(self._token_file)
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def _json(self, method: str, path: str, body: t.Any = None) -> dict[str, t.Any]:
        pause = _RETRY_FIRST
        for left in range(self._retries, -1, -1):
            try:
                response = await self.client.request(
                    method, f"{self.base_url}{path}", json=body, headers=self._headers(), timeout=self._timeout
                )
            except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
                # not repeated: the caller has waited as long as it wanted to
                raise Timeout(
                    f"The training service at {self.base_url} did not answer in {self._timeout:g} s."
                ) from error
            except httpx.TransportError as error:
                if not left:
                    text = str(error) or type(error).__name__
                    raise Unreachable(f"The training service at {self.base_url} does not answer: {text}.") from error
                wait = pause
            else:
                if response.is_success:
                    found: dict[str, t.Any] = response.json()
                    return found
                if not left or not _is_passing(response):
                    raise refused(response)
                wait = max(pause, _retry_after(response))
            await asyncio.sleep(min(wait, _RETRY_MOST))
            pause = min(pause * 2, _RETRY_MOST)
        raise AssertionError("The last attempt returns or raises.")


class _Passing(Exception):
    """The service is temporarily unavailable."""


def _is_passing(response: httpx.Response) -> bool:
    """Whether a request may succeed if it is repeated."""
    # 502 of the service is about another server that it has asked; 502 of a proxy is about the service
    own = response.headers.get("content-type", "").startswith("application/problem+json")
    return response.status_code in _PASSING and not (response.status_code == 502 and own)


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds after which a response asks to repeat the request; 0 if it does not say so in seconds."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else 0.0


def _read_token(path: str | os.PathLike[str]) -> str:
    """Return the token in a file.

    :raises TokenError: if the file cannot be read or is empty.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            token = stream.read().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise TokenError(f"The token file {os.fspath(path)} cannot be read: {reason}.") from error
    if not token:
        raise TokenError(f"The token file {os.fspath(path)} is empty.")
    return token


def _part(job_id: str) -> str:
    """Quote a job id as one segment of a path."""
    return quote(job_id, safe="")
