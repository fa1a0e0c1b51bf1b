# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All routes of the REST interface: the requests of the initial specification, unchanged, and later additions."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from ..application.operations import Operations
from ..application.watcher import Watcher
from ..http.routing import ServiceRoute
from .datasets import add_dataset_routes
from .evaluations import add_evaluation_routes
from .events import add_event_routes
from .jobs import add_control_routes, add_status_routes
from .models import add_model_routes
from .responses import error_responses

#: Prefixes of the interface: each serves all of it, the first one is documented.
PREFIXES = ("/api", "/api/training/llamafactory")


def create_router(operations: Operations, watcher: Watcher) -> APIRouter:
    """Return the routes below one prefix."""
    router = APIRouter(route_class=ServiceRoute, responses=error_responses())
    add_control_routes(router, operations)
    add_status_routes(router, operations)
    add_event_routes(router, operations, watcher)
    add_dataset_routes(router, operations)
    add_model_routes(router, operations)
    add_evaluation_routes(router, operations)
    return router


def mount(app: FastAPI) -> None:
    """Add the REST interface to the application."""
    for index, prefix in enumerate(PREFIXES):
        router = create_router(app.state.operations, app.state.watcher)
        app.include_router(router, prefix=prefix, include_in_schema=index == 0)
