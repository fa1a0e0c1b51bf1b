# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows in the Alpaca format: instruction, input, output, history."""

from __future__ import annotations

import typing as t

from ...messages.message import Message
from ..output_formats import ASSISTANT, HUMAN, AlpacaOutput, Sample
from ..problems import kind_of
from .base import Fault, RenderedRow, Rules, plain_text
from .unread_fields import holds_nothing


class AlpacaRules(Rules):
    """``instruction`` and ``output``, optionally ``input``, ``system`` and ``history``."""

    format = "alpaca"
    description = (
        "has C(instruction) and C(output), and optionally C(input), C(system), and C(history) as a list of pairs of "
        "question and answer."
    )
    usual: t.ClassVar[dict[str, str]] = {
        "prompt": "instruction",
        "query": "input",
        "response": "output",
        "system": "system",
        "history": "history",
    }
    required: t.ClassVar[tuple[str, ...]] = ("prompt", "response")
    #: the columns that contain an answer
    answers: t.ClassVar[tuple[str, ...]] = ("response",)

    def __init__(self, columns: t.Mapping[str, str], ignored: t.Iterable[str] = ()) -> None:
        super().__init__(columns, ignored)
        field = self.field
        self._prompt, self._query, self._response = field["prompt"], field["query"], field.get("response", "")
        self._system, self._history = field["system"], field["history"]

    def quick(
        self, output_format: AlpacaOutput, row: t.Any, text: str | None, start: int, end: int
    ) -> RenderedRow | None:
        if not isinstance(row, dict):
            return None
        get_field = row.get
        prompt, response, query, system = (
            get_field(self._prompt),
            get_field(self._response),
            get_field(self._query),
            get_field(self._system),
        )
        size = 2
        if query is None:
            query = ""
        else:
            size += 1
        if system is None:
            system = ""
        else:
            size += 1
        if (
            len(row) != size
            or not isinstance(prompt, str)
            or not isinstance(response, str)
            or not isinstance(query, str)
            or not isinstance(system, str)
            or not response
            or response.isspace()
            or ((not prompt or prompt.isspace()) and (not query or query.isspace()))
        ):
            return None
        certainty = plain_text(text, start, end, 2 * size)
        if not certainty:
            return None
        line = output_format.line(prompt, query, response, system, certainty == 2)
        if certainty != 2 and "\\u0000" in line:
            return None
        if query:
            prompt = f"{prompt}\n{query}" if prompt else query
        return line, system, (hash((prompt, system)), hash(response))

    def check(self, row: t.Any) -> list[Fault]:
        if not isinstance(row, t.Mapping):
            return self.not_an_object(row)
        faults = self.check_fields(row)
        for name, blank in ((self._prompt, True), *((self.field[column], False) for column in self.answers)):
            if name in row:
                faults += self.check_text(row[name], name, blank)
        for name in (self._query, self._system):
            if row.get(name) is not None:
                faults += self.check_text(row[name], name, blank=True)
        if not faults and not row[self._prompt].strip() and not (row.get(self._query) or "").strip():
            faults.append((self._prompt, Message("datasets.empty")))
        return faults + self._check_history(row.get(self._history))

    def _check_history(self, history: t.Any) -> list[Fault]:
        if holds_nothing(history):
            return []
        if isinstance(history, str):
            return [(self._history, Message("datasets.history_is_text", kind=kind_of(history)))]
        if not isinstance(history, list):
            return [(self._history, Message("datasets.history_no_list", kind=kind_of(history)))]
        faults: list[Fault] = []
        for index, pair in enumerate(history):
            location = f"{self._history}[{index}]"
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                faults.append((location, Message("datasets.history_no_pair", kind=kind_of(pair))))
            else:
                faults += self.check_text(pair[0], f"{location}[0]") + self.check_text(pair[1], f"{location}[1]")
        return faults

    def flat(self, row: t.Mapping[str, t.Any]) -> tuple[str, str, str, str] | None:
        """Prompt, query, response and system of a row without a history; None if it has one."""
        if not holds_nothing(row.get(self._history)):
            return None
        return row[self._prompt], self.optional(row, "query"), row[self._response], self.optional(row, "system")

    def question_turns(self, row: t.Mapping[str, t.Any]) -> list[tuple[str, str]]:
        """The turns up to the last question."""
        turns: list[tuple[str, str]] = []
        history = row.get(self._history)
        for question, answer in () if holds_nothing(history) else history or ():
            turns += [(HUMAN, question), (ASSISTANT, answer)]
        # LLaMA-Factory joins the two in the same way (data/converter.py)
        last_question = "\n".join(text for text in (row[self._prompt], self.optional(row, "query")) if text)
        return [*turns, (HUMAN, last_question)]

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        return Sample([*self.question_turns(row), (ASSISTANT, row[self._response])], self.optional(row, "system"))
