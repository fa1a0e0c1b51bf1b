# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of all requests: checks Host, Origin, token, scope and the size of the body."""

from __future__ import annotations

import ipaddress
import typing as t
import urllib.parse

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..application.errors import DeniedError, TooLargeError
from ..settings import Settings
from .access import READ, SCOPES, TRAIN, Access
from .problem_details import problem_response

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
#: Paths that need no token.
_PUBLIC = ("/healthz", "/readyz", "/login", "/favicon.ico")
#: Assets of the page, and the choice of a language: they contain no data. Its websocket is not among them.
_ASSETS = ("/_nicegui/", "/static/", "/language/")
#: POST requests that change nothing.
_READ_ONLY_POSTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/api/plan",
    "/api/training/llamafactory/plan",
)
#: Signing out needs the scope ``read`` only.
_SIGN_OUT = ("/logout",)
#: MCP checks the scope of each tool itself.
_CHECKS_SCOPES_ITSELF = ("/mcp",)

#: Returns the scopes of a browser's session, or None without one.
SessionScopes = t.Callable[[Scope], frozenset[str] | None]


class RequestGuard:
    """ASGI middleware that rejects requests before they reach the application.

    :param state: the application's state. ``state.sessions`` is called for requests without ``Authorization``: an
        interface with browser sessions sets it, and protects its own forms against forgery. Requests of a session that
        change something need an ``Origin`` of this site.
    """

    def __init__(self, app: ASGIApp, settings: Settings, access: Access, state: t.Any) -> None:
        self.app = app
        self.settings = settings
        self.access = access
        self.state = state
        self._hosts = {host.lower() for host in settings.allowed_hosts}
        self._origins = {origin.lower().rstrip("/") for origin in settings.allowed_origins}

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
        if scope["type"] == "http":
            await self._handle_limited(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    # -- caller and origin -----------------------------------------------------------------------------------------

    def _rejection(self, scope: Scope) -> Response | None:
        """Return the response to a request that is rejected; None if it is allowed."""
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if not self.host_allowed(host):
            hint = "Add the name to training_service_allowed_hosts if it is one of this machine's."
            return problem_response(path, 421, "This service is not known by that name.", hint)
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if origin is not None and changes and not self.origin_allowed(origin, host):
            hint = "Add its origin to training_service_allowed_origins if it is yours."
            return problem_response(path, 403, "Pages of another site may not do this.", hint)
        return self._caller_rejection(scope, headers, path, changes)

    def _caller_rejection(self, scope: Scope, headers: Headers, path: str, changes: bool) -> Response | None:
        state = scope.setdefault("state", {})
        state["scopes"] = SCOPES if self.access.is_open else frozenset()
        if self.access.is_open or path in _PUBLIC or path.startswith(_ASSETS):
            return None
        authorization = headers.get("authorization")
        sessions: SessionScopes | None = getattr(self.state, "sessions", None)
        session = sessions(scope) if sessions is not None and authorization is None else None
        try:
            state["scopes"] = session if session is not None else self.access.authorize(authorization or "")
        except DeniedError as error:
            page = scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", "")
            if page and sessions is not None and authorization is None and not path.startswith(("/api", "/v1", "/mcp")):
                return RedirectResponse("/login", 303)
            return problem_response(path, 401, error.message, error.hint)
        if session is not None and changes and headers.get("origin") is None:
            return problem_response(path, 403, "A browser's session needs an Origin for this.")
        needed = TRAIN if changes and scope["type"] == "http" and not _is_read_only(path) else READ
        if needed not in state["scopes"]:
            return problem_response(path, 403, f"This token may not do that: it lacks the scope {needed}.")
        return None

    def host_allowed(self, host: str) -> bool:
        """Whether a ``Host`` header names this service: protects against DNS rebinding."""
        name = _host_name(host)
        if name is None:
            return False
        if name in self._hosts or name == "localhost" or name == self.settings.host.lower():
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # a literal address cannot be rebound
        return address.is_loopback or not self.settings.on_loopback

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Whether pages of that origin may change something: this host, or an origin in the settings."""
        if origin.lower().rstrip("/") in self._origins:
            return True
        parts = urllib.parse.urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()

    # -- size ------------------------------------------------------------------------------------------------------

    async def _handle_limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        upload = headers.get("content-type", "").startswith(("multipart/form-data", "application/octet-stream"))
        # a form has boundaries in addition to the file
        limit = self.settings.max_upload_bytes + 65536 if upload else self.settings.max_body_bytes
        rejection = problem_response(
            path, 413, f"The body is larger than {limit} bytes.", headers={"Connection": "close"}
        )
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > limit:
            await rejection(scope, receive, send)
            return
        received, response_started = 0, False

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise TooLargeError(f"The body is larger than {limit} bytes.")
            return message

        async def counting_send(message: Message) -> None:
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
            await rejection(scope, receive, send)


def _method(scope: Scope) -> str:
    # label values are kept forever: clients must not create new ones
    method = str(scope["method"])
    return method if method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "other"


def _is_read_only(path: str) -> bool:
    return (
        path in (*_READ_ONLY_POSTS, *_SIGN_OUT) or path.startswith(_CHECKS_SCOPES_ITSELF) or path.endswith("/validate")
    )


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
