# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison of any two models that have answered the same questions, in one evaluation or in several."""

from __future__ import annotations

import typing as t

from .answered import Answered, index_of
from .comparison import Scores, compare
from .store import Evaluation


def answered_by(evaluations: t.Iterable[Evaluation], columns: t.Mapping[str, str]) -> Answered:
    """The questions that any of some models has answered in any of some evaluations.

    :param evaluations: the latest first.
    :param columns: digest of each model, by the label under which it is shown.
    """
    wanted = set(columns.values())
    indexes = []
    for evaluation in evaluations:
        report = evaluation.report()
        if report is not None and wanted & {str(model.get("digest")) for model in report["models"]}:
            indexes.append(index_of(evaluation.path))
    return Answered(indexes, columns)


def comparisons(answered: Answered, model: str, against: str) -> list[dict[str, t.Any]]:
    """Compare two models by each measure that answers of both have, question by question.

    :param model: label of the one model.
    :param against: label of the other model.
    :returns: as :func:`.comparison.compare`; empty if both have no question in common.
    """
    found: dict[str, Scores] = {}
    for label in (model, against):
        found[label] = Scores()
        for item, scores in answered.scores(label).items():
            for measure, value in scores.items():
                found[label].add(measure, item, value)
    return compare(model, found[model], against, found[against])
