# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate a model has to pass before people are given it: questions, and what the answers must be like. Pure.

A gate is declared as ``{"prompts": [{"prompt": "…", "contains": "…"}, …]}``; what is asked, and of whom, is decided in
``releases.gate_evaluation``. It changes no model, so it is in no fingerprint but that of the promotion.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import typing as t
import unicodedata

from ..errors import InputError
from ..ollama.syntax import check_parameters

#: How the questions are asked unless the gate says otherwise: the same question gets the same answer, and an end.
OPTIONS: dict[str, t.Any] = {"temperature": 0, "seed": 42, "num_predict": 1024}

#: What an answer can be held to, and the type of it. Each text may be a list: all of them are meant.
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
    "ignore_case": bool,
}
_ASKED = ("prompt", "system", "messages")
_KEYS = ("prompts", "options", "allowed_failures", "no_regression")
_ROLES = ("system", "user", "assistant", "tool")


@dataclasses.dataclass(frozen=True)
class Question:
    """One question and what its answer must be like.

    :param messages: the conversation it ends, each with ``role`` and ``content``.
    :param expect: expectations by name (see :data:`EXPECTATIONS`), texts always as lists.
    """

    messages: tuple[dict[str, str], ...]
    expect: dict[str, t.Any]

    @property
    def text(self) -> str:
        """What is asked, for people."""
        return self.messages[-1]["content"]


