# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The thoughts before the answers of a dataset: how many rows have one, how they are spelled, and which are unclear."""

from __future__ import annotations

import collections
import os
import typing as t

from ..chat_formats import thoughts
from ..json_text import parse_json
from .output_formats import ASSISTANT, CALL, DATA_FILE, PRETRAINING

#: Different spellings, empty thoughts and unclear texts that are kept each.
_SHOWN = 20
_ANSWERS = (ASSISTANT, CALL)

#: file and row number of a row
Place = dict[str, t.Any]


class ThoughtStatistics:
    """Finds thoughts in rows as they are published."""

    def __init__(self) -> None:
        self._rows = 0
        self._partly = 0
        self._spellings: dict[tuple[str, str], None] = {}
        self._empty: dict[str, None] = {}
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._first: dict[tuple[str, str], tuple[int, str]] = {}

    def add(self, data: bytes, rows: t.Sequence[bytes], number: int) -> None:
        """Add the next rows.

        :param data: the rows as one; :param number: number of the first of them, from 0.
        """
        if not thoughts.may_have(data):
            return
        for offset, row in enumerate(rows):
            if thoughts.may_have(row):
                self._examine(parse_json(row), number + offset)

    def _examine(self, row: t.Mapping[str, t.Any], number: int) -> None:
        with_thought = without = 0
        for field, text in thoughts.texts(row, _ANSWERS):
            try:
                thought = thoughts.read(text)
            except thoughts.Unclear as error:
                key = (error.kind, error.marker)
                self._counts[key] += 1
                if len(self._first) < _SHOWN:
                    self._first.setdefault(key, (number, field))
                continue
            if thought is None or not thought.text:
                without += 1
            else:
                with_thought += 1
            if thought is not None and thought.text and len(self._spellings) < _SHOWN:
                self._spellings[thought.opening, thought.closing] = None
            elif thought is not None and not thought.text and len(self._empty) < _SHOWN:
                self._empty[thought.source] = None
        self._rows += bool(with_thought)
        self._partly += bool(with_thought and without)

    def result(self, place: t.Callable[[int], Place]) -> dict[str, t.Any]:
        """The statistics, as :class:`..chat_formats.thinking.ThoughtUse` reads them.

        :param place: returns file and row of a row by its number, from 0.
        """
        more: dict[str, t.Any] = {
            "partly": self._partly,
            "spellings": [list(each) for each in self._spellings],
            "empty": list(self._empty),
            "unclear": [
                {"kind": kind, "marker": marker, "count": self._counts[kind, marker], **place(number), "field": field}
                for (kind, marker), (number, field) in self._first.items()
            ],
        }
        return {"rows": self._rows, **{name: value for name, value in more.items() if value}}


def thought_use(results: t.Mapping[str, t.Any], directory: str) -> dict[str, t.Any]:
    """The results of a dataset with its thoughts, which receipts of earlier versions do not have.

    :param results: results in its receipt; :param directory: of the version, whose rows are read if necessary.
    """
    path = os.path.join(directory, DATA_FILE)
    if "thoughts" in results or results.get("kind") == PRETRAINING or not os.path.isfile(path):
        return dict(results)
    statistics = ThoughtStatistics()
    try:
        with open(path, "rb") as stream:
            for number, line in enumerate(stream):
                statistics.add(line, [line], number)
    except (OSError, ValueError, KeyError, TypeError):
        return dict(results)  # the training reports a file that is damaged
    return {**results, "thoughts": statistics.result(lambda number: {"file": DATA_FILE, "row": number + 1})}
