# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two models that answered the same questions, compared question by question. Pure functions."""

from __future__ import annotations

import array
import typing as t

from .intervals import CONFIDENCE, bounds_of_mean
from .items import MEASURES, Item
from .scores import measures_of

#: Difference from which an answer counts as worse or better, by measure: shares differ by 1 or not at all, and chrF of
#: two good answers often by a few points.
_NOTICEABLE = {"text": 5.0}

#: The largest difference of two answers, by measure; that of shares is 1.
_LARGEST = {"text": 100.0}

OnLine = t.Callable[[str, Item, t.Optional[t.Mapping[str, t.Any]]], None]


class Scores:
    """The scores of one model by measure and question. It keeps numbers, and no texts of answers."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[list[str], array.array[float]]] = {}

    def add(self, measure: str, item: str, value: float) -> None:
        """Add the score of the answer to a question; each question is added once."""
        ids, values = self._values.setdefault(measure, ([], array.array("d")))
        ids.append(item)
        values.append(value)

    def measures(self) -> list[str]:
        """The measures with a score, in the order of :data:`.items.MEASURES`."""
        return [measure for measure in MEASURES if measure in self._values]

    def of(self, measure: str) -> t.Mapping[str, float]:
        """The scores of a measure by question, in the order in which they were added."""
        ids, values = self._values.get(measure, ([], array.array("d")))
        return dict(zip(ids, values))


def read(
    items: t.Iterable[Item],
    answers: t.Mapping[str, t.Mapping[str, t.Mapping[str, t.Any]]],
    texts: t.Mapping[str, t.Mapping[str, float]] | None = None,
    on_line: OnLine | None = None,
) -> dict[str, Scores]:
    """The scores of the models, by label.

    :param items: the questions; they are read once, one after another.
    :param answers: by label, the lines of ``answers.jsonl`` by question; each is read once.
    :param texts: chrF by label and question (``evaluations.chrf``), where the lines do not have it.
    :param on_line: called with the label of each line, its question and the line; with None for a missing one.
    """
    made = {label: Scores() for label in answers}
    for item in items:
        for label, lines in answers.items():
            line = lines.get(item.id)
            if on_line is not None:
                on_line(label, item, line)
            if line is None:
                continue
            found = dict(line.get("scores") or {})
            value = ((texts or {}).get(label) or {}).get(item.id)
            if value is not None:
                found["text"] = value
            for measure in measures_of(item):
                if found.get(measure) is not None:
                    made[label].add(measure, item.id, float(found[measure]))
    return made


def compare(label: str, scores: Scores, against: str, other: Scores) -> list[dict[str, t.Any]]:
    """What a model's answers are better or worse than another's, by measure.

    :returns: for each measure with a question that both answered: ``model``, ``against``, ``measure``; ``difference``
        of the means, ``low`` and ``high`` (of 95 % confidence) and ``bounds`` (:func:`.intervals.bounds_of_mean`), as a
        share, or in points of chrF; ``asked``, the questions that both answered; ``worse`` and ``better``, those whose
        answers differ noticeably, the largest difference first.
    """
    made = []
    for measure in MEASURES:
        of_other = other.of(measure)
        differences = {item: value - of_other[item] for item, value in scores.of(measure).items() if item in of_other}
        if not differences:
            continue
        difference = differences.__getitem__
        mean, bounds = bounds_of_mean(list(differences.values()), reach=_LARGEST.get(measure, 1.0))
        low, high = bounds[str(CONFIDENCE)]
        least = _NOTICEABLE.get(measure, 1e-9)
        made.append(
            {
                "model": label,
                "against": against,
                "measure": measure,
                "difference": mean,
                "low": low,
                "high": high,
                "bounds": bounds,
                "asked": len(differences),
                "worse": [item for item in sorted(differences, key=difference) if difference(item) <= -least],
                "better": [
                    item for item in sorted(differences, key=difference, reverse=True) if difference(item) >= least
                ],
            }
        )
    return made


def between(
    items: t.Iterable[Item],
    label: str,
    answers: t.Mapping[str, t.Mapping[str, t.Any]],
    against: str,
    other: t.Mapping[str, t.Mapping[str, t.Any]],
    texts: t.Mapping[str, t.Mapping[str, float]] | None = None,
) -> list[dict[str, t.Any]]:
    """Any two models that answered the same questions, compared as :func:`compare` does.

    :param label: how the one model is called; :param answers: its lines of ``answers.jsonl`` by question.
    :param against: how the other is called, differently; :param other: its lines.
    :param texts: as in :func:`read`.
    """
    found = read(items, {label: answers, against: other}, texts)
    return compare(label, found[label], against, found[against])


def find(
    comparisons: t.Iterable[t.Mapping[str, t.Any]], label: str, against: str, measure: str
) -> t.Mapping[str, t.Any] | None:
    """The comparison of a report with these models and this measure; None if there is none."""
    wanted = (label, against, measure)
    return next((each for each in comparisons if (each["model"], each["against"], each["measure"]) == wanted), None)
