# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scopes at routes: what a caller needs is declared where a route is defined.

``dependencies=[needs(TRAIN)]`` or ``dependencies=[PUBLIC]`` at a route, :class:`SecuredApp` around an ASGI application.
The request guard (``middleware``) identifies the caller, and these compare. A route without a declaration cannot be
created.
"""

from __future__ import annotations

import typing as t

from fastapi import Depends, Security, params
from fastapi.security import HTTPBearer, SecurityScopes
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ..application.errors import DeniedError

#: The scheme in the OpenAPI document; the guard reads the header.
_BEARER = HTTPBearer(
    auto_error=False, scheme_name="token", description="A token of the service; none with training_service_no_token."
)


def granted_scopes(connection: HTTPConnection) -> frozenset[str]:
    """Return the scopes of the caller, as the request guard found them; empty without a valid token."""
    return frozenset(connection.scope.get("state", {}).get("scopes") or ())


def check_scopes(required: t.Iterable[str], granted: t.Container[str]) -> None:
    """Check that a caller with a valid token has scopes.

    :raises DeniedError: when one is missing.
    """
    for scope in required:
        if scope not in granted:
            raise DeniedError("service.scope_missing", scope=scope, authenticated=True)


async def authorize(
    required: SecurityScopes, connection: HTTPConnection, _scheme: t.Annotated[t.Any, Depends(_BEARER)] = None
) -> None:
    """Check the token of a request.

    :raises DeniedError: when it has none, or one that lacks a scope.
    """
    granted = granted_scopes(connection)
    if not granted:
        raise DeniedError("service.token_needed")
    check_scopes(required.scopes, granted)


async def allow_all() -> None:
    """Let every caller pass."""


def needs(scope: str) -> params.Security:
    """Return the declaration of a route that needs a token with a scope."""
    return t.cast(params.Security, Security(authorize, scopes=[scope]))


#: The declaration of a route that needs no token: it reveals nothing, and changes nothing but the caller's cookies.
PUBLIC = t.cast(params.Security, Security(allow_all))


def is_declared(dependencies: t.Iterable[params.Depends]) -> bool:
    """Whether a route with these dependencies declares a scope."""
    return any(isinstance(one, params.Security) for one in dependencies)


def declaration(path: str, dependencies: t.Iterable[params.Depends]) -> params.Security:
    """Return what a route declares.

    :raises TypeError: when it declares nothing, or more than one thing.
    """
    declared = [one for one in dependencies if isinstance(one, params.Security)]
    if len(declared) != 1:
        raise TypeError(f"The route {path} must declare one scope: dependencies=[needs(SCOPE)] or [PUBLIC].")
    return declared[0]


async def check(declared: params.Security, connection: HTTPConnection) -> None:
    """Check a request against what its route declares.

    :raises DeniedError: when the caller may not.
    """
    if declared.dependency is allow_all:
        return
    assert declared.dependency is not None
    await declared.dependency(SecurityScopes(list(declared.scopes or ())), connection)


class SecuredApp:
    """An ASGI application behind a declaration: for applications whose routes are those of a library."""

    def __init__(self, app: ASGIApp, security: params.Security) -> None:
        self.app = app
        self.security = security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await check(self.security, HTTPConnection(scope))
        except DeniedError:
            if scope["type"] != "websocket":
                raise
            await send({"type": "websocket.close", "code": 1008})
            return
        await self.app(scope, receive, send)
