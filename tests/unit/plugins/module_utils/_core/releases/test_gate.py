# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expectations for answers, and invalid gates."""

from __future__ import annotations

import concurrent.futures
import time
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases import regex
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import (
    OPTIONS,
    Answer,
    Gate,
    read_gate,
    unmet,
)

FILM = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "year": {"$ref": "#/$defs/year"}},
    "required": ["title"],
    "additionalProperties": False,
    "$defs": {"year": {"type": "integer", "minimum": 1888}},
}


def gate(**expect: t.Any) -> Gate:
    declared = read_gate({"prompts": [{"prompt": "Qui es-tu ?", **expect}]})
    assert declared is not None
    return declared


def answer(text: str, tokens: int = 5, ended: bool = True) -> Answer:
    return Answer(text, ended, tokens)


@pytest.mark.parametrize(
    ("expect", "good", "bad", "why"),
    [
        ({}, answer("x"), answer(" \n"), "is empty"),
        ({"contains": "homelab"}, answer("Le homelab."), answer("Le Homelab."), "does not contain 'homelab'"),
        ({"contains": ["a", "b"]}, answer("ba"), answer("a"), "does not contain 'b'"),
        ({"contains": "É", "ignore_case": True}, answer("e\u0301t\u00e9"), answer("ete"), "does not contain 'É'"),
        ({"not_contains": "Qwen"}, answer("moi"), answer("Qwen"), "contains 'Qwen'"),
        ({"not_contains": ["a", "qwen"], "ignore_case": True}, answer("moi"), answer("QWEN"), "contains 'qwen'"),
        ({"regex": r"^\d{2}\s"}, answer("12 rue"), answer("1 rue"), r"does not match '^\\d{2}\\s'"),
        ({"regex": "NAS", "ignore_case": True}, answer("le nas"), answer("le na"), "does not match 'NAS'"),
        ({"not_regex": r"\bje ne\b"}, answer("je"), answer("je ne"), r"matches '\\bje ne\\b'"),
        ({"equals": "42"}, answer(" 42\n"), answer("42."), "is not '42'"),
        ({"equals": 42}, answer("42"), answer("43"), "is not '42'"),
        ({"not_equals": ["oui", "non"]}, answer("peut-être"), answer("non "), "is 'non'"),
        ({"ends_by_itself": True}, answer("x"), answer("x", 1024, False), "did not end by itself within 1024 tokens"),
        ({"max_tokens": 5}, answer("x", 5), answer("x", 6), "has 6 tokens and not at most 5"),
        ({"max_tokens": 5}, answer("x", 5), answer("x", 1025, False), "has 1025 tokens or more and not at most 5"),
        ({"json": True}, answer('{"a": [1]}'), answer('```json\n{"a": 1}\n```'), "is no JSON: "),
        ({"json": True}, answer("null"), answer("NaN"), "is no JSON: NaN is no JSON value"),
        ({"json": True}, answer("1"), answer("[" * 200_000), "is no JSON: "),
        ({"json": True}, answer("[" * 300 + "]" * 300), answer("[" * 300), "is no JSON: "),
        ({"json_schema": FILM}, answer('{"title": "Dune", "year": 1984.0}'), answer("Dune"), "is no JSON: "),
        (
            {"json_schema": FILM},
            answer('{"title": "D"}'),
            answer("[" * 300 + "]" * 300),
            "is no JSON: it is nested too",
        ),
        (
            {"json_schema": FILM},
            answer('{"title": "D"}'),
            answer('{"year": 2001}'),
            "is JSON, but not as json_schema says: $: ",
        ),
        (
            {"json_schema": FILM, "json": True},
            answer('{"title": "D"}'),
            answer('{"title": "D", "year": true}'),
            "is JSON, but not as json_schema says: $.year: ",
        ),
        (
            {"json_schema": FILM},
            answer('{"title": "D"}'),
            answer('{"title": "D", "director": "x"}'),
            "is JSON, but not as json_schema says: $.director: ",
        ),
    ],
)
def test_an_expectation(expect: dict[str, t.Any], good: Answer, bad: Answer, why: str) -> None:
    question = gate(**expect).questions[0]
    assert unmet(question, good) == []
    failures = unmet(question, bad)
    assert len(failures) == 1 and str(failures[0]).startswith(why), failures


def test_an_empty_answer_that_is_allowed() -> None:
    assert unmet(gate(not_empty=False).questions[0], answer("")) == []
    assert unmet(gate(equals="").questions[0], answer("")) == []


