# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of MCP servers against answers that no real server of the package mcp gives (those: service/tests)."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import CoreError, InputError
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _mcp_client
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils._mcp_client import McpClient

INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "s", "version": "1"},
}
#: Answers a request: a result, or what _Handler.answer explains.
Answers = t.Callable[[str, dict[str, t.Any]], t.Any]


class Raw:
    """An answer as bytes.

    :param pauses: whether a part is sent every 50 ms.
    """

    def __init__(self, body: bytes, kind: str = "application/json", status: int = 200, pauses: bool = False) -> None:
        self.body, self.kind, self.status, self.pauses = body, kind, status, pauses


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: t.Any) -> None:
        pass

    def do_POST(self) -> None:
        server = t.cast("StandIn", self.server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.requests.append((self.path, body, dict(self.headers)))
        answer = server.answers(body["method"], body.get("params") or {})
        if "id" not in body:
            answer = Raw(b"", status=202)
        elif isinstance(answer, dict) and "Location" not in answer:
            key = "error" if "code" in answer else "result"
            answer = Raw(json.dumps({"jsonrpc": "2.0", "id": body["id"], key: answer}).encode())
        if isinstance(answer, dict):
            self.send_response(307)
            self.send_header("Location", answer["Location"])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Mcp-Session-Id", "s-1")
        if answer.pauses:
            self.send_header("Connection", "close")
            self.end_headers()
            with contextlib.suppress(OSError):
                while not server.closing:
                    self.wfile.write(answer.body)
                    self.wfile.flush()
                    time.sleep(0.05)
            self.close_connection = True
            return
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def do_DELETE(self) -> None:
        server = t.cast("StandIn", self.server)
        server.requests.append((self.path, {"method": "DELETE"}, dict(self.headers)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


class StandIn(http.server.ThreadingHTTPServer):
    """A stand-in for an MCP server."""

    daemon_threads = True

    def __init__(self, answers: Answers) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.requests: list[tuple[str, dict[str, t.Any], dict[str, str]]] = []
        self.closing = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/mcp"


@pytest.fixture
def start() -> t.Iterator[t.Callable[[Answers], StandIn]]:
    servers: list[StandIn] = []

    def begin(answers: Answers) -> StandIn:
        server = StandIn(answers)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return server

    yield begin
    for server in servers:
        server.closing = True
        server.shutdown()
        server.server_close()


def paged(pages: t.Mapping[str, t.Any]) -> Answers:
    def answers(method: str, parameters: dict[str, t.Any]) -> t.Any:
        return INITIALIZED if method == "initialize" else pages[str(parameters.get("cursor", ""))]

    return answers


def test_pages_are_read_to_their_end(start: t.Callable[[Answers], StandIn]) -> None:
    pages = {"": {"tools": [{"name": "a"}], "nextCursor": "2"}, "2": {"tools": [], "nextCursor": "3"}}
    server = start(paged({**pages, "3": {"tools": [{"name": "b"}]}}))
    assert McpClient(server.url, "secret").list_tools() == [{"name": "a"}, {"name": "b"}]
    methods = [body["method"] for _path, body, _headers in server.requests]
    assert methods == ["initialize", "notifications/initialized", *["tools/list"] * 3, "DELETE"]
    assert {headers.get("Authorization") for _path, _body, headers in server.requests} == {"Bearer secret"}
    later = [headers for _path, _body, headers in server.requests[1:]]
    assert {(each["Mcp-Session-Id"], each["MCP-Protocol-Version"]) for each in later} == {("s-1", "2025-06-18")}


def test_other_messages_in_a_stream_are_passed_over(start: t.Callable[[Answers], StandIn]) -> None:
    events = [
        ": a comment",
        'data: {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}',
        'data: {"jsonrpc": "2.0", "id": 2, "method": "ping"}',
        'data: {"jsonrpc": "2.0",\ndata: "id": 2, "result": {"tools": [{"name": "é"}]}}',
    ]
    stream = Raw("".join(f"event: message\r\n{event}\r\n\r\n" for event in events).encode(), "text/event-stream")
    server = start(paged({"": stream}))
    assert McpClient(server.url).list_tools() == [{"name": "é"}]


def test_a_redirection_within_the_server_is_followed(start: t.Callable[[Answers], StandIn]) -> None:
    server = start(lambda _method, _parameters: None)
    good = paged({"": {"tools": []}})

    def answers(method: str, parameters: dict[str, t.Any]) -> t.Any:
        return good(method, parameters) if server.requests[-1][0] == "/mcp/" else {"Location": "/mcp/"}

    server.answers = answers
    assert McpClient(server.url).list_tools() == []


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (paged({"": {"tools": [], "nextCursor": ""}, "x": 0}), ""),
        (paged({"": {"tools": [], "nextCursor": "1"}, "1": {"tools": [], "nextCursor": "1"}}), "have no end"),
        (paged({"": {"tools": [], "nextCursor": 5}}), "have no end"),
        (paged({"": {}}), "without a list of tools"),
        (
            paged({"": {"code": -32601, "message": "Method not found"}}),
            "answers tools/list with an error: Method not found",
        ),
        (lambda *_: {"capabilities": {}}, "without protocolVersion"),
        (lambda *_: {"protocolVersion": "1", "capabilities": {"prompts": {}}}, "has no tools"),
        (lambda *_: Raw(b"<html>", "text/html"), "HTTP status 200, text/html"),
        (lambda *_: Raw(b'{"jsonrpc": "2.0", "id": 1, "resu'), "HTTP status 200, application/json"),
        (lambda *_: Raw(b'{"id": 1, "result": {}}'), "is no MCP server"),
        (lambda *_: Raw(b"[" * 200_000), "is no MCP server"),
        (lambda *_: Raw(b'{"jsonrpc": "2.0", "id": 1, "result": 3}'), "initialize is answered without a result"),
        (lambda *_: Raw(b"data: {\n\n", "text/event-stream"), "an event is not JSON"),
        (lambda *_: Raw(b"data: 1", "text/event-stream"), "ends without an answer"),
        (lambda *_: Raw(b"", status=404, kind="text/plain"), "HTTP status 404"),
        (lambda *_: Raw(b"", status=401), "does not allow it (HTTP status 401)"),
        (lambda *_: Raw(b": \n", "text/event-stream", pauses=True), "no answer within 0.6 s"),
        (lambda *_: Raw(b" ", pauses=True), "no answer within 0.6 s"),
        (lambda *_: {"Location": "http://192.0.2.1/mcp"}, "redirects to another server, 'http://192.0.2.1/mcp'"),
        (lambda *_: {"Location": "/mcp"}, "redirects without an end"),
    ],
)
def test_what_is_wrong_is_said(start: t.Callable[[Answers], StandIn], answers: Answers, message: str) -> None:
    server = start(answers)
    # short only where the server never answers: a busy machine may take a second for an answer
    client = McpClient(server.url, "secret", timeout=0.6 if "no answer within" in message else 60)
    if not message:
        assert client.list_tools() == []
        return
    with pytest.raises(CoreError) as caught:
        client.list_tools()
    assert message in str(caught.value) and "secret" not in str(caught.value)
    assert caught.value.hint


def test_an_answer_without_an_end_is_bounded(
    start: t.Callable[[Answers], StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mcp_client, "MAX_BYTES", 1000)
    for kind in ("application/json", "text/event-stream"):
        server = start(lambda *_, kind=kind: Raw(b"data: x" * 1000, kind))
        with pytest.raises(CoreError, match="is no MCP server"):
            McpClient(server.url).list_tools()


@pytest.mark.parametrize("url", ["", "pc-ia:9000", "ftp://h/", "http://", "http://h:x/", "http://me:secret@h/mcp"])
def test_invalid_urls(url: str) -> None:
    with pytest.raises(InputError, match="is no URL of an MCP server") as caught:
        McpClient(url)
    assert "secret" not in str(caught.value)
