# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Problems of a dataset: file, row, field, defect and fix; collected up to a bound and raised as one error."""

from __future__ import annotations

import dataclasses
import difflib
import typing as t

from ..errors import InputError

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
    :param line: line of the file on which the row begins, from 1; None if line numbers are not meaningful.
    :param field: the field, with the turn if there is one (``messages[2].content``); may be empty.
    :param what: the defect, as a clause that follows the place.
    :param fix: how to correct it, as a sentence.
    """

    file: str
    row: int | None
    line: int | None
    field: str
    what: str
    fix: str

    def __str__(self) -> str:
        location = [self.file]
        if self.row is not None:
            location.append(f"row {self.row}" + (f" (line {self.line})" if self.line not in (None, self.row) else ""))
        elif self.line is not None:
            location.append(f"line {self.line}")
        if self.field:
            location.append(f"field {self.field}")
        return f"{', '.join(location)}: {self.what}."


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
        summary = " ".join(f"{problem} {problem.fix}" for problem in self.first[:_IN_MESSAGE])
        remaining = self.total - min(self.total, _IN_MESSAGE)
        truncated = self.total >= COUNTED
        if remaining:
            summary += f" And {'at least ' if truncated else ''}{remaining} more."
        count = "one problem" if self.total == 1 else f"{'at least ' if truncated else ''}{self.total} problems"
        return InputError(
            f"Dataset {name} is refused, {count}: {summary}",
            "What was there before is left as it was.",
            {
                "problems": [dataclasses.asdict(problem) for problem in self.first],
                "problems_total": self.total,
                "problems_total_is_at_least": truncated,
            },
        )


def nearest(word: str, candidates: t.Iterable[str]) -> str:
    """``Did you mean X?`` with the candidate most similar to the word; empty if none is similar."""
    by_casefolded = {item.casefold(): item for item in candidates}
    matches = difflib.get_close_matches(word.casefold(), by_casefolded, n=1, cutoff=0.6)
    return f"Did you mean {by_casefolded[matches[0]]!r}?" if matches else ""


def shown(value: t.Any, limit: int = 40) -> str:
    """A value for a message: short, on one line, and printable."""
    text = repr(value[: limit + 1] if isinstance(value, (str, list)) else value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def kind_of(value: t.Any) -> str:
    """Description of a JSON value: ``a number (42)``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"a boolean ({str(value).lower()})"
    if isinstance(value, (int, float)):
        return f"a number ({shown(value) if isinstance(value, float) or abs(value) < 10**30 else 'a huge one'})"
    if isinstance(value, str):
        return f"text ({shown(value)})"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, t.Mapping):
        return "an object"
    return f"a {type(value).__name__}"
