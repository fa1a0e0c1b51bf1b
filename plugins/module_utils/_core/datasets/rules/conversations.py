# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that are conversations: sharegpt (``conversations`` of ``from`` and ``value``) and OpenAI's ``messages``.

Both mean a :class:`Sample`: who asks and who answers take turns, and the last one answers. LLaMA-Factory passes over a
row that is otherwise, with no more than a warning in its log.
"""

from __future__ import annotations

import abc
import json
import re
import typing as t

from ..output_formats import ASSISTANT, CALL, HUMAN, OBSERVATION, MessagesOutput, Sample
from ..problems import kind_of, nearest
from .base import Fault, Made, Rules, plain_text

SYSTEM = "system"

#: Who may speak after whom.
_NEXT: dict[str, tuple[str, ...]] = {
    "": (HUMAN,),
    HUMAN: (ASSISTANT, CALL),
    ASSISTANT: (HUMAN,),
    CALL: (OBSERVATION,),
    OBSERVATION: (ASSISTANT, CALL),
}
#: A model that thinks aloud does so before it calls; LLaMA-Factory cuts it out and keeps it.
_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
#: How LLaMA-Factory puts the answers of several tools into one turn (OpenAIDatasetConverter).
_BETWEEN_TOOLS = "\n</tool_response>\n<tool_response>\n"
#: What other people's data call these roles.
_ALSO = {
    "user": HUMAN, "human": HUMAN, "prompter": HUMAN, "assistant": ASSISTANT, "gpt": ASSISTANT, "chatgpt": ASSISTANT,
    "bot": ASSISTANT, "model": ASSISTANT, "bing": ASSISTANT, "tool": OBSERVATION, "function": OBSERVATION,
    "observation": OBSERVATION, "function_call": CALL, "tool_call": CALL,
}  # fmt: skip


def parse_json(text: str) -> t.Any:
    """JSON inside of a text.

    :raises ValueError: when it is not JSON, or holds NaN, infinities, or keys twice.
    """

    def pairs(found: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
        value = dict(found)
        if len(value) != len(found):
            raise ValueError("a key is given twice")
        return value

    def constant(name: str) -> t.NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


class TurnRules(Rules):
    """What both kinds of conversation have in common.

    :cvar role: key of a turn's role; :cvar content: key of its text; :cvar roles: role in the data → role of a sample.
    """

    required: t.ClassVar[tuple[str, ...]] = ("messages",)
    role: t.ClassVar[str]
    content: t.ClassVar[str]
    roles: t.ClassVar[dict[str, str]]

    def __init__(self, columns: t.Mapping[str, str], ignored: t.Iterable[str] = ()) -> None:
        super().__init__(columns, ignored)
        self._messages, self._system, self._tools = (self.field[name] for name in ("messages", "system", "tools"))

    #: who speaks last in a row that is fine
    last: t.ClassVar[tuple[str, ...]] = (ASSISTANT, CALL)

    def quick(self, form: MessagesOutput, row: t.Any, text: str | None, start: int, end: int) -> Made | None:
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
        before = ""
        role_key, content_key, roles = self.role, self.content, self.roles
        for message in messages:
            if not isinstance(message, dict) or len(message) != 2:
                return None
            content = message.get(content_key)
            name = message.get(role_key)
            if not isinstance(content, str) or not isinstance(name, str) or not content or content.isspace():
                return None
            role = roles.get(name, "")
            if role == SYSTEM and not turns and not before and not system:
                system = content
                before = SYSTEM
                continue
            if role not in (HUMAN, ASSISTANT) or role not in _NEXT["" if before == SYSTEM else before]:
                return None
            turns.append((role, content))
            before = role
        if before != ASSISTANT:
            return None
        # keys and values: two strings for "messages" less its list, two for a system prompt, four a message
        if not plain_text(text, start, end, 1 + 2 * (size - 1) + 4 * len(messages)):
            return None
        sample = Sample(turns, system)
        line = form.line(sample)
        return None if "\\u0000" in line else (line, system, sample.key)

    def check(self, row: t.Any) -> list[Fault]:
        if not isinstance(row, t.Mapping):
            return self.not_an_object(row)
        found = self.names(row)
        if row.get(self._system) is not None:
            found += self.text(row[self._system], self._system, blank=True)
        found += self.check_tools(row.get(self._tools))
        if self._messages in row:
            found += self._check_messages(row[self._messages], row.get(self._system))
        return found

    def _check_messages(self, messages: t.Any, system: t.Any) -> list[Fault]:
        if not isinstance(messages, list):
            return [(self._messages, f"it is {kind_of(messages)}, not a list", "Write a list of turns.")]
        if not messages:
            return [(self._messages, "it is empty", "Write a question and its answer, or leave the row out.")]
        found: list[Fault] = []
        for index, message in enumerate(messages):
            place = f"{self._messages}[{index}]"
            if not isinstance(message, t.Mapping):
                example = f'{{"{self.role}": …, "{self.content}": …}}'
                found.append((place, f"it is {kind_of(message)}, not an object", f"Write turns as {example}."))
            else:
                found += self.check_role(message, place) or self.check_turn(message, place)
        if found:
            return found
        return self._check_order(messages, system)

    def check_role(self, message: t.Mapping[str, t.Any], place: str) -> list[Fault]:
        """What is wrong with a turn's role."""
        place = f"{place}.{self.role}"
        if self.role not in message:
            return [(place, "it is missing", f"Say who speaks: {', '.join(self.roles)}.")]
        name = message[self.role]
        if not isinstance(name, str):
            return self.text(name, place)
        if name in self.roles:
            return []
        meant = next((own for own, role in self.roles.items() if role == _ALSO.get(name.lower())), "")
        guess = f"Did you mean {meant!r}?" if meant else nearest(name, self.roles)
        return [(place, f"there is no role {name!r}", f"{guess} The roles are {', '.join(self.roles)}.".lstrip())]

    def strangers(self, message: t.Mapping[str, t.Any], place: str, known: t.Container[str]) -> list[Fault]:
        """Keys of a turn that would be lost."""
        found = []
        for key, value in message.items():
            if key not in known and value is not None:
                fix = f"{nearest(str(key), (self.role, self.content))} Else remove it.".lstrip()
                found.append((f"{place}.{key}", "a turn has no such key, it would be lost", fix))
        return found

    @abc.abstractmethod
    def check_turn(self, message: t.Mapping[str, t.Any], place: str) -> list[Fault]:
        """What is wrong with a turn whose role is fine."""

    @abc.abstractmethod
    def turn(self, message: t.Mapping[str, t.Any]) -> tuple[str, str]:
        """Role and text, as in a sample, of a turn that is fine."""

    def _check_order(self, messages: t.Sequence[t.Mapping[str, t.Any]], system: t.Any) -> list[Fault]:
        role = f"{self._messages}[%d].{self.role}"
        spoken = {own: name for name, own in reversed(list(self.roles.items()))}
        before = ""
        for index, message in enumerate(messages):
            now = self.turn(message)[0]
            if now == SYSTEM:
                if index:
                    return [(role % index, "a system prompt stands only at the beginning", "Move it to the front.")]
                text = message.get(self.content)
                if system and text != system:
                    return [
                        (self._system, f"it differs from the system prompt in {self._messages}", "Keep one of them.")
                    ]
                continue
            if now not in _NEXT[before] and not (now == before == OBSERVATION and self.joins_tools):
                wanted = " or ".join(repr(spoken.get(name, name)) for name in _NEXT[before])
                after = f"{spoken.get(before, before)!r} comes before it" if before else "it is the first"
                fix = "Let question and answer take turns."
                return [(role % index, f"it is {message[self.role]!r}, and {wanted} is expected: {after}", fix)]
            before = now
        if before not in self.last:
            place = role % (len(messages) - 1)
            if ASSISTANT in self.last:
                fix = "End with the answer the model shall learn, or leave the row out."
                return [(place, "the last turn is not the assistant's", fix)]
            fix = "End with what both answers answer; they stand in chosen and rejected."
            return [(place, "the last turn is no question", fix)]
        return []

    #: several observations in a row are one
    joins_tools: t.ClassVar[bool] = False

    def sample(self, row: t.Mapping[str, t.Any]) -> Sample:
        system = self.optional(row, "system")
        turns: list[tuple[str, str]] = []
        for message in row[self._messages]:
            role, text = self.turn(message)
            if role == SYSTEM:
                system = text
            elif role == OBSERVATION and turns[-1][0] == OBSERVATION:
                turns[-1] = (role, turns[-1][1] + _BETWEEN_TOOLS + text)
            else:
                turns.append((role, text))
        return Sample(turns, system, self._tools_text(row.get(self._tools)))

    def check_tools(self, tools: t.Any) -> list[Fault]:
        """What is wrong with the tools of a row: a list, or the same as JSON text."""
        place, fix = self._tools, "Write a list of tools: name, description, parameters."
        if tools is None or tools == "":
            return []
        if isinstance(tools, str):
            found = self.text(tools, place)
            if found:
                return found
            try:
                tools = parse_json(tools)
            except ValueError as error:
                return [(place, f"it is not JSON ({error})", fix)]
        if not isinstance(tools, list):
            return [(place, f"it is {kind_of(tools)}, not a list", fix)]
        found = []
        for index, tool in enumerate(tools):
            found += self._check_tool(tool, f"{place}[{index}]")
        return found or self.as_json(tools, place)

    def _check_tool(self, tool: t.Any, place: str) -> list[Fault]:
        if isinstance(tool, t.Mapping) and tool.get("type") == "function":
            tool, place = tool.get("function"), f"{place}.function"
        if not isinstance(tool, t.Mapping):
            return [(place, f"it is {kind_of(tool)}, not an object", "Write a tool as an object.")]
        if not isinstance(tool.get("name"), str) or not tool["name"]:
            return [(f"{place}.name", f"it is {kind_of(tool.get('name'))}", "Give the tool a name.")]
        parameters = tool.get("parameters")
        if not isinstance(parameters, t.Mapping) or not isinstance(parameters.get("properties"), t.Mapping):
            return [(f"{place}.parameters", "it is no JSON schema of an object",
                     'Write {"type": "object", "properties": {…}}; the properties may be empty.')]  # fmt: skip
        return []

    def as_json(self, value: t.Any, place: str) -> list[Fault]:
        """What keeps a value from being written as JSON, and its text from being published."""
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError) as error:
            return [(place, f"it cannot be written as JSON ({error})", "Check its values.")]
        return self.text(text, place)

    @staticmethod
    def _tools_text(tools: t.Any) -> str:
        if not tools:
            return ""
        text = tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
        return "" if parse_json(text) == [] else text


