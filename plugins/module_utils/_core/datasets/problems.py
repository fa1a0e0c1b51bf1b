# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a dataset: file, row, field, what, and what to do; collected, bounded, then raised at once."""

from __future__ import annotations

import dataclasses
import difflib
import typing as t

from ..errors import InputError

#: Problems kept with their text; the others are only counted.
SHOWN = 20
#: Problems counted before reading is given up: who has a thousand does not need the exact figure.
COUNTED = 1000
#: Problems in the one sentence of the error; the others up to :data:`SHOWN` stand in its details.
_IN_MESSAGE = 3


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    :param file: the source, as its user calls it.
    :param row: row in that source, from 1; None when it is the file as a whole (or the header of a CSV).
    :param line: line of the file the row begins on, from 1; None where lines say nothing.
    :param field: the field, with the turn where there is one (``messages[2].content``); may be empty.
    :param what: what is wrong, a clause that goes on from the place.
    :param fix: what to do about it, a sentence.
    """

    file: str
    row: int | None
    line: int | None
    field: str
    what: str
    fix: str

    def __str__(self) -> str:
        place = [self.file]
        if self.row is not None:
            place.append(f"row {self.row}" + (f" (line {self.line})" if self.line not in (None, self.row) else ""))
        elif self.line is not None:
            place.append(f"line {self.line}")
        if self.field:
            place.append(f"field {self.field}")
        return f"{', '.join(place)}: {self.what}."


class TooManyProblems(Exception):
    """Enough is known: reading stops."""


class Problems:
    """Collects what is wrong over all sources of a dataset."""

    def __init__(self) -> None:
        self.first: list[Problem] = []
        self.total = 0

    def __bool__(self) -> bool:
        return self.total > 0

    def add(self, problem: Problem) -> None:
        """Note one more problem.

        :raises TooManyProblems: when there are :data:`COUNTED` of them.
        """
        self.total += 1
        if len(self.first) < SHOWN:
            self.first.append(problem)
        if self.total >= COUNTED:
            raise TooManyProblems

    def error(self, name: str) -> InputError:
        """All of it as one error."""
        shown = " ".join(f"{problem} {problem.fix}" for problem in self.first[:_IN_MESSAGE])
        rest = self.total - min(self.total, _IN_MESSAGE)
        many = self.total >= COUNTED
        if rest:
            shown += f" And {'at least ' if many else ''}{rest} more."
        count = "one problem" if self.total == 1 else f"{'at least ' if many else ''}{self.total} problems"
        return InputError(
            f"Dataset {name} is refused, {count}: {shown}",
            "What was there before is left as it was.",
            {
                "problems": [dataclasses.asdict(problem) for problem in self.first],
                "problems_total": self.total,
                "problems_total_is_at_least": many,
            },
        )


def nearest(word: str, known: t.Iterable[str]) -> str:
    """``Did you mean X?`` for the known word most like this one, or nothing."""
    by_folded = {item.casefold(): item for item in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return f"Did you mean {by_folded[close[0]]!r}?" if close else ""


def shown(value: t.Any, limit: int = 40) -> str:
    """A value in a message: short, on one line, printable whatever it holds."""
    text = repr(value[: limit + 1] if isinstance(value, (str, list)) else value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def kind_of(value: t.Any) -> str:
    """What a JSON value is, in words: ``a number (42)``."""
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
