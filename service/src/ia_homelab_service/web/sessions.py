# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is signed in to the page: a cookie that holds its own proof, so a restart signs nobody out.

The cookie names a token by its digest and says until when; it is signed (HMAC-SHA256) with a key made from that digest.
So what it may do is what the token may do now, and it ends with the token. It opens the page alone, never ``/api``,
``/v1`` or ``/mcp``: what a browser sends there by itself is worth nothing to another site.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets
import time

from ..http.access import Access, Token

SESSION_COOKIE = "session"
#: Cookie that the forms of a page belong to, whether somebody is signed in or not.
VISITOR_COOKIE = "visitor"
#: Seconds a session lasts.
LIFETIME = 12 * 3600
#: Hexadecimal digits of a token's digest that name it.
_NAMED_BY = 16


@dataclasses.dataclass(frozen=True)
class Session:
    """Somebody at a browser.

    :param scopes: what they may do.
    :param expires: seconds since the epoch.
    """

    scopes: frozenset[str]
    expires: float = float("inf")

    def may(self, scope: str) -> bool:
        """Whether they may do that, now."""
        return scope in self.scopes and time.time() < self.expires


class Sessions:
    """Makes and reads sessions, and what forms have to hold.

    :param access: the tokens of the service.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        #: Forms are short-lived: one that is older than this process is asked for again.
        self._form_key = secrets.token_bytes(32)

    def open(self, given: str) -> str | None:
        """The cookie of a new session for whoever has that token; None when there is no such token."""
        token = self._access.find_token(given)
        if token is None:
            return None
        plain = f"{int(time.time()) + LIFETIME}.{token.sha256[:_NAMED_BY]}.{secrets.token_urlsafe(16)}"
        return f"{plain}.{_sign(token, plain)}"

    def read(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None when it is not one of ours, or over."""
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
        """What a form that comes with this cookie holds: another site can have the cookie sent, but not know this."""
        return hmac.new(self._form_key, visitor.encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, visitor: str, given: str) -> bool:
        """Whether a form came from a page of ours."""
        return bool(visitor) and hmac.compare_digest(given.encode(), self.form_token(visitor).encode())


def _sign(token: Token, plain: str) -> str:
    key = hmac.new(bytes.fromhex(token.sha256), b"ia_homelab page session", hashlib.sha256).digest()
    return hmac.new(key, plain.encode(), hashlib.sha256).hexdigest()