class SharegptRules(TurnRules):
    """``conversations`` of ``{"from": …, "value": …}``, ``system``, ``tools``."""

    format = "sharegpt"
    usual: t.ClassVar[dict[str, str]] = {"messages": "conversations", "system": "system", "tools": "tools"}
    role, content = "from", "value"
    roles: t.ClassVar[dict[str, str]] = {name: name for name in (HUMAN, ASSISTANT, SYSTEM, OBSERVATION, CALL)}

    def check_turn(self, message: t.Mapping[str, t.Any], place: str) -> list[Fault]:
        found = self.strangers(message, place, (self.role, self.content))
        where = f"{place}.{self.content}"
        if self.content not in message:
            return [*found, (where, "it is missing", "Write what is said.")]
        role, text = message[self.role], message[self.content]
        wrong = self.text(text, where, blank=role in (OBSERVATION, SYSTEM))
        if role == CALL and not wrong:
            wrong = self._check_call(text, where)
        return found + wrong

    def _check_call(self, text: str, place: str) -> list[Fault]:
        fix = 'Write {"name": …, "arguments": {…}}, or a list of such.'
        try:
            calls = parse_json(_THOUGHT.sub("", text, count=1))
        except ValueError as error:
            return [(place, f"a call is JSON, and this is not ({error})", fix)]
        calls = calls if isinstance(calls, list) else [calls]
        for call in calls:
            if not isinstance(call, dict) or not isinstance(call.get("name"), str) or "arguments" not in call:
                return [(place, "a call has a name and arguments, and this has not", fix)]
        return [] if calls else [(place, "it calls nothing", fix)]

    def turn(self, message: t.Mapping[str, t.Any]) -> tuple[str, str]:
        return message[self.role], message[self.content]