@dataclasses.dataclass(frozen=True)
class Gate:
    """What a model has to answer.

    :param questions: at least one.
    :param options: Ollama's options to ask with.
    :param allowed_failures: so many answers may be otherwise.
    :param no_regression: whether each question the served model answers well must be answered well by the new one.
    """

    questions: tuple[Question, ...]
    options: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    allowed_failures: int = 0
    no_regression: bool = False

    def as_settings(self) -> dict[str, t.Any]:
        """The gate in its one written form, what is at its default left out."""
        asked = [
            {"messages": [dict(message) for message in question.messages], "expect": question.expect}
            for question in self.questions
        ]
        settings: dict[str, t.Any] = {"prompts": asked}
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
        """The gate that :meth:`as_settings` wrote."""
        questions = tuple(Question(tuple(item["messages"]), dict(item["expect"])) for item in settings["prompts"])
        return cls(
            questions,
            {**OPTIONS, **(settings.get("options") or {})},
            int(settings.get("allowed_failures") or 0),
            bool(settings.get("no_regression")),
        )

    def options_for(self, question: Question) -> dict[str, t.Any]:
        """Options to ask one question with: an answer may always be one token longer than it is allowed to be."""
        limit = question.expect.get("max_tokens")
        given = self.options["num_predict"]
        return {**self.options, "num_predict": max(given, limit + 1) if limit and given > 0 else given}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model said.

    :param text: the answer.
    :param ended: whether it came to its end by itself.
    :param tokens: how many tokens it has.
    :param seconds: how long it took.
    """

    text: str
    ended: bool
    tokens: int
    seconds: float = 0.0


def read_gate(raw: t.Any) -> Gate | None:
    """A declared gate, checked; None when none is declared.

    :param raw: ``{"prompts": [...], ...}``, or the prompts alone.
    :raises InputError: naming what is wrong and where.
    """
    if raw is None or raw == {} or raw == []:
        return None
    declared: t.Any = {"prompts": raw} if isinstance(raw, (list, tuple)) else raw
    if not isinstance(declared, t.Mapping):
        raise InputError(f"A gate is a list of prompts, or a dictionary with prompts, not {raw!r}.")
    _only(declared, _KEYS, "the gate")
    prompts = declared.get("prompts")
    if not isinstance(prompts, (list, tuple)) or not prompts:
        raise InputError("The gate has no prompts.", "Give at least one, with what its answer must be like.")
    try:
        options = check_parameters({**OPTIONS, **(declared.get("options") or {})})
    except InputError as error:
        raise InputError(f"The gate: {error.message}", error.hint) from error
    questions = tuple(_question(item, number) for number, item in enumerate(prompts, 1))
    allowed = _whole(declared.get("allowed_failures", 0), "allowed_failures of the gate", 0)
    if allowed >= len(questions):
        raise InputError(f"The gate allows {allowed} of {len(questions)} answers to fail: it would stop nothing.")
    return Gate(questions, options, allowed, _truth(declared.get("no_regression", False), "no_regression of the gate"))


def _question(raw: t.Any, number: int) -> Question:
    where = f"prompt {number} of the gate"
    if not isinstance(raw, t.Mapping):
        raise InputError(f"{where.capitalize()} is no dictionary.", "Give prompt, and what its answer must be like.")
    _only(raw, (*_ASKED, *EXPECTATIONS), where)
    messages = _messages(raw, where)
    expect: dict[str, t.Any] = {}
    for name, kind in EXPECTATIONS.items():
        if raw.get(name) is None:
            continue
        value = raw[name]
        if kind is bool:
            value = _truth(value, f"{name} of {where}")
        elif kind is int:
            value = _whole(value, f"{name} of {where}", 1)
        elif kind is str:
            value = _text(value, f"{name} of {where}")
        else:
            items = value if isinstance(value, (list, tuple)) else [value]
            value = [_text(item, f"{name} of {where}") for item in items]
        expect[name] = value
    for name in ("regex", "not_regex"):
        for pattern in expect.get(name, []):
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(f"{name} of {where} is no regular expression: {pattern!r}: {error}.") from error
    return Question(messages, {name: value for name, value in expect.items() if _counts(name, value)})


def _counts(name: str, value: t.Any) -> bool:
    """Whether an expectation says anything: an answer is never empty unless that is allowed."""
    if name == "not_empty":
        return value is False
    return value not in (False, [])


def _messages(raw: t.Mapping[str, t.Any], where: str) -> tuple[dict[str, str], ...]:
    if (raw.get("prompt") is None) == (raw.get("messages") is None):
        raise InputError(f"{where.capitalize()} needs either prompt or messages.")
    if raw.get("messages") is None:
        found = [{"role": "user", "content": _text(raw["prompt"], where)}]
    else:
        if not isinstance(raw["messages"], (list, tuple)) or not raw["messages"]:
            raise InputError(f"messages of {where} is no list of messages.")
        found = []
        for message in raw["messages"]:
            if not isinstance(message, t.Mapping) or message.get("role") not in _ROLES:
                raise InputError(f"messages of {where}: each has role ({', '.join(_ROLES)}) and content.")
            found.append({"role": str(message["role"]), "content": _text(message.get("content"), where)})
        if found[-1]["role"] == "assistant":
            raise InputError(f"messages of {where} end with an answer: nothing would be asked.")
    if raw.get("system") is not None:
        found.insert(0, {"role": "system", "content": _text(raw["system"], f"system of {where}")})
    return tuple(found)


def _only(raw: t.Mapping[str, t.Any], known: t.Sequence[str], where: str) -> None:
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, 0.6)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise InputError(f"{where[0].upper()}{where[1:]} has an unknown key {key!r}.", hint)


def _text(value: t.Any, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"{what[0].upper()}{what[1:]} must be a text, not {value!r}.", "Put it in quotes.")
    return str(value)


def _truth(value: t.Any, what: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "yes", "false", "no"):
        return value.lower() in ("true", "yes")
    raise InputError(f"{what[0].upper()}{what[1:]} must be true or false, not {value!r}.")


def _whole(value: t.Any, what: str, least: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise InputError(f"{what[0].upper()}{what[1:]} must be a whole number, at least {least}, not {value!r}.")
    return number


# -- judging -----------------------------------------------------------------------------------------------------------


def unmet(question: Question, answer: Answer) -> list[str]:
    """In what an answer is not as expected, a few words each; empty when it is.

    Texts are compared as Unicode's NFC has them; blanks around the answer do not count for ``equals``.
    """
    expect = question.expect
    fold = expect.get("ignore_case", False)

    def plain(text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        return text.casefold() if fold else text

    text, found = plain(answer.text), []
    if not text.strip() and expect.get("not_empty", True) and expect.get("equals", "x").strip():
        found.append("is empty")
    found += [f"does not contain {part!r}" for part in expect.get("contains", []) if plain(part) not in text]
    found += [f"contains {part!r}" for part in expect.get("not_contains", []) if plain(part) in text]
    flags = re.IGNORECASE if fold else 0
    whole = unicodedata.normalize("NFC", answer.text)
    found += [f"does not match {one!r}" for one in expect.get("regex", []) if not re.search(one, whole, flags)]
    found += [f"matches {one!r}" for one in expect.get("not_regex", []) if re.search(one, whole, flags)]
    if "equals" in expect and text.strip() != plain(expect["equals"]).strip():
        found.append(f"is not {expect['equals']!r}")
    found += [f"is {one!r}" for one in expect.get("not_equals", []) if text.strip() == plain(one).strip()]
    if expect.get("ends_by_itself") and not answer.ended:
        found.append(f"did not end by itself within {answer.tokens} tokens")
    if "max_tokens" in expect and answer.tokens > expect["max_tokens"]:
        more = "" if answer.ended else " or more"
        found.append(f"has {answer.tokens} tokens{more} and not at most {expect['max_tokens']}")
    if expect.get("json"):
        problem = _json_problem(answer.text)
        if problem:
            found.append(f"is no JSON: {problem}")
    return found


def _json_problem(text: str) -> str:
    def refuse(name: str) -> t.NoReturn:
        raise ValueError(f"{name} is no JSON value")

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError as error:
        return str(error)
    except RecursionError:
        return "it is nested too deeply"
    return ""


def report(
    gate: Gate,
    candidate: t.Mapping[str, str],
    after: t.Sequence[Answer],
    served: t.Mapping[str, str] | None = None,
    before: t.Sequence[Answer] = (),
) -> dict[str, t.Any]:
    """What came of asking: ``passed``, how many answers were as expected, and each question with its answers.

    :param candidate: ``model`` and ``digest`` of the model that is to be promoted; ``served`` those of the one now
        served, None where there is none or it is the same.
    """
    asked = []
    for number, (question, answer) in enumerate(zip(gate.questions, after), 1):
        entry: dict[str, t.Any] = {
            "number": number,
            "messages": [dict(message) for message in question.messages],
            "expected": dict(question.expect),
            "after": _told(question, answer),
            "before": _told(question, before[number - 1]) if served else None,
        }
        entry["regressed"] = bool(entry["before"] and entry["before"]["met"] and not entry["after"]["met"])
        asked.append(entry)
    met = sum(entry["after"]["met"] for entry in asked)
    regressed = gate.no_regression and any(entry["regressed"] for entry in asked)
    return {
        "schema": 1,
        "passed": len(asked) - met <= gate.allowed_failures and not regressed,
        "candidate": {**candidate, "met": met},
        "served": {**served, "met": sum(entry["before"]["met"] for entry in asked)} if served else None,
        "asked": len(asked),
        "allowed_failures": gate.allowed_failures,
        "no_regression": gate.no_regression,
        "questions": asked,
    }


def _told(question: Question, answer: Answer) -> dict[str, t.Any]:
    problems = unmet(question, answer)
    return {**dataclasses.asdict(answer), "met": not problems, "unmet": problems}


def summary(found: t.Mapping[str, t.Any]) -> str:
    """One sentence about a report."""
    one, other = found["candidate"], found["served"]
    text = f"{one['met']} of {found['asked']} answers of {one['model']} are as expected"
    return f"{text}, {other['met']} of {other['model']}." if other else f"{text}."


def failure_lines(found: t.Mapping[str, t.Any], most: int = 10, longest: int = 300) -> list[str]:
    """Lines about the answers that are not as expected, for people.

    :param found: a :func:`report`.
    :param most: how many questions at most.
    :param longest: characters of an answer at most.
    """
    failed = [entry for entry in found["questions"] if not entry["after"]["met"]]
    lines = []
    for entry in failed[:most]:
        lines.append(f"{entry['number']}. {_short(entry['messages'][-1]['content'], longest)}")
        lines.append(f"   answer: {_short(entry['after']['text'], longest)}")
        lines.append(f"   it {'; it '.join(entry['after']['unmet'])}")
        if entry["before"]:
            verdict = "as expected" if entry["before"]["met"] else f"it {'; it '.join(entry['before']['unmet'])}"
            lines.append(f"   served now: {_short(entry['before']['text'], longest)} ({verdict})")
    if len(failed) > most:
        lines.append(f"and {len(failed) - most} more.")
    return lines


def _short(text: str, longest: int) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= longest else flat[: longest - 1] + "…")
