# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the formats: the faults of a row, or its content as a sample.

Each format has a quick path for rows that are obviously valid and a thorough one for all others. The quick path must
never accept a row that the thorough one refuses; if in doubt, it returns None. (A test compares the two.)
"""

from __future__ import annotations

import abc
import typing as t

from ...errors import InputError
from ...messages.message import Message
from ...messages.suggestions import nearest
from ..output_formats import SFT, Sample
from ..problems import kind_of
from . import unread_fields

#: Field, and its defect; the hint of the defect is how to correct it.
Fault = tuple[str, Message]
#: A rendered row: the line, its system prompt, and :attr:`Sample.key`.
RenderedRow = tuple[str, str, tuple[int, int]]


class Rules(abc.ABC):
    """The rules of one format.

    :param columns: field names of the data by LLaMA-Factory's column name (``prompt``, ``messages``, …); columns that
        are not listed have the default field name of the format.
    :cvar kind: the kind of the rows.
    :cvar description: the fields of a row, for users; may contain Ansible's markup.
    :param ignored: fields that are allowed and left out.
    :raises InputError: for a column that the format does not have, or a field that is named twice.
    """

    format: t.ClassVar[str]
    description: t.ClassVar[str]
    kind: t.ClassVar[str] = SFT
    #: column of LLaMA-Factory → default field name
    usual: t.ClassVar[dict[str, str]]
    required: t.ClassVar[tuple[str, ...]]

    def __init__(self, columns: t.Mapping[str, str], ignored: t.Iterable[str] = ()) -> None:
        for column in columns:
            if column not in self.usual:
                raise InputError(
                    "datasets.column_unknown",
                    format=self.format,
                    column=column,
                    suggestion=nearest(column, self.usual),
                    columns=list(self.usual),
                )
        #: without those that were detected: what a message advises to add to
        self.declared_columns = dict(columns)
        self.field = {**self.usual, **columns}
        names = [*self.field.values(), *ignored]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise InputError("datasets.field_named_twice", field=duplicates[0])
        self.ignored = frozenset(ignored)
        self.known_fields = frozenset(self.field.values())

    @classmethod
    def recognizes(cls, fields: t.Container[t.Any], columns: t.Mapping[str, str]) -> bool:
        """Whether the first row is certainly in this format, for the format ``auto``.

        :param fields: the fields of the first row.
        """
        del fields, columns
        return False

    def check_header(self, names: t.Sequence[str]) -> list[Fault]:
        """The faults of a CSV header. A column that matters only where it has a value is left to the rows."""
        faults = self._check_names([name for name in names if not unread_fields.decided_by_row(name)], {}, set(names))
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                faults.append((name or "(empty)", Message("datasets.column_twice")))
        return faults

    def check_fields(self, row: t.Mapping[t.Any, t.Any]) -> list[Fault]:
        """Faults for missing fields, and for unknown ones that hold something."""
        return self._check_names([name for name in row if unread_fields.is_lost(name, row[name])], row, row)

    def _check_names(
        self, names: t.Sequence[t.Any], row: t.Mapping[t.Any, t.Any], present: t.Collection[t.Any]
    ) -> list[Fault]:
        """Faults for missing and for unknown fields.

        :param names: fields that hold something; :param row: their values, as far as they are known.
        :param present: all fields.
        """
        missing = {column: self.field[column] for column in self.required if self.field[column] not in present}
        unknown = [name for name in names if name not in self.known_fields and name not in self.ignored]
        if not missing and not unknown:
            return []
        if missing:
            with_rows = unread_fields.field_with_rows({name: row[name] for name in unknown if name in row})
            if with_rows:
                return [(with_rows, Message("datasets.rows_in_field", field=with_rows))]
        taken = [column for column, name in self.field.items() if name in present]
        suggested = unread_fields.columns_of(self.format, self.kind, row, unknown, taken)
        columns = unread_fields.columns_text({**self.declared_columns, **suggested})
        faults: list[Fault] = []
        other_format = "messages" in suggested and "messages" not in self.usual
        for column, name in missing.items():
            if other_format:
                continue  # with the suggested columns, the rows are of a format without these fields
            if column in suggested:
                defect = Message("datasets.field_has_other_name", name=suggested[column], columns=columns)
            else:
                defect = Message("datasets.field_missing", field=name)
            faults.append((name, defect))
        candidates = list(missing.values()) or sorted(self.known_fields)
        for name in unknown:
            defect = unread_fields.describe_unknown(
                str(name),
                row.get(name),
                format_name=self.format,
                kind=self.kind,
                columns=self.declared_columns,
                suggested=suggested,
                candidates=candidates,
            )
            faults.append((str(name) or "(empty)", defect))
        return faults

    @abc.abstractmethod
    def quick(self, output_format: t.Any, row: t.Any, text: str | None, start: int, end: int) -> RenderedRow | None:
        """Render a row that is obviously valid; None if in doubt.

        :param output_format: the output format that matches this format.
        :param text: the JSON text the row was read from, from ``start`` to ``end``; None if it was not JSON.
        """

    @abc.abstractmethod
    def check(self, row: t.Any) -> list[Fault]:
        """All faults of a row; empty if it is valid."""

    @abc.abstractmethod
    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        """The content of a row that :meth:`check` accepted."""

    def check_text(self, value: t.Any, field: str, blank: bool = False) -> list[Fault]:
        """The faults of a text.

        :param blank: whether it may be empty.
        """
        if not isinstance(value, str):
            code = "datasets.scalar_not_text" if _scalar(value) else "datasets.not_text"
            if unread_fields.is_turns(value):
                code = "datasets.turns_not_text"
            return [(field, Message(code, kind=kind_of(value)))]
        if not blank and (not value or value.isspace()):
            return [(field, Message("datasets.empty"))]
        if "\0" in value:
            return [(field, Message("datasets.nul"))]
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            half = f"U+{ord(value[error.start]):04X}"
            return [(field, Message("datasets.lone_surrogate", half=half, position=error.start + 1))]
        return []

    def optional(self, row: t.Mapping[str, t.Any], column: str) -> str:
        """A text that may be missing or null; empty in that case."""
        return t.cast(str, row.get(self.field[column]) or "")

    def not_an_object(self, row: t.Any) -> list[Fault]:
        """The fault of a row that is not an object."""
        return [("", Message("datasets.row_no_object", kind=kind_of(row), example=self.example()))]

    def example(self) -> str:
        """The required fields in JSON syntax."""
        return ", ".join(f'"{self.field[column]}": …' for column in self.required)


def _scalar(value: t.Any) -> bool:
    return isinstance(value, (bool, int, float))


def plain_text(text: str | None, start: int, end: int, strings: int) -> int:
    """How certain it is that the JSON text of a row contains exactly these strings, including keys, and no key twice.

    A duplicate key disappears in a dict, but its quotes are in the text. Counting quotes is valid if all values are
    text and there is no escaped backslash, which could make a closing quote look escaped.

    :param strings: number of strings in the row as it was read, including keys.
    :returns: 0 uncertain, 1 certain, 2 certain and no character is escaped.
    """
    if text is None:
        return 1
    if text.find("\\", start, end) < 0:
        return 2 if text.count('"', start, end) == 2 * strings else 0
    if text.find("\\\\", start, end) >= 0:
        return 0
    return int(text.count('"', start, end) - text.count('\\"', start, end) == 2 * strings)
