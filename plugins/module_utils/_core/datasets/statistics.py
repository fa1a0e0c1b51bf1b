# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is worth knowing about rows that are each fine: which say the same, which disagree, how long they are.

Bounded in memory: two numbers of eight bytes a row, up to :data:`COMPARED` rows.
"""

from __future__ import annotations

import array
import bisect
import collections
import typing as t

from .output_formats import KTO, PREFERENCE, PRETRAINING

#: Rows that are compared with each other (48 MB); those beyond are not.
COMPARED = 2_000_000
#: Pairs of rows that are named of each kind.
SHOWN = 10
_PARTS = 64

#: file and row of a row
Place = dict[str, t.Any]


class Repeats:
    """Finds rows that are about the same thing as an earlier one (by :attr:`output_formats.Sample.key`)."""

    def __init__(self) -> None:
        self.asked = array.array("q")
        self.answered = array.array("q")
        self.exact = True
        self._sources: list[tuple[int, str]] = []

    def source(self, label: str, rows: int) -> None:
        """A source begins.

        :param rows: rows there are so far.
        """
        self._sources.append((rows, label))

    def see(self, keys: t.Sequence[tuple[int, int]]) -> None:
        """Keys of the next rows."""
        if len(self.asked) + len(keys) > COMPARED:
            self.exact = False
        if self.exact:
            self.asked.extend([key[0] for key in keys])
            self.answered.extend([key[1] for key in keys])

    def place(self, number: int) -> Place:
        """Where the row of that number, from 0, stands."""
        begin, label = self._sources[bisect.bisect_right(self._sources, (number, "\U0010ffff")) - 1]
        return {"file": label, "row": number - begin + 1}

    def result(self) -> dict[str, t.Any]:
        """What was found.

        :returns: ``duplicates``, rows that say the same as an earlier one; ``contradictions``, rows that answer
            otherwise than the first one about the same thing; ``examples`` of both, as pairs of places; ``exact``,
            whether all rows were compared.
        """
        parts = [array.array("I") for _part in range(_PARTS)]
        add = [part.append for part in parts]
        for number, asked in enumerate(self.asked):
            add[asked % _PARTS](number)
        found: dict[str, list[tuple[int, int]]] = {"duplicates": [], "contradictions": []}
        counts: collections.Counter[str] = collections.Counter()
        for part in parts:
            again = self._look(part)
            for kind, pairs in again.items():
                counts[kind] += len(pairs)
                found[kind] = sorted(found[kind] + pairs[:SHOWN], key=lambda pair: pair[1])[:SHOWN]
        return {
            "exact": self.exact,
            **{kind: counts[kind] for kind in found},
            "examples": {
                kind: [[self.place(first), self.place(second)] for first, second in pairs]
                for kind, pairs in found.items()
                if pairs
            },
        }

    def _look(self, part: t.Sequence[int]) -> dict[str, list[tuple[int, int]]]:
        """Pairs of an earlier row and one that repeats or contradicts it, among the rows of these numbers."""
        asked = [self.asked[number] for number in part]
        found: dict[str, list[tuple[int, int]]] = {"duplicates": [], "contradictions": []}
        if len(set(asked)) == len(asked):
            return found
        first: dict[int, int] = {}
        same: dict[tuple[int, int], int] = {}
        for number, question in zip(part, asked):
            key = (question, self.answered[number])
            before = same.get(key)
            if before is not None:
                found["duplicates"].append((before, number))
                continue
            same[key] = number
            earlier = first.setdefault(question, number)
            if earlier != number:
                found["contradictions"].append((earlier, number))
        return found


class Lengths:
    """How many rows are how long, in bytes as published; four steps to each doubling."""

    def __init__(self) -> None:
        self._counts: collections.Counter[int] = collections.Counter()

    def see(self, rows: t.Sequence[bytes]) -> None:
        """The next rows."""
        for size, count in collections.Counter(map(len, rows)).items():
            shift = max(size.bit_length() - 3, 0)
            self._counts[((size >> shift) + 1) << shift] += count

    def result(self) -> list[list[int]]:
        """Pairs: a size, and how many rows are smaller than it but not smaller than the one before; in order."""
        return [[size, self._counts[size]] for size in sorted(self._counts)]


def smallest(top: int) -> int:
    """The least size that :class:`Lengths` counts under a size."""
    return top - (1 << max((top - 1).bit_length() - 3, 0))


#: What contradicts what, by kind of rows.
_OTHERWISE = {
    PREFERENCE: "prefer the other of the same two answers",
    KTO: "have the other kto_tag for the same answer",
}


def warnings(name: str, results: t.Mapping[str, t.Any]) -> list[str]:
    """What the one who declares a dataset should know about it.

    :param name: of the dataset; :param results: what was found out about it.
    """
    found = []
    repeats = results.get("repeats") or {}
    kind = str(results.get("kind") or "")
    if repeats.get("contradictions"):
        what = _OTHERWISE.get(kind, "answer the same question otherwise than an earlier row")
        found.append(
            f"{name}: {_rows(repeats['contradictions'])} {what}{_shown(repeats, 'contradictions')}. "
            "A model cannot learn both: keep one, or tell them apart by the question or the system prompt."
        )
    if repeats.get("duplicates"):
        more = "" if kind == PRETRAINING else ", word for word"
        found.append(
            f"{name}: {_rows(repeats['duplicates'])} say the same as an earlier one{more}"
            f"{_shown(repeats, 'duplicates')}. They count that much more in training."
        )
    tags = results.get("liked")
    if tags and not (tags.get("true") and tags.get("false")):
        found.append(f"{name}: every kto_tag is the same, so there is little to learn from: add answers of both kinds.")
    return found


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _shown(repeats: t.Mapping[str, t.Any], kind: str) -> str:
    pairs = (repeats.get("examples") or {}).get(kind) or []
    told = [
        f"{second['file']} row {second['row']} and row {first['row']}"
        + ("" if first["file"] == second["file"] else f" of {first['file']}")
        for first, second in pairs[:3]
    ]
    rest = int(repeats[kind]) - len(told)
    return f" ({'; '.join(told)}{f'; and {rest} more' if rest else ''})" if told else ""
