# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate of a promotion: prompts, and expectations the answers must meet.

A gate is declared as ``{"prompts": [{"prompt": "…", "contains": "…"}, …]}``; ``evaluations`` asks the
models. A gate changes no model, so only the fingerprint of the promotion contains it.
"""

from __future__ import annotations

import dataclasses
import json
import typing as t
import unicodedata

from ..chat_formats.json_schema import schema_faults, unchecked, value_faults
from ..errors import InputError
from ..json_text import is_too_deep
from ..messages.message import Message
from ..ollama.syntax import check_parameters
from . import regex
from .gate_calls import calls_text, check_keys, read_calls, read_message, read_tools, unmet_calls, with_results_in_order

#: Default options of the prompts: a repeated prompt gets the same answer, and the answer's length is bounded.
OPTIONS: dict[str, t.Any] = {"temperature": 0, "seed": 42, "num_predict": 1024}

#: The expectations and their types. A list accepts a single text; all items of a list must be met.
EXPECTATIONS: dict[str, type] = {
    "contains": list,
    "not_contains": list,
    "regex": list,
    "not_regex": list,
    "equals": str,
    "not_equals": list,
    "not_empty": bool,
    "ends_by_itself": bool,
    "max_tokens": int,
    "json": bool,
    "json_schema": dict,
    "ignore_case": bool,
    "no_calls": bool,
}
#: Places of an answer that are named because they are not as a schema says.
_MAX_FAULTS = 5
_PROMPT_KEYS = ("prompt", "system", "messages", "tools", "calls")
_KEYS = ("prompts", "tools", "options", "allowed_failures", "no_regression")
_ROLES = ("system", "user", "assistant", "tool")


@dataclasses.dataclass(frozen=True)
class Question:
    """One prompt and the expectations for its answer.

    :param messages: the conversation up to the prompt: ``role`` and ``content`` of each message, calls and results
        as Ollama takes them.
    :param expect: expectations by name (see :data:`EXPECTATIONS`), and ``calls``; texts are always lists.
    :param tools: the tools that the model is offered.
    """

    messages: tuple[dict[str, t.Any], ...]
    expect: dict[str, t.Any]
    tools: tuple[dict[str, t.Any], ...] = ()

    @property
    def text(self) -> str:
        """The text of the prompt, for display."""
        return str(self.messages[-1]["content"])


@dataclasses.dataclass(frozen=True)
class Gate:
    """The prompts of a gate and the conditions to pass it.

    :param questions: at least one.
    :param options: Ollama options of the requests.
    :param allowed_failures: number of answers that may fail.
    :param no_regression: whether every question that the served model passes must also be passed by the candidate.
    """

    questions: tuple[Question, ...]
    options: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    allowed_failures: int = 0
    no_regression: bool = False

    def as_settings(self) -> dict[str, t.Any]:
        """The gate in canonical form, without values that equal the defaults."""
        prompts: list[dict[str, t.Any]] = []
        tools: list[list[dict[str, t.Any]]] = []
        for question in self.questions:
            prompts.append({"messages": [dict(message) for message in question.messages], "expect": question.expect})
            if question.tools:  # a list that many prompts share is kept once
                offered = list(question.tools)
                if offered not in tools:
                    tools.append(offered)
                prompts[-1]["tools"] = tools.index(offered)
        settings: dict[str, t.Any] = {"prompts": prompts}
        if tools:
            settings["tools"] = tools
        options = {name: value for name, value in self.options.items() if OPTIONS.get(name) != value}
        if options:
            settings["options"] = options
        if self.allowed_failures:
            settings["allowed_failures"] = self.allowed_failures
        if self.no_regression:
            settings["no_regression"] = True
        return settings

    @classmethod
    def from_settings(cls, settings: t.Mapping[str, t.Any]) -> Gate:
        """The gate from the settings that :meth:`as_settings` returned."""
        tools = settings.get("tools") or []
        questions = tuple(
            Question(
                tuple(item["messages"]), dict(item["expect"]), tuple(tools[item["tools"]]) if "tools" in item else ()
            )
            for item in settings["prompts"]
        )
        return cls(
            questions,
            {**OPTIONS, **(settings.get("options") or {})},
            int(settings.get("allowed_failures") or 0),
            bool(settings.get("no_regression")),
        )

    def options_for(self, question: Question) -> dict[str, t.Any]:
        """Options of the request for one question: an answer may exceed ``max_tokens`` by one, to detect the excess."""
        limit = question.expect.get("max_tokens")
        num_predict = self.options["num_predict"]
        return {
            **self.options,
            "num_predict": max(num_predict, limit + 1) if limit and num_predict > 0 else num_predict,
        }


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer of a model.

    :param text: the answer.
    :param ended: whether the model ended the answer, rather than the limit of tokens.
    :param tokens: length of the answer in tokens.
    :param seconds: duration of the request.
    :param calls: the calls of tools, each with ``name`` and ``arguments``.
    :param malformed_call: whether the server could not read a call of the model, and gave no answer for that reason.
    """

    text: str
    ended: bool
    tokens: int
    seconds: float = 0.0
    calls: tuple[dict[str, t.Any], ...] = ()
    malformed_call: bool = False


