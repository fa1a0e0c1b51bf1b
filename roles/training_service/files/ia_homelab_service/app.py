# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application: what faces clients, mounted over one set of operations."""

from __future__ import annotations

import contextlib
import typing as t

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from ia_homelab_core.engine.installation import install
from ia_homelab_core.errors import CoreError
from ia_homelab_core.version import VERSION

from . import access as access_
from . import mcp_server, metrics, openai, problems, rest
from .guard import Guard
from .loop import Loop
from .openai_models import Upstream
from .operations import Operations
from .settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The service's application.

    ``app.state`` has ``operations``, ``loop``, ``settings`` and ``access``; ``lifespans`` is a list of asynchronous
    context managers that are entered while it runs, and ``sessions`` may be set (see ``guard``).

    :raises InputError: when it would be open to everybody and nobody said that it shall.
    """
    access = access_.for_settings(settings)
    operations = Operations(settings)
    loop = Loop(operations)
    upstream = Upstream(settings)
    lifespans: list[t.AsyncContextManager[t.Any]] = [upstream.lifespan()]

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> t.AsyncIterator[None]:
        operations.engine.store.prepare()
        install(operations.layout)
        loop.start()
        async with contextlib.AsyncExitStack() as stack:
            for one in lifespans:
                await stack.enter_async_context(one)
            yield
        await loop.stop()

    app = FastAPI(
        title="Training service",
        summary="Fine-tunes with LLaMA-Factory, served by Ollama",
        version=VERSION,
        openapi_url="/api/openapi.json",
        # their pages fetch scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.operations = operations
    app.state.loop = loop
    app.state.settings = settings
    app.state.access = access
    app.state.lifespans = lifespans
    app.state.sessions = None
    problems.install(app, operations.redactor)
    for index, prefix in enumerate(rest.PREFIXES):
        app.include_router(rest.router(operations, loop), prefix=prefix, include_in_schema=index == 0)
    app.include_router(openai.router(operations, loop, upstream))
    metrics.add(app, operations, loop)
    _add_health(app, operations, loop)
    mcp_server.mount(app, operations)
    _describe_problems(app)
    return app


def _describe_problems(app: FastAPI) -> None:
    """Put the form of errors, which answers refer to by name, into the document."""
    document = app.openapi

    def described() -> dict[str, t.Any]:
        found = document()
        form = rest.ProblemBody.model_json_schema()
        found.setdefault("components", {}).setdefault("schemas", {}).setdefault("ProblemBody", form)
        return found

    app.openapi = described  # type: ignore[method-assign]


def guarded(app: FastAPI) -> ASGIApp:
    """The application behind its guard: what a server runs."""
    return Guard(app, app.state.settings, app.state.access, app.state)


def _add_health(app: FastAPI, operations: Operations, loop: Loop) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return JSONResponse({"status": "stuck" if loop.stuck else "ok"}, 503 if loop.stuck else 200)

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> Response:
        checks = {}
        for name, check in (("store", operations.engine.store.prepare), ("ollama", operations.models.ollama.version)):
            try:
                check()
                checks[name] = "ok"
            except CoreError as error:
                checks[name] = operations.redactor.text(error.message)
        ready = all(one == "ok" for one in checks.values())
        return JSONResponse({"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)
