# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may see the page: the scope at each of its routes, for browser sessions as well as for tokens."""

from __future__ import annotations

import typing as t

from fastapi import Security, params
from fastapi.security import SecurityScopes
from starlette.requests import HTTPConnection

from ..application.errors import DeniedError
from ..http.middleware import changes_something
from ..http.security import authorize, check_scopes
from .sessions import SESSION_COOKIE, Sessions


class SignInNeededError(DeniedError):
    """A browser without a session asks for a view: it is redirected to the form to sign in."""


class Visitors:
    """Authorizes requests for the page.

    A session counts for these routes only, and only without an ``Authorization`` header. Its requests that may change
    something need an ``Origin``, which the request guard has compared with the origins of this site; forms have a token
    of their own in addition.
    """

    def __init__(self, sessions: Sessions, is_open: bool) -> None:
        self._sessions = sessions
        self._is_open = is_open

    def needs(self, scope: str) -> params.Security:
        """Return the declaration of a route of the page that needs a session or a token with a scope."""
        return t.cast(params.Security, Security(self.authorize, scopes=[scope]))

    async def authorize(self, required: SecurityScopes, connection: HTTPConnection) -> None:
        """Check the session or the token of a request; ``state["session"]`` has the session afterwards.

        :raises DeniedError: when it has neither, or lacks a scope.
        """
        if self._is_open or "authorization" in connection.headers:
            await authorize(required, connection)
            return
        session = self._sessions.read(connection.cookies.get(SESSION_COOKIE))
        if session is None:
            shows_view = connection.scope.get("method") == "GET" and "text/html" in connection.headers.get("accept", "")
            raise (SignInNeededError if shows_view else DeniedError)("service.sign_in_needed")
        if changes_something(connection.scope) and "origin" not in connection.headers:
            raise DeniedError("service.origin_missing", authenticated=True)
        check_scopes(required.scopes, session.scopes)
        connection.scope["state"]["session"] = session
