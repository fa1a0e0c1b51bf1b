# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A message to a reader: a code and named parameters, from which a catalogue makes a text in a language."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import typing as t

from . import catalogue
from .formatting import ENGLISH, format_text
from .text import Text

#: Code of a text that was stored before messages had codes, or that another program wrote.
STORED = "messages.stored"


@dataclasses.dataclass(frozen=True, init=False)
class Message:
    """A message; ``str()`` is its text and hint in English.

    :param code: package and name, ``datasets.column_missing``: its text is in the catalogues.
    :param parameters: JSON-serialisable values by name; a message or a list of messages is one, too. Values of other
        types are converted: a tuple or set to a list, anything unknown to its text.
    """

    code: str
    parameters: dict[str, t.Any]
    _stored: Text = dataclasses.field(default=Text(""), compare=False, repr=False)

    def __init__(self, code: str, /, **parameters: t.Any) -> None:
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "parameters", {name: _plain(value) for name, value in parameters.items()})
        object.__setattr__(self, "_stored", Text(""))

    def __hash__(self) -> int:
        return hash((self.code, str(self)))

    def __str__(self) -> str:
        return str(self.render())

    @property
    def text(self) -> str:
        """The text in English, without the hint."""
        return self.render().message

    @property
    def hint(self) -> str:
        """The hint in English; empty if there is none."""
        return self.render().hint

    def render(self, language: str = ENGLISH) -> Text:
        """Return text and hint in a language, or in English where that language has no text of this code.

        A message of another version, whose code or parameters have changed, has the English text it was stored with.
        """
        found = catalogue.find(self.code, language)
        if found is not None:
            try:
                return format_text(found[0], self.parameters, found[1])
            except (LookupError, TypeError, ValueError):
                pass
        return self._stored if self._stored.message else Text(self.code)

    def language(self, wanted: str) -> str:
        """Return the language that :meth:`render` has a text in, for a wanted one."""
        found = catalogue.find(self.code, wanted) if self.code != STORED else None
        return found[1] if found is not None else ENGLISH

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values: ``code``, ``parameters``, ``text`` in English, and ``hint`` if there is one."""
        text = self.render()
        hint = {"hint": text.hint} if text.hint else {}
        return {"code": self.code, "parameters": as_json(self.parameters), "text": text.message, **hint}

    @classmethod
    def from_stored(cls, value: t.Any) -> Message:
        """Create a message from the result of :meth:`as_dict`, or from the plain text that older versions stored."""
        if not isinstance(value, t.Mapping):
            return cls(STORED, text="" if value is None else str(value), hint="")
        stored = Text(str(value.get("text") or value.get("message") or ""), str(value.get("hint") or ""))
        parameters = value.get("parameters")
        if not isinstance(value.get("code"), str) or not isinstance(parameters, t.Mapping):
            return cls(STORED, text=stored.message, hint=stored.hint)
        message = cls(value["code"], **{str(name): _from_json(item) for name, item in parameters.items()})
        object.__setattr__(message, "_stored", stored)
        return message


def as_json(value: t.Any) -> t.Any:
    """Return parameters with the messages among them as plain values."""
    if isinstance(value, Message):
        return value.as_dict()
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list) else value


def _from_json(value: t.Any) -> t.Any:
    if isinstance(value, t.Mapping):
        if {"code", "parameters", "text"} <= set(value):
            return Message.from_stored(value)
        return {key: _from_json(item) for key, item in value.items()}
    return [_from_json(item) for item in value] if isinstance(value, list) else value


def _plain(value: t.Any) -> t.Any:
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, (bool, Message)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, t.Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=lambda item: json.dumps(as_json(item), default=str))
    if isinstance(value, (list, tuple, t.KeysView, t.ValuesView)):
        return [_plain(item) for item in value]
    return str(value)
