# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that no training reads, as questions with the answer that is expected.

Either the rows that a training holds out (:mod:`.held_out_rows`), or all rows of a dataset that is not trained on. In
both cases, what the model is asked is everything before the last answer of a row, and that answer, without a thought,
is the reference. The calls before that answer are asked as well, each as a question of its own (``every_call``). What
Ollama asks in the same way is asked once: further such rows are counted, and so is everything else that is not asked:

* Plain text (``pt``) has no question, and a dataset of it is refused.
* Of a pair of answers (``dpo``, ``rm``), the better one is the reference.
* A disliked answer (``kto``) is no reference: such a row is not asked.
* A row whose last answer is empty, or cannot be told from a thought, is not asked.
* A call is not asked if another row, with another result of it, is trained on: its question is trained on there.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import typing as t

from ..chat_formats import thoughts
from ..chat_formats.canonical import CanonicalTools, canonical_arguments
from ..errors import InputError, NotReadyError
from ..evaluations.items import Item, normalised
from ..fingerprint import digest
from ..json_text import parse_json
from ..messages.message import Message
from .held_out_rows import ASKED, CONTAINING, TRAINED, Row, Sides, questions
from .output_formats import ASSISTANT, CALL, DATA_FILE, HUMAN, OBSERVATION
from .published_rows import errors_of_row
from .rules.calls import read_text
from .rules.conversations import TOOL_SEPARATOR

_DIGEST_BYTES = 16

#: Reasons why a row is not asked.
DISLIKED, EMPTY, THOUGHT = "disliked", "empty", "thought"
#: Code of what is said of each number.
_NOTES = {
    "trained": "datasets.questions_trained",
    "duplicates": "datasets.asked_once",
    "same_question": "datasets.other_answers",
    "containing": "datasets.questions_contained",
    "calls_trained": "datasets.calls_trained",
    DISLIKED: "datasets.not_asked_disliked",
    EMPTY: "datasets.not_asked_empty",
    THOUGHT: "datasets.not_asked_thought",
}

Turn = t.Mapping[str, t.Any]


class _NotAsked(Exception):
    """A row that cannot be asked; the argument is the reason."""


def items(
    version_directory: str, share: float | None, trained_on: str | None = None, every_call: bool = False
) -> tuple[list[Item], dict[str, t.Any]]:
    """The questions of a dataset, in the order of its rows, and what was counted (:func:`each_item`)."""
    counts: dict[str, t.Any] = {}
    return list(each_item(version_directory, share, trained_on, counts, every_call)), counts


