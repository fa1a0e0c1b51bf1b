# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes that receive files. The size of a body is limited by its route, and not by what a client calls it."""

from __future__ import annotations

import functools
import re
import typing as t

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, compile_path
from starlette.types import Scope

_ATTRIBUTE = "receives_files"

Endpoint = t.TypeVar("Endpoint", bound=t.Callable[..., t.Any])


def receives_files(endpoint: Endpoint) -> Endpoint:
    """Decorate an endpoint that receives a file: the limit of uploads applies to its bodies."""
    setattr(endpoint, _ATTRIBUTE, True)
    return endpoint


class UploadRoutes:
    """The routes of an application whose endpoints receive files.

    :param app: may get more routes until the first request.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def match(self, scope: Scope) -> bool:
        """Whether a request is for one of them."""
        return any(
            scope["method"] in methods and pattern.match(scope["path"]) is not None for methods, pattern in self._routes
        )

    @functools.cached_property
    def _routes(self) -> list[tuple[t.Collection[str], re.Pattern[str]]]:
        return [
            (methods, compile_path(path)[0])
            for endpoint, methods, path in _endpoints(self._app.router.routes)
            if getattr(endpoint, _ATTRIBUTE, False)
        ]


def _endpoints(routes: t.Iterable[BaseRoute]) -> t.Iterator[tuple[t.Any, t.Collection[str], str]]:
    for context in iter_route_contexts(list(routes)):
        route = context.original_route
        inner = getattr(route, "routes", None)  # an application that is mounted with a list of its routes
        if inner:
            yield from _endpoints(inner)
        else:
            yield getattr(route, "endpoint", None), context.methods or (), context.path or ""
