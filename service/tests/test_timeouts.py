# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that sends its request slowly does not keep a connection for ever."""

from __future__ import annotations

import asyncio
import contextlib
import typing as t
from pathlib import Path

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port
from ia_homelab_service.http import header_timeout, middleware
from ia_homelab_service.http.access import Access
from ia_homelab_service.http.header_timeout import HeaderTimeoutProtocol
from ia_homelab_service.http.metrics import Metrics
from ia_homelab_service.http.middleware import RequestGuard
from ia_homelab_service.settings import Settings

POST = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"


class State:
    metrics = Metrics()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body of a request; ``/slow`` takes longer than any limit here."""
    if scope["type"] != "http":
        return
    body = await Request(scope, receive).body()
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    await Response(body or b"nothing")(scope, receive, send)


class Large:
    """Says of all requests whether they are uploads, as ``LargeBodies`` does by their routes."""

    def __init__(self, upload: bool) -> None:
        self._upload = upload

    def is_upload(self, _scope: Scope) -> bool:
        return self._upload

    def is_chat(self, _scope: Scope) -> bool:
        return False


@contextlib.asynccontextmanager
async def served(root: Path, upload: bool = False) -> t.AsyncIterator[int]:
    settings = Settings(data_dir=str(root), no_token=True)
    app: ASGIApp = RequestGuard(echo, settings, Access(), State(), t.cast("t.Any", Large(upload)))
    port = free_port()
    config = uvicorn.Config(
        app, port=port, http=HeaderTimeoutProtocol, log_level="error", lifespan="off", timeout_keep_alive=10
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        await task


async def talk(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send pieces with pauses; return what arrives until the connection is closed or nothing arrives for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def receive() -> bytes:
        found = b""
        try:
            while chunk := await asyncio.wait_for(reader.read(65536), 5):
                found += chunk
        except ConnectionError:
            pass
        except asyncio.TimeoutError:
            return found
        return found + b"<closed>"

    receiving = asyncio.create_task(receive())
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
    found = await receiving
    writer.close()
    return found


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_timeout, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(middleware, "_BODY_SECONDS", 1.0)
    monkeypatch.setattr(middleware, "_PAUSE_SECONDS", 0.5)


def run(root: Path, *pieces: bytes, pause: float = 0.0, upload: bool = False) -> bytes:
    async def main() -> bytes:
        async with served(root, upload) as port:
            return await talk(port, *pieces, pause=pause)

    return asyncio.run(main())


@pytest.mark.parametrize("pieces", [(), (b"G",), (GET[:-1],), tuple(bytes([byte]) for byte in GET)])
def test_a_header_that_does_not_arrive_closes_the_connection(tmp_path: Path, pieces: tuple[bytes, ...]) -> None:
    assert run(tmp_path, *pieces, pause=0.05) == b"<closed>"


def test_the_header_of_a_further_request_is_limited_as_well(tmp_path: Path) -> None:
    found = run(tmp_path, GET, b"GET /x", pause=0.1)
    assert found.startswith(b"HTTP/1.1 200") and found.endswith(b"<closed>") and found.count(b"HTTP/1.1") == 1


def test_a_body_that_stops_is_answered(tmp_path: Path) -> None:
    for upload in (False, True):
        found = run(tmp_path, POST, b"12345", upload=upload)
        assert found.startswith(b"HTTP/1.1 408") and b"within 0 seconds" in found


def test_a_body_that_trickles_is_limited_unless_it_is_an_upload(tmp_path: Path) -> None:
    pieces = [POST, *([b"1"] * 10)]
    assert run(tmp_path, *pieces, pause=0.2).startswith(b"HTTP/1.1 408")
    assert b"1111111111" in run(tmp_path, *pieces, pause=0.2, upload=True)


def test_an_answer_may_take_longer(tmp_path: Path) -> None:
    slow = GET.replace(b"/x", b"/slow").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert b"nothing" in run(tmp_path, slow)
