# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""chrF of all answers of an evaluation, kept beside them: it is computed once all answers are there."""

from __future__ import annotations

import os
import typing as t

from ..artifacts.layout import CHRF_FILE
from ..runs.spec import Toolchain
from ..system.files import read_record, write_json
from . import chrf, scores
from .items import Item


def measure_texts(
    toolchain: Toolchain,
    directory: str,
    questions: t.Callable[[], t.Iterable[Item]],
    answers: t.Mapping[str, t.Mapping[str, t.Mapping[str, t.Any]]],
) -> dict[str, t.Any]:
    """Measure the texts by chrF, and keep the value of each answer in the directory of the evaluation.

    :param answers: by label of the model, its lines of ``answers.jsonl`` by question.
    :returns: ``texts`` and ``corpora`` of :class:`.report.Facts`; ``notes`` alone where the tools are missing, and
        nothing where there are no texts.
    :raises NotReadyError: if the program that computes it fails.
    """
    if "text" not in scores.counts(questions()):
        return {}
    reason = chrf.unavailable(toolchain)
    if reason is not None:
        return {"notes": [reason]}
    python = os.path.join(toolchain.converter_venv, "bin", "python")
    found = {label: chrf.of_answers(python, questions(), lines, directory) for label, lines in answers.items()}
    texts = {label: each.scores for label, each in found.items()}
    write_json(os.path.join(directory, CHRF_FILE), texts)
    return {
        "texts": texts,
        "corpora": {label: each.corpus for label, each in found.items() if each.corpus is not None},
    }


def texts_of(directory: str, report: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str, float]]:
    """Digest of the model, id of the item and chrF of each answer that was measured; none if there are none.

    :param report: of the evaluation.
    """
    kept = read_record(os.path.join(directory, CHRF_FILE)) or {}
    for model in report.get("models") or ():
        for item, value in (kept.get(str(model.get("label"))) or {}).items():
            yield str(model.get("digest")), str(item), float(value)
