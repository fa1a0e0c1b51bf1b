# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluations in a form that is short enough for the context of a language model."""

from __future__ import annotations

import json
import typing as t

from ..application import schemas
from ..application.evaluations import spoken
from .schemas import EvaluatedAnswer, EvaluationInfo

#: Largest number of characters of a question or an answer.
_MAX_CHARS = 400


def to_info(evaluation: schemas.Evaluation, page: schemas.QuestionPage) -> EvaluationInfo:
    """Convert an evaluation and its first questions to the result of a tool."""
    shown = [page.label, *([page.against] if page.against else [])]
    hint = f"GET /api/evaluations/questions?tag={evaluation.tag} has all questions and answers."
    if evaluation.passed is False:
        hint = f"It is not promoted before its requirements are met: train it with more or better rows. {hint}"
    return EvaluationInfo(
        version=evaluation.tag,
        line=evaluation.line.text,
        passed=evaluation.passed,
        lines=[line.text for line in evaluation.lines],
        against=page.against,
        worse=page.worse,
        better=page.better,
        answers=[_to_answer(question, shown) for question in page.questions],
        next=hint,
    )


def _to_answer(question: schemas.AnsweredQuestion, shown: t.Sequence[str]) -> EvaluatedAnswer:
    item = question.item
    messages = item.get("messages") or [{}]
    expected = (
        spoken(item["reference"]) if item.get("reference") else json.dumps(item.get("expect"), ensure_ascii=False)
    )
    lines = {label: question.answers.get(label) for label in shown}
    return EvaluatedAnswer(
        question=_short(str(messages[-1].get("content") or "")),
        expected=_short(expected),
        answers={label: _short(spoken(line["answer"])) for label, line in lines.items() if line is not None},
        change=question.change,
    )


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…"
