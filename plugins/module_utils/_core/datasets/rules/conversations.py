# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that are conversations: sharegpt (``conversations`` of ``from`` and ``value``) and OpenAI's ``messages``.

Both are converted to a :class:`Sample`: questions and answers alternate, and the last turn is an answer. LLaMA-Factory
skips any other row, with only a warning in its log.
"""

from __future__ import annotations

import abc
import dataclasses
import json
import typing as t

from ...chat_formats import thoughts
from ...json_text import parse_strict_json
from ...messages.message import Message
from ...messages.suggestions import nearest
from ..output_formats import ASSISTANT, CALL, HUMAN, OBSERVATION, MessagesOutput, Sample
from ..problems import kind_of
from .base import Fault, RenderedRow, Rules, plain_text
from .calls import Calls, Unreadable, read_text, read_tool_calls
from .tool_use import ToolResult, call_faults, in_order, result_faults
from .tools import function_of, parameters_of, tools_faults
from .unread_fields import MEDIA_FIELDS, holds_nothing

SYSTEM = "system"

#: Roles that may follow a role.
_NEXT_ROLES: dict[str, tuple[str, ...]] = {
    "": (HUMAN,),
    HUMAN: (ASSISTANT, CALL),
    # a turn before calls is the text beside them
    ASSISTANT: (HUMAN, CALL),
    CALL: (OBSERVATION,),
    OBSERVATION: (ASSISTANT, CALL),
}
#: The separator with which LLaMA-Factory joins the answers of several tools in one turn (OpenAIDatasetConverter).
TOOL_SEPARATOR = "\n</tool_response>\n<tool_response>\n"
#: Other common names of the roles.
_SYNONYMS = {
    "user": HUMAN, "human": HUMAN, "prompter": HUMAN, "assistant": ASSISTANT, "gpt": ASSISTANT, "chatgpt": ASSISTANT,
    "bot": ASSISTANT, "model": ASSISTANT, "bing": ASSISTANT, "tool": OBSERVATION, "function": OBSERVATION,
    "observation": OBSERVATION, "function_call": CALL, "tool_call": CALL,
}  # fmt: skip

#: Keys of the weight of a turn, as OpenAI and the next format of LLaMA-Factory call it.
_WEIGHTS = ("weight", "loss_weight")
#: Keys of the thought of an answer, beside its content, as the servers of several models call it.
_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
#: Types of a part of a content that is text, in OpenAI's chat completions and responses, and the keys of the text, in
#: OpenAI's formats and the next one of LLaMA-Factory.
_TEXT_PARTS, _TEXT_KEYS = ("text", "input_text", "output_text"), ("text", "value")


class TurnRules(Rules):
    """The common part of both kinds of conversation.

    :cvar role: key of a turn's role; :cvar content: key of its text; :cvar roles: role in the data → role of a sample.
    """

    required: t.ClassVar[tuple[str, ...]] = ("messages",)
    role: t.ClassVar[str]
    content: t.ClassVar[str]
    roles: t.ClassVar[dict[str, str]]

    def __init__(self, columns: t.Mapping[str, str], ignored: t.Iterable[str] = ()) -> None:
        super().__init__(columns, ignored)
        self._messages, self._system, self._tools = (self.field[name] for name in ("messages", "system", "tools"))

    #: roles that may end a valid row
    final_roles: t.ClassVar[tuple[str, ...]] = (ASSISTANT, CALL)

    def quick(
        self, output_format: MessagesOutput, row: t.Any, text: str | None, start: int, end: int
    ) -> RenderedRow | None:
        if not isinstance(row, dict):
            return None
        messages = row.get(self._messages)
        system = row.get(self._system)
        size = 1
        if system is None:
            system = ""
        else:
            size += 1
        if len(row) != size or not isinstance(messages, list) or not isinstance(system, str):
            return None
        turns: list[tuple[str, str]] = []
        previous = ""
        role_key, content_key, roles = self.role, self.content, self.roles
        for message in messages:
            if not isinstance(message, dict) or len(message) != 2:
                return None
            content = message.get(content_key)
            name = message.get(role_key)
            if not isinstance(content, str) or not isinstance(name, str) or not content or content.isspace():
                return None
            role = roles.get(name, "")
            if role == SYSTEM and not turns and not previous and not system:
                system = content
                previous = SYSTEM
                continue
            if role not in (HUMAN, ASSISTANT) or role not in _NEXT_ROLES["" if previous == SYSTEM else previous]:
                return None
            turns.append((role, content))
            previous = role
        if previous != ASSISTANT:
            return None
        # keys and values: two strings for "messages" minus its list, two for a system prompt, four per message
        if not plain_text(text, start, end, 1 + 2 * (size - 1) + 4 * len(messages)):
            return None
        sample = Sample(turns, system)
        line = output_format.line(sample)
        return None if "\\u0000" in line else (line, system, sample.key)

    def check(self, row: t.Any) -> list[Fault]:
        if not isinstance(row, t.Mapping):
            return self.not_an_object(row)
        faults = self.check_fields(row)
        if row.get(self._system) is not None:
            faults += self.check_text(row[self._system], self._system, blank=True)
        tools_faults = self.check_tools(row.get(self._tools))
        faults += tools_faults
        if self._messages in row:
            found = self._check_messages(row[self._messages], row.get(self._system))
            if not found and not tools_faults:
                found = self._check_use(row[self._messages], self.parameters_of(row))
            faults += found
        return faults

    def _check_messages(self, messages: t.Any, system: t.Any) -> list[Fault]:
        if not isinstance(messages, list):
            return [(self._messages, Message("datasets.turns_no_list", kind=kind_of(messages)))]
        if not messages:
            return [(self._messages, Message("datasets.no_turns"))]
        faults: list[Fault] = []
        for index, message in enumerate(messages):
            location = f"{self._messages}[{index}]"
            if not isinstance(message, t.Mapping):
                example = f'{{"{self.role}": …, "{self.content}": …}}'
                faults.append((location, Message("datasets.turn_no_object", kind=kind_of(message), example=example)))
            else:
                faults += self.check_role(message, location) or self.check_turn(message, location)
        if faults:
            return faults
        return self._check_order(messages, system)

    def check_role(self, message: t.Mapping[str, t.Any], location: str) -> list[Fault]:
        """The faults of a turn's role."""
        location = f"{location}.{self.role}"
        if self.role not in message:
            return [(location, Message("datasets.role_missing", roles=list(self.roles)))]
        name = message[self.role]
        if not isinstance(name, str):
            return self.check_text(name, location)
        if name in self.roles:
            return []
        own_role = self._own_names().get(_SYNONYMS.get(name.lower(), ""), "")
        meant = Message("errors.did_you_mean_quoted", name=own_role) if own_role else nearest(name, self.roles)
        return [(location, Message("datasets.role_unknown", role=name, suggestion=meant, roles=list(self.roles)))]

    def check_keys(self, message: t.Mapping[str, t.Any], location: str, known_keys: t.Container[str]) -> list[Fault]:
        """Faults for keys of a turn that would be lost."""
        faults = []
        for key, value in message.items():
            if key not in known_keys and not holds_nothing(value):
                defect = self._unknown_key(str(key), value, message)
                if defect:
                    faults.append((f"{location}.{key}", defect))
        return faults

    def _unknown_key(self, key: str, value: t.Any, message: t.Mapping[str, t.Any]) -> Message | None:
        if key in _WEIGHTS:
            return self._check_weight(value, self.roles[message[self.role]])
        if key in MEDIA_FIELDS:
            return Message("datasets.no_media")
        suggestion = nearest(key, (self.role, self.content))
        if suggestion:
            return Message("datasets.turn_key_suggested", suggestion=suggestion)
        return Message("datasets.turn_key_unknown")

    @staticmethod
    def _check_weight(value: t.Any, role: str) -> Message | None:
        """OpenAI's weight of an answer: with 0, it must not be trained on. Questions are never trained on."""
        if isinstance(value, bool) or value not in (0, 1):
            return Message("datasets.weight_invalid", kind=kind_of(value))
        return Message("datasets.weight_zero") if value == 0 and role in (ASSISTANT, CALL) else None

    @abc.abstractmethod
    def check_turn(self, message: t.Mapping[str, t.Any], location: str) -> list[Fault]:
        """The faults of a turn whose role is valid."""

    @abc.abstractmethod
    def turn(self, message: t.Mapping[str, t.Any]) -> tuple[str, str]:
        """Role and text, as in a sample, of a valid turn."""

    @abc.abstractmethod
    def calls(self, message: t.Mapping[str, t.Any], location: str) -> Calls:
        """The calls of a turn whose role in a sample is :data:`CALL`.

        :param location: of the turn in the row.
        :raises Unreadable: if it holds no calls.
        """

    def result(self, message: t.Mapping[str, t.Any], location: str) -> ToolResult:
        """The result in a turn whose role in a sample is :data:`OBSERVATION`."""
        return ToolResult(message[self.content], location=location)

    def parameters_of(self, row: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """The schema of the parameters of each tool of a row, by name; the row's tools are valid."""
        tools = row.get(self._tools) or []
        if isinstance(tools, str):
            tools = parse_strict_json(tools) if tools.strip() else []
        functions = [function_of(tool)[0] for tool in tools]
        return {function["name"]: parameters_of(function) for function in functions}

    def _check_use(self, messages: t.Sequence[t.Mapping[str, t.Any]], tools: t.Mapping[str, t.Any]) -> list[Fault]:
        """The faults of calls and their results in a conversation that is valid otherwise."""
        faults: list[Fault] = []
        calls = Calls("", ())
        results: list[ToolResult] = []
        for index, message in enumerate(messages):
            location = f"{self._messages}[{index}]"
            role = self.turn(message)[0]
            if role == OBSERVATION:
                results.append(self.result(message, location))
                continue
            faults += result_faults(results, calls.calls)
            results = []
            if role == CALL:
                calls = self.calls(message, location)
                faults += call_faults(calls.calls, tools)
        return faults + result_faults(results, calls.calls)

    def _check_order(self, messages: t.Sequence[t.Mapping[str, t.Any]], system: t.Any) -> list[Fault]:
        role_location = f"{self._messages}[%d].{self.role}"
        own_names = self._own_names()
        previous = ""
        for index, message in enumerate(messages):
            current, text = self.turn(message)
            if current == SYSTEM:
                if index:
                    return [(role_location % index, Message("datasets.late_system_prompt"))]
                if system and text != system:
                    return [(self._system, Message("datasets.two_system_prompts", field=self._messages))]
                continue
            if current not in _NEXT_ROLES[previous] and not current == previous == OBSERVATION:
                expected = list(dict.fromkeys(repr(own_names[name]) for name in _NEXT_ROLES[previous]))
                explanation = Message("datasets.first_turn")
                if previous:
                    code = "datasets.call_before" if previous == CALL else "datasets.turn_before"
                    explanation = Message(code, role=own_names[previous])
                code = "datasets.role_out_of_order"
                if current == OBSERVATION:
                    code = "datasets.result_without_call"
                elif previous == CALL:
                    code = "datasets.call_without_result"
                defect = Message(code, role=message[self.role], expected=expected, explanation=explanation)
                return [(role_location % index, defect)]
            previous = current
        if previous not in self.final_roles:
            location = role_location % (len(messages) - 1)
            if ASSISTANT in self.final_roles:
                return [(location, Message("datasets.last_turn_no_answer"))]
            return [(location, Message("datasets.last_turn_no_question"))]
        return []

    def _own_names(self) -> dict[str, str]:
        """Role of a sample → role of this format. Where calls have no role of their own, the assistant makes them."""
        own_names = {own: name for name, own in reversed(list(self.roles.items()))}
        return {**own_names, CALL: own_names.get(CALL, own_names[ASSISTANT])}

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        system = self.optional(row, "system")
        turns: list[tuple[str, str]] = []
        calls = Calls("", ())
        results: list[ToolResult] = []
        for message in row[self._messages]:
            role, text = self.turn(message)
            if role == OBSERVATION:
                results.append(self.result(message, ""))
                continue
            _add_results(turns, results, calls)
            results = []
            if role == CALL:
                calls = self.calls(message, "")
            if role == SYSTEM:
                system = text
            elif role == CALL and turns and turns[-1][0] == ASSISTANT:
                turns[-1] = (CALL, _with_text(turns[-1][1], calls))
            else:
                turns.append((role, text))
        _add_results(turns, results, calls)
        return Sample(turns, system, self._tools_text(row.get(self._tools)))

    def check_tools(self, tools: t.Any) -> list[Fault]:
        """The faults of the tools of a row: a list, or the same as JSON text."""
        location = self._tools
        if tools is None or (isinstance(tools, str) and holds_nothing(tools)):
            return []
        if isinstance(tools, str):
            faults = self.check_text(tools, location)
            if faults:
                return faults
            try:
                tools = parse_strict_json(tools)
            except ValueError as error:
                return [(location, Message("datasets.tools_no_json", reason=error))]
        if not isinstance(tools, list):
            return [(location, Message("datasets.tools_no_list", kind=kind_of(tools)))]
        return tools_faults(tools, location) or self.check_json(tools, location)

    def check_json(self, value: t.Any, location: str) -> list[Fault]:
        """The faults of a value that cannot be written as JSON, or whose text cannot be published."""
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError) as error:
            return [(location, Message("datasets.not_writable_as_json", reason=error))]
        return self.check_text(text, location)

    @staticmethod
    def _tools_text(tools: t.Any) -> str:
        if holds_nothing(tools):
            return ""
        text = tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
        return "" if parse_strict_json(text) == [] else text


