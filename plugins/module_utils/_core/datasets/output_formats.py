# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms in which datasets are published for LLaMA-Factory, whatever they were written in.

Read in LLaMA-Factory 0.9.5 (``data/parser.py``, ``data/converter.py``) and ``datasets`` 4.0, which reads the files:

* A key that is left out of ``columns`` or ``tags`` becomes None: an entry is always written whole.
* Every field is text in every row. ``datasets`` takes a column's type from the first 10 MiB; an empty list, or a null,
  there makes a later value fatal. So there is no ``history``: rows that have one are written as messages, which
  LLaMA-Factory turns into the same samples.
* A column that holds nothing but dates in one such piece becomes a timestamp; LLaMA-Factory drops an ``output`` that is
  not text. :attr:`Form.dates` watches for that.
* ``ranking`` is true for pairs of answers (dpo, rm) and must not be for anything else; ``kto_tag`` counts as a real
  boolean only, and a ``chosen`` that is text instead of a turn is passed over for what else is in the row.
* The ``openai`` formatting adds ``detailed thinking off`` to every system prompt, so nothing is written in it.
"""

from __future__ import annotations

import abc
import dataclasses
import re
import typing as t
from json.encoder import encode_basestring as quote

#: ``chunksize`` of ``datasets.packaged_modules.json``: columns get their types piece by piece.
PIECE = 10 << 20
#: The one entry of the ``dataset_info.json`` that lies beside the rows.
ENTRY = "dataset"
DATA_FILE = "data.jsonl"

#: What rows are for: a question and its answer; two answers to choose from; one answer and whether it was liked; text.
SFT, PREFERENCE, KTO, PRETRAINING = "sft", "preference", "kto", "pretraining"

HUMAN, ASSISTANT, OBSERVATION, CALL = "human", "gpt", "observation", "function_call"

# what Arrow takes for a timestamp, and a little more
_DATE = re.compile(r"\d{4}-\d\d-\d\d.{0,30}\Z", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What one row means.

    :param turns: role (:data:`HUMAN`, :data:`ASSISTANT`, :data:`OBSERVATION`, :data:`CALL`) and text, in order; asked
        and answered by turns, the last one answers. Where there are two answers to choose from, the last one asks; of
        a text there is nothing but one turn.
    :param system: the system prompt; empty when there is none.
    :param tools: the tools as JSON text; empty when there are none.
    :param chosen: the better answer: role and text; None where there are no two.
    :param rejected: the worse answer.
    :param liked: whether the answer was liked; None where that is not the question.
    """

    turns: t.Sequence[tuple[str, str]]
    system: str = ""
    tools: str = ""
    chosen: tuple[str, str] | None = None
    rejected: tuple[str, str] | None = None
    liked: bool | None = None

    @property
    def key(self) -> tuple[int, int]:
        """What duplicates and contradictions are found by: of what is asked, and of what is answered, in this process.

        Rows with the same first one are about the same thing; those with another second one disagree about it.
        """
        if self.chosen and self.rejected:
            # the same two answers, and the other one is better: that disagrees
            asked = hash((self.system, self.tools, *self._texts(), *sorted((self.chosen, self.rejected))))
            return asked, hash(self.chosen)
        if self.liked is not None:
            return hash((self.system, self.tools, *self._texts())), int(self.liked)
        if len(self.turns) == 1:
            return hash(self.turns[0][1]), 0
        *before, last = self._texts()
        if len(before) == 1 and not self.tools:
            return hash((before[0], self.system)), hash(last)
        return hash((self.system, self.tools, *before)), hash(last)

    def _texts(self) -> list[str]:
        return [text for _role, text in self.turns]


class OutputFormat:
    """A form of published rows.

    :cvar name: its name; that of LLaMA-Factory's ``formatting`` where it holds questions and answers.
    :cvar kind: what its rows are for.
    :cvar fields: fields of a row, in order.
    """

    name: t.ClassVar[str]
    kind: t.ClassVar[str] = SFT
    fields: t.ClassVar[tuple[str, ...]]
    #: the places whose text is watched for being dates only
    watched: t.ClassVar[tuple[str, ...]]
    _entry: t.ClassVar[dict[str, t.Any]]

    def __init__(self) -> None:
        #: a bit for each of :attr:`watched` that held only dates in this piece so far; 0 almost always
        self.dates = 0
        self.begin_piece()

    def begin_piece(self) -> None:
        """A new piece of the file begins."""
        self.dates = (1 << len(self.watched)) - 1

    def watch(self, *texts: str) -> None:
        """Look at the texts of a row, in the order of :attr:`watched`."""
        for bit, text in enumerate(texts):
            if self.dates >> bit & 1 and not _DATE.match(text):
                self.dates &= ~(1 << bit)

    def only_dates(self) -> list[str]:
        """The places that held nothing but dates in this piece."""
        return [place for bit, place in enumerate(self.watched) if self.dates >> bit & 1]

    @classmethod
    def entry(cls, file_name: str) -> dict[str, t.Any]:
        """The whole entry for ``dataset_info.json``."""
        return {"file_name": file_name, **cls._entry}


