# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The web page: its views, and how it is mounted beside the API.

NiceGUI serves it. It ships its own scripts, styles and fonts, so there is no build step and nothing is loaded from
other sites. It keeps one application per process: :func:`mount` is called once.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import typing as t

from fastapi import FastAPI
from fastapi.routing import APIRoute
from nicegui import app as page
from nicegui import ui
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..application.errors import DeniedError
from ..application.operations import Operations
from ..http.access import READ, Access
from ..http.problem_details import error_response, prefers_json
from ..http.security import PUBLIC, SecuredApp, is_declared
from ..http.sign_in_codes import SignInCodes
from . import configure, models, plan, watch
from .form_routes import FormRoutes, visitor_id
from .layout import Viewer, request_language, view
from .sessions import VISITOR_COOKIE, Session, Sessions
from .visitors import SignInNeededError, Visitors

#: Prefixes of NiceGUI's own routes: its assets, and the websocket of a view.
_ASSETS, _WEBSOCKET = "/_nicegui/", "/_nicegui_ws/"

#: Seconds for which the state of a view is kept after its browser has disconnected.
_RECONNECT_SECONDS = 60.0

#: Nothing is loaded from, sent to, or framed by another site. The exceptions for scripts are needed by NiceGUI, which
#: has an inline start-up script, and by Vue, which compiles templates.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def mount(app: FastAPI) -> None:
    """Add the page to the application."""
    operations: Operations = app.state.operations
    access: Access = app.state.access
    sessions = Sessions(access, SignInCodes(app.state.settings))
    visitors = Visitors(sessions, access.is_open)
    forms = FormRoutes(operations, visitors, sessions)
    inner = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    inner.include_router(forms.router)
    _register(operations, access, sessions, visitors, forms)

    async def denied(request: Request, error: Exception) -> Response:
        if isinstance(error, SignInNeededError):
            return RedirectResponse("/login", 303)
        assert isinstance(error, DeniedError)
        return error_response(request.url.path, error, operations.redactor, request_language(request).code)

    for one in (inner, page):
        one.add_exception_handler(DeniedError, denied)
    # a bar for background requests has no use, and screen readers announce it as an unnamed progress bar
    page.config.quasar_config["loadingBar"] = {"skipHijack": True}
    ui.run_with(
        inner,
        title="ia-homelab",
        dark=None,
        show_welcome_message=False,
        gzip_middleware_factory=None,
        reconnect_timeout=_RECONNECT_SECONDS,
    )
    served = _VisitorMiddleware(inner)
    app.router.routes += [
        PrefixRoute(_ASSETS, SecuredApp(served, PUBLIC), ("GET", "HEAD")),
        PrefixRoute(_WEBSOCKET, SecuredApp(served, visitors.needs(READ))),
        PageRoute(served, [*forms.router.routes, *page.routes]),
    ]
    app.state.lifespans.append(inner.router.lifespan_context(inner))


class PrefixRoute(BaseRoute):
    """Routes all paths below a prefix to an application, which gets them complete.

    :param methods: those of HTTP that it takes; empty for all, and websockets.
    """

    def __init__(self, prefix: str, app: SecuredApp, methods: t.Container[str] = ()) -> None:
        self.path = prefix
        self.app = app
        self.methods = methods

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match paths below the prefix."""
        ours = scope["type"] in ("http", "websocket") and scope["path"].startswith(self.path)
        if ours and self.methods:
            ours = scope["type"] == "http" and scope["method"] in self.methods
        return (Match.FULL, {}) if ours else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        await self.app(scope, receive, send)


class PageRoute(BaseRoute):
    """Routes the views and forms of the page; for all other paths the API's 404 and 405 remain.

    What NiceGUI registers beside them is not reached through this route.

    :param routes: routes of the page. Those that declare a scope are matched.
    """

    def __init__(self, page: ASGIApp, routes: t.Sequence[BaseRoute]) -> None:
        self._page = page
        self.routes = [one for one in routes if isinstance(one, APIRoute) and is_declared(one.dependencies)]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match paths of the routes."""
        ours = scope["type"] == "http" and any(one.matches(scope)[0] != Match.NONE for one in self.routes)
        # a program that asks for JSON has a wrong address: HTML would tell it nothing
        ours = ours and not (scope["method"] == "GET" and prefers_json(HTTPConnection(scope)))
        return (Match.FULL, {}) if ours else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the page."""
        await self._page(scope, receive, send)


def _complete(scope: Scope) -> Scope:
    """Return the scope with the complete path, as applications that are mounted in others expect it."""
    root = scope.get("root_path", "")
    return {**scope, "path": f"{root}{scope['path']}"} if root else scope


class _VisitorMiddleware:
    """Gives each visitor a cookie, which form tokens are bound to, and sets security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(_complete(scope), receive, send)
            return
        cookie = HTTPConnection(scope).cookies.get(VISITOR_COOKIE, "")
        visitor = cookie if len(cookie) >= 20 else secrets.token_urlsafe(24)
        scope.setdefault("state", {})["visitor"] = visitor
        scope = _complete(scope)

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


def _register(
    operations: Operations, access: Access, sessions: Sessions, visitors: Visitors, forms: FormRoutes
) -> None:
    """Register the views with NiceGUI."""
    may_look = [visitors.needs(READ)]

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

    @ui.page("/", dependencies=may_look, response_timeout=30)
    async def _configure(request: Request) -> None:
        with show_view(request, "configure.title", "/") as viewer:
            token = sessions.form_token(visitor_id(request))
            query = dict(request.query_params)
            upload = configure.UploadForm(token, forms.result(query.pop("upload", "")))
            await configure.build(viewer, operations, query, upload)

    @ui.page("/plan", dependencies=may_look, response_timeout=60)
    async def _plan(request: Request) -> None:
        with show_view(request, "plan.title", "/plan") as viewer:
            await plan.build(viewer, operations, dict(request.query_params))

    @ui.page("/watch", dependencies=may_look, response_timeout=30)
    async def _watch(request: Request) -> None:
        with show_view(request, "watch.title", "/watch") as viewer:
            await watch.build_queue(viewer, operations)

    @ui.page("/watch/{job_id}", dependencies=may_look, response_timeout=30)
    async def _run(request: Request, job_id: str) -> None:
        with show_view(request, "watch.title", "/watch") as viewer:
            await watch.build_run(viewer, operations, job_id)

    @ui.page("/models", dependencies=may_look, response_timeout=30)
    async def _models(request: Request) -> None:
        with show_view(request, "models.title", "/models") as viewer:
            await models.build_list(viewer, operations)

    @ui.page("/models/{name}", dependencies=may_look, response_timeout=30)
    async def _model(request: Request, name: str) -> None:
        with show_view(request, "models.title", "/models") as viewer:
            await models.build_model(viewer, operations, name)
