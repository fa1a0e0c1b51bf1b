# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access control: bearer tokens with scopes, stored as digests."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import re
import typing as t

from ia_homelab_core.errors import InputError, NotReadyError
from ia_homelab_core.messages.message import Message

from ..settings import Settings

READ, TRAIN = "read", "train"
SCOPES = frozenset({READ, TRAIN})

#: Environment variables of clients on this machine: a token, or the file with it. Those of the Python client as well.
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "LLAMAFACTORY_TOKEN", "LLAMAFACTORY_TOKEN_FILE"

#: The file with the token that the role makes.
DEFAULT_TOKEN_FILE = "/etc/ia-homelab/training-service/token"

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


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
    """The tokens of the service. Without tokens (``no_token``), every client has all scopes."""

    def __init__(self, tokens: t.Sequence[Token] = ()) -> None:
        self._tokens = tuple(tokens)

    @property
    def is_open(self) -> bool:
        """Whether clients need no token."""
        return not self._tokens

    def scopes_on_host(self, environment: t.Mapping[str, str]) -> frozenset[str]:
        """Return the scopes of a program on this machine, whose token is in its environment (see :func:`read_secret`).

        :raises InputError: when it has none, or an unknown one.
        """
        if self.is_open:
            return SCOPES
        granted = self.scopes_of(read_secret(environment))
        if not granted:
            raise InputError(
                "service.token_needed_on_host",
                variable=TOKEN_VARIABLE,
                file_variable=TOKEN_FILE_VARIABLE,
                example=DEFAULT_TOKEN_FILE,
            )
        return granted

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

    def token_of_digest(self, sha256: str) -> Token | None:
        """Return the token with that digest; None if it is unknown."""
        return next((token for token in self._tokens if token.sha256 == sha256), None)

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
    :raises InputError: when it has no token, or an entry that is not one.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            raw = json.load(stream)
    except OSError as error:
        raise NotReadyError("service.tokens_unreadable", path=path, reason=error.strerror) from error
    except ValueError as error:
        raise InputError("service.tokens_no_json", path=path) from error
    if not isinstance(raw, list):
        raise InputError("service.no_token_list", path=path)
    if not raw:
        raise InputError("service.token_list_empty", path=path)
    return Access([_token(path, number, entry) for number, entry in enumerate(raw, 1)])


def _token(path: str, number: int, entry: t.Any) -> Token:
    """Return an entry of a file as a token.

    :raises InputError: when it is not one. The message does not show its content.
    """
    try:
        name, scopes, sha256 = str(entry["name"]), frozenset(entry["scopes"]), str(entry["sha256"]).lower()
    except (KeyError, TypeError) as error:
        raise InputError("service.token_invalid", number=number, path=path) from error
    if not _SHA256.match(sha256):
        raise InputError("service.token_digest_invalid", name=name, path=path)
    if not scopes or not scopes <= SCOPES:
        raise InputError("service.token_scopes_invalid", name=name, path=path)
    return Token(name, scopes, sha256)


def from_settings(settings: Settings) -> Access:
    """Return the access control for the settings.

    :raises InputError: when there is no token and the settings do not allow that, or when they contradict each other.
    """
    if not settings.no_token:
        if settings.tokens_file:
            return load(settings.tokens_file)
        raise InputError("service.no_token_set")
    if settings.tokens_file:
        raise InputError("service.no_token_with_tokens")
    if not settings.on_loopback:
        raise InputError("service.no_token_on_network", host=settings.host)
    if settings.trusted_proxies:
        raise InputError("service.no_token_behind_proxy")
    return Access()


def read_secret(environment: t.Mapping[str, str]) -> str:
    """Return the token of a client on this machine: ``LLAMAFACTORY_TOKEN``, or that in ``LLAMAFACTORY_TOKEN_FILE``.

    :returns: the token; empty if neither variable is set.
    :raises NotReadyError: when the file cannot be read.
    :raises InputError: when the file is empty.
    """
    if environment.get(TOKEN_VARIABLE):
        return environment[TOKEN_VARIABLE].strip()
    path = environment.get(TOKEN_FILE_VARIABLE, "")
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8") as stream:
            secret = stream.read(4096).strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or Message("service.not_text")
        raise NotReadyError(
            "service.token_file_unreadable", path=path, variable=TOKEN_FILE_VARIABLE, reason=reason
        ) from error
    if not secret:
        raise InputError("service.token_file_empty", path=path, variable=TOKEN_FILE_VARIABLE)
    return secret