class OpenAIRules(TurnRules):
    """``messages`` of ``{"role": …, "content": …}`` with ``tool_calls``, and ``tools``."""

    format = "openai"
    usual: t.ClassVar[dict[str, str]] = {"messages": "messages", "system": "system", "tools": "tools"}
    role, content = "role", "content"
    roles: t.ClassVar[dict[str, str]] = {
        "user": HUMAN,
        "assistant": ASSISTANT,
        "system": SYSTEM,
        "developer": SYSTEM,
        "tool": OBSERVATION,
    }
    joins_tools = True

    def check_turn(self, message: t.Mapping[str, t.Any], place: str) -> list[Fault]:
        role, calls = message[self.role], message.get("tool_calls")
        known = {"assistant": ("tool_calls",), "tool": ("tool_call_id", "name")}.get(role, ())
        found = self.strangers(message, place, (self.role, self.content, *known))
        where = f"{place}.{self.content}"
        if self.content not in message and not calls:
            return [*found, (where, "it is missing", "Write what is said.")]
        text = message.get(self.content)
        if isinstance(text, list):
            return [*found, (where, "it is a list of parts, not text", "Write the text alone; pictures are not read.")]
        if not calls:
            return found + self.text(text, where, blank=role in ("tool", "system", "developer"))
        if text is not None and (not isinstance(text, str) or text.strip()):
            fix = "Keep the call or the text, or make two turns of it."
            found.append((where, "the text beside tool_calls would be lost in training", fix))
        return found + self._check_calls(calls, f"{place}.tool_calls")

    def _check_calls(self, calls: t.Any, place: str) -> list[Fault]:
        fix = 'Write [{"type": "function", "function": {"name": …, "arguments": "{…}"}}].'
        if not isinstance(calls, list):
            return [(place, f"it is {kind_of(calls)}, not a list", fix)]
        for index, call in enumerate(calls):
            function = call.get("function") if isinstance(call, t.Mapping) else None
            where = f"{place}[{index}].function"
            if not isinstance(function, t.Mapping) or not isinstance(function.get("name"), str):
                return [(where, "it has no name", fix)]
            arguments = function.get("arguments")
            if isinstance(arguments, str):
                try:
                    arguments = parse_json(arguments)
                except ValueError as error:
                    return [(f"{where}.arguments", f"it is not JSON ({error})", fix)]
            if not isinstance(arguments, t.Mapping):
                return [(f"{where}.arguments", f"it is {kind_of(arguments)}, not an object", fix)]
        return self.as_json(self._calls(calls), place)

    @staticmethod
    def _calls(calls: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
        found = []
        for call in calls:
            arguments = call["function"]["arguments"]
            # OpenAI writes them as JSON in a text; LLaMA-Factory would train on the text in quotes
            value = parse_json(arguments) if isinstance(arguments, str) else arguments
            found.append({"name": call["function"]["name"], "arguments": value})
        return found

    def turn(self, message: t.Mapping[str, t.Any]) -> tuple[str, str]:
        if message.get("tool_calls"):
            calls = self._calls(message["tool_calls"])
            return CALL, json.dumps(calls if len(calls) > 1 else calls[0], ensure_ascii=False)
        return self.roles[message[self.role]], message[self.content]