def read_gate(raw: t.Any) -> Gate | None:
    """Validate a declared gate; None if none is declared.

    :param raw: ``{"prompts": [...], ...}``, or only the list of prompts.
    :raises InputError: with the defect and its place.
    """
    if raw is None or raw == {} or raw == []:
        return None
    declared: t.Any = {"prompts": raw} if isinstance(raw, (list, tuple)) else raw
    if not isinstance(declared, t.Mapping):
        raise InputError("releases.gate_invalid", value=raw)
    check_keys(declared, _KEYS, Message("releases.place_gate"))
    prompts = declared.get("prompts")
    if not isinstance(prompts, (list, tuple)) or not prompts:
        raise InputError("releases.gate_without_prompts")
    try:
        options = check_parameters({**OPTIONS, **(declared.get("options") or {})})
    except InputError as error:
        raise InputError("releases.gate_option", problem=error.content) from error
    shared = declared.get("tools")
    tools = read_tools(shared, _option("tools")) if shared is not None else []
    questions = tuple(_question(item, number, tools) for number, item in enumerate(prompts, 1))
    allowed_failures = _integer(declared.get("allowed_failures", 0), _option("allowed_failures"), 0)
    if allowed_failures >= len(questions):
        raise InputError("releases.gate_allows_all", allowed_failures=allowed_failures, count=len(questions))
    return Gate(
        questions,
        options,
        allowed_failures,
        boolean(declared.get("no_regression", False), _option("no_regression")),
    )


def _question(raw: t.Any, number: int, shared_tools: list[dict[str, t.Any]]) -> Question:
    place = Message("releases.place_prompt", number=number)
    if not isinstance(raw, t.Mapping):
        raise InputError("releases.no_dictionary", place=place)
    check_keys(raw, (*_PROMPT_KEYS, *EXPECTATIONS), place)
    messages = _messages(raw, place)
    expect: dict[str, t.Any] = {}
    for name, value_type in EXPECTATIONS.items():
        if raw.get(name) is None:
            continue
        value = raw[name]
        if value_type is bool:
            value = boolean(value, _option(name, place))
        elif value_type is int:
            value = _integer(value, _option(name, place), 1)
        elif value_type is str:
            value = _text(value, _option(name, place))
        elif value_type is dict:
            value = _schema(value, _option(name, place))
        else:
            items = value if isinstance(value, (list, tuple)) else [value]
            value = [_text(item, _option(name, place)) for item in items]
        expect[name] = value
    for name in ("regex", "not_regex"):
        for pattern in expect.get(name, []):
            regex.check(pattern, _option(name, place))
    own_tools = raw.get("tools")
    tools = shared_tools if own_tools is None else read_tools(own_tools, _option("tools", place))
    if raw.get("calls") is not None:
        if expect.get("no_calls"):
            raise InputError("releases.calls_and_no_calls", place=place)
        expect["calls"] = read_calls(raw["calls"], _option("calls", place), tools)
    if expect.get("no_calls") and not tools:
        raise InputError("releases.calls_without_tools", place=_option("no_calls", place))
    constraints = {name: value for name, value in expect.items() if _is_constraint(name, value)}
    return Question(messages, constraints, tuple(tools))


def _is_constraint(name: str, value: t.Any) -> bool:
    """Whether an expectation is a constraint: an answer must not be empty unless ``not_empty`` is false."""
    if name == "not_empty":
        return value is False
    return value not in (False, [])


def _option(name: str, place: Message | None = None) -> Message:
    """The place of an option of a prompt, or of the gate itself."""
    return Message("releases.place_option", option=name, place=place or Message("releases.place_gate"))


def _messages(raw: t.Mapping[str, t.Any], place: Message) -> tuple[dict[str, t.Any], ...]:
    if (raw.get("prompt") is None) == (raw.get("messages") is None):
        raise InputError("releases.prompt_or_messages", place=place)
    if raw.get("messages") is None:
        messages: list[dict[str, t.Any]] = [{"role": "user", "content": _text(raw["prompt"], place)}]
    else:
        if not isinstance(raw["messages"], (list, tuple)) or not raw["messages"]:
            raise InputError("releases.messages_invalid", place=place)
        messages, more = [], []
        for message in raw["messages"]:
            if not isinstance(message, t.Mapping) or message.get("role") not in _ROLES:
                raise InputError("releases.message_invalid", place=place, roles=list(_ROLES))
            more.append(read_message(message, place))
            content = message.get("content")
            text = "" if content is None and more[-1].get("calls") else _text(content, place)
            messages.append({"role": str(message["role"]), "content": text})
        messages = with_results_in_order(messages, more, place)
        if messages[-1]["role"] == "assistant":
            raise InputError("releases.ends_with_answer", place=place)
    if raw.get("system") is not None:
        messages.insert(0, {"role": "system", "content": _text(raw["system"], _option("system", place))})
    return tuple(messages)


