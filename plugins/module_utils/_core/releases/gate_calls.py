# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools at the gate: what a prompt offers, conversations with calls and results, and expected calls. Pure functions."""

from __future__ import annotations

import difflib
import json
import typing as t
import unicodedata

from ..chat_formats.canonical import canonical_tools
from ..errors import InputError
from ..json_text import parse_json
from ..messages.message import Message
from ..messages.suggestions import did_you_mean, nearest
from . import regex

#: Expectations for one argument of a call. A list of texts accepts a single one; all of them must be met.
MATCHERS = ("equals", "contains", "not_contains", "regex", "not_regex")
_CALL_KEYS = ("name", "arguments")
#: Keys of a message by its role, beside role and content.
_MORE_KEYS = {"assistant": ("tool_calls",), "tool": ("tool_call_id", "tool_name", "name")}

Tool = dict[str, t.Any]
#: A call of a model: ``name`` and ``arguments``.
Call = t.Mapping[str, t.Any]


# -- what is declared --------------------------------------------------------------------------------------------------


def check_keys(raw: t.Mapping[str, t.Any], allowed: t.Sequence[str], place: Message) -> None:
    """Check the keys of a part of a gate.

    :raises InputError: for the first that is not allowed.
    """
    for key in raw:
        if key not in allowed:
            suggestions = difflib.get_close_matches(str(key), allowed, 1, 0.6)
            hint = did_you_mean(suggestions) or Message("errors.known", names=list(allowed))
            raise InputError("releases.key_unknown", place=place, key=key, suggestion=hint)


def read_tools(raw: t.Any, place: Message) -> list[Tool]:
    """The tools that a prompt offers to the model, spelled as a server writes them.

    :param raw: a list of tools; a text is the name of declared tools that were not put in its place.
    :raises InputError: if they are not valid.
    """
    if isinstance(raw, str):
        raise InputError("releases.tools_undeclared", place=place, name=raw)
    if not isinstance(raw, (list, tuple)):
        raise InputError("releases.tools_no_list", place=place, value=raw)
    try:
        return canonical_tools(raw)[0]
    except InputError as error:
        raise InputError("releases.tools_invalid", place=place, problem=error.content) from error


def read_calls(raw: t.Any, place: Message, tools: t.Sequence[Tool]) -> list[dict[str, t.Any]]:
    """The expected calls in canonical form: ``name``, and matchers by argument.

    :raises InputError: if a call is not valid, or if no tool of the prompt allows it.
    """
    items = raw if isinstance(raw, (list, tuple)) else [raw]
    if not items:
        raise InputError("releases.calls_empty", place=place)
    if not tools:
        raise InputError("releases.calls_without_tools", place=place)
    functions = {str(tool["function"]["name"]): tool["function"] for tool in tools}
    return [_read_call(item, place, functions) for item in items]


