# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output formats in which datasets are published for LLaMA-Factory, independent of the format of the source.

Read in LLaMA-Factory 0.9.5 (``data/parser.py``, ``data/converter.py``) and ``datasets`` 4.0, which reads the files:

* A key that is missing in ``columns`` or ``tags`` becomes None: an entry is always written completely.
* Every field is text in every row. ``datasets`` infers a column's type from the first 10 MiB; an empty list or a null
  there makes a later value fail. So there is no ``history``: rows with a history are written as messages, which
  LLaMA-Factory converts to the same samples.
* A column that contains only dates in one such piece becomes a timestamp; LLaMA-Factory drops an ``output`` that is
  not text. :attr:`OutputFormat.dates` detects that.
* ``ranking`` is true for pairs of answers (dpo, rm) and must not be true for anything else; ``kto_tag`` is accepted
  only as a boolean, and a ``chosen`` that is text instead of a turn is ignored in favour of the other fields.
* The ``openai`` formatting adds ``detailed thinking off`` to every system prompt, so it is never used for output.
"""

from __future__ import annotations

import abc
import dataclasses
import re
import typing as t
from json.encoder import encode_basestring as quote

#: ``chunksize`` of ``datasets.packaged_modules.json``: column types are inferred piece by piece.
PIECE = 10 << 20
#: The only entry of the ``dataset_info.json`` stored beside the rows.
ENTRY = "dataset"
DATA_FILE = "data.jsonl"
#: Describes a dataset to LLaMA-Factory; beside the rows of each version, and one of all datasets.
INFO_FILE = "dataset_info.json"

#: Kinds of rows: question and answer; a pair of answers with a preference; an answer that was liked or not; text.
SFT, PREFERENCE, KTO, PRETRAINING = "sft", "preference", "kto", "pretraining"

HUMAN, ASSISTANT, OBSERVATION, CALL = "human", "gpt", "observation", "function_call"

# the strings that Arrow converts to a timestamp, and slightly more
_DATE = re.compile(r"\d{4}-\d\d-\d\d.{0,30}\Z", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Sample:
    """The content of one row, independent of its format.

    :param turns: role (:data:`HUMAN`, :data:`ASSISTANT`, :data:`OBSERVATION`, :data:`CALL`) and text, in order;
        questions and answers alternate, and the last turn is the answer. With a pair of answers, the last turn is the
        question. Plain text is a single turn.
    :param system: the system prompt; empty if there is none.
    :param tools: the tools as JSON text; empty if there are none.
    :param chosen: role and text of the better answer; None if the row has no pair of answers.
    :param rejected: role and text of the worse answer.
    :param liked: whether the answer was liked; None for rows without such a tag.
    """

    turns: t.Sequence[tuple[str, str]]
    system: str = ""
    tools: str = ""
    chosen: tuple[str, str] | None = None
    rejected: tuple[str, str] | None = None
    liked: bool | None = None

    @property
    def key(self) -> tuple[int, int]:
        """Hashes of question and answer to detect duplicates and contradictions; valid in this process only.

        Rows with the same first hash have the same question; if the second hash differs, they contradict each other.
        """
        if self.chosen and self.rejected:
            # same pair of answers, opposite preference: that is a contradiction
            question = hash((self.system, self.tools, *self._texts(), *sorted((self.chosen, self.rejected))))
            return question, hash(self.chosen)
        if self.liked is not None:
            return hash((self.system, self.tools, *self._texts())), int(self.liked)
        if len(self.turns) == 1:
            return hash(self.turns[0][1]), 0
        *context, answer = self._texts()
        if len(context) == 1 and not self.tools:
            return hash((context[0], self.system)), hash(answer)
        return hash((self.system, self.tools, *context)), hash(answer)

    def _texts(self) -> list[str]:
        return [text for _role, text in self.turns]


class OutputFormat:
    """An output format of published rows.

    :cvar name: its name; LLaMA-Factory's ``formatting`` for rows with question and answer.
    :cvar kind: the kind of its rows.
    :cvar fields: fields of a row, in order.
    """

    name: t.ClassVar[str]
    kind: t.ClassVar[str] = SFT
    fields: t.ClassVar[tuple[str, ...]]
    #: the fields that are checked for containing only dates
    watched: t.ClassVar[tuple[str, ...]]
    _entry: t.ClassVar[dict[str, t.Any]]

    def __init__(self) -> None:
        #: one bit per field of :attr:`watched` that contained only dates in this piece so far; almost always 0
        self.dates = 0
        self.begin_piece()

    def begin_piece(self) -> None:
        """Start a new piece of the file."""
        self.dates = (1 << len(self.watched)) - 1

    def watch(self, *texts: str) -> None:
        """Check the texts of a row, in the order of :attr:`watched`."""
        for bit, text in enumerate(texts):
            if self.dates >> bit & 1 and not _DATE.match(text):
                self.dates &= ~(1 << bit)

    def only_dates(self) -> list[str]:
        """The fields that contained only dates in this piece."""
        return [place for bit, place in enumerate(self.watched) if self.dates >> bit & 1]

    @classmethod
    def entry(cls, file_name: str) -> dict[str, t.Any]:
        """The complete entry for ``dataset_info.json``."""
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
        """A row as one line.

        :param bare: whether none of the texts contains a character that JSON escapes.
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
    """An output format that can represent every sample of its kind."""

    @abc.abstractmethod
    def line(self, sample: Sample) -> str:
        """A row as one line."""


class MessagesOutput(SampleOutput):
    """``conversations``, ``system``, ``tools``: LLaMA-Factory's ``sharegpt``."""

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
            self._watch_turns(sample)
        turns = ",".join([f'{{"from":"{role}","value":{quote(text)}}}' for role, text in sample.turns])
        return f'{{"conversations":[{turns}],"system":{quote(sample.system)},"tools":{quote(sample.tools)}}}\n'

    def _watch_turns(self, sample: Sample) -> None:
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
    """``text``, for further pretraining without questions."""

    name = kind = PRETRAINING
    fields = ("text",)
    watched = fields
    # LLaMA-Factory trains on the column named "prompt"
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
OUTPUT_FORMATS: dict[str, type[OutputFormat]] = {each.name: each for each in _OUTPUT_FORMATS}
#: By kind of rows: the output format that can represent all of them.
BY_KIND: dict[str, type[SampleOutput]] = {
    each.kind: each for each in (MessagesOutput, PreferenceOutput, KtoOutput, TextOutput)
}