class SharegptRules(TurnRules):
    """``conversations`` of ``{"from": …, "value": …}``, ``system``, ``tools``."""

    format = "sharegpt"
    description = (
        "has C(conversations), a list of turns with C(from) (V(human), V(gpt), V(system), V(observation), "
        "V(function_call)) and C(value), and optionally C(system) and C(tools)."
    )
    usual: t.ClassVar[dict[str, str]] = {"messages": "conversations", "system": "system", "tools": "tools"}
    role, content = "from", "value"
    roles: t.ClassVar[dict[str, str]] = {name: name for name in (HUMAN, ASSISTANT, SYSTEM, OBSERVATION, CALL)}

    def check_turn(self, message: t.Mapping[str, t.Any], location: str) -> list[Fault]:
        faults = self.check_keys(message, location, (self.role, self.content))
        content_location = f"{location}.{self.content}"
        if self.content not in message:
            return [*faults, (content_location, Message("datasets.content_missing"))]
        role, text = message[self.role], message[self.content]
        content_faults = self.check_text(text, content_location, blank=role in (OBSERVATION, SYSTEM))
        if role == CALL and not content_faults:
            try:
                read_text(text, content_location)
            except Unreadable as error:
                content_faults = [error.fault]
        return faults + content_faults

    def calls(self, message: t.Mapping[str, t.Any], location: str) -> Calls:
        return read_text(message[self.content], f"{location}.{self.content}")

    def turn(self, message: t.Mapping[str, t.Any]) -> tuple[str, str]:
        if message[self.role] == CALL:
            calls = self.calls(message, "")
            # the JSON of a call stays as it was written: the content of a version is its fingerprint
            if calls.beside or '"function"' in message[self.content]:
                return CALL, calls.published()
        return message[self.role], message[self.content]


