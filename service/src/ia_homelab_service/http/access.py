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

from ..settings import Settings

READ, TRAIN = "read", "train"
SCOPES = frozenset({READ, TRAIN})

#: Environment variables of clients on this machine: a token, or the file with it. Those of the Python client as well.
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "LLAMAFACTORY_TOKEN", "LLAMAFACTORY_TOKEN_FILE"

#: The file with the token that the role makes.
DEFAULT_TOKEN_FILE = "/etc/ia-homelab/training-service/token"

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TOKEN_FORM = 'Each entry is {"name", "scopes", "sha256"}: scopes are read and train, sha256 is that of the token.'


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
                f"It needs a token of the service; {TOKEN_VARIABLE} and {TOKEN_FILE_VARIABLE} have none that is known.",
                f"Set {TOKEN_FILE_VARIABLE} to the file with the token, such as {DEFAULT_TOKEN_FILE}.",
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
        raise NotReadyError(f"The tokens in {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"{path} is no list of tokens: it is not JSON.", _TOKEN_FORM) from error
    if not isinstance(raw, list):
        raise InputError(f"{path} is no list of tokens.", _TOKEN_FORM)
    if not raw:
        raise InputError(
            f"{path} has no token: nobody could use the service.",
            "Set training_service_tokens, or leave them out: the role makes a token.",
        )
    return Access([_token(path, number, entry) for number, entry in enumerate(raw, 1)])


def _token(path: str, number: int, entry: t.Any) -> Token:
    """Return an entry of a file as a token.

    :raises InputError: when it is not one. The message does not show its content.
    """
    try:
        name, scopes, sha256 = str(entry["name"]), frozenset(entry["scopes"]), str(entry["sha256"]).lower()
    except (KeyError, TypeError) as error:
        raise InputError(f"Entry {number} of {path} is no token.", _TOKEN_FORM) from error
    if not _SHA256.match(sha256):
        raise InputError(f"The sha256 of the token {name!r} in {path} is not 64 hexadecimal digits.", _TOKEN_FORM)
    if not scopes or not scopes <= SCOPES:
        raise InputError(f"The scopes of the token {name!r} in {path} must be some of read and train.", _TOKEN_FORM)
    return Token(name, scopes, sha256)


def from_settings(settings: Settings) -> Access:
    """Return the access control for the settings.

    :raises InputError: when there is no token and the settings do not allow that, or when they contradict each other.
    """
    if not settings.no_token:
        if settings.tokens_file:
            return load(settings.tokens_file)
        raise InputError(
            "No token is set: every user of this machine could train and delete.",
            "Set tokens_file (the role training_service makes one), or say no_token: true (training_service_no_token).",
        )
    if settings.tokens_file:
        raise InputError(
            "no_token is true, and there are tokens in tokens_file.",
            "Leave out training_service_no_token to use the tokens, or training_service_tokens to have none.",
        )
    if not settings.on_loopback:
        raise InputError(
            f"{settings.host} is reached by other machines, and no_token is true: all of them could train and delete.",
            "Leave out training_service_no_token, or listen on 127.0.0.1.",
        )
    if settings.trusted_proxies:
        raise InputError(
            "no_token is true, and trusted_proxies may forward requests: whoever reaches them could train and delete.",
            "Leave out training_service_no_token, or training_service_trusted_proxies.",
        )
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
        reason = getattr(error, "strerror", None) or "it is not text"
        raise NotReadyError(f"The token file {path} ({TOKEN_FILE_VARIABLE}) cannot be read: {reason}.") from error
    if not secret:
        raise InputError(f"The token file {path} ({TOKEN_FILE_VARIABLE}) is empty.")
    return secret
