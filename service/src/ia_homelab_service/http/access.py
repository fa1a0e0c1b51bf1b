# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what: bearer tokens with scopes, kept as digests."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import os
import typing as t

from ia_homelab_core._errors import InputError, NotReadyError

from ..application.errors import DeniedError
from ..settings import Settings

READ, TRAIN = "read", "train"
SCOPES = frozenset({READ, TRAIN})


@dataclasses.dataclass(frozen=True)
class Token:
    """A token as it is kept.

    :param name: whose it is, for the log.
    :param scopes: ``read`` to look and to ask models, ``train`` for all that changes something.
    :param sha256: digest of the token itself.
    """

    name: str
    scopes: frozenset[str]
    sha256: str


class Access:
    """The tokens of the service; without any, everybody who reaches it may do everything."""

    def __init__(self, tokens: t.Sequence[Token] = ()) -> None:
        self._tokens = tuple(tokens)

    @property
    def is_open(self) -> bool:
        """Whether no token is asked for."""
        return not self._tokens

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All of them."""
        return self._tokens

    def find_token(self, given: str) -> Token | None:
        """The token that was given; None for one that is not known. Takes as long whichever it is."""
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()
        found: Token | None = None
        for known in self._tokens:
            same = hmac.compare_digest(known.sha256, digest)
            found = known if same else found
        return found

    def scopes_of(self, token: str) -> frozenset[str]:
        """What a token may do; nothing for one that is not known."""
        found = self.find_token(token)
        return found.scopes if found is not None else frozenset()

    def authorize(self, authorization: str) -> frozenset[str]:
        """What the sender of an ``Authorization`` header may do.

        :raises DeniedError: when it holds no token that is known.
        """
        if self.is_open:
            return SCOPES
        scheme, _blank, token = authorization.partition(" ")
        found = self.scopes_of(token.strip()) if scheme.lower() == "bearer" else frozenset()
        if not found:
            raise DeniedError("This needs a token.", "Send the header Authorization: Bearer TOKEN.")
        return found


def load(path: str) -> Access:
    """The tokens in a file: ``[{"name": …, "scopes": ["read", "train"], "sha256": …}]``.

    :raises NotReadyError: when it cannot be read.
    :raises InputError: when it is not what it should be.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            raw = json.load(stream)
        return Access(
            [
                Token(str(one["name"]), frozenset(one["scopes"]) & SCOPES, str(one["sha256"]).lower())
                for one in raw
                if len(one["sha256"]) == 64
            ]
        )
    except OSError as error:
        raise NotReadyError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no list of tokens.", 'Each is {"name", "scopes", "sha256"}.') from error


def from_settings(settings: Settings) -> Access:
    """The access that the settings ask for.

    :raises InputError: when others could reach the service without a token, and nobody said that they shall.
    """
    access = load(settings.tokens_file) if settings.tokens_file else Access()
    if access.is_open and not settings.on_loopback and not settings.allow_unauthenticated:
        raise InputError(
            f"{settings.host} is reached by other machines, and no token is set: anybody could train and delete here.",
            "Set training_service_tokens, listen on 127.0.0.1, or say training_service_allow_unauthenticated: true.",
        )
    return access


def credential(name: str) -> str:
    """Path of a file that systemd handed over (``LoadCredential=``); empty when there is none."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    path = os.path.join(folder, name) if folder else ""
    return path if path and os.path.exists(path) else ""
