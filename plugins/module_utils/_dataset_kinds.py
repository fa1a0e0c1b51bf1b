# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that are more, or less, than a question and its answer: two answers to choose from, liked or not, mere text.

Each of the formats (alpaca, sharegpt, openai) has its way to write the first two; what is asked is written, and
checked, as in rows for supervised fine-tuning.
"""

from __future__ import annotations

import typing as t

from ._dataset_forms import ASSISTANT, CALL, HUMAN, KTO, OBSERVATION, PREFERENCE, PRETRAINING, Sample, TextForm
from ._dataset_problems import kind_of, nearest
from ._dataset_rows import AlpacaRules, Fault, Made, Rules, plain_text
from ._dataset_turns import OpenAIRules, SharegptRules, TurnRules
from ._errors import InputError

_SAME = ("it is the same as chosen, so there is nothing to learn", "Write two different answers, or leave the row out.")


class AlpacaPreference(AlpacaRules):
    """``instruction``, ``chosen`` and ``rejected``; ``input``, ``system`` and ``history`` where they are needed."""

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

    def quick(self, form: t.Any, row: t.Any, text: str | None, start: int, end: int) -> Made | None:
        return None

    def check(self, row: t.Any) -> list[Fault]:
        found = super().check(row)
        if not found and row[self.field["chosen"]] == row[self.field["rejected"]]:
            return [(self.field["rejected"], *_SAME)]
        return found

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        chosen, rejected = ((ASSISTANT, row[self.field[name]]) for name in self.answers)
        return Sample(self.asked(row), self.optional(row, "system"), chosen=chosen, rejected=rejected)


class AlpacaKto(AlpacaRules):
    """A question, its answer, and in ``kto_tag`` whether it was liked."""

    kind = KTO
    usual: t.ClassVar[dict[str, str]] = {**AlpacaRules.usual, "kto_tag": "kto_tag"}
    required = (*AlpacaRules.required, "kto_tag")

    def quick(self, form: t.Any, row: t.Any, text: str | None, start: int, end: int) -> Made | None:
        return None

    def check(self, row: t.Any) -> list[Fault]:
        return super().check(row) + _check_tag(row, self.field["kto_tag"])

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        made = super().sample(row)
        return Sample(made.turns, made.system, liked=row[self.field["kto_tag"]])


def _check_tag(row: t.Any, field: str) -> list[Fault]:
    if not isinstance(row, t.Mapping) or field not in row or isinstance(row[field], bool):
        return []
    # LLaMA-Factory passes over any other value without a word, and trains on the answer as if it were liked
    fix = "Write true or false, without quotes; a cell of a CSV is always text, so write these rows as JSON."
    return [(field, f"it is {kind_of(row[field])}, not true or false", fix)]


class _TurnPreference(TurnRules):
    """Turns that end with a question, and a turn of the assistant each in ``chosen`` and ``rejected``."""

    kind = PREFERENCE
    required = ("messages", "chosen", "rejected")
    last = (HUMAN, OBSERVATION)

    def quick(self, form: t.Any, row: t.Any, text: str | None, start: int, end: int) -> Made | None:
        return None

    def check(self, row: t.Any) -> list[Fault]:
        found = super().check(row)
        if not isinstance(row, t.Mapping):
            return found
        for name in ("chosen", "rejected"):
            if self.field[name] in row:
                found += self._check_answer(row[self.field[name]], self.field[name])
        if not found:
            chosen, rejected = self._answers(row)
            if chosen == rejected:
                return [(self.field["rejected"], *_SAME)]
        return found

    def _check_answer(self, answer: t.Any, place: str) -> list[Fault]:
        own = next(name for name, role in self.roles.items() if role == ASSISTANT)
        fix = f'Write the one turn as {{"{self.role}": "{own}", "{self.content}": …}}.'
        if not isinstance(answer, t.Mapping):
            return [(place, f"it is {kind_of(answer)}, not a turn", fix)]
        found = self.check_role(answer, place) or self.check_turn(answer, place)
        if not found and self.turn(answer)[0] not in (ASSISTANT, CALL):
            return [(f"{place}.{self.role}", f"it is {answer[self.role]!r}, and {own!r} is expected", fix)]
        return found

    def _answers(self, row: t.Mapping[str, t.Any]) -> tuple[tuple[str, str], tuple[str, str]]:
        return self.turn(row[self.field["chosen"]]), self.turn(row[self.field["rejected"]])

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        asked = super().sample(row)
        chosen, rejected = self._answers(row)
        return Sample(asked.turns, asked.system, asked.tools, chosen, rejected)


class SharegptPreference(_TurnPreference, SharegptRules):
    """``conversations``, ``chosen`` and ``rejected``."""

    usual: t.ClassVar[dict[str, str]] = {**SharegptRules.usual, "chosen": "chosen", "rejected": "rejected"}


class OpenAIPreference(_TurnPreference, OpenAIRules):
    """``messages``, ``chosen`` and ``rejected``."""

    usual: t.ClassVar[dict[str, str]] = {**OpenAIRules.usual, "chosen": "chosen", "rejected": "rejected"}


class _TurnKto(TurnRules):
    """Turns, and in ``kto_tag`` whether the last one was liked."""

    kind = KTO
    required = ("messages", "kto_tag")

    def quick(self, form: t.Any, row: t.Any, text: str | None, start: int, end: int) -> Made | None:
        return None

    def check(self, row: t.Any) -> list[Fault]:
        return super().check(row) + _check_tag(row, self.field["kto_tag"])

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        made = super().sample(row)
        return Sample(made.turns, made.system, made.tools, liked=row[self.field["kto_tag"]])


class SharegptKto(_TurnKto, SharegptRules):
    """``conversations`` and ``kto_tag``."""

    usual: t.ClassVar[dict[str, str]] = {**SharegptRules.usual, "kto_tag": "kto_tag"}


class OpenAIKto(_TurnKto, OpenAIRules):
    """``messages`` and ``kto_tag``."""

    usual: t.ClassVar[dict[str, str]] = {**OpenAIRules.usual, "kto_tag": "kto_tag"}


class TextRules(Rules):
    """``text``."""

    format = "text"
    kind = PRETRAINING
    usual: t.ClassVar[dict[str, str]] = {"prompt": "text"}
    required = ("prompt",)

    def quick(self, form: TextForm, row: t.Any, text: str | None, start: int, end: int) -> Made | None:
        if not isinstance(row, dict) or len(row) != 1:
            return None
        content = row.get(self.field["prompt"])
        if not isinstance(content, str) or not content or content.isspace() or not plain_text(text, start, end, 2):
            return None
        sample = Sample([(HUMAN, content)])
        line = form.line(sample)
        return None if "\\u0000" in line else (line, "", sample.key)

    def check(self, row: t.Any) -> list[Fault]:
        if not isinstance(row, t.Mapping):
            return self.not_an_object(row)
        field = self.field["prompt"]
        return self.names(row) + (self.text(row[field], field) if field in row else [])

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        return Sample([(HUMAN, row[self.field["prompt"]])])


_ALL: tuple[type[Rules], ...] = (
    AlpacaRules, SharegptRules, OpenAIRules, TextRules, AlpacaPreference, SharegptPreference, OpenAIPreference,
    AlpacaKto, SharegptKto, OpenAIKto,
)  # fmt: skip
#: The rules by format and kind of rows.
RULES: dict[tuple[str, str], type[Rules]] = {(rules.format, rules.kind): rules for rules in _ALL}
FORMATS = ("auto", *dict.fromkeys(rules.format for rules in _ALL))

#: Fields that tell a kind of rows.
_TELLS = {"chosen": PREFERENCE, "rejected": PREFERENCE, "kto_tag": KTO}
_QUESTIONS = ("instruction", "output", "conversations", "messages")


def make_rules(declared: str, columns: t.Mapping[str, str], ignored: t.Sequence[str], first: t.Any) -> Rules:
    """The rules of the declared format, or of the one the first row looks like; the kind is that of the first row.

    :param columns: may name what tells the kind (``chosen``, ``kto_tag``), too.
    :raises InputError: for a format that is not known, or columns it does not have.
    """
    if declared not in FORMATS:
        raise InputError(
            f"There is no format {declared!r}.", f"{nearest(declared, FORMATS)} One of {', '.join(FORMATS)}.".lstrip()
        )
    fields = set(first) if isinstance(first, t.Mapping) else set()
    format_found, columns = (declared, columns) if declared != "auto" else _format_of(first, fields, columns)
    if format_found == TextRules.format:
        return TextRules(columns, ignored)
    told = [kind for name, kind in _TELLS.items() if name in columns or (name in fields and name not in ignored)]
    return RULES[format_found, told[0] if told else "sft"](columns, ignored)


def _format_of(first: t.Any, fields: set[t.Any], columns: t.Mapping[str, str]) -> tuple[str, t.Mapping[str, str]]:
    """Format, and columns with what was found of them."""
    names = [columns["messages"]] if "messages" in columns else ["conversations", "messages"]
    name = next((name for name in names if name in fields), "")
    if not name:
        if "text" in fields and not columns and not fields.intersection((*_QUESTIONS, *_TELLS)):
            return TextRules.format, columns
        return (SharegptRules if "messages" in columns else AlpacaRules).format, columns
    turns = first[name]
    turn = turns[0] if isinstance(turns, list) and turns else {}
    openai = (
        "role" in turn if isinstance(turn, t.Mapping) and ("role" in turn or "from" in turn) else name == "messages"
    )
    return (OpenAIRules if openai else SharegptRules).format, {**columns, "messages": name}