def _text(value: t.Any, place: Message) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError("releases.no_text", place=place, value=value)
    return str(value)


def boolean(value: t.Any, place: Message) -> bool:
    """Read a declared boolean, also as the text that Ansible makes of a template.

    :raises InputError: for another value.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "yes", "false", "no"):
        return value.lower() in ("true", "yes")
    raise InputError("releases.no_boolean", place=place, value=value)


def _schema(value: t.Any, place: Message) -> dict[str, t.Any]:
    """A JSON schema of which every keyword is checked."""
    if not isinstance(value, t.Mapping) or not value:
        raise InputError("releases.schema_invalid", place=place, value=value)
    faults = schema_faults(value, "json_schema") or unchecked(value, "json_schema")
    if faults:
        where, problem = faults[0]
        raise InputError("releases.schema_faulty", place=place, path=where, problem=problem)
    return dict(value)


def _integer(value: t.Any, place: Message, minimum: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = minimum - 1
    if isinstance(value, bool) or number < minimum:
        raise InputError("releases.no_integer", place=place, minimum=minimum, value=value)
    return number


# -- judging -----------------------------------------------------------------------------------------------------------


def unmet(question: Question, answer: Answer) -> list[Message]:
    """The expectations an answer does not meet, as short phrases; empty if it meets all.

    :raises InputError: for a regular expression that exceeds its limits (``releases.regex``).

    Texts are compared in Unicode's NFC form; ``equals`` ignores whitespace around the answer.
    """
    if answer.malformed_call:
        return [Message("releases.unmet_call_unread")]
    expect = question.expect
    ignore_case = expect.get("ignore_case", False)

    def normalized(text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        return text.casefold() if ignore_case else text

    text = normalized(answer.text)
    failures: list[Message] = []
    if not text.strip() and not answer.calls and expect.get("not_empty", True) and expect.get("equals", "x").strip():
        failures.append(Message("releases.unmet_not_empty"))
    if expect.get("no_calls") and answer.calls:
        failures.append(Message("releases.unmet_no_calls", calls=calls_text(answer.calls)))
    if "calls" in expect:
        failures += unmet_calls(expect["calls"], answer.calls, ignore_case)
    for part in expect.get("contains", []):
        if normalized(part) not in text:
            failures.append(Message("releases.unmet_contains", text=part))
    for part in expect.get("not_contains", []):
        if normalized(part) in text:
            failures.append(Message("releases.unmet_not_contains", text=part))
    wanted, unwanted = expect.get("regex", []), expect.get("not_regex", [])
    found = regex.search([*wanted, *unwanted], unicodedata.normalize("NFC", answer.text), ignore_case)
    failures += [Message("releases.unmet_regex", pattern=pattern) for pattern in wanted if not found[pattern]]
    failures += [Message("releases.unmet_not_regex", pattern=pattern) for pattern in unwanted if found[pattern]]
    if "equals" in expect and text.strip() != normalized(expect["equals"]).strip():
        failures.append(Message("releases.unmet_equals", text=expect["equals"]))
    for other in expect.get("not_equals", []):
        if text.strip() == normalized(other).strip():
            failures.append(Message("releases.unmet_not_equals", text=other))
    if expect.get("ends_by_itself") and not answer.ended:
        failures.append(Message("releases.unmet_ends_by_itself", tokens=answer.tokens))
    if "max_tokens" in expect and answer.tokens > expect["max_tokens"]:
        code = "releases.unmet_max_tokens" if answer.ended else "releases.unmet_max_tokens_unended"
        failures.append(Message(code, tokens=answer.tokens, limit=expect["max_tokens"]))
    if expect.get("json") or "json_schema" in expect:
        value, defect = _read_json(answer.text)
        if defect:
            failures.append(Message("releases.unmet_json", reason=defect))
        elif "json_schema" in expect and is_too_deep(value):
            failures.append(Message("releases.unmet_json", reason=Message("releases.nested_too_deeply")))
        elif "json_schema" in expect:
            failures += [
                Message("releases.unmet_json_schema", path=path, reason=reason)
                for path, reason in value_faults(value, expect["json_schema"], "$")[:_MAX_FAULTS]
            ]
    return failures


def _read_json(text: str) -> tuple[t.Any, str | Message]:
    """The value of a text in JSON, and why it is none; empty if it is."""

    def refuse_constant(name: str) -> t.NoReturn:
        raise InputError("releases.no_json_value", name=name)

    try:
        value = json.loads(text, parse_constant=refuse_constant)
    except InputError as error:
        return None, error.content
    except ValueError as error:
        return None, str(error)
    except RecursionError:
        return None, Message("releases.nested_too_deeply")
    return value, ""
