# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes whose bodies are large: files and chats. A body is limited by its route, not by what a client calls it."""

from __future__ import annotations

import functools
import re
import typing as t

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, compile_path
from starlette.types import Scope

_FILES, _CHATS = "receives_files", "receives_chats"

Endpoint = t.TypeVar("Endpoint", bound=t.Callable[..., t.Any])


def receives_files(endpoint: Endpoint) -> Endpoint:
    """Decorate an endpoint that receives a file: the limit of uploads applies to its bodies."""
    setattr(endpoint, _FILES, True)
    return endpoint


def receives_chats(endpoint: Endpoint) -> Endpoint:
    """Decorate an endpoint that receives a conversation, maybe with images: its bodies have the limit of chats."""
    setattr(endpoint, _CHATS, True)
    return endpoint


class LargeBodies:
    """The routes of an application whose endpoints receive files or chats.

    :param app: may get more routes until the first request.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def is_upload(self, scope: Scope) -> bool:
        """Whether a request is for a route that receives files."""
        return self._match(scope, _FILES)

    def is_chat(self, scope: Scope) -> bool:
        """Whether a request is for a route that receives chats."""
        return self._match(scope, _CHATS)

    def _match(self, scope: Scope, attribute: str) -> bool:
        return any(
            scope["method"] in methods and pattern.match(scope["path"]) is not None
            for methods, pattern in self._routes[attribute]
        )

    @functools.cached_property
    def _routes(self) -> dict[str, list[tuple[t.Collection[str], re.Pattern[str]]]]:
        found: dict[str, list[tuple[t.Collection[str], re.Pattern[str]]]] = {_FILES: [], _CHATS: []}
        for endpoint, methods, path in _endpoints(self._app.router.routes):
            for attribute, routes in found.items():
                if getattr(endpoint, attribute, False):
                    routes.append((methods, compile_path(path)[0]))
        return found


def _endpoints(routes: t.Iterable[BaseRoute]) -> t.Iterator[tuple[t.Any, t.Collection[str], str]]:
    for context in iter_route_contexts(list(routes)):
        route = context.original_route
        inner = getattr(route, "routes", None)  # an application that is mounted with a list of its routes
        if inner:
            yield from _endpoints(inner)
        else:
            yield getattr(route, "endpoint", None), context.methods or (), context.path or ""
