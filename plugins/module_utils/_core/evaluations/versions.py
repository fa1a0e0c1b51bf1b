# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison of any two models that have answered the same questions, in one evaluation or in several."""

from __future__ import annotations

import typing as t

from .answered import Answered, index_of
from .intervals import paired_bootstrap
from .items import MEASURES
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
    :returns: entries as ``comparisons`` of a report has them; empty if both have no question in common.
    """
    own, others = answered.scores(model), answered.scores(against)
    entries = []
    for measure in MEASURES:
        pairs = {
            item: scores[measure] - others[item][measure]
            for item, scores in own.items()
            if measure in scores and measure in others.get(item, {})
        }
        if not pairs:
            continue
        interval = paired_bootstrap(list(pairs.values()))
        entries.append(
            {
                "model": model,
                "against": against,
                "measure": measure,
                "difference": interval.value,
                "low": interval.low,
                "high": interval.high,
                "asked": len(pairs),
                "worse": [item for item, difference in pairs.items() if difference < 0],
                "better": [item for item, difference in pairs.items() if difference > 0],
            }
        )
    return entries
