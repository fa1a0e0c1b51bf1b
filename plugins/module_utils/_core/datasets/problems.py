# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Problems of a dataset: file, row, field, defect and fix; collected up to a bound and raised as one error."""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import InputError
from ..messages.message import Message

#: Problems kept with their text; further ones are only counted.
SHOWN = 20
#: Number of problems after which reading stops: the exact count of a larger number is not useful.
COUNTED = 1000
#: Problems in the error message; the others up to :data:`SHOWN` are in its details.
_IN_MESSAGE = 3


@dataclasses.dataclass(frozen=True)
class Problem:
    """One problem.

    :param file: the source, by the name the user gave.
    :param row: row in that source, from 1; None if it concerns the entire file (or the header of a CSV).
    :param line: line of the file on which the row begins, or the defect stands, from 1; None if there are no lines.
    :param field: the field, with the turn if there is one (``messages[2].content``); may be empty.
    :param defect: the defect, as a clause that follows the place; its hint is how to correct it, as a sentence.
    """

    file: str
    row: int | None
    line: int | None
    field: str
    defect: Message

    @property
    def content(self) -> Message:
        """Place and defect as a sentence, and the fix as its hint."""
        place: list[str | Message] = [self.file]
        if self.row is not None and self.line not in (None, self.row):
            place.append(Message("datasets.at_row_and_line", row=self.row, line=self.line))
        elif self.row is not None:
            place.append(Message("datasets.at_row", row=self.row))
        elif self.line is not None:
            place.append(Message("datasets.at_line", line=self.line))
        if self.field:
            place.append(Message("datasets.at_field", field=self.field))
        return Message("datasets.problem", place=place, defect=self.defect)

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values: the place, ``what`` and ``fix`` in English, ``code`` and ``parameters``."""
        stored = self.defect.as_dict()
        place = {"file": self.file, "row": self.row, "line": self.line, "field": self.field}
        return {**place, "what": stored.pop("text"), "fix": stored.pop("hint", ""), **stored}


class TooManyProblems(Exception):
    """The limit of problems is reached: reading stops."""


class Problems:
    """Collects the problems of all sources of a dataset."""

    def __init__(self) -> None:
        self.first: list[Problem] = []
        self.total = 0

    def __bool__(self) -> bool:
        return self.total > 0

    def add(self, problem: Problem) -> None:
        """Add a problem.

        :raises TooManyProblems: when :data:`COUNTED` problems are reached.
        """
        self.total += 1
        if len(self.first) < SHOWN:
            self.first.append(problem)
        if self.total >= COUNTED:
            raise TooManyProblems

    def error(self, name: str) -> InputError:
        """All problems as one error."""
        remaining = self.total - min(self.total, _IN_MESSAGE)
        truncated = self.total >= COUNTED
        more = None
        if remaining:
            more = Message("datasets.and_at_least" if truncated else "datasets.and_more", count=remaining)
        if self.total == 1:
            count = Message("datasets.one_problem")
        else:
            count = Message("datasets.at_least" if truncated else "datasets.exactly", count=self.total)
        return InputError(
            "datasets.refused",
            name=name,
            count=count,
            problems=[problem.content for problem in self.first[:_IN_MESSAGE]],
            more=more,
            details={
                "problems": [problem.as_dict() for problem in self.first],
                "problems_total": self.total,
                "problems_total_is_at_least": truncated,
            },
        )


def shown(value: t.Any, limit: int = 40) -> str:
    """A value for a message: short, on one line, and printable."""
    text = repr(value[: limit + 1] if isinstance(value, (str, list)) else value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def kind_of(value: t.Any) -> Message:
    """Description of a JSON value: ``a number (42)``."""
    if value is None:
        return Message("datasets.kind_null")
    if isinstance(value, bool):
        return Message("datasets.kind_boolean", value=str(value).lower())
    if isinstance(value, (int, float)):
        if isinstance(value, float) or abs(value) < 10**30:
            return Message("datasets.kind_number", value=shown(value))
        return Message("datasets.kind_huge_number")
    if isinstance(value, str):
        return Message("datasets.kind_text", value=shown(value))
    if isinstance(value, (list, tuple)):
        return Message("datasets.kind_list", count=len(value))
    if isinstance(value, t.Mapping):
        return Message("datasets.kind_object")
    return Message("datasets.kind_other", type=type(value).__name__)
