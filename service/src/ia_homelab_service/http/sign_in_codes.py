# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes in links that sign a browser in to the page: each works once, and for five minutes.

A command on the host creates a code, and the running service redeems it. Both find it in a directory that only the user
of the service can read. A file there is named by the SHA-256 digest of its code, so it reveals no code, and it has the
digest of the token whose scopes the session gets.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
import typing as t

from ia_homelab_core.errors import InputError, NotReadyError

from ..settings import Settings
from .access import TRAIN, Access, Token

#: Seconds for which a code is valid.
LIFETIME = 300

_FILE = re.compile(r"[0-9a-f]{64}\Z")


class SignInCodes:
    """The codes of a service.

    :param settings: settings of the service; the codes are files below its data directory.
    :param clock: returns seconds since the epoch.
    """

    def __init__(self, settings: Settings, clock: t.Callable[[], float] = time.time) -> None:
        self._directory = settings.path("sign-in")
        self._clock = clock

    def create(self, token: Token) -> str:
        """Return a new code for a session with the scopes of a token.

        :raises OSError: when the directory of the service cannot be written.
        """
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        os.chmod(self._directory, 0o700)
        self._remove_expired()
        code = secrets.token_urlsafe(32)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(self._path(code), flags, 0o600), "w", encoding="utf-8") as stream:
            json.dump({"token": token.sha256, "expires": self._clock() + LIFETIME}, stream)
        return code

    def redeem(self, code: str) -> str | None:
        """Return the digest of the token that a code stands for, and end the code; None if it is not valid."""
        path = self._path(code)
        found = self._read(path)
        try:
            os.unlink(path)  # fails for all but one of those who redeem it at the same time
        except FileNotFoundError:
            return None
        if found is None or self._clock() >= found[1]:
            return None
        return found[0]

    def _path(self, code: str) -> str:
        return os.path.join(self._directory, hashlib.sha256(code.encode("utf-8", "surrogateescape")).hexdigest())

    def _read(self, path: str) -> tuple[str, float] | None:
        """Return the digest of the token and the time at which the code expires; None without a valid file."""
        try:
            with open(path, encoding="utf-8") as stream:
                content = json.load(stream)
            return str(content["token"]), float(content["expires"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remove_expired(self) -> None:
        for name in os.listdir(self._directory):
            path = os.path.join(self._directory, name)
            if _FILE.match(name) and (self._read(path) or ("", 0.0))[1] <= self._clock():
                os.unlink(path)


def create_link(settings: Settings, access: Access, token_name: str = "") -> str:
    """Return a link that signs a browser in once.

    If root calls it, the rest of the process runs as the owner of the data directory: what this user can write must not
    decide where root writes.

    :param token_name: name of the token whose scopes the session gets; by default the first one that may train.
    :raises InputError: when there is no such token, or the service has no tokens.
    :raises NotReadyError: when the caller may not write the directory of the service.
    """
    if access.is_open:
        raise InputError("service.nobody_signs_in", url=settings.url)
    if token_name:
        token = next((one for one in access.tokens if one.name == token_name), None)
        if token is None:
            raise InputError("service.token_unknown", name=token_name, known=[one.name for one in access.tokens])
    else:
        token = next((one for one in access.tokens if TRAIN in one.scopes), access.tokens[0])
    try:
        _become_owner(settings.data_dir)
        code = SignInCodes(settings).create(token)
    except OSError as error:
        raise NotReadyError("service.sign_in_code_not_written", path=settings.path(), reason=error.strerror) from error
    return f"{settings.url}/login?code={code}"


def _become_owner(directory: str) -> None:
    """Continue as the owner of a directory if the process runs as root and another user owns it."""
    owner = os.stat(directory)
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
