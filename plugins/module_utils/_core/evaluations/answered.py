# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The questions of evaluations with the answers of models, read page by page.

Texts stay in the files: in memory are where each line begins, and the scores. An evaluation is never rewritten, so an
index is kept for the next page.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import typing as t

from ..artifacts.layout import ANSWERS_FILE, QUESTIONS_FILE, REPORT_FILE
from ..json_text import parse_json
from ..system.files import read_record
from .items import MEASURES
from .statements import SHARES
from .texts import texts_of

#: Evaluations whose index stays in memory: about 3 MB for 2000 questions to five models.
_KEPT = 4


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a line is, and what was measured of the answer in it.

    :param offset: of its first byte.
    :param scores: by measure; empty for a question.
    """

    offset: int
    scores: t.Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Index:
    """Where the questions and answers of one evaluation are.

    :param questions: by the id of the item, in the order in which they were asked.
    :param answers: by the digest of the model and the id of the item.
    """

    path: str
    questions: t.Mapping[str, Place]
    answers: t.Mapping[tuple[str, str], Place]

    def question(self, item: str) -> dict[str, t.Any] | None:
        """A question; None if the evaluation did not ask it."""
        return _read_line(os.path.join(self.path, QUESTIONS_FILE), self.questions.get(item))

    def answer(self, digest: str, item: str) -> dict[str, t.Any] | None:
        """The answer of a model, with its chrF among the scores; None if there is none."""
        place = self.answers.get((digest, item))
        line = _read_line(os.path.join(self.path, ANSWERS_FILE), place)
        return {**line, "scores": {**(line.get("scores") or {}), **place.scores}} if line and place else None


def index_of(path: str) -> Index:
    """Return the index of an evaluation; incomplete lines are left out.

    :param path: its directory.
    """
    return _index(path, _stamp(os.path.join(path, QUESTIONS_FILE)), _stamp(os.path.join(path, ANSWERS_FILE)))


class Answered:
    """The questions of one or several evaluations, and the models that have answered them.

    :param indexes: the evaluations; of answers to an equal question the first is taken.
    :param columns: digest of each model, by the label under which it is shown.
    """

    def __init__(self, indexes: t.Sequence[Index], columns: t.Mapping[str, str]) -> None:
        self._indexes, self._columns = indexes, dict(columns)

    def scores(self, label: str) -> dict[str, t.Mapping[str, float]]:
        """What was measured of the answers of a model, by the id of the item, in the order asked."""
        digest = self._columns[label]
        found: dict[str, t.Mapping[str, float]] = {}
        for index in self._indexes:
            for item in index.questions:
                place = index.answers.get((digest, item))
                if place is not None and item not in found:
                    found[item] = place.scores
        return found

    def ordered(self, label: str, against: str = "", only_shared: bool = False) -> list[tuple[str, float | None]]:
        """The ids of the items, those that became worse first, each with its :func:`change`.

        Without a model to compare with, the worst answers come first, and there is no change.

        :param label: of the model whose answers are looked at.
        :param against: label of the model to compare with.
        :param only_shared: whether questions that one of both did not answer are left out.
        """
        own = self.scores(label)
        others = self.scores(against) if against else {}
        items = dict.fromkeys(item for index in self._indexes for item in index.questions)
        rows: list[tuple[tuple[float, float], str, float | None]] = []
        for item in items:
            if only_shared and not (item in own and item in others):
                continue
            changed = change(own[item], others[item]) if item in own and item in others else None
            level = _level(own[item]) if item in own else 1.0
            # what is not compared stands between what became worse and what became better, the worst answer first
            rows.append(((changed or 0.0, level), item, changed))
        rows.sort(key=lambda row: row[0])
        return [(item, changed) for _order, item, changed in rows]

    def read(self, item: str) -> dict[str, t.Any]:
        """A question (``item``) with the line of each model that has answered it (``answers``, by label)."""
        question: dict[str, t.Any] | None = None
        answers: dict[str, t.Any] = {}
        for index in self._indexes:
            question = question or index.question(item)
            for label, digest in self._columns.items():
                line = index.answer(digest, item) if label not in answers else None
                if line is not None:
                    answers[label] = line
        return {"item": question or {"id": item}, "answers": {label: answers.get(label) for label in self._columns}}


def change(scores: t.Mapping[str, float], before: t.Mapping[str, float]) -> float:
    """How an answer differs from another one to the same question, from -1 (worse) to 1.

    It is the mean of the differences over the measures that both have, each from 0 to 1.
    """
    shared = [name for name in MEASURES if name in scores and name in before]
    if not shared:
        return 0.0
    return sum(_unit(name, scores[name]) - _unit(name, before[name]) for name in shared) / len(shared)


def _level(scores: t.Mapping[str, float]) -> float:
    known = [name for name in MEASURES if name in scores]
    return sum(_unit(name, scores[name]) for name in known) / len(known) if known else 1.0


def _unit(name: str, score: float) -> float:
    return float(score) if name in SHARES else float(score) / 100


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=_KEPT)
def _index(path: str, _questions: tuple[int, int], _answers: tuple[int, int]) -> Index:
    questions = {str(line["id"]): Place(offset) for offset, line in _lines(os.path.join(path, QUESTIONS_FILE))}
    answers: dict[tuple[str, str], Place] = {}
    names = {name: name for name in questions}  # one text in memory for all answers to a question
    for offset, line in _lines(os.path.join(path, ANSWERS_FILE)):
        scores = {name: float(value) for name, value in (line.get("scores") or {}).items() if name in MEASURES}
        digest, item = (names.setdefault(name, name) for name in (str(line["digest"]), str(line["item"])))
        answers[digest, item] = Place(offset, scores)
    for digest, item, value in texts_of(path, read_record(os.path.join(path, REPORT_FILE)) or {}):
        if (digest, item) in answers:
            place = answers[digest, item]
            answers[digest, item] = Place(place.offset, {**place.scores, "text": value})
    return Index(path, questions, answers)


def _lines(path: str) -> t.Iterator[tuple[int, dict[str, t.Any]]]:
    try:
        with open(path, "rb") as stream:
            offset = 0
            for raw in stream:
                try:
                    line = parse_json(raw)
                except ValueError:
                    line = None
                if isinstance(line, dict):
                    yield offset, line
                offset += len(raw)
    except FileNotFoundError:
        return


def _read_line(path: str, place: Place | None) -> dict[str, t.Any] | None:
    if place is None:
        return None
    with open(path, "rb") as stream:
        stream.seek(place.offset)
        return dict(parse_json(stream.readline()))
