# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of all requests: checks Host, Origin, proxies and the size of the body, and identifies the caller.

What the caller may do is decided by the routes (``security``).
"""

from __future__ import annotations

import asyncio
import ipaddress
import typing as t
import urllib.parse

from starlette import types as asgi
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ia_homelab_core.messages.message import Message

from ..application.errors import TooLargeError, TooSlowError
from ..messages.negotiation import preferred_language
from ..settings import Settings
from .access import Access
from .problem_details import problem_response
from .upload_routes import LargeBodies

#: Seconds within which the body of a request that is no upload arrives, and between two parts of any body.
_BODY_SECONDS, _PAUSE_SECONDS = 60.0, 30.0
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
#: Headers with which a proxy states for whom it forwards a request (RFC 7239, RFC 9110), in addition to X-Forwarded-*.
_FORWARDING_HEADERS = frozenset({"forwarded", "via", "x-real-ip"})


class RequestGuard:
    """ASGI middleware that rejects requests before they reach the application.

    ``scope["state"]["scopes"]`` has the scopes of the caller's token afterwards.

    :param state: the application's state, with ``metrics``.
    :param large: the routes to which the limits of uploads and of chats apply.
    """

    def __init__(self, app: ASGIApp, settings: Settings, access: Access, state: t.Any, large: LargeBodies) -> None:
        self.app = app
        self.settings = settings
        self.access = access
        self.state = state
        self._large = large
        self._hosts = {host.lower() for host in settings.allowed_hosts}
        self._origins = {origin.lower().rstrip("/") for origin in settings.allowed_origins}
        self._proxies = [ipaddress.ip_network(one) for one in settings.trusted_proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        rejection = self._rejection(scope)
        if rejection is not None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await rejection(scope, receive, send)
            return
        # the prefix is a setting: the page would add that of a header to it
        headers = [(name, value) for name, value in scope["headers"] if name != b"x-forwarded-prefix"]
        scope = {**scope, "headers": headers}
        granted = self.access.scopes_of_header(Headers(scope=scope).get("authorization", ""))
        scope.setdefault("state", {})["scopes"] = granted
        if scope["type"] == "http":
            await self._handle_limited(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    # -- host and origin -------------------------------------------------------------------------------------------

    def _rejection(self, scope: Scope) -> Response | None:
        """Return the response to a request that is rejected; None if it is allowed."""
        headers, path = Headers(scope=scope), scope["path"]
        language = preferred_language(headers.get("accept-language"))
        host = headers.get("host", "")
        if not self.host_allowed(host):
            code = "service.host_unknown_without_tokens" if self.access.is_open else "service.host_unknown"
            return problem_response(path, 421, Message(code), language)
        forwarding = next((name for name in headers if _is_forwarding(name)), "")
        if forwarding and not self.proxy_trusted((scope.get("client") or ("",))[0]):
            code = "service.forwarded_without_tokens" if self.access.is_open else "service.forwarded"
            return problem_response(path, 403, Message(code, header=forwarding), language)
        origin = headers.get("origin")
        if origin is not None and changes_something(scope) and not self.origin_allowed(origin, host):
            return problem_response(path, 403, Message("service.origin_not_allowed"), language)
        return None

    def host_allowed(self, host: str) -> bool:
        """Whether a ``Host`` header names this service: protects against DNS rebinding.

        Without tokens, only names of loopback do.
        """
        name = _host_name(host)
        if name is None:
            return False
        if name == "localhost":
            return True
        if not self.access.is_open and (name in self._hosts or name == self.settings.host.lower()):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # a literal address cannot be rebound
        return address.is_loopback or not self.settings.on_loopback

    def proxy_trusted(self, client: str) -> bool:
        """Whether the machine at an address may forward requests of others."""
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Whether pages of that origin may change something: this host, or an origin in the settings."""
        if origin.lower().rstrip("/") in self._origins:
            return True
        parts = urllib.parse.urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()

    # -- size ------------------------------------------------------------------------------------------------------

    async def _handle_limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        is_upload, limit, variable = self._large.is_upload(scope), self.settings.max_body_bytes, ""
        if is_upload:
            # a form has boundaries in addition to the file
            limit, variable = self.settings.max_upload_bytes + 65536, "training_service_max_upload_bytes"
        elif self._large.is_chat(scope):
            limit, variable = self.settings.max_chat_bytes, "training_service_max_chat_bytes"

        async def reject(status: int, content: Message) -> None:
            language = preferred_language(headers.get("accept-language"))
            rejection = problem_response(path, status, content, language, headers={"Connection": "close"})
            await rejection(scope, receive, send)

        too_large = Message("service.body_too_large", limit=limit)
        if variable:
            too_large = Message("service.body_too_large_here", limit=limit, variable=variable)
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > limit:
            await reject(413, too_large)
            return
        received, complete, response_started = 0, False, False
        loop = asyncio.get_running_loop()
        # an upload may take long as long as it continues
        deadline = float("inf") if is_upload else loop.time() + _BODY_SECONDS

        async def limited_receive() -> asgi.Message:
            nonlocal received, complete
            if complete:  # what the application waits for now is the end of the connection
                return await receive()
            left = min(_PAUSE_SECONDS, deadline - loop.time())
            try:
                message = await asyncio.wait_for(receive(), max(0.0, left))
            except asyncio.TimeoutError as error:
                seconds = int(_PAUSE_SECONDS if left == _PAUSE_SECONDS else _BODY_SECONDS)
                raise TooSlowError("service.body_too_slow", seconds=seconds) from error
            complete = not message.get("more_body", False)
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise TooLargeError("service.body_too_large", limit=limit)
            return message

        async def counting_send(message: asgi.Message) -> None:
            nonlocal response_started
            if message["type"] == "http.response.start":
                response_started = True
                self.state.metrics.requests.labels(_method(scope), message["status"]).inc()
            await send(message)

        try:
            await self.app(scope, limited_receive, counting_send)
        except TooLargeError:
            if response_started:
                raise
            await reject(413, too_large)
        except TooSlowError as error:
            if response_started:
                raise
            await reject(408, error.content)


def _method(scope: Scope) -> str:
    # label values are kept forever: clients must not create new ones
    method = str(scope["method"])
    return method if method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "other"


def _is_forwarding(header: str) -> bool:
    """Whether only proxies send a header."""
    return header.startswith("x-forwarded-") or header in _FORWARDING_HEADERS


def changes_something(scope: Scope) -> bool:
    """Whether a request may change something by its method; a websocket may."""
    return scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS


def _host_name(host: str) -> str | None:
    """Return the host name in a ``Host`` header, in lower case and without the port; None if it is invalid."""
    try:
        parts = urllib.parse.urlsplit(f"//{host}")
        _port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.path or parts.query or parts.username is not None:
        return None
    return parts.hostname.rstrip(".")
