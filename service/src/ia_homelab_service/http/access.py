# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access control: bearer tokens with scopes, stored as digests."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import typing as t

from ia_homelab_core.errors import InputError, NotReadyError

from ..settings import Settings

READ, TRAIN = "read", "train"
SCOPES = frozenset({READ, TRAIN})


@dataclasses.dataclass(frozen=True)
class Token:
    """A stored token.

    :param name: its owner, for the log.
    :param scopes: ``read`` to inspect jobs and to query models, ``train`` for all changes.
    :param sha256: digest of the token itself.
    """

    name: str
    scopes: frozenset[str]
    sha256: str


class Access:
    """The tokens of the service. Without tokens, every client has all scopes."""

    def __init__(self, tokens: t.Sequence[Token] = ()) -> None:
        self._tokens = tuple(tokens)

    @property
    def is_open(self) -> bool:
        """Whether clients need no token."""
        return not self._tokens

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All tokens."""
        return self._tokens

    def find_token(self, secret: str) -> Token | None:
        """Return the token with that secret, in constant time; None if it is unknown."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
        match: Token | None = None
        for token in self._tokens:
            same = hmac.compare_digest(token.sha256, digest)
            match = token if same else match
        return match

    def scopes_of(self, token: str) -> frozenset[str]:
        """Return the scopes of a token; empty if it is unknown."""
        known_token = self.find_token(token)
        return known_token.scopes if known_token is not None else frozenset()

    def scopes_of_header(self, authorization: str) -> frozenset[str]:
        """Return the scopes granted by an ``Authorization`` header; empty if it has no known token."""
        if self.is_open:
            return SCOPES
        scheme, _blank, token = authorization.partition(" ")
        return self.scopes_of(token.strip()) if scheme.lower() == "bearer" else frozenset()


def load(path: str) -> Access:
    """Load the tokens in a file: ``[{"name": …, "scopes": ["read", "train"], "sha256": …}]``.

    :raises NotReadyError: when it cannot be read.
    :raises InputError: when it is not a list of tokens.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            raw = json.load(stream)
        return Access(
            [
                Token(str(entry["name"]), frozenset(entry["scopes"]) & SCOPES, str(entry["sha256"]).lower())
                for entry in raw
                if len(entry["sha256"]) == 64
            ]
        )
    except OSError as error:
        raise NotReadyError("errors.unreadable", path=path, reason=error.strerror) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("service.no_token_list", path=path) from error


def from_settings(settings: Settings) -> Access:
    """Return the access control for the settings.

    :raises InputError: when other machines would have access without a token and the settings do not allow that.
    """
    access = load(settings.tokens_file) if settings.tokens_file else Access()
    if access.is_open and not settings.on_loopback and not settings.allow_unauthenticated:
        raise InputError("service.no_token_set", host=settings.host)
    return access
