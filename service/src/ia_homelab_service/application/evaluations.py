# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluations of versions: reports, questions with answers, and comparisons of any two versions."""

from __future__ import annotations

import functools
import json
import os
import typing as t

from ia_homelab_core.artifacts.layout import REPORT_FILE, Layout
from ia_homelab_core.errors import CoreError
from ia_homelab_core.evaluations import statements, summaries
from ia_homelab_core.evaluations.answered import Answered, index_of
from ia_homelab_core.evaluations.store import KIND, Evaluations
from ia_homelab_core.evaluations.versions import answered_by, comparisons
from ia_homelab_core.messages.message import Message
from ia_homelab_core.releases.gate_calls import calls_text
from ia_homelab_core.system.files import read_record

from .errors import NotFoundError
from .models import Models
from .schemas import (
    AnsweredQuestion,
    Comparison,
    EvaluatedVersion,
    Evaluation,
    MessageBody,
    Model,
    ModelDifference,
    QuestionPage,
)

#: Reports whose lines stay in memory.
_KEPT = 500


class VersionEvaluations:
    """The evaluations of the models that runs have registered."""

    def __init__(self, layout: Layout, models: Models) -> None:
        self._layout, self._models = layout, models

    def all(self, name: str = "") -> list[EvaluatedVersion]:
        """Return the last evaluation of each version that has one, the latest version first.

        :param name: only versions of this model.
        """
        evaluations = Evaluations(self._layout)
        found = ((model, summaries.summary_of(evaluations, model.fingerprint)) for model in self._models.all(name))
        return [EvaluatedVersion(**_summary(model, summary)) for model, summary in found if summary]

    def get(self, tag: str) -> Evaluation:
        """Return the last evaluation of a version, with its report.

        :raises NotFoundError: when there is no such version, or it was not evaluated.
        """
        model = self._models.find(tag)
        evaluation, report, label = self._report(Evaluations(self._layout), model)
        return Evaluation(**_summary(model, summaries.summary(evaluation, report, label)), report=report)

    def questions(self, tag: str, against: str = "", after: int = 0, limit: int = 20) -> QuestionPage:
        """Return questions with the answers of all models of an evaluation, those that became worse first.

        :param against: what the version is compared with: a label of the report, or another version; by default the
            served model or the base, if they were asked.
        :param after: how many questions to skip.
        :raises NotFoundError: when there is no such version, or it was not evaluated.
        """
        model = self._models.find(tag)
        evaluations = Evaluations(self._layout)
        evaluation, report, label = self._report(evaluations, model)
        columns = {str(each["label"]): str(each["digest"]) for each in report["models"]}
        if not against:
            against = next((each for each in ("served", "base") if each in columns and each != label), "")
        if not against or against in columns:
            return _page(Answered([index_of(evaluation.path)], columns), model.tag, label, against, after, limit)
        other = self._models.find(against)
        answered = self._answered(evaluations, {model.tag: columns[label], other.tag: self._digest(evaluations, other)})
        return _page(answered, model.tag, model.tag, other.tag, after, limit, only_shared=True)

    def compare(self, tag: str, against: str) -> Comparison:
        """Compare two versions by all questions that both have answered, in whichever evaluations.

        :raises NotFoundError: when there is no such version, or both have no question in common.
        """
        model, other = self._models.find(tag), self._models.find(against)
        evaluations = Evaluations(self._layout)
        digests = {one.tag: self._digest(evaluations, one) for one in (model, other)}
        entries = comparisons(self._answered(evaluations, digests), model.tag, other.tag) if len(digests) > 1 else []
        if not entries:
            raise NotFoundError("service.nothing_to_compare", tag=model.tag, against=other.tag)
        return Comparison(
            tag=model.tag,
            against=other.tag,
            measures=[ModelDifference(**summaries.counted(entry)) for entry in entries],
        )

    def answers(self, tag: str) -> t.Iterator[bytes]:
        """Return all questions with the answers of all models, in the order asked, as lines of JSON.

        :raises NotFoundError: at once, when there is no such version, or it was not evaluated.
        """
        evaluation, report, _label = self._report(Evaluations(self._layout), self._models.find(tag))
        index = index_of(evaluation.path)
        answered = Answered([index], {str(each["label"]): str(each["digest"]) for each in report["models"]})
        return (_json_line(answered.read(item)) for item in index.questions)

    def _report(self, evaluations: Evaluations, model: Model) -> t.Any:
        found = evaluations.report_of(model.fingerprint)
        if found is None or not found[2]:
            raise NotFoundError("service.not_evaluated", tag=model.tag)
        return found

    def _digest(self, evaluations: Evaluations, model: Model) -> str:
        """The digest under which a version has answered."""
        found = evaluations.report_of(model.fingerprint)
        asked = next((each for each in found[1]["models"] if each["label"] == found[2]), None) if found else None
        return str(asked["digest"]) if asked else model.digest

    def _answered(self, evaluations: Evaluations, columns: t.Mapping[str, str]) -> Answered:
        return answered_by(evaluations.all, columns)


def spoken(answer: t.Mapping[str, t.Any]) -> str:
    """Return the text and the calls of an answer or a reference."""
    text = str(answer.get("text") or answer.get("content") or "")
    return "\n".join(filter(None, (text, calls_text(answer.get("calls") or ()))))


def lines_of(layout: Layout, fingerprint: str) -> dict[str, Message]:
    """Return what is said of each candidate of an evaluation in one line, by its full name; empty without a report."""
    try:
        path = os.path.join(layout.artifact(KIND, fingerprint), REPORT_FILE)
        changed = os.stat(path).st_mtime_ns
    except (CoreError, OSError):
        return {}
    return _lines(path, changed)


@functools.lru_cache(maxsize=_KEPT)
def _lines(path: str, _changed: int) -> dict[str, Message]:
    report = read_record(path)
    if report is None or not isinstance(report.get("models"), list):
        return {}
    candidates = [each for each in report["models"] if each.get("role") == "candidate"]
    said = ((str(each["model"]), statements.line(report, str(each["label"]))) for each in candidates)
    return {name: line for name, line in said if line is not None}


def _summary(model: Model, summary: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    differences = [ModelDifference(**entry) for entry in summary["comparisons"]]
    return {
        **{name: value for name, value in summary.items() if name not in ("path", "line_message")},
        "name": model.name,
        "tag": model.tag,
        "line": MessageBody(**summary["line_message"]),
        "comparisons": differences,
        "lines": [MessageBody(**line) for line in summary["lines"]],
    }


def _page(
    answered: Answered, tag: str, label: str, against: str, after: int, limit: int, only_shared: bool = False
) -> QuestionPage:
    ordered = answered.ordered(label, against, only_shared)
    chosen = ordered[after : after + limit]
    following = after + len(chosen)
    return QuestionPage(
        tag=tag,
        label=label,
        against=against,
        total=len(ordered),
        worse=sum(1 for _item, change in ordered if change is not None and change < 0),
        better=sum(1 for _item, change in ordered if change is not None and change > 0),
        next=following if following < len(ordered) else None,
        questions=[AnsweredQuestion(change=change, **answered.read(item)) for item, change in chosen],
    )


def _json_line(value: t.Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8") + b"\n"
