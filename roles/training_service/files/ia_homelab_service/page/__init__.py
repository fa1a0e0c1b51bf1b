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

from ..access import Access
from ..operations import Operations
from . import configure, models, plan, watch
from .forms import Forms, visitor_of
from .sessions import COOKIE, VISITOR_COOKIE, Session, Sessions
from .shell import Reader, language_of, view

#: The addresses of the page; everything else is the API's.
_VIEWS = ("/", "/plan", "/watch", "/models", "/login", "/logout", "/datasets")
_BELOW = ("/watch/", "/models/", "/language/", "/_nicegui")

#: Seconds a browser may be away, a phone asleep, before what it showed is forgotten and the view is begun anew.
_AWAY_SECONDS = 60.0

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
    known = Sessions(access)
    forms = Forms(operations, access, known)
    inner = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    inner.include_router(forms.router)
    _register(operations, access, known, forms)
    # a bar over each request in the background tells nobody anything, and a screen reader that something without a name
    # is going on
    page.config.quasar_config["loadingBar"] = {"skipHijack": True}
    ui.run_with(
        inner,
        title="ia-homelab",
        dark=None,
        show_welcome_message=False,
        gzip_middleware_factory=None,
        reconnect_timeout=_AWAY_SECONDS,
    )
    app.router.routes.append(_PageRoute(_Visitors(inner)))
    app.state.sessions = lambda scope: _scopes(known, scope)
    app.state.lifespans.append(inner.router.lifespan_context(inner))


def _scopes(known: Sessions, scope: Scope) -> frozenset[str] | None:
    """What the sender of a cookie may do, at an address of the page; None where a cookie opens nothing."""
    if not _is_page(scope["path"]):
        return None
    session = known.read(HTTPConnection(scope).cookies.get(COOKIE))
    if session is None:
        return None
    scope["state"]["session"] = session
    return session.scopes


def _is_page(path: str) -> bool:
    return path in _VIEWS or path.startswith(_BELOW)


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


class _Visitors:
    """Gives each visitor a cookie that forms belong to, and each answer its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = HTTPConnection(scope).cookies.get(VISITOR_COOKIE, "")
        visitor = known if len(known) >= 20 else secrets.token_urlsafe(24)
        scope.setdefault("state", {})["visitor"] = visitor

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if visitor != known:
                    secure = "; Secure" if scope.get("scheme") == "https" else ""
                    headers.append("Set-Cookie", f"{VISITOR_COOKIE}={visitor}; Path=/; HttpOnly; SameSite=Lax{secure}")
            await send(message)

        await self._app(scope, receive, with_headers)


def _register(operations: Operations, access: Access, known: Sessions, forms: Forms) -> None:
    """The views, in NiceGUI's register of pages."""

    def reader_of(request: Request) -> Reader:
        state = request.scope["state"]
        session = state.get("session") or Session(frozenset(state.get("scopes") or ()))
        return Reader(language_of(request), session)

    @contextlib.contextmanager
    def shown(request: Request, title: str, here: str) -> t.Iterator[Reader]:
        reader = reader_of(request)
        sign_out = "" if access.open else known.form_token(visitor_of(request))
        with view(request, reader, reader.words(title), here, sign_out):
            if reader.session.expires != float("inf"):
                left = max(1.0, reader.session.expires - time.time())
                ui.timer(left, lambda: ui.navigate.to("/login"), once=True)
            yield reader

    @ui.page("/", response_timeout=30)
    async def _configure(request: Request) -> None:
        with shown(request, "configure.title", "/") as reader:
            token = known.form_token(visitor_of(request))
            upload = configure.UploadForm(token, forms.result(request.query_params.get("upload", "")))
            await configure.build(reader, operations, dict(request.query_params), upload)

    @ui.page("/plan", response_timeout=60)
    async def _plan(request: Request) -> None:
        with shown(request, "plan.title", "/plan") as reader:
            await plan.build(reader, operations, dict(request.query_params))

    @ui.page("/watch", response_timeout=30)
    async def _watch(request: Request) -> None:
        with shown(request, "watch.title", "/watch") as reader:
            await watch.build_queue(reader, operations)

    @ui.page("/watch/{job_id}", response_timeout=30)
    async def _run(request: Request, job_id: str) -> None:
        with shown(request, "watch.title", "/watch") as reader:
            await watch.build_run(reader, operations, job_id)

    @ui.page("/models", response_timeout=30)
    async def _models(request: Request) -> None:
        with shown(request, "models.title", "/models") as reader:
            await models.build_list(reader, operations)

    @ui.page("/models/{name}", response_timeout=30)
    async def _model(request: Request, name: str) -> None:
        with shown(request, "models.title", "/models") as reader:
            await models.build_model(reader, operations, name)
