# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Statistics of valid rows: duplicates, contradictions and lengths.

Bounded in memory: two numbers of eight bytes per row, up to :data:`COMPARED` rows.
"""

from __future__ import annotations

import array
import bisect
import collections
import typing as t

from ..messages.message import Message
from . import tool_statistics
from .output_formats import KTO, PREFERENCE, PRETRAINING
from .suspect_texts import FORMATTED, INVISIBLE, UNFILLED

#: Maximum number of rows that are compared with each other (48 MB).
COMPARED = 2_000_000
#: Maximum number of example pairs of each kind.
SHOWN = 10
_PARTS = 64

#: file and row number of a row
Place = dict[str, t.Any]


class Repeats:
    """Finds rows with the same question as an earlier one (by :attr:`output_formats.Sample.key`)."""

    def __init__(self) -> None:
        self.questions = array.array("q")
        self.answers = array.array("q")
        self.exact = True
        self._sources: list[tuple[int, str]] = []

    def begin_source(self, label: str, rows: int) -> None:
        """Start a source.

        :param rows: number of rows before it.
        """
        self._sources.append((rows, label))

    def add(self, keys: t.Sequence[tuple[int, int]]) -> None:
        """Add the keys of the next rows."""
        if len(self.questions) + len(keys) > COMPARED:
            self.exact = False
        if self.exact:
            self.questions.extend([key[0] for key in keys])
            self.answers.extend([key[1] for key in keys])

    def place(self, number: int) -> Place:
        """File and row of the row with that number, from 0."""
        begin, label = self._sources[bisect.bisect_right(self._sources, (number, "\U0010ffff")) - 1]
        return {"file": label, "row": number - begin + 1}

    def result(self) -> dict[str, t.Any]:
        """The repeated rows.

        :returns: ``duplicates``, number of rows equal to an earlier one; ``contradictions``, number of rows whose
            answer differs from the first one to the same question; ``examples`` of both, as pairs of places;
            ``exact``, whether all rows were compared.
        """
        parts = [array.array("I") for _part in range(_PARTS)]
        add = [part.append for part in parts]
        for number, questions in enumerate(self.questions):
            add[questions % _PARTS](number)
        examples: dict[str, list[tuple[int, int]]] = {"duplicates": [], "contradictions": []}
        counts: collections.Counter[str] = collections.Counter()
        for part in parts:
            repeats = self._compare(part)
            for kind, pairs in repeats.items():
                counts[kind] += len(pairs)
                examples[kind] = sorted(examples[kind] + pairs[:SHOWN], key=lambda pair: pair[1])[:SHOWN]
        return {
            "exact": self.exact,
            **{kind: counts[kind] for kind in examples},
            "examples": {
                kind: [[self.place(first), self.place(second)] for first, second in pairs]
                for kind, pairs in examples.items()
                if pairs
            },
        }

    def _compare(self, part: t.Sequence[int]) -> dict[str, list[tuple[int, int]]]:
        """Pairs of an earlier row and one that repeats or contradicts it, among the rows with these numbers."""
        questions = [self.questions[number] for number in part]
        pairs: dict[str, list[tuple[int, int]]] = {"duplicates": [], "contradictions": []}
        if len(set(questions)) == len(questions):
            return pairs
        first_by_question: dict[int, int] = {}
        first_by_key: dict[tuple[int, int], int] = {}
        for number, question in zip(part, questions):
            key = (question, self.answers[number])
            duplicate_of = first_by_key.get(key)
            if duplicate_of is not None:
                pairs["duplicates"].append((duplicate_of, number))
                continue
            first_by_key[key] = number
            earlier = first_by_question.setdefault(question, number)
            if earlier != number:
                pairs["contradictions"].append((earlier, number))
        return pairs


class Lengths:
    """Histogram of the rows' lengths in bytes as published; four buckets per power of two."""

    def __init__(self) -> None:
        self._counts: collections.Counter[int] = collections.Counter()

    def add(self, rows: t.Sequence[bytes]) -> None:
        """Add the next rows."""
        for size, count in collections.Counter(map(len, rows)).items():
            shift = max(size.bit_length() - 3, 0)
            self._counts[((size >> shift) + 1) << shift] += count

    def result(self) -> list[list[int]]:
        """Pairs of a bucket's upper bound (exclusive) and its number of rows, in order; empty buckets are omitted."""
        return [[upper_bound, self._counts[upper_bound]] for upper_bound in sorted(self._counts)]


def lower_bound(upper_bound: int) -> int:
    """The lower bound (inclusive) of the bucket of :class:`Lengths` with this upper bound."""
    return upper_bound - (1 << max((upper_bound - 1).bit_length() - 3, 0))


#: Code of the warning about contradictions, by kind of rows.
_CONTRADICTIONS = {
    PREFERENCE: "datasets.contradicting_preferences",
    KTO: "datasets.contradicting_tags",
}


#: Code of the warning by kind of :mod:`.suspect_texts`.
_SUSPECTS = {
    INVISIBLE: "datasets.invisible_answers",
    FORMATTED: "datasets.formatted_texts",
    UNFILLED: "datasets.unfilled_texts",
}


def warnings(name: str, results: t.Mapping[str, t.Any]) -> list[Message]:
    """Warnings about a dataset, for the user who declares it.

    :param name: name of the dataset; :param results: its statistics.
    """
    messages = []
    repeats = results.get("repeats") or {}
    kind = str(results.get("kind") or "")
    if repeats.get("contradictions"):
        code = _CONTRADICTIONS.get(kind, "datasets.contradicting_answers")
        examples = _examples(repeats, "contradictions")
        messages.append(Message(code, name=name, count=repeats["contradictions"], examples=examples))
    if repeats.get("duplicates"):
        code = "datasets.duplicate_texts" if kind == PRETRAINING else "datasets.duplicate_rows"
        examples = _examples(repeats, "duplicates")
        messages.append(Message(code, name=name, count=repeats["duplicates"], examples=examples))
    for suspect, code in _SUSPECTS.items():
        found = (results.get("suspects") or {}).get(suspect)
        if found:
            places = [Message("datasets.row_of_file", **place) for place in found["rows"][:3]]
            more = int(found["count"]) - len(places)
            code_of_places = "datasets.examples_and_more" if more else "datasets.examples"
            examples = Message(code_of_places, examples=places, **({"count": more} if more else {}))
            messages.append(Message(code, name=name, count=found["count"], examples=examples))
    tags = results.get("liked")
    if tags and not (tags.get("true") and tags.get("false")):
        messages.append(Message("datasets.one_kto_tag", name=name))
    return [*messages, *tool_statistics.warnings(name, results)]


def _examples(repeats: t.Mapping[str, t.Any], kind: str) -> Message | None:
    pairs = (repeats.get("examples") or {}).get(kind) or []
    examples = []
    for first, second in pairs[:3]:
        facts = {"file": second["file"], "row": second["row"], "first_row": first["row"]}
        if first["file"] == second["file"]:
            examples.append(Message("datasets.row_and_row", **facts))
        else:
            examples.append(Message("datasets.row_and_row_of", **facts, first_file=first["file"]))
    remaining = int(repeats[kind]) - len(examples)
    if not examples:
        return None
    if not remaining:
        return Message("datasets.examples", examples=examples)
    return Message("datasets.examples_and_more", examples=examples, count=remaining)
