# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the tools of an MCP server over streamable HTTP.

The protocol is that of https://modelcontextprotocol.io/specification/2025-06-18: a POST of one JSON-RPC message,
answered with JSON or with a stream of server-sent events; a session, if the server opens one, is named in a header.
Nothing is called on the server: the client initializes, lists the pages of tools, and ends the session.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import time
import typing as t
import urllib.parse

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.version import VERSION

PROTOCOL = "2025-06-18"
#: Bytes of one answer.
MAX_BYTES = 16 * 1024 * 1024
#: Pages of tools, and redirections within the same server.
MAX_PAGES, MAX_REDIRECTIONS = 200, 3

Message = dict[str, t.Any]


class McpClient:
    """A client of one MCP server.

    :param url: of its streamable HTTP endpoint, ``http://host:port/mcp`` for example.
    :param token: bearer token; empty for none. It is sent to this server alone and is part of no message.
    :param timeout: seconds for everything that one call of a method takes.
    :raises InputError: if the URL is not valid.
    """

    def __init__(self, url: str, token: str = "", timeout: float = 30.0) -> None:
        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.username:
            raise InputError("modules.mcp_url_invalid", url=url if not parts.username else "…")
        self.url = url
        self._tls = parts.scheme == "https"
        self._origin = (parts.scheme, parts.hostname, port or (443 if self._tls else 80))
        self._target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._timeout = timeout
        self._deadline = 0.0
        self._number = 0
        self._headers = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "User-Agent": f"ia_homelab.llamafactory/{VERSION}",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def list_tools(self) -> list[Message]:
        """All tools that the server lists, as it lists them.

        :raises RemoteError: if it does not answer (``modules.mcp_unreachable``), or not as an MCP server does.
        """
        self._deadline = time.monotonic() + self._timeout
        try:
            return self._list_tools()
        except ssl.SSLCertVerificationError as error:
            raise RemoteError("modules.mcp_certificate", url=self.url, reason=error.verify_message) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if isinstance(error, socket.timeout):
                reason = f"no answer within {self._timeout:g} s"
            raise RemoteError("modules.mcp_unreachable", url=self.url, reason=reason) from error

    def _list_tools(self) -> list[Message]:
        client = {"name": "ia_homelab.llamafactory", "version": VERSION}
        started = self._request("initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client})
        if not isinstance(started.get("protocolVersion"), str):
            raise self._no_mcp("initialize is answered without protocolVersion")
        self._headers["MCP-Protocol-Version"] = started["protocolVersion"]
        try:
            self._post({"jsonrpc": "2.0", "method": "notifications/initialized"}, None)
            if "tools" not in (started.get("capabilities") or {}):
                raise RemoteError("modules.mcp_without_tools", url=self.url)
            return self._pages()
        finally:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._end_session()

    def _pages(self) -> list[Message]:
        tools: list[Message] = []
        cursors: set[str] = set()
        parameters: Message = {}
        for _page in range(MAX_PAGES):
            answer = self._request("tools/list", parameters)
            if not isinstance(answer.get("tools"), list):
                raise self._no_mcp("tools/list is answered without a list of tools")
            tools += answer["tools"]
            cursor = answer.get("nextCursor")
            if not cursor:
                return tools
            if not isinstance(cursor, str) or cursor in cursors:
                raise self._no_mcp("the pages of tools have no end")
            cursors.add(cursor)
            parameters = {"cursor": cursor}
        raise self._no_mcp(f"there are more than {MAX_PAGES} pages of tools")

    def _request(self, method: str, parameters: Message) -> Message:
        self._number += 1
        message = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": parameters}
        answer = self._post(message, self._number)
        if isinstance(answer.get("error"), dict):
            error = answer["error"]
            raise RemoteError(
                "modules.mcp_error", url=self.url, method=method, reason=str(error.get("message") or error)[:300]
            )
        if not isinstance(answer.get("result"), dict):
            raise self._no_mcp(f"{method} is answered without a result")
        return t.cast(Message, answer["result"])

    # ------------------------------------------------------------------ transport

    def _post(self, message: Message, number: int | None) -> Message:
        """Send a message; return the answer to the request of that number, or nothing for a notification."""
        body = json.dumps(message).encode("utf-8")
        for _attempt in range(1 + MAX_REDIRECTIONS):
            with contextlib.closing(self._connect()) as connection:
                connection.request("POST", self._target, body, self._headers)
                response = connection.getresponse()
                if response.status in (307, 308):
                    self._follow(response.getheader("Location") or "")
                    continue
                return self._answer(response, number)
        raise self._no_mcp("it redirects without an end")

    def _answer(self, response: http.client.HTTPResponse, number: int | None) -> Message:
        if response.status in (401, 403):
            raise RemoteError("modules.mcp_not_allowed", url=self.url, status=response.status)
        session = response.getheader("Mcp-Session-Id")
        if session:
            self._headers["Mcp-Session-Id"] = session
        if number is None:
            if response.status >= 300:
                raise self._no_mcp(f"HTTP status {response.status} for a notification")
            return {}
        kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        if kind == "text/event-stream" and response.status == 200:
            return self._from_events(response, number)
        text = self._read(response)
        if kind == "application/json":
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(text)
                if isinstance(value, dict) and value.get("jsonrpc") == "2.0":
                    return t.cast(Message, value)
        raise self._no_mcp(f"HTTP status {response.status}, {kind or 'no content type'}")

    def _from_events(self, response: http.client.HTTPResponse, number: int) -> Message:
        """The answer in a stream of events; other messages of the server are passed over."""
        data: list[str] = []
        size = 0
        while True:
            self._limit(response)
            raw = response.readline(MAX_BYTES + 1)
            size += len(raw)
            if not raw or size > MAX_BYTES:
                raise self._no_mcp("the stream of events ends without an answer")
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            if line or not data:
                continue
            try:
                message = json.loads("\n".join(data))
            except (ValueError, RecursionError) as error:
                raise self._no_mcp("an event is not JSON") from error
            data = []
            if isinstance(message, dict) and message.get("id") == number and "method" not in message:
                return t.cast(Message, message)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            self._limit(response)
            part = response.read1(1 << 16)
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
            if size > MAX_BYTES:
                raise self._no_mcp(f"an answer has more than {MAX_BYTES} bytes")

    def _end_session(self) -> None:
        if "Mcp-Session-Id" in self._headers:
            with contextlib.closing(self._connect()) as connection:
                connection.request("DELETE", self._target, headers=self._headers)
                connection.getresponse().read(0)

    def _connect(self) -> http.client.HTTPConnection:
        _scheme, host, port = self._origin
        if self._tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=self._remaining(), context=context)
        return http.client.HTTPConnection(host, port, timeout=self._remaining())

    def _follow(self, location: str) -> None:
        """Take another path of the same server; a token must not go to another one."""
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(self.url, location))
        origin = (parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        if not location or origin != self._origin:
            raise RemoteError("modules.mcp_redirects", url=self.url, location=location)
        self._target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))

    def _remaining(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout
        return left

    def _limit(self, response: http.client.HTTPResponse) -> None:
        """Let no read outlast the deadline, however slowly the server sends."""
        stream = getattr(response.fp, "raw", None)
        connection = getattr(stream, "_sock", None)
        if connection is not None:
            connection.settimeout(self._remaining())
        else:
            self._remaining()

    def _no_mcp(self, reason: str) -> RemoteError:
        return RemoteError("modules.no_mcp", url=self.url, reason=reason)