def test_all_failures_are_listed() -> None:
    question = gate(contains="a", max_tokens=2, ends_by_itself=True, json=True).questions[0]
    assert len(unmet(question, answer("xyz", 9, False))) == 4


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("x", "A gate is a list of prompts"),
        ({"prompt": []}, "Did you mean prompts"),
        ({"prompts": []}, "no prompts"),
        ({"prompts": "x"}, "no prompts"),
        ({"prompts": ["x"]}, "Prompt 1 of the gate is no dictionary"),
        ([{"contains": "x"}], "needs either prompt or messages"),
        ([{"prompt": "x", "messages": [{"role": "user", "content": "x"}]}], "needs either prompt or messages"),
        ([{"prompt": "x", "contain": "y"}], "Did you mean contains"),
        ([{"prompt": "x"}, {"prompt": "x", "regex": "("}], "regex of prompt 2 of the gate is no regular expression"),
        ([{"prompt": "x", "max_tokens": 0}], "at least 1"),
        ([{"prompt": "x", "max_tokens": True}], "whole number"),
        ([{"prompt": "x", "json": "maybe"}], "true or false"),
        ([{"prompt": "x", "json_schema": "object"}], "must be a JSON schema, not 'object'"),
        ([{"prompt": "x", "json_schema": {}}], "must be a JSON schema"),
        ([{"prompt": "x", "json_schema": {"type": "text"}}], r"compared with: json_schema.type: "),
        (
            [{"prompt": "x", "json_schema": {"items": {"format": "date"}}}],
            "json_schema.items.format: the keyword format is",
        ),
        ([{"prompt": "x", "json_schema": {"requird": ["a"]}}], "required"),
        ([{"prompt": "x", "json_schema": {"not": {"if": True}}}], "json_schema.not.if: "),
        ([{"prompt": "x", "json_schema": {"minimum": 1, "exclusiveMinimum": True}}], "exclusiveMinimum"),
        ([{"prompt": "x", "json_schema": {"pattern": "(?<n>a)"}}], "cannot be read"),
        ([{"prompt": "x", "json_schema": {"$ref": "#/$defs/none"}}], "json_schema.\\$ref"),
        ([{"prompt": "x", "equals": ["a"]}], "must be a text"),
        ([{"prompt": True}], "must be a text"),
        ([{"messages": []}], "no list of messages"),
        ([{"messages": [{"role": "bot", "content": "x"}]}], "each has role"),
        ([{"messages": [{"role": "assistant", "content": "x"}]}], "end with an answer"),
        ({"prompts": [{"prompt": "x"}], "allowed_failures": 1}, "it would stop nothing"),
        ({"prompts": [{"prompt": "x"}], "allowed_failures": -1}, "at least 0"),
        ({"prompts": [{"prompt": "x"}], "options": {"temperatur": 1}}, "Did you mean temperature"),
    ],
)
def test_invalid_gates_are_refused(raw: t.Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_gate(raw)
    assert caught.value.message


def test_no_gate() -> None:
    assert read_gate(None) is None and read_gate({}) is None and read_gate([]) is None


def test_equivalent_declarations_have_the_same_settings() -> None:
    """The settings are part of the promotion's fingerprint: an equivalent gate must not be run again."""
    short = read_gate([{"prompt": "x", "contains": "a", "not_empty": True, "json": False}])
    long = read_gate(
        {
            "prompts": [{"messages": [{"role": "user", "content": "x"}], "contains": ["a"]}],
            "options": {"seed": "42", "temperature": 0.0},
            "allowed_failures": "0",
            "no_regression": "no",
        }
    )
    assert short is not None and long is not None
    assert short.as_settings() == long.as_settings() == {
        "prompts": [{"messages": [{"role": "user", "content": "x"}], "expect": {"contains": ["a"]}}]
    }  # fmt: skip
    assert Gate.from_settings(short.as_settings()) == short


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.integers(0, 3), st.booleans(), st.text())
def test_a_gate_is_restored_from_its_settings(texts: list[str], allowed: int, strict: bool, system: str) -> None:
    raw = {
        "prompts": [{"prompt": text, "equals": text, "system": system} for text in texts],
        "allowed_failures": min(allowed, len(texts) - 1),
        "no_regression": strict,
        "options": {"num_predict": 7},
    }
    declared = read_gate(raw)
    assert declared is not None
    assert Gate.from_settings(declared.as_settings()) == declared


def test_an_answer_may_exceed_max_tokens_by_one() -> None:
    declared = gate(max_tokens=3000)
    assert declared.options_for(declared.questions[0]) == {**OPTIONS, "num_predict": 3001}
    assert gate(max_tokens=3).options_for(gate(max_tokens=3).questions[0])["num_predict"] == 1024
    endless = read_gate({"prompts": [{"prompt": "x", "max_tokens": 9}], "options": {"num_predict": -1}})
    assert endless is not None and endless.options_for(endless.questions[0])["num_predict"] == -1


def test_what_an_answer_does_not_meet_is_a_message() -> None:
    (message,) = unmet(gate(equals="ok").questions[0], answer("non"))
    assert (message.code, message.parameters) == ("releases.unmet_equals", {"text": "ok"})
    assert message.render("fr").message == "n'est pas 'ok'"


# -- limits of regular expressions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["regex", "not_regex"])
@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a{99999999999}", "repetition number is too large"),
        ("(" * 5000 + ")" * 5000, "nested too deeply"),
        ("a" * 10_001, "more than 10000 characters"),
        ("[z-a]", "bad character range"),
        ("(?P<n>a)(?P<n>b)", "redefinition of group name"),
    ],
)
def test_an_expression_that_cannot_be_compiled_is_refused_by_name(option: str, pattern: str, why: str) -> None:
    with pytest.raises(InputError, match=f"{option} of prompt 1 of the gate is no regular expression.*{why}") as caught:
        gate(**{option: pattern})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("option", ["regex", "not_regex"])
def test_an_expression_that_takes_exponential_time_ends_with_an_error(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regex, "_CPU_SECONDS", 1)
    (question,) = gate(**{option: ["a", "(a+)+$"]}).questions
    began = time.monotonic()
    with pytest.raises(InputError, match=r"exceeds its 1 seconds.*\(a\+\)\+\$"):
        unmet(question, answer("a" * 60 + "b"))
    assert time.monotonic() - began < 30
    assert list(map(str, unmet(question, answer("a")))) == (
        [] if option == "regex" else ["matches 'a'", "matches '(a+)+$'"]
    )


def test_a_search_ends_in_a_thread_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regex, "_CPU_SECONDS", 1)
    (question,) = gate(regex="(a|a)*$").questions
    with concurrent.futures.ThreadPoolExecutor(1) as pool, pytest.raises(InputError, match="exceeds"):
        pool.submit(unmet, question, answer("a" * 60 + "b")).result(timeout=30)