def _read_call(raw: t.Any, place: Message, functions: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    if isinstance(raw, str):
        raw = {"name": raw}
    if not isinstance(raw, t.Mapping) or not isinstance(raw.get("name"), str):
        raise InputError("releases.call_without_name", place=place, value=raw)
    check_keys(raw, _CALL_KEYS, place)
    name = raw["name"]
    if name not in functions:
        raise InputError(
            "releases.call_unknown", place=place, name=name, suggestion=nearest(name, functions), names=list(functions)
        )
    arguments = raw.get("arguments") or {}
    if not isinstance(arguments, t.Mapping):
        raise InputError("releases.call_arguments_invalid", place=place, name=name, value=arguments)
    known = functions[name]["parameters"]["properties"]
    made = {}
    for argument, expected in arguments.items():
        if argument not in known:
            raise InputError(
                "releases.argument_unknown",
                place=place,
                name=name,
                argument=argument,
                suggestion=nearest(str(argument), known),
                names=list(known),
            )
        made[str(argument)] = _matchers(expected, Message("releases.place_argument", argument=argument, place=place))
    return {"name": name, "arguments": made}


def _matchers(raw: t.Any, place: Message) -> dict[str, t.Any]:
    """The matchers of an argument; anything but a dictionary is the value that it must have."""
    if not isinstance(raw, t.Mapping):
        return {"equals": raw}
    if not raw:
        raise InputError("releases.matcher_missing", place=place, names=list(MATCHERS))
    made: dict[str, t.Any] = {}
    for name, value in raw.items():
        if name not in MATCHERS:
            raise InputError(
                "releases.matcher_unknown",
                place=place,
                key=name,
                suggestion=nearest(str(name), MATCHERS),
                names=list(MATCHERS),
            )
        if name == "equals":
            made[name] = value
            continue
        texts = value if isinstance(value, (list, tuple)) else [value]
        for text in texts:
            if isinstance(text, bool) or not isinstance(text, (str, int, float)):
                raise InputError("releases.no_text", place=place, value=text)
        made[name] = [str(text) for text in texts]
        for pattern in made[name] if "regex" in name else ():
            regex.check(pattern, place)
    return made


def read_message(raw: t.Mapping[str, t.Any], place: Message) -> dict[str, t.Any]:
    """What a message has beside role and content: calls, or the call that a result belongs to.

    :returns: ``calls``, each with ``name``, ``arguments`` and perhaps ``id``; or ``name`` and ``id`` of a result.
    :raises InputError: if it is not valid, or has a key that would be lost.
    """
    role = str(raw["role"])
    allowed = _MORE_KEYS.get(role, ())
    for key in raw:
        if key not in ("role", "content", *allowed):
            raise InputError(
                "releases.message_key_unknown", place=place, key=key, suggestion=nearest(str(key), allowed)
            )
    if role == "tool":
        name = raw.get("tool_name") or raw.get("name") or ""
        return {"name": str(name), "id": str(raw.get("tool_call_id") or "")}
    calls = raw.get("tool_calls") or []
    if not isinstance(calls, (list, tuple)):
        raise InputError("releases.tool_calls_invalid", place=place)
    return {"calls": [_said_call(call, place) for call in calls]}


def _said_call(raw: t.Any, place: Message) -> dict[str, t.Any]:
    function = raw.get("function", raw) if isinstance(raw, t.Mapping) else None
    if not isinstance(function, t.Mapping) or not isinstance(function.get("name"), str):
        raise InputError("releases.tool_calls_invalid", place=place)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = parse_json(arguments)
        except ValueError:
            arguments = None
    if not isinstance(arguments, t.Mapping):
        raise InputError("releases.call_arguments_invalid", place=place, name=function["name"], value=arguments)
    return {"name": function["name"], "arguments": dict(arguments), "id": str(raw.get("id") or "")}


def with_results_in_order(
    messages: t.Sequence[dict[str, t.Any]], more: t.Sequence[t.Mapping[str, t.Any]], place: Message
) -> list[dict[str, t.Any]]:
    """The messages as Ollama takes them: it knows no ids, so results stand in the order of their calls.

    :param messages: with ``role`` and ``content``; :param more: for each of them, what :func:`read_message` returned.
    :raises InputError: for a result whose id or name belongs to no call before it.
    """
    made: list[dict[str, t.Any]] = []
    calls: list[dict[str, t.Any]] = []
    results: dict[int, dict[str, t.Any]] = {}

    def end_results() -> None:
        made.extend(results[number] for number in sorted(results))
        results.clear()

    for message, beside in zip(messages, more):
        if message["role"] != "tool":
            end_results()
            calls = list(beside.get("calls") or [])
            if calls:
                functions = [{"name": call["name"], "arguments": call["arguments"]} for call in calls]
                message = {**message, "tool_calls": [{"function": function} for function in functions]}
            made.append(message)
            continue
        place_of_call = _call_of(beside, calls, results, place)
        name = calls[place_of_call]["name"] if place_of_call < len(calls) else beside["name"]
        results[place_of_call] = {**message, "tool_name": name} if name else message
    end_results()
    return made


def _call_of(result: t.Mapping[str, t.Any], calls: t.Sequence[Call], taken: t.Container[int], place: Message) -> int:
    """The number of the call that a result belongs to; results without calls before them keep their order."""
    free = [number for number in range(len(calls)) if number not in taken]
    if result["id"]:
        for number in free:
            if calls[number]["id"] == result["id"]:
                return number
        raise InputError("releases.result_without_call", place=place, reference=result["id"])
    if result["name"] and calls:
        for number in free:
            if calls[number]["name"] == result["name"]:
                return number
        raise InputError("releases.result_without_call", place=place, reference=result["name"])
    number = 0
    while number in taken:
        number += 1
    if calls and number >= len(calls):
        raise InputError("releases.result_without_call", place=place, reference=number + 1)
    return number


# -- judging -----------------------------------------------------------------------------------------------------------


def unmet_calls(expected: t.Sequence[Call], made: t.Sequence[Call], ignore_case: bool) -> list[Message]:
    """What is wrong with the calls of an answer, as short phrases; empty if they are exactly the expected ones.

    The order of calls in one answer does not matter; a further call is a failure. An argument that is not named may
    have any value.
    """
    names, expected_names = [str(call["name"]) for call in made], [str(call["name"]) for call in expected]
    if sorted(names) != sorted(expected_names):
        if not names:
            return [Message("releases.unmet_calls_none", expected=expected_names)]
        return [Message("releases.unmet_calls", names=names, expected=expected_names)]
    if _can_be_paired(expected, list(made), ignore_case):
        return []
    failures: list[Message] = []
    left = list(made)
    for call in expected:
        match = next(each for each in left if each["name"] == call["name"])
        left.remove(match)
        failures += _argument_failures(call, match, ignore_case)
    return failures


def _can_be_paired(expected: t.Sequence[Call], made: t.Sequence[Call], ignore_case: bool) -> bool:
    if not expected:
        return True
    return any(
        call["name"] == expected[0]["name"]
        and not _argument_failures(expected[0], call, ignore_case)
        and _can_be_paired(expected[1:], [*made[:number], *made[number + 1 :]], ignore_case)
        for number, call in enumerate(made)
    )


def _argument_failures(expected: Call, made: Call, ignore_case: bool) -> list[Message]:
    failures = []
    for name, matchers in expected["arguments"].items():
        if name not in made["arguments"]:
            failures.append(Message("releases.unmet_argument_missing", tool=made["name"], argument=name))
            continue
        value = made["arguments"][name]
        shown = json.dumps(value, ensure_ascii=False)
        failures += [
            Message("releases.unmet_argument", tool=made["name"], argument=name, value=shown, reason=reason)
            for reason in _unmet_matchers(matchers, value, ignore_case)
        ]
    return failures


def _unmet_matchers(matchers: t.Mapping[str, t.Any], value: t.Any, ignore_case: bool) -> t.Iterator[Message]:
    plain = unicodedata.normalize("NFC", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    text = _normalized(plain, ignore_case)
    if "equals" in matchers and not same_value(matchers["equals"], value, ignore_case):
        wanted_value = json.dumps(matchers["equals"], ensure_ascii=False, default=str)
        yield Message("releases.unmet_argument_equals", value=wanted_value)
    yield from (
        Message("releases.unmet_contains", text=part)
        for part in matchers.get("contains", ())
        if _normalized(part, ignore_case) not in text
    )
    yield from (
        Message("releases.unmet_not_contains", text=part)
        for part in matchers.get("not_contains", ())
        if _normalized(part, ignore_case) in text
    )
    wanted, unwanted = matchers.get("regex", ()), matchers.get("not_regex", ())
    if wanted or unwanted:
        found = regex.search([*wanted, *unwanted], plain, ignore_case)
        yield from (Message("releases.unmet_regex", pattern=pattern) for pattern in wanted if not found[pattern])
        yield from (Message("releases.unmet_not_regex", pattern=pattern) for pattern in unwanted if found[pattern])


def _normalized(text: str, ignore_case: bool) -> str:
    text = unicodedata.normalize("NFC", text)
    return text.casefold() if ignore_case else text


def same_value(expected: t.Any, value: t.Any, ignore_case: bool) -> bool:
    """Whether two JSON values are equal; true is not 1, and 1 is 1.0."""
    if isinstance(expected, str) and isinstance(value, str):
        return _normalized(expected, ignore_case) == _normalized(value, ignore_case)
    if isinstance(expected, t.Mapping) and isinstance(value, t.Mapping):
        return set(expected) == set(value) and all(
            same_value(expected[key], value[key], ignore_case) for key in expected
        )
    if isinstance(expected, (list, tuple)) and isinstance(value, (list, tuple)):
        return len(expected) == len(value) and all(map(same_value, expected, value, [ignore_case] * len(value)))
    if isinstance(expected, bool) or isinstance(value, bool):
        return expected is value
    return bool(expected == value)


def calls_text(calls: t.Sequence[Call]) -> str:
    """The calls of an answer for display: ``request_media({"title": "Dune"})``."""
    return ", ".join(f"{call['name']}({json.dumps(call['arguments'], ensure_ascii=False)})" for call in calls)


def calls_of(message: t.Mapping[str, t.Any]) -> tuple[dict[str, t.Any], ...]:
    """The calls in a message of Ollama."""
    functions = [call.get("function") or {} for call in message.get("tool_calls") or ()]
    return tuple(
        {"name": str(function.get("name") or ""), "arguments": dict(function.get("arguments") or {})}
        for function in functions
    )
