# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of the Ollama server this collection works with."""

from __future__ import annotations

import re

from ..errors import NotReadyError, RemoteError
from ..messages.message import Message
from .client import Ollama

#: The oldest version that the client is tested with.
MINIMUM_VERSION = "0.24.0"
_NUMBERS = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?![.\d])")


def version_warning(ollama: Ollama, architecture: str = "", oldest: str = MINIMUM_VERSION) -> Message | None:
    """Check the version of a server before anything is made for it.

    :param architecture: ``model_type`` of the model to register, if it is known.
    :param oldest: the oldest version that runs a model of this architecture.
    :returns: a warning if the version is unknown, otherwise None; also if the server does not answer, because it may be
        started later.
    :raises NotReadyError: if the server is too old.
    """
    try:
        version = ollama.version()
    except RemoteError:
        return None
    numbers = _numbers(version)
    if not any(numbers):  # a program that was compiled without a version reports 0.0.0
        return Message("ollama.version_unknown", url=ollama.url, version=version, minimum=MINIMUM_VERSION)
    if numbers < _numbers(MINIMUM_VERSION):
        raise NotReadyError("ollama.version_too_old", url=ollama.url, version=version, minimum=MINIMUM_VERSION)
    if numbers < _numbers(oldest):
        raise NotReadyError(
            "ollama.version_too_old_for_base",
            url=ollama.url,
            version=version,
            architecture=architecture,
            minimum=oldest,
        )
    return None


def is_older(ollama: Ollama, version: str) -> str:
    """Return the version of a server if it is older; empty if it is not, or if its version is unknown.

    :param version: three numbers, ``0.32.0``.
    """
    try:
        found = ollama.version()
    except RemoteError:
        return ""
    numbers = _numbers(found)
    return found if any(numbers) and numbers < _numbers(version) else ""


def _numbers(version: str) -> tuple[int, ...]:
    """The three numbers of a version; empty if it is no version. A suffix such as ``-rc1`` does not count."""
    match = _NUMBERS.match(version)
    return tuple(map(int, match.groups())) if match else ()