class AlpacaOutput(OutputFormat):
    """``instruction``, ``input``, ``output``, ``system``."""

    name = "alpaca"
    fields = ("instruction", "input", "output", "system")
    watched = fields
    _entry: t.ClassVar[dict[str, t.Any]] = {
        "formatting": "alpaca",
        "ranking": False,
        "columns": {"prompt": "instruction", "query": "input", "response": "output", "system": "system"},
    }

    def line(self, prompt: str, query: str, response: str, system: str, bare: bool = False) -> str:
        """A row as a line.

        :param bare: none of the texts holds anything that JSON escapes.
        """
        if self.dates:
            self.watch(prompt, query, response, system)
        if bare:
            return f'{{"instruction":"{prompt}","input":"{query}","output":"{response}","system":"{system}"}}\n'
        return (
            f'{{"instruction":{quote(prompt)},"input":{quote(query)},"output":{quote(response)},'
            f'"system":{quote(system)}}}\n'
        )


_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": HUMAN,
    "assistant_tag": ASSISTANT,
    "observation_tag": OBSERVATION,
    "function_tag": CALL,
    "system_tag": "system",
}


def _turn(turn: tuple[str, str]) -> str:
    return f'{{"from":"{turn[0]}","value":{quote(turn[1])}}}'


class SampleOutput(OutputFormat):
    """A form that can hold any sample of its kind."""

    @abc.abstractmethod
    def line(self, sample: Sample) -> str:
        """A row as a line."""


class MessagesOutput(SampleOutput):
    """``conversations``, ``system``, ``tools``: what LLaMA-Factory calls sharegpt."""

    name = "sharegpt"
    fields = ("conversations", "system", "tools")
    watched = ("value", "system")
    _entry: t.ClassVar[dict[str, t.Any]] = {
        "formatting": "sharegpt",
        "ranking": False,
        "columns": {"messages": "conversations", "system": "system", "tools": "tools"},
        "tags": _TAGS,
    }

    def line(self, sample: Sample) -> str:
        if self.dates:
            self._look(sample)
        turns = ",".join([f'{{"from":"{role}","value":{quote(text)}}}' for role, text in sample.turns])
        return f'{{"conversations":[{turns}],"system":{quote(sample.system)},"tools":{quote(sample.tools)}}}\n'

    def _look(self, sample: Sample) -> None:
        for _role, text in sample.turns:
            self.watch(text, sample.system)


class PreferenceOutput(SampleOutput):
    """``conversations`` that end with a question, ``chosen`` and ``rejected``, each a turn, ``system``, ``tools``."""

    name = kind = PREFERENCE
    fields = ("conversations", "chosen", "rejected", "system", "tools")
    watched = ("conversations.value", "system", "chosen.value", "rejected.value")
    _entry: t.ClassVar[dict[str, t.Any]] = {
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {
            "messages": "conversations",
            "chosen": "chosen",
            "rejected": "rejected",
            "system": "system",
            "tools": "tools",
        },
        "tags": _TAGS,
    }

    def line(self, sample: Sample) -> str:
        chosen, rejected = t.cast("tuple[str, str]", sample.chosen), t.cast("tuple[str, str]", sample.rejected)
        if self.dates:
            for _role, text in sample.turns:
                self.watch(text, sample.system, chosen[1], rejected[1])
        turns = ",".join(map(_turn, sample.turns))
        return (
            f'{{"conversations":[{turns}],"chosen":{_turn(chosen)},"rejected":{_turn(rejected)},'
            f'"system":{quote(sample.system)},"tools":{quote(sample.tools)}}}\n'
        )


class KtoOutput(SampleOutput):
    """``conversations`` that end with the answer, ``kto_tag`` (whether it was liked), ``system``, ``tools``."""

    name = kind = KTO
    fields = ("conversations", "kto_tag", "system", "tools")
    watched = ("conversations.value", "system")
    _entry: t.ClassVar[dict[str, t.Any]] = {
        "formatting": "sharegpt",
        "ranking": False,
        "columns": {"messages": "conversations", "kto_tag": "kto_tag", "system": "system", "tools": "tools"},
        "tags": _TAGS,
    }

    def line(self, sample: Sample) -> str:
        if self.dates:
            for _role, text in sample.turns:
                self.watch(text, sample.system)
        turns = ",".join(map(_turn, sample.turns))
        return (
            f'{{"conversations":[{turns}],"kto_tag":{"true" if sample.liked else "false"},'
            f'"system":{quote(sample.system)},"tools":{quote(sample.tools)}}}\n'
        )


class TextOutput(SampleOutput):
    """``text``, to go on training on before any questions are asked."""

    name = kind = PRETRAINING
    fields = ("text",)
    watched = fields
    # LLaMA-Factory trains on the column it calls prompt
    _entry: t.ClassVar[dict[str, t.Any]] = {"formatting": "alpaca", "ranking": False, "columns": {"prompt": "text"}}

    def line(self, sample: Sample) -> str:
        text = sample.turns[0][1]
        if self.dates:
            self.watch(text)
        return f'{{"text":{quote(text)}}}\n'


_OUTPUT_FORMATS: tuple[type[OutputFormat], ...] = (
    AlpacaOutput,
    MessagesOutput,
    PreferenceOutput,
    KtoOutput,
    TextOutput,
)
OUTPUT_FORMATS: dict[str, type[OutputFormat]] = {form.name: form for form in _OUTPUT_FORMATS}
#: By the kind of rows, the form that can hold all of them.
BY_KIND: dict[str, type[SampleOutput]] = {
    form.kind: form for form in (MessagesOutput, PreferenceOutput, KtoOutput, TextOutput)
}
