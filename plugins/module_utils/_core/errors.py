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

from .messages.formatting import ENGLISH
from .messages.message import Message, as_json
from .messages.text import Text


class CoreError(Exception):
    """An error with its cause, a hint and the relevant figures.

    :param code: code of the message in the catalogues (``messages/``), or the message itself.
    :param details: plain, JSON-serialisable facts beside the parameters; never a secret.
    :param parameters: what the texts of the message name.
    """

    def __init__(
        self,
        code: str | Message,
        /,
        *,
        details: t.Mapping[str, t.Any] | None = None,
        **parameters: t.Any,
    ) -> None:
        content = code if isinstance(code, Message) else Message(code, **parameters)
        super().__init__(content)
        self.content = content
        self.details: dict[str, t.Any] = dict(details or {})

    @property
    def code(self) -> str:
        """The code of the message."""
        return self.content.code

    @property
    def parameters(self) -> dict[str, t.Any]:
        """The parameters of the message."""
        return self.content.parameters

    @property
    def message(self) -> str:
        """The cause and its location in English, in one sentence."""
        return self.content.text

    @property
    def hint(self) -> str:
        """What the reader can do about it, in English; empty when nothing."""
        return self.content.hint

    def render(self, language: str = ENGLISH) -> Text:
        """Return message and hint in a language."""
        return self.content.render(language)

    def __str__(self) -> str:
        return str(self.content)


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
    """Convert an exception to the form in which the store keeps it.

    :returns: ``code``, ``parameters``, ``message`` and ``hint`` in English, and ``details``;
        :meth:`Message.from_stored` reads it.
    """
    if isinstance(error, CoreError):
        content, details = error.content, {"details": json.loads(json.dumps(error.details, default=str))}
    else:
        content, details = Message("errors.unexpected", type=type(error).__name__, reason=str(error)), {}
    text = content.render()
    parameters = as_json(content.parameters)
    return {"code": content.code, "parameters": parameters, "message": text.message, "hint": text.hint, **details}
