# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows other than a question with one answer: pairs of answers with a preference, and answers that were liked or not.

Each of the formats (alpaca, sharegpt, openai) has its notation for both; the question is written and checked as in rows
for supervised fine-tuning.
"""

from __future__ import annotations

import typing as t

from ...messages.message import Message
from ..output_formats import ASSISTANT, CALL, HUMAN, KTO, OBSERVATION, PREFERENCE, Sample
from ..problems import kind_of
from .alpaca import AlpacaRules
from .base import Fault, RenderedRow
from .conversations import OpenAIRules, SharegptRules, TurnRules
from .tool_use import call_faults
from .unread_fields import is_turns


class AlpacaPreference(AlpacaRules):
    """``instruction``, ``chosen`` and ``rejected``; optionally ``input``, ``system`` and ``history``."""

    kind = PREFERENCE
    usual: t.ClassVar[dict[str, str]] = {
        "prompt": "instruction",
        "query": "input",
        "chosen": "chosen",
        "rejected": "rejected",
        "system": "system",
        "history": "history",
    }
    required = ("prompt", "chosen", "rejected")
    answers = ("chosen", "rejected")

    def quick(self, output_format: t.Any, row: t.Any, text: str | None, start: int, end: int) -> RenderedRow | None:
        return None

    def check(self, row: t.Any) -> list[Fault]:
        faults = super().check(row)
        if not faults and row[self.field["chosen"]] == row[self.field["rejected"]]:
            return [(self.field["rejected"], Message("datasets.same_answers"))]
        return faults

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        chosen, rejected = ((ASSISTANT, row[self.field[name]]) for name in self.answers)
        return Sample(self.question_turns(row), self.optional(row, "system"), chosen=chosen, rejected=rejected)


class AlpacaKto(AlpacaRules):
    """A question, its answer, and ``kto_tag``: whether the answer was liked."""

    kind = KTO
    usual: t.ClassVar[dict[str, str]] = {**AlpacaRules.usual, "kto_tag": "kto_tag"}
    required = (*AlpacaRules.required, "kto_tag")

    def quick(self, output_format: t.Any, row: t.Any, text: str | None, start: int, end: int) -> RenderedRow | None:
        return None

    def check(self, row: t.Any) -> list[Fault]:
        return super().check(row) + _check_tag(row, self.field["kto_tag"])

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        sample = super().sample(row)
        return Sample(sample.turns, sample.system, liked=row[self.field["kto_tag"]])


def _check_tag(row: t.Any, field: str) -> list[Fault]:
    if not isinstance(row, t.Mapping) or field not in row or isinstance(row[field], bool):
        return []
    # LLaMA-Factory silently ignores any other value, and trains on the answer as if it were liked
    return [(field, Message("datasets.tag_no_boolean", kind=kind_of(row[field])))]


def _only_turn(answer: t.Any) -> t.Any:
    """The turn of an answer that is a list of one turn, as trl writes it; any other answer as it is."""
    return answer[0] if is_turns(answer) and len(answer) == 1 else answer


class _TurnPreference(TurnRules):
    """Turns that end with a question; ``chosen`` and ``rejected`` are one assistant turn each."""

    kind = PREFERENCE
    required = ("messages", "chosen", "rejected")
    final_roles = (HUMAN, OBSERVATION)

    def quick(self, output_format: t.Any, row: t.Any, text: str | None, start: int, end: int) -> RenderedRow | None:
        return None

    def check(self, row: t.Any) -> list[Fault]:
        faults = super().check(row)
        if not isinstance(row, t.Mapping):
            return faults
        for name in ("chosen", "rejected"):
            if self.field[name] in row:
                faults += self._check_answer(row[self.field[name]], self.field[name])
        for name in () if faults else ("chosen", "rejected"):
            answer, location = _only_turn(row[self.field[name]]), self.field[name]
            if self.turn(answer)[0] == CALL:
                faults += call_faults(self.calls(answer, location).calls, self.parameters_of(row))
        if not faults:
            chosen, rejected = self._answers(row)
            if chosen == rejected:
                return [(self.field["rejected"], Message("datasets.same_answers"))]
        return faults

    def _check_answer(self, answer: t.Any, location: str) -> list[Fault]:
        answer = _only_turn(answer)
        assistant_name = next(name for name, role in self.roles.items() if role == ASSISTANT)
        example = f'{{"{self.role}": "{assistant_name}", "{self.content}": …}}'
        if not isinstance(answer, t.Mapping):
            code = "datasets.answer_of_turns" if is_turns(answer) else "datasets.answer_no_turn"
            return [(location, Message(code, kind=kind_of(answer), example=example))]
        faults = self.check_role(answer, location) or self.check_turn(answer, location)
        if not faults and self.turn(answer)[0] not in (ASSISTANT, CALL):
            names = {"role": answer[self.role], "expected": assistant_name}
            return [(f"{location}.{self.role}", Message("datasets.answer_of_other_role", **names, example=example))]
        return faults

    def _answers(self, row: t.Mapping[str, t.Any]) -> tuple[tuple[str, str], tuple[str, str]]:
        chosen, rejected = (_only_turn(row[self.field[name]]) for name in ("chosen", "rejected"))
        return self.turn(chosen), self.turn(rejected)

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        question = super().sample(row)
        chosen, rejected = self._answers(row)
        return Sample(question.turns, question.system, question.tools, chosen, rejected)


class SharegptPreference(_TurnPreference, SharegptRules):
    """``conversations``, ``chosen`` and ``rejected``."""

    usual: t.ClassVar[dict[str, str]] = {**SharegptRules.usual, "chosen": "chosen", "rejected": "rejected"}


class OpenAIPreference(_TurnPreference, OpenAIRules):
    """``messages``, ``chosen`` and ``rejected``."""

    usual: t.ClassVar[dict[str, str]] = {**OpenAIRules.usual, "chosen": "chosen", "rejected": "rejected"}


class _TurnKto(TurnRules):
    """Turns, and ``kto_tag``: whether the last one was liked."""

    kind = KTO
    required = ("messages", "kto_tag")

    def quick(self, output_format: t.Any, row: t.Any, text: str | None, start: int, end: int) -> RenderedRow | None:
        return None

    def check(self, row: t.Any) -> list[Fault]:
        return super().check(row) + _check_tag(row, self.field["kto_tag"])

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        sample = super().sample(row)
        return Sample(sample.turns, sample.system, sample.tools, liked=row[self.field["kto_tag"]])


class SharegptKto(_TurnKto, SharegptRules):
    """``conversations`` and ``kto_tag``."""

    usual: t.ClassVar[dict[str, str]] = {**SharegptRules.usual, "kto_tag": "kto_tag"}


class OpenAIKto(_TurnKto, OpenAIRules):
    """``messages`` and ``kto_tag``."""

    usual: t.ClassVar[dict[str, str]] = {**OpenAIRules.usual, "kto_tag": "kto_tag"}
