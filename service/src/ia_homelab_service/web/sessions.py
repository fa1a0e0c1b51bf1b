# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions of the page: a signed cookie without state on the server, so a restart ends no session.

The cookie names a token by its digest, and has an expiry time. It is signed (HMAC-SHA256) with a key derived from that
digest. A session therefore has the current scopes of the token, and ends with it. It is valid for the page only, never
for ``/api``, ``/v1`` or ``/mcp``, so requests that other sites make browsers send there have no authority.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets
import time

from ..http.access import Access, Token
from ..http.sign_in_codes import SignInCodes

SESSION_COOKIE = "session"
#: Cookie that form tokens are bound to, with and without a session.
VISITOR_COOKIE = "visitor"
#: Lifetime of a session in seconds.
LIFETIME = 12 * 3600
#: Number of hexadecimal digits of a digest that identify a token.
_NAMED_BY = 16


@dataclasses.dataclass(frozen=True)
class Session:
    """A signed-in browser.

    :param scopes: the scopes of its token.
    :param expires: seconds since the epoch.
    """

    scopes: frozenset[str]
    expires: float = float("inf")

    def may(self, scope: str) -> bool:
        """Whether the session has the scope and has not expired."""
        return scope in self.scopes and time.time() < self.expires


class Sessions:
    """Creates and verifies session cookies and form tokens.

    :param access: the tokens of the service.
    :param codes: the codes of sign-in links.
    """

    def __init__(self, access: Access, codes: SignInCodes) -> None:
        self._access = access
        self._codes = codes
        #: Forms are short-lived: those from before a restart must be sent again.
        self._form_key = secrets.token_bytes(32)

    def open(self, secret: str) -> str | None:
        """Return the cookie of a new session for a token; None if the token is unknown."""
        return self._cookie(self._access.find_token(secret))

    def open_by_code(self, code: str) -> str | None:
        """Return the cookie of a new session for the code of a sign-in link and end the code; None if it is invalid."""
        return self._cookie(self._access.token_of_digest(self._codes.redeem(code) or ""))

    def _cookie(self, token: Token | None) -> str | None:
        if token is None:
            return None
        plain = f"{int(time.time()) + LIFETIME}.{token.sha256[:_NAMED_BY]}.{secrets.token_urlsafe(16)}"
        return f"{plain}.{_sign(token, plain)}"

    def read(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie; None if it is invalid or expired."""
        plain, _dot, signature = (cookie or "").rpartition(".")
        parts = plain.split(".")
        if len(parts) != 3 or not parts[0].isdecimal():
            return None
        for token in self._access.tokens:
            if token.sha256.startswith(parts[1]) and len(parts[1]) == _NAMED_BY:
                if hmac.compare_digest(signature.encode(), _sign(token, plain).encode()):
                    session = Session(token.scopes, float(parts[0]))
                    return session if time.time() < session.expires else None
        return None

    def form_token(self, visitor: str) -> str:
        """Return the form token for a visitor: other sites can make browsers send the cookie, but cannot know this."""
        return hmac.new(self._form_key, visitor.encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, visitor: str, value: str) -> bool:
        """Whether a form came from this page."""
        return bool(visitor) and hmac.compare_digest(value.encode(), self.form_token(visitor).encode())


def _sign(token: Token, plain: str) -> str:
    key = hmac.new(bytes.fromhex(token.sha256), b"ia_homelab page session", hashlib.sha256).digest()
    return hmac.new(key, plain.encode(), hashlib.sha256).hexdigest()