class OpenAIRules(TurnRules):
    """``messages`` of ``{"role": …, "content": …}`` with ``tool_calls``, and ``tools``."""

    format = "openai"
    description = (
        "has C(messages), a list of turns with C(role) (V(user), V(assistant), V(system), V(tool)), C(content) and "
        "C(tool_calls), and optionally C(tools)."
    )
    usual: t.ClassVar[dict[str, str]] = {"messages": "messages", "system": "system", "tools": "tools"}
    role, content = "role", "content"
    roles: t.ClassVar[dict[str, str]] = {
        "user": HUMAN,
        "assistant": ASSISTANT,
        "system": SYSTEM,
        "developer": SYSTEM,
        "tool": OBSERVATION,
    }

    def check_turn(self, message: t.Mapping[str, t.Any], location: str) -> list[Fault]:
        role, calls = message[self.role], message.get("tool_calls")
        extra_keys = {"assistant": ("tool_calls", *_THOUGHT_KEYS), "tool": ("tool_call_id", "name")}.get(role, ())
        faults = self.check_keys(message, location, (self.role, self.content, *extra_keys))
        if role == "assistant":
            faults += self._check_thought(message, location)
        content_location = f"{location}.{self.content}"
        if self.content not in message and not calls:
            return [*faults, (content_location, Message("datasets.content_missing"))]
        text = _text_of_content(message.get(self.content))
        if isinstance(text, list):
            return [*faults, _check_parts(text, content_location)]
        for key in ("tool_call_id", "name") if role == "tool" else ():
            if message.get(key) is not None:
                faults += self.check_text(message[key], f"{location}.{key}")
        if not calls:
            return faults + self.check_text(text, content_location, blank=role in ("tool", "system", "developer"))
        if text is not None and text != "":
            faults += self.check_text(text, content_location, blank=True)
        try:
            read = read_tool_calls(calls, text, f"{location}.tool_calls")
        except Unreadable as error:
            return [*faults, error.fault]
        return faults or self.check_json([call.as_value() for call in read.calls], f"{location}.tool_calls")

    def _check_thought(self, message: t.Mapping[str, t.Any], location: str) -> list[Fault]:
        """The faults of a thought in a field of its own."""
        present = [key for key in _THOUGHT_KEYS if not holds_nothing(message.get(key))]
        faults = [fault for key in present for fault in self.check_text(message[key], f"{location}.{key}")]
        if faults or not present:
            return faults
        value, place = message[present[0]], f"{location}.{present[0]}"
        if any(message[key] != value for key in present):
            return [(place, Message("datasets.two_thoughts", fields=present))]
        text = _text_of_content(message.get(self.content))
        try:
            if isinstance(text, str) and thoughts.read(text) is not None:
                return [(place, Message("datasets.two_thoughts", fields=[present[0], self.content]))]
            thought = thoughts.read(_thought_before(message) + "…")
        except thoughts.Unclear as error:
            return [(place, Message("datasets.thought_with_marker", marker=error.marker))]
        if thought is None or thought.text != value.strip():
            return [(place, Message("datasets.thought_with_marker", marker="</think>"))]
        return []

    def calls(self, message: t.Mapping[str, t.Any], location: str) -> Calls:
        text = _text_of_content(message.get(self.content))
        read = read_tool_calls(message["tool_calls"], text, f"{location}.tool_calls")
        return dataclasses.replace(read, before=_thought_before(message) + read.before)

    def result(self, message: t.Mapping[str, t.Any], location: str) -> ToolResult:
        identity, name = message.get("tool_call_id") or "", message.get("name") or ""
        return ToolResult(_text_of_content(message[self.content]), identity, name, location)

    def turn(self, message: t.Mapping[str, t.Any]) -> tuple[str, str]:
        if message.get("tool_calls"):
            return CALL, self.calls(message, "").published()
        role, text = self.roles[message[self.role]], _text_of_content(message[self.content])
        return role, _thought_before(message) + text if role == ASSISTANT else text


