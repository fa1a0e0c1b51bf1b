# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a row must look like, format by format: what is wrong with it, or what it means.

Each format has a quick way for rows that are plainly fine and a thorough one for all others. The quick way must never
take what the thorough one refuses; where it is not sure, it gives None. (A test holds the two together.)
"""

from __future__ import annotations

import abc
import typing as t

from ...errors import InputError
from ..output_formats import SFT, Sample
from ..problems import kind_of, nearest

#: Field, what is wrong with it, what to do about it.
Fault = tuple[str, str, str]
#: A row as it is published: the line, its system prompt, and :attr:`Sample.key`.
Made = tuple[str, str, tuple[int, int]]

_PREFERENCES = ("chosen", "rejected", "kto_tag", "label")
_MEDIA = ("images", "image", "videos", "audios")
_TURNS = ("messages", "conversations")
#: what others call these columns
_ALSO = {
    "question": "prompt",
    "prompt": "prompt",
    "context": "query",
    "answer": "response",
    "response": "response",
    "completion": "response",
    "system_prompt": "system",
    "conversation": "messages",
    "dialog": "messages",
    "functions": "tools",
}


class Rules(abc.ABC):
    """The rules of one format.

    :param columns: names of fields in the data, by LLaMA-Factory's name of the column (``prompt``, ``messages``, …);
        what is not named has the usual name of the format.
    :cvar kind: what the rows are for.
    :param ignored: fields that may be there and are left out.
    :raises InputError: for a column the format does not have, or a field named twice.
    """

    format: t.ClassVar[str]
    kind: t.ClassVar[str] = SFT
    #: column of LLaMA-Factory → usual name of the field
    usual: t.ClassVar[dict[str, str]]
    required: t.ClassVar[tuple[str, ...]]

    def __init__(self, columns: t.Mapping[str, str], ignored: t.Iterable[str] = ()) -> None:
        for column in columns:
            if column not in self.usual:
                raise InputError(
                    f"The format {self.format} has no column {column!r}.",
                    f"{nearest(column, self.usual)} Its columns are {', '.join(self.usual)}.".lstrip(),
                )
        self.field = {**self.usual, **columns}
        names = [*self.field.values(), *ignored]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"The field {twice[0]!r} is named twice in columns and ignore_fields.", "Name it once.")
        self.ignored = frozenset(ignored)
        self.known = frozenset(self.field.values())

    def header(self, names: t.Sequence[str]) -> list[Fault]:
        """What is wrong with the header of a CSV."""
        found = self.names(names)
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                found.append((name or "(empty)", "the header has it twice", "Give each column a name of its own."))
        return found

    def names(self, names: t.Collection[t.Any]) -> list[Fault]:
        """Fields that are missing and fields that nobody knows."""
        missing = [self.field[column] for column in self.required if self.field[column] not in names]
        unknown = [name for name in names if name not in self.known and name not in self.ignored]
        found = [(name, "it is missing", f"Give every row the field {name!r}.") for name in missing]
        return found + [(str(name) or "(empty)", *self._unexpected_column(str(name), missing)) for name in unknown]

    def _unexpected_column(self, name: str, missing: t.Sequence[str]) -> tuple[str, str]:
        if name in _PREFERENCES:
            return (
                f"it belongs to preference data (dpo, rm, kto), and the first row makes this a dataset for {self.kind}",
                "Keep one kind of rows in a dataset, or name the field in ignore_fields.",
            )
        if name in _MEDIA:
            return "pictures, films and sounds are not trained on here", "Leave these rows out."
        if name in _TURNS and name != self.usual.get("messages"):
            return f"it does not belong to the format {self.format}", "Set the format, and keep to one in a dataset."
        guess = nearest(name, missing or sorted(self.known))
        column = _ALSO.get(name.lower(), "")
        if not guess and column in self.usual:
            guess = f"Set columns to {{{column}: {name}}} if that is what it is."
        fix = (
            f"{guess} Else remove it, or name it in ignore_fields."
            if guess
            else "Remove it, or name it in ignore_fields."
        )
        return f"the format {self.format} has no such field, it would be lost", fix

    @abc.abstractmethod
    def quick(self, form: t.Any, row: t.Any, text: str | None, start: int, end: int) -> Made | None:
        """What becomes of a row that is plainly fine; None where that is not plain.

        :param form: the form that rows of this format have of their own.
        :param text: the JSON text the row was read from, from ``start`` to ``end``; None when it was not JSON.
        """

    @abc.abstractmethod
    def check(self, row: t.Any) -> list[Fault]:
        """All that is wrong with a row; nothing when it is fine."""

    @abc.abstractmethod
    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        """What a row means that :meth:`check` found nothing wrong with."""

    def text(self, value: t.Any, field: str, blank: bool = False) -> list[Fault]:
        """What is wrong with a text.

        :param blank: whether it may be empty.
        """
        if not isinstance(value, str):
            return [
                (field, f"it is {kind_of(value)}, not text", "Put it in quotes." if _scalar(value) else "Write text.")
            ]
        if not blank and (not value or value.isspace()):
            return [(field, "it is empty", "Write it, or leave the row out.")]
        if "\0" in value:
            return [(field, "it holds a NUL character", "Remove it.")]
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            what = f"it holds half of a surrogate pair (U+{ord(value[error.start]):04X}) at character {error.start + 1}"
            return [(field, what, "Write the character itself, or both halves.")]
        return []

    def optional(self, row: t.Mapping[str, t.Any], column: str) -> str:
        """A text that may be missing or null."""
        return t.cast(str, row.get(self.field[column]) or "")

    def not_an_object(self, row: t.Any) -> list[Fault]:
        """The fault of a row that is something else altogether."""
        return [("", f"the row is {kind_of(row)}, not an object", f"Write rows as {{{self.example()}}}.")]

    def example(self) -> str:
        """The required fields as they stand in an object."""
        return ", ".join(f'"{self.field[column]}": …' for column in self.required)


def _scalar(value: t.Any) -> bool:
    return isinstance(value, (bool, int, float))


def plain_text(text: str | None, start: int, end: int, strings: int) -> int:
    """How sure it is that the JSON text a row was read from holds just these strings, keys counted, and none twice.

    A key given twice vanishes in a dict, but its quotes stand in the text. The reckoning holds where all values are
    text and there is no escaped backslash, which could make a closing quote look escaped.

    :param strings: number of strings in the row as it was read, keys counted.
    :returns: 0 not sure, 1 sure, 2 sure and nothing is escaped in it.
    """
    if text is None:
        return 1
    if text.find("\\", start, end) < 0:
        return 2 if text.count('"', start, end) == 2 * strings else 0
    if text.find("\\\\", start, end) >= 0:
        return 0
    return int(text.count('"', start, end) - text.count('\\"', start, end) == 2 * strings)
