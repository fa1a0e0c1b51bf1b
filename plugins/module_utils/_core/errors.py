# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exception hierarchy of the core.

The core does not depend on Ansible or HTTP: it raises these exceptions, and the edges (modules, service) translate
them.
"""

from __future__ import annotations

import json
import typing as t


class CoreError(Exception):
    """An error with its cause, a hint and the relevant figures.

    :param message: the cause and its location, in one sentence.
    :param hint: what the reader can do about it; empty when nothing.
    :param details: plain, JSON-serialisable facts; never a secret.
    """

    def __init__(self, message: str, hint: str = "", details: t.Mapping[str, t.Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, t.Any] = dict(details or {})

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class InputError(CoreError):
    """A declaration is invalid: wrong value, bad data, unknown name."""


class NotReadyError(CoreError):
    """A requirement is missing: a tool, a server, an artifact, disk space."""


class StoreError(CoreError):
    """The job store or an artifact is damaged."""


class JobError(CoreError):
    """A job ran and failed, or was cancelled."""


class RemoteError(CoreError):
    """A server (Ollama, a model hub) answered with an error or did not answer."""


def as_error(error: Exception) -> dict[str, t.Any]:
    """Convert an exception to the form in which the store keeps it: ``message``, ``hint`` and ``details``."""
    if isinstance(error, CoreError):
        details = json.loads(json.dumps(error.details, default=str))
        return {"message": error.message, "hint": error.hint, "details": details}
    return {"message": f"{type(error).__name__}: {error}", "hint": "A defect of the collection: please report it."}