def _thought_before(message: t.Mapping[str, t.Any]) -> str:
    """The thought in a field of an answer, as it is published before the answer; empty if there is none."""
    for key in _THOUGHT_KEYS:
        if not holds_nothing(message.get(key)):
            return f"<think>\n{str(message[key]).strip()}\n</think>\n\n"
    return ""


def _add_results(turns: list[tuple[str, str]], results: t.Sequence[ToolResult], calls: Calls) -> None:
    """Add the results of the calls before them as one turn, in the order of the calls."""
    if results:
        texts = [result.text for result in in_order(results, calls.calls)]
        turns.append((OBSERVATION, TOOL_SEPARATOR.join(texts)))


def _with_text(text: str, calls: Calls) -> str:
    """The published text of calls with the text of the turn before them."""
    between = "\n\n" if calls.before.strip() else ""
    return dataclasses.replace(calls, before=f"{text.rstrip()}{between}{calls.before.strip()}").published()


def _text_of_content(content: t.Any) -> t.Any:
    """The text of a content that is a list of one part of text; any other content as it is."""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], t.Mapping):
        part = content[0]
        texts = [part[key] for key in _TEXT_KEYS if key in part]
        lost = [key for key in part if key not in ("type", *_TEXT_KEYS) and not holds_nothing(part[key])]
        if part.get("type") in _TEXT_PARTS and len(texts) == 1 and isinstance(texts[0], str) and not lost:
            return texts[0]
    return content


def _check_parts(parts: t.Sequence[t.Any], location: str) -> Fault:
    """The fault of a content of parts that is not one text."""
    if not parts:
        return location, Message("datasets.empty")
    for index, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, t.Mapping) else None
        if kind not in _TEXT_PARTS:
            if isinstance(kind, str):
                return f"{location}[{index}]", Message("datasets.part_no_text", type=kind)
            return f"{location}[{index}]", Message("datasets.part_unknown")
    if len(parts) == 1:
        return f"{location}[0]", Message("datasets.part_unknown")
    return location, Message("datasets.several_parts", count=len(parts))
