# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page: configure, plan, watch, models, in French and English, over the same operations as the API.

NiceGUI serves it: it ships its own scripts, styles and fonts, so there is no build step and nothing is fetched from
elsewhere. It keeps one application in a process: :func:`mount` is called once.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import typing as t

from fastapi import FastAPI
from nicegui import app as page
from nicegui import ui
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..application.operations import Operations
from ..http.access import Access
from . import configure, models, plan, watch
from .form_routes import FormRoutes, visitor_id
from .layout import Viewer, request_language, view
from .sessions import SESSION_COOKIE, VISITOR_COOKIE, Session, Sessions

#: The addresses of the page; everything else is the API's.
_PATHS = ("/", "/plan", "/watch", "/models", "/login", "/logout", "/datasets")
_PATH_PREFIXES = ("/watch/", "/models/", "/language/", "/_nicegui")

#: Seconds a browser may be away, a phone asleep, before what it showed is forgotten and the view is begun anew.
_RECONNECT_SECONDS = 60.0

#: Nothing is loaded from, sent to, or framed by another site. NiceGUI writes its start-up script into the document,
#: and Vue compiles templates, hence the two exceptions.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def mount(app: FastAPI) -> None:
    """Serve the page from the service's application, beside its own routes."""
    operations: Operations = app.state.operations
    access: Access = app.state.access
    sessions = Sessions(access)
    forms = FormRoutes(operations, access, sessions)
    inner = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    inner.include_router(forms.router)
    _register(operations, access, sessions, forms)
    # a bar over each request in the background tells nobody anything, and a screen reader that something without a name
    # is going on
    page.config.quasar_config["loadingBar"] = {"skipHijack": True}
    ui.run_with(
        inner,
        title="ia-homelab",
        dark=None,
        show_welcome_message=False,
        gzip_middleware_factory=None,
        reconnect_timeout=_RECONNECT_SECONDS,
    )
    app.router.routes.append(_PageRoute(_VisitorMiddleware(inner)))
    app.state.sessions = lambda scope: _scopes(sessions, scope)
    app.state.lifespans.append(inner.router.lifespan_context(inner))


def _scopes(sessions: Sessions, scope: Scope) -> frozenset[str] | None:
    """What the sender of a cookie may do, at an address of the page; None where a cookie opens nothing."""
    if not _is_page(scope["path"]):
        return None
    session = sessions.read(HTTPConnection(scope).cookies.get(SESSION_COOKIE))
    if session is None:
        return None
    scope["state"]["session"] = session
    return session.scopes


def _is_page(path: str) -> bool:
    return path in _PATHS or path.startswith(_PATH_PREFIXES)


class _PageRoute(BaseRoute):
    """Hands the addresses of the page to it, so that all others keep the API's own 404 and 405."""

    def __init__(self, page: ASGIApp) -> None:
        self._page = page

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is one of them."""
        ours = scope["type"] in ("http", "websocket") and _is_page(scope["path"])
        return (Match.FULL, {}) if ours else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the page answer."""
        await self._page(scope, receive, send)


class _VisitorMiddleware:
    """Gives each visitor a cookie that forms belong to, and each answer its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cookie = HTTPConnection(scope).cookies.get(VISITOR_COOKIE, "")
        visitor = cookie if len(cookie) >= 20 else secrets.token_urlsafe(24)
        scope.setdefault("state", {})["visitor"] = visitor

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if visitor != cookie:
                    secure = "; Secure" if scope.get("scheme") == "https" else ""
                    headers.append("Set-Cookie", f"{VISITOR_COOKIE}={visitor}; Path=/; HttpOnly; SameSite=Lax{secure}")
            await send(message)

        await self._app(scope, receive, with_headers)


def _register(operations: Operations, access: Access, sessions: Sessions, forms: FormRoutes) -> None:
    """The views, in NiceGUI's register of pages."""

    def viewer_of(request: Request) -> Viewer:
        state = request.scope["state"]
        session = state.get("session") or Session(frozenset(state.get("scopes") or ()))
        return Viewer(request_language(request), session)

    @contextlib.contextmanager
    def show_view(request: Request, title: str, path: str) -> t.Iterator[Viewer]:
        viewer = viewer_of(request)
        sign_out = "" if access.is_open else sessions.form_token(visitor_id(request))
        with view(request, viewer, viewer.language(title), path, sign_out):
            if viewer.session.expires != float("inf"):
                left = max(1.0, viewer.session.expires - time.time())
                ui.timer(left, lambda: ui.navigate.to("/login"), once=True)
            yield viewer

    @ui.page("/", response_timeout=30)
    async def _configure(request: Request) -> None:
        with show_view(request, "configure.title", "/") as viewer:
            token = sessions.form_token(visitor_id(request))
            upload = configure.UploadForm(token, forms.result(request.query_params.get("upload", "")))
            await configure.build(viewer, operations, dict(request.query_params), upload)

    @ui.page("/plan", response_timeout=60)
    async def _plan(request: Request) -> None:
        with show_view(request, "plan.title", "/plan") as viewer:
            await plan.build(viewer, operations, dict(request.query_params))

    @ui.page("/watch", response_timeout=30)
    async def _watch(request: Request) -> None:
        with show_view(request, "watch.title", "/watch") as viewer:
            await watch.build_queue(viewer, operations)

    @ui.page("/watch/{job_id}", response_timeout=30)
    async def _run(request: Request, job_id: str) -> None:
        with show_view(request, "watch.title", "/watch") as viewer:
            await watch.build_run(viewer, operations, job_id)

    @ui.page("/models", response_timeout=30)
    async def _models(request: Request) -> None:
        with show_view(request, "models.title", "/models") as viewer:
            await models.build_list(viewer, operations)

    @ui.page("/models/{name}", response_timeout=30)
    async def _model(request: Request, name: str) -> None:
        with show_view(request, "models.title", "/models") as viewer:
            await models.build_model(viewer, operations, name)
