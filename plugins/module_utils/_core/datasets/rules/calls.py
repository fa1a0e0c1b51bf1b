# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of a turn, read from every spelling that rows have, and the spelling in which they are published.

* OpenAI's ``tool_calls``: ``{"id", "type": "function", "function": {"name", "arguments"}}``, beside ``content``.
* The text of a ``function_call``: the JSON of a call (``name``, ``arguments``) or of a list of calls; a thought
  (``<think>…</think>``) may stand before it. A text before the calls is separated by ``<tool_call>…</tool_call>``
  around each of them.

Arguments are an object, or the same as JSON text. Published is the JSON of a call or a list; with a text before it,
the text and ``<tool_call>JSON</tool_call>``, which LLaMA-Factory separates in the same way.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t

from ...json_text import is_too_deep, parse_strict_json
from ...messages.message import Message
from ..problems import kind_of

#: The reasoning that some models write before a call; LLaMA-Factory separates it and keeps it.
THOUGHT = re.compile(r"\s*<(think|thinking|thought)>.*?</\1>", re.DOTALL)
#: Texts around a call that stands beside a text.
BEGIN, END = "<tool_call>", "</tool_call>"

_Fault = tuple[str, Message]


class Unreadable(Exception):
    """Calls that cannot be read; ``fault`` says where and why."""

    def __init__(self, location: str, defect: Message) -> None:
        super().__init__(str(defect))
        self.fault: _Fault = (location, defect)


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a tool.

    :param name: name of the tool; :param arguments: as values.
    :param id: its id in the row; empty if it has none.
    :param location: where the arguments stand in the row.
    """

    name: str
    arguments: dict[str, t.Any]
    id: str = ""
    location: str = ""

    def as_value(self) -> dict[str, t.Any]:
        """The call as it stands in the JSON of a row."""
        return {"name": self.name, "arguments": self.arguments}


@dataclasses.dataclass(frozen=True)
class Calls:
    """All calls of a turn.

    :param before: the text before them, a thought included; may be empty.
    :param calls: the calls, at least one.
    """

    before: str
    calls: tuple[Call, ...]

    @property
    def beside(self) -> str:
        """The text before the calls without a thought, and without white space around it."""
        return THOUGHT.sub("", self.before, count=1).strip()

    def published(self) -> str:
        """The text of the turn in a published row."""
        values = [call.as_value() for call in self.calls]
        return joined(self.before, json.dumps(values if len(values) > 1 else values[0], ensure_ascii=False))


def joined(before: str, calls: str, begin: str = BEGIN, end: str = END) -> str:
    """A text or a thought, and the JSON of calls, as the text of a turn.

    :param before: may be empty; :param calls: JSON.
    :param begin: :param end: texts that separate the calls from a text before them (``tool_call_words`` of the facts).
    """
    if begin in calls or end in calls:
        # LLaMA-Factory looks for these texts everywhere; in JSON they can be written otherwise
        calls = calls.replace("<", "\\u003c")
    if not THOUGHT.sub("", before, count=1).strip():
        return before + calls
    return f"{before.rstrip()}{begin}{calls}{end}"


def read_text(text: str, location: str) -> Calls:
    """The calls in the text of a ``function_call``.

    :param location: where the text stands in the row.
    :raises Unreadable: if it holds no calls.
    """
    thought = THOUGHT.match(text)
    rest = text[thought.end() :] if thought else text
    before, json_text = text[: len(text) - len(rest.lstrip())], rest.lstrip()
    if BEGIN in rest and not json_text.startswith(("{", "[")):
        words, _begin, blocks = rest.partition(BEGIN)
        before = (thought.group(0) if thought else "") + words
        return Calls(before.rstrip() if words.strip() else before, tuple(_blocks(BEGIN + blocks, location)))
    try:
        value = parse_strict_json(json_text)
    except ValueError as error:
        raise Unreadable(location, Message("datasets.call_no_json", reason=error)) from error
    return Calls(before, tuple(_listed(value, location)))


def _blocks(text: str, location: str) -> t.Iterator[Call]:
    """The calls in ``<tool_call>…</tool_call>``, one or more, with nothing after them."""
    while text:
        if not text.startswith(BEGIN):
            raise Unreadable(location, Message("datasets.text_after_call"))
        text = text[len(BEGIN) :].lstrip()
        try:
            _value, size = json.JSONDecoder().raw_decode(text)
            value = parse_strict_json(text[:size])
        except (ValueError, RecursionError) as error:
            raise Unreadable(location, Message("datasets.call_no_json", reason=error)) from error
        yield from _listed(value, location)
        text = text[size:].lstrip()
        if not text.startswith(END):
            raise Unreadable(location, Message("datasets.call_not_closed", end=END))
        text = text[len(END) :].lstrip()


def _listed(value: t.Any, location: str) -> t.Iterator[Call]:
    """The calls in the JSON of a text."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise Unreadable(location, Message("datasets.no_call"))
    for number, each in enumerate(values):
        where = f"{location}[{number}]" if len(values) > 1 else location
        function = each
        if isinstance(each, dict) and isinstance(each.get("function"), dict) and "name" not in each:
            function, where = each["function"], f"{where}.function"
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or "arguments" not in function:
            raise Unreadable(location, Message("datasets.call_incomplete"))
        yield Call(function["name"], _arguments(function["arguments"], f"{where}.arguments"), "", f"{where}.arguments")


def read_tool_calls(calls: t.Any, content: t.Any, location: str) -> Calls:
    """The calls of an assistant's turn in OpenAI's spelling.

    :param calls: ``tool_calls``; :param content: the text beside them, or None.
    :param location: of ``tool_calls`` in the row.
    :raises Unreadable: at the first that cannot be read.
    """
    if not isinstance(calls, list):
        raise Unreadable(location, Message("datasets.calls_no_list", kind=kind_of(calls)))
    read = []
    for number, call in enumerate(calls):
        function = call.get("function") if isinstance(call, t.Mapping) else None
        where = f"{location}[{number}].function"
        if not isinstance(function, t.Mapping) or not isinstance(function.get("name"), str):
            raise Unreadable(where, Message("datasets.function_without_name"))
        identity = call.get("id")
        if identity is not None and not isinstance(identity, str):
            raise Unreadable(f"{location}[{number}].id", Message("datasets.not_text", kind=kind_of(identity)))
        arguments = _arguments(function.get("arguments"), f"{where}.arguments")
        read.append(Call(function["name"], arguments, identity or "", f"{where}.arguments"))
    return Calls(content.rstrip() if isinstance(content, str) else "", tuple(read))


def _arguments(value: t.Any, location: str) -> dict[str, t.Any]:
    if isinstance(value, str):
        try:
            # without parsing, LLaMA-Factory would train on the quoted text
            value = parse_strict_json(value) if value.strip() else {}
        except ValueError as error:
            raise Unreadable(location, Message("datasets.arguments_no_json", reason=error)) from error
    if not isinstance(value, dict):
        raise Unreadable(location, Message("datasets.arguments_no_object", kind=kind_of(value)))
    if is_too_deep(value):
        raise Unreadable(location, Message("datasets.nested_too_deeply"))
    return value
