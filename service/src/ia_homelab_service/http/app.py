# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The FastAPI application that all interfaces are mounted on."""

from __future__ import annotations

import contextlib
import logging
import typing as t

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ia_homelab_core.engine.installation import install
from ia_homelab_core.errors import CoreError
from ia_homelab_core.version import VERSION

from ..application.operations import Operations
from ..application.watcher import Watcher
from ..settings import Settings
from . import access as access_
from . import metrics, problem_details
from .access import READ
from .middleware import RequestGuard
from .root_path import RootPath
from .routing import ServiceRoute
from .security import PUBLIC, needs
from .upload_routes import LargeBodies

#: Headers of responses that pages of allowed origins may read, beside those that every page may.
_EXPOSED = ("Location", "WWW-Authenticate", "Mcp-Session-Id", "Mcp-Protocol-Version")

log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """Return the application without any interface: error handlers, metrics, health checks and the watcher.

    ``app.state`` has ``operations``, ``watcher``, ``settings`` and ``access``; ``lifespans`` is a list of asynchronous
    context managers that are entered while the application runs. All routes declare a scope (see ``security``).

    :raises InputError: when no token is set and the settings do not say ``no_token``.
    """
    access = access_.from_settings(settings)
    operations = Operations(settings)
    watcher = Watcher(operations)
    lifespans: list[t.AsyncContextManager[t.Any]] = []

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> t.AsyncIterator[None]:
        operations.engine.store.prepare()
        install(operations.layout)
        watcher.start()
        async with contextlib.AsyncExitStack() as stack:
            for context_manager in lifespans:
                await stack.enter_async_context(context_manager)
            yield
        await watcher.stop()

    app = FastAPI(
        title="Training service",
        summary="Fine-tunes with LLaMA-Factory, served by Ollama",
        version=VERSION,
        # served by a route with a scope
        openapi_url=None,
        # these pages would load scripts from other sites
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.router.route_class = ServiceRoute
    app.state.operations = operations
    app.state.watcher = watcher
    app.state.settings = settings
    app.state.access = access
    app.state.lifespans = lifespans
    problem_details.add_exception_handlers(app, operations.redactor)
    problem_details.add_schema(app)
    metrics.add_metrics(app, operations, watcher)
    _add_health_checks(app, operations, watcher)
    _add_document(app)
    return app


def guarded(app: FastAPI) -> ASGIApp:
    """Return the application behind its request guard: what the server runs.

    The scheme and the client that a trusted proxy states replace those of the connection behind the guard.
    """
    settings: Settings = app.state.settings
    inner: t.Any = app  # uvicorn and Starlette have types of their own for the same interface
    if settings.trusted_proxies:
        inner = ProxyHeadersMiddleware(inner, list(settings.trusted_proxies))
    outer: t.Any = RequestGuard(inner, settings, app.state.access, app.state, LargeBodies(app))
    if settings.allowed_origins:
        # outside of the guard: a browser asks with a request that has no token, and shows errors to a page only with
        # these headers. Credentials of browsers (cookies) are not allowed, tokens are.
        outer = CORSMiddleware(
            outer,
            allow_origins=[origin.lower().rstrip("/") for origin in settings.allowed_origins],
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
            allow_private_network=True,
        )
    return RootPath(outer, settings.root_path)


def _add_health_checks(app: FastAPI, operations: Operations, watcher: Watcher) -> None:
    @app.get("/healthz", dependencies=[PUBLIC], include_in_schema=False)
    async def healthz() -> Response:
        return JSONResponse({"status": "stuck" if watcher.stuck else "ok"}, 503 if watcher.stuck else 200)

    #: The last reason of each check that fails, so that it is logged once.
    failed: dict[str, str] = {}

    @app.get("/readyz", dependencies=[PUBLIC], include_in_schema=False)
    def readyz() -> Response:
        checks = {}
        for name, check in (("store", operations.engine.store.prepare), ("ollama", operations.models.ollama.version)):
            try:
                check()
                checks[name] = "ok"
            except CoreError as error:
                # every caller may ask: the reason, which names paths and addresses, is for the log only
                if failed.get(name) != error.message:
                    log.warning("Not ready: %s: %s", name, operations.redactor.text(error.message))
                failed[name] = error.message
                checks[name] = "failed"
            else:
                failed.pop(name, None)
        ready = all(status == "ok" for status in checks.values())
        return JSONResponse({"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)


def _add_document(app: FastAPI) -> None:
    @app.get("/api/openapi.json", dependencies=[needs(READ)], include_in_schema=False)
    def document() -> Response:
        return JSONResponse(app.openapi())
