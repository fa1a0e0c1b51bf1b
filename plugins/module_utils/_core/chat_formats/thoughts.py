# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The thought of an answer, read from every spelling that rows have, and written as a chat template spells it.

A thought stands before the answer: between the words of a chat template (``<think>…</think>`` in most), or between
those of another model or tool. LLaMA-Factory recognizes only the words of the template, with their line breaks; it
trains on any other spelling as on the text of the answer. An opening may be missing where the prompt of another model
ended with it.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing as t

from .exactness import EXACT, SINGLE_TURN, exactness_of
from .facts import TemplateFacts, facts_of, names

#: Kinds of texts that are no thought and an answer: not closed; a second one after it; nothing after it; and words
#: of a thought within the text, which may be meant as text.
OPEN, AGAIN, ALONE, INSIDE = "open", "again", "alone", "inside"
#: Words of other models and tools.
_OTHER_WORDS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<thought>", "</thought>"))
#: Blank lines, or blanks, between a thought and the answer.
_GAP = re.compile(r"(?:[ \t]*\n)+|[ \t]*")


class Unclear(Exception):
    """A text whose thought cannot be distinguished from its answer.

    :param kind: :data:`OPEN`, :data:`AGAIN`, :data:`ALONE` or :data:`INSIDE`; :param marker: the word.
    """

    def __init__(self, kind: str, marker: str) -> None:
        super().__init__(f"{kind}: {marker}")
        self.kind = kind
        self.marker = marker


@dataclasses.dataclass(frozen=True)
class Thought:
    """The thought before an answer.

    :param opening: the word before it, with white space before that and a line break after it; empty if it is missing.
    :param text: the thought without white space around it; may be empty.
    :param closing: the word after it, with a line break before it and at most two after it.
    :param answer: the text after it.
    :param source: everything before the answer, as it stands in the text.
    """

    opening: str
    text: str
    closing: str
    answer: str
    source: str

    def written(self, facts: TemplateFacts) -> str:
        """The thought as a template spells it; nothing if it is empty: LLaMA-Factory writes an empty thought itself."""
        return f"{facts.thought_words[0]}{self.text}{facts.thought_words[1]}" if self.text else ""

    def is_written(self, facts: TemplateFacts) -> bool:
        """Whether the text is what a training with a template makes of it."""
        if not self.text:
            return self.source == facts.empty_thought
        return spelled_for(facts, self.opening, self.closing)


def spelled_for(facts: TemplateFacts, opening: str, closing: str) -> bool:
    """Whether a thought with these words (:class:`Thought`) is spelled as a template spells it."""
    return facts.reasoning and (opening, closing) == facts.thought_words


@functools.cache
def words() -> tuple[tuple[str, str], ...]:
    """All known pairs of words before and after a thought, without white space."""
    of_templates = [facts_of(name).thought_words for name in names() if facts_of(name).reasoning]
    return tuple(dict.fromkeys([(begin.strip(), end.strip()) for begin, end in of_templates] + list(_OTHER_WORDS)))


@functools.cache
def _tails() -> tuple[bytes, ...]:
    """Texts of which every known word contains one: few of them, because each is searched for in all rows."""
    tails = {word.lstrip("<|/◁") for pair in words() for word in pair}
    return tuple(sorted(tail.encode("utf-8") for tail in tails if not any(each in tail for each in tails - {tail})))


def may_have(data: bytes) -> bool:
    """Whether rows, as they are published, may hold a thought; true for all that do."""
    return any(tail in data for tail in _tails())


def own_words(facts: TemplateFacts) -> tuple[str, ...]:
    """The words of a template without white space; empty if it has no thoughts."""
    return tuple(word.strip() for word in facts.thought_words) if facts.reasoning else ()


def read(text: str) -> Thought | None:
    """The thought before an answer; None if there is none.

    :param text: an answer, or calls with what stands before them.
    :raises Unclear: if it cannot be distinguished from the answer.
    """
    begin = len(text) - len(text.lstrip())
    for first, last in words():
        if text.startswith(first, begin):
            end = text.find(last, begin + len(first))
            if end < 0:
                raise Unclear(OPEN, first)
            return _thought(text, text[: begin + len(first)], end, (first, last))
    for first, last in words():
        end = text.find(last)
        if end >= 0 and text[:end].strip() and first not in text[:end] and _stands_alone(text, end, last):
            return _thought(text, "", end, (first, last))
    for pair in words():
        for word in pair:
            if word in text:
                raise Unclear(INSIDE, word)
    return None


def _stands_alone(text: str, position: int, word: str) -> bool:
    """Whether a word begins or ends a line, as the end of a thought does and a word within a sentence does not."""
    return text[:position].endswith("\n") or text.startswith("\n", position + len(word))


def _thought(text: str, opening: str, end: int, pair: tuple[str, str]) -> Thought:
    inner, rest = text[len(opening) : end], text[end + len(pair[1]) :]
    gap = len(rest) - len(rest.lstrip("\n"))
    closing = ("\n" if inner.endswith("\n") else "") + pair[1] + "\n" * min(gap, 2)
    answer = _GAP.sub("", rest, count=1)
    if not answer.strip():
        raise Unclear(ALONE, pair[1])
    for word in pair:
        if word in answer:
            raise Unclear(AGAIN, word)
    if opening and inner.startswith("\n"):
        opening += "\n"
    return Thought(opening, inner.strip(), closing, answer, text[: len(text) - len(rest)] + "\n" * gap)


def templates_with() -> list[str]:
    """The names of the templates that have thoughts and can be served, sorted."""
    return [name for name in names() if facts_of(name).reasoning and exactness_of(name).level in (EXACT, SINGLE_TURN)]


def texts(row: t.Mapping[str, t.Any], answers: t.Container[str]) -> t.Iterator[tuple[str, str]]:
    """The answers of a published row, each with its field.

    :param answers: roles of the turns that the model writes.
    """
    if isinstance(row.get("output"), str):
        yield "output", row["output"]
    for name in ("conversations", "chosen", "rejected"):
        value = row.get(name)
        for number, turn in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(turn, dict) and turn.get("from") in answers:
                yield f"{name}[{number}].value" if isinstance(value, list) else f"{name}.value", str(turn["value"])