def each_item(
    version_directory: str,
    share: float | None,
    trained_on: str | None,
    counts: dict[str, t.Any],
    every_call: bool = False,
) -> t.Iterator[Item]:
    """The questions of a dataset, one at a time.

    :param version_directory: of a published version.
    :param share: share of the questions that the training of this dataset holds out; None for all rows of a dataset
        that is not trained on.
    :param trained_on: directory of the version that is trained on, of which no question is asked; None if the rows are
        held out from it, or to ask all.
    :param counts: filled while the questions are read: ``rows`` of the dataset; ``asked``, number of questions;
        ``held_out``, rows that the training does not read (with a share); ``trained``, rows whose question is trained
        on (with ``trained_on``); ``duplicates``, rows that repeat an earlier one, and ``same_question``, those that do
        so with another answer; ``containing``, rows of several turns that hold a question that is held out;
        ``calls``, questions for calls before the last answer of a row, and ``calls_trained``, those that are not asked
        because another row is trained on that has the same question; ``left_out``, rows that cannot be asked, by
        reason.
    :param every_call: whether calls before the last answer of a row are asked as well, as questions of their own.
    :raises InputError: for plain text, a row that cannot be trained on either, or if nothing can be asked.
    :raises NotReadyError: if the rows cannot be read.
    """
    counts.update(rows=0, asked=0, held_out=0, trained=0, duplicates=0, same_question=0, containing=0, left_out={})
    counts.update(calls=0, calls_trained=0)
    path = os.path.join(version_directory, DATA_FILE)
    sides = Sides(version_directory, share) if share is not None else None
    left_out: collections.Counter[str] = collections.Counter()
    #: what was asked, by digest, and the digest of its reference
    asked: dict[bytes, bytes] = {}
    reader = _Reader(every_call)
    try:
        trained = _trained_questions(path, sides, trained_on, every_call)
        with open(path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                counts["rows"] += 1
                row = parse_json(line)
                if "text" in row:
                    raise InputError("datasets.text_not_asked", directory=version_directory)
                side = sides.side(row) if sides is not None else ASKED
                if side == TRAINED:
                    continue
                counts["held_out"] += sides is not None
                if side == CONTAINING:
                    counts["containing"] += 1
                    continue
                *calls, own = [question for question, _context, _answer in _asked_turns(row, every_call)]
                if own in trained:
                    counts["trained"] += 1
                    continue
                counts["calls_trained"] += sum(call in trained for call in calls)
                try:
                    found = reader.items(row, number, trained)
                except _NotAsked as error:
                    left_out[str(error)] += 1
                    counts["left_out"] = dict(left_out)
                    continue
                new = [item for item in found if _key(item) not in asked]
                if found[-1] not in new:
                    same = asked[_key(found[-1])] == _reference_key(found[-1])
                    counts["duplicates" if same else "same_question"] += 1
                for item in new:
                    asked[_key(item)] = _reference_key(item)
                    counts["asked"] += 1
                    counts["calls"] += item is not found[-1]
                    yield item
    except OSError as error:
        raise NotReadyError("errors.unreadable", path=error.filename or path, reason=error.strerror) from error
    if not counts["asked"]:
        raise InputError("datasets.nothing_to_ask", rows=counts["rows"], notes=notes(counts))


def notes(counts: t.Mapping[str, t.Any]) -> list[Message]:
    """What is said of rows that are not asked, or kept from the training beside those that are.

    :param counts: of :func:`each_item`.
    """
    numbers = {**counts, **(counts.get("left_out") or {})}
    return [Message(code, count=numbers[name]) for name, code in _NOTES.items() if numbers.get(name)]


def _trained_questions(path: str, sides: Sides | None, trained_on: str | None, every_call: bool) -> frozenset[bytes]:
    """The questions that the rows of a file ask, and that are trained on as well.

    :param sides: of the rows, if they are held out from the training of the same file: only calls before the last
        answers can be trained on then.
    :param trained_on: directory of the version that is trained on; None if they are held out, or to ask all.
    """
    if trained_on is None and (sides is None or not every_call):
        return frozenset()
    own: set[bytes] = set()
    for row in _rows(path):
        if "text" not in row and (sides is None or sides.side(row) == ASKED):
            own.update(question for question, _context, _answer in _asked_turns(row, every_call))
    found: set[bytes] = set()
    for row in _rows(path if trained_on is None else os.path.join(trained_on, DATA_FILE)):
        if sides is None or sides.is_trained(row):
            found.update(own.intersection(questions(row)))
    return frozenset(found)


def _rows(path: str) -> t.Iterator[Row]:
    with open(path, "rb") as stream:
        for line in stream:
            yield json.loads(line)


def _hashed(value: t.Any) -> bytes:
    text = json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=_DIGEST_BYTES).digest()


def _key(item: Item) -> bytes:
    """Digest of what is asked, with texts that are compared as questions are."""
    texts = [[message["role"], normalised(message["content"]), message.get("tool_calls")] for message in item.messages]
    return _hashed([texts, item.tools])


def _reference_key(item: Item) -> bytes:
    return _hashed(dict(item.reference or {}))


class _Reader:
    """Turns rows into questions; remembers the tools of rows, which most of a dataset share."""

    def __init__(self, every_call: bool) -> None:
        self._every_call = every_call
        self._tools = CanonicalTools()

    def items(self, row: Row, number: int, trained: t.Container[bytes]) -> list[Item]:
        """The questions of a row, the one for its last answer last.

        :param trained: questions that are trained on; calls that answer one are left out.
        :raises _NotAsked: if it cannot be asked.
        :raises InputError: if it cannot be read.
        """
        if row.get("kto_tag") is False:
            raise _NotAsked(DISLIKED)
        with errors_of_row(number):
            text = str(row.get("tools") or "")
            tools = tuple(self._tools.read(text)[0]) if text else ()
            *earlier, last = _asked_turns(row, self._every_call)
            found = []
            for question, context, answer in earlier:
                reference = _reference(answer)
                if question not in trained and isinstance(reference, dict):
                    found.append(_item(row, context, tools, reference, number))
            _question, context, answer = last
            reference = _reference(answer)
            if not isinstance(reference, dict):
                raise _NotAsked(reference)
            return [*found, _item(row, context, tools, reference, number)]


def _asked_turns(row: Row, every_call: bool) -> list[tuple[bytes, t.Sequence[Turn], Turn]]:
    """Digest of the question, what is said before an answer, and the answer: the last one of a row last."""
    digests = questions(row)
    if "instruction" in row:
        question = "\n".join(text for text in (row["instruction"], row["input"]) if text)
        return [(digests[-1], [{"from": HUMAN, "value": question}], {"from": ASSISTANT, "value": row["output"]})]
    turns = row["conversations"]
    context, answer = (turns, row["chosen"]) if "chosen" in row else (turns[:-1], turns[-1])
    answers = [number for number, turn in enumerate(turns) if number and turn["from"] in (ASSISTANT, CALL)]
    earlier = [
        (question, turns[:number], turns[number])
        for number, question in zip(answers, digests)
        if every_call and number < len(context) and turns[number]["from"] == CALL
    ]
    return [*earlier, (digests[-1], context, answer)]


def _item(
    row: Row, context: t.Sequence[Turn], tools: tuple[dict[str, t.Any], ...], reference: dict[str, t.Any], number: int
) -> Item:
    messages = _messages(str(row.get("system") or ""), context)
    identity = digest({"messages": messages, "tools": list(tools), "reference": reference})
    return Item(identity, "held_out", tuple(messages), tools, reference=reference, row=number)


def _messages(system: str, turns: t.Sequence[Turn]) -> list[dict[str, t.Any]]:
    """Turns as Ollama takes them: calls as values, each result a message of its own, answers without thoughts."""
    messages: list[dict[str, t.Any]] = [{"role": "system", "content": system}] if system else []
    called: list[str] = []
    for turn in turns:
        role, text = turn["from"], str(turn["value"])
        if role == OBSERVATION:
            results = text.split(TOOL_SEPARATOR) if len(called) > 1 else [text]
            for number, result in enumerate(results):
                name = {"tool_name": called[number]} if number < len(called) else {}
                messages.append({"role": "tool", "content": result, **name})
            continue
        called = []
        if role == CALL:
            content, calls = _read_calls(text)
            called = [call["name"] for call in calls]
            spelled = [{"function": call} for call in calls]
            messages.append({"role": "assistant", "content": content, "tool_calls": spelled})
        elif role == ASSISTANT:
            messages.append({"role": "assistant", "content": _without_thought(text)[0]})
        else:
            messages.append({"role": "user", "content": text})
    return messages


def _reference(turn: Turn) -> dict[str, t.Any] | str:
    """The answer of a turn, or the reason why it is none."""
    text = str(turn["value"])
    answer, is_clear = _without_thought(text)
    if not is_clear:
        return THOUGHT
    if turn["from"] == CALL:
        content, calls = _read_calls(text)
        return {"content": content, "calls": calls}
    return {"content": answer, "calls": []} if answer.strip() else EMPTY


def _read_calls(text: str) -> tuple[str, list[dict[str, t.Any]]]:
    """The text beside the calls of a turn, without a thought, and the calls."""
    read = read_text(_without_thought(text)[0], "value")
    calls = [{"name": call.name, "arguments": canonical_arguments(call.arguments)[0]} for call in read.calls]
    return read.beside, calls


def _without_thought(text: str) -> tuple[str, bool]:
    """A text without a thought before it, and whether the thought could be told from the answer."""
    try:
        thought = thoughts.read(text)
    except thoughts.Unclear as error:
        # words of a thought within a text are meant as text
        return text, error.kind == thoughts.INSIDE
    return (thought.answer, True) if thought is not None else (text, True)
