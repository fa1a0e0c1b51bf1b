# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers are held to, and what of a declared gate is refused."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import (
    OPTIONS,
    Answer,
    Gate,
    failure_lines,
    read_gate,
    report,
    summary,
    unmet,
)


def gate(**expect: t.Any) -> Gate:
    found = read_gate({"prompts": [{"prompt": "Qui es-tu ?", **expect}]})
    assert found is not None
    return found


def said(text: str, tokens: int = 5, ended: bool = True) -> Answer:
    return Answer(text, ended, tokens)


@pytest.mark.parametrize(
    ("expect", "good", "bad", "why"),
    [
        ({}, said("x"), said(" \n"), "is empty"),
        ({"contains": "homelab"}, said("Le homelab."), said("Le Homelab."), "does not contain 'homelab'"),
        ({"contains": ["a", "b"]}, said("ba"), said("a"), "does not contain 'b'"),
        ({"contains": "É", "ignore_case": True}, said("e\u0301t\u00e9"), said("ete"), "does not contain 'É'"),
        ({"not_contains": "Qwen"}, said("moi"), said("Qwen"), "contains 'Qwen'"),
        ({"not_contains": ["a", "qwen"], "ignore_case": True}, said("moi"), said("QWEN"), "contains 'qwen'"),
        ({"regex": r"^\d{2}\s"}, said("12 rue"), said("1 rue"), r"does not match '^\\d{2}\\s'"),
        ({"regex": "NAS", "ignore_case": True}, said("le nas"), said("le na"), "does not match 'NAS'"),
        ({"not_regex": r"\bje ne\b"}, said("je"), said("je ne"), r"matches '\\bje ne\\b'"),
        ({"equals": "42"}, said(" 42\n"), said("42."), "is not '42'"),
        ({"equals": 42}, said("42"), said("43"), "is not '42'"),
        ({"not_equals": ["oui", "non"]}, said("peut-être"), said("non "), "is 'non'"),
        ({"ends_by_itself": True}, said("x"), said("x", 1024, False), "did not end by itself within 1024 tokens"),
        ({"max_tokens": 5}, said("x", 5), said("x", 6), "has 6 tokens and not at most 5"),
        ({"max_tokens": 5}, said("x", 5), said("x", 1025, False), "has 1025 tokens or more and not at most 5"),
        ({"json": True}, said('{"a": [1]}'), said('```json\n{"a": 1}\n```'), "is no JSON: "),
        ({"json": True}, said("null"), said("NaN"), "is no JSON: NaN is no JSON value"),
        ({"json": True}, said("1"), said("[" * 200_000), "is no JSON: "),
    ],
)
def test_an_expectation(expect: dict[str, t.Any], good: Answer, bad: Answer, why: str) -> None:
    question = gate(**expect).questions[0]
    assert unmet(question, good) == []
    found = unmet(question, bad)
    assert len(found) == 1 and found[0].startswith(why), found


def test_empty_where_it_may_be() -> None:
    assert unmet(gate(not_empty=False).questions[0], said("")) == []
    assert unmet(gate(equals="").questions[0], said("")) == []


def test_all_that_is_wrong_is_told() -> None:
    question = gate(contains="a", max_tokens=2, ends_by_itself=True, json=True).questions[0]
    assert len(unmet(question, said("xyz", 9, False))) == 4


@pytest.mark.parametrize(
    ("raw", "says"),
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
def test_what_cannot_be_a_gate(raw: t.Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_gate(raw)
    assert caught.value.message


def test_no_gate() -> None:
    assert read_gate(None) is None and read_gate({}) is None and read_gate([]) is None


def test_the_same_gate_written_otherwise_is_the_same() -> None:
    """It names the promotion: what changes nothing must not ask again."""
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
def test_a_gate_comes_back_from_its_settings(texts: list[str], allowed: int, strict: bool, system: str) -> None:
    raw = {
        "prompts": [{"prompt": text, "equals": text, "system": system} for text in texts],
        "allowed_failures": min(allowed, len(texts) - 1),
        "no_regression": strict,
        "options": {"num_predict": 7},
    }
    found = read_gate(raw)
    assert found is not None
    assert Gate.from_settings(found.as_settings()) == found


def test_an_answer_may_be_longer_than_allowed_to_be_seen_to_be() -> None:
    asked = gate(max_tokens=3000)
    assert asked.options_for(asked.questions[0]) == {**OPTIONS, "num_predict": 3001}
    assert gate(max_tokens=3).options_for(gate(max_tokens=3).questions[0])["num_predict"] == 1024
    endless = read_gate({"prompts": [{"prompt": "x", "max_tokens": 9}], "options": {"num_predict": -1}})
    assert endless is not None and endless.options_for(endless.questions[0])["num_predict"] == -1


def asked(allowed: int, strict: bool, after: list[str], before: list[str] | None = None) -> dict[str, t.Any]:
    found = read_gate(
        {
            "prompts": [{"prompt": f"{number}?", "equals": "ok"} for number in range(len(after))],
            "allowed_failures": allowed,
            "no_regression": strict,
        }
    )
    assert found is not None
    served = {"model": "m:latest", "digest": "b"} if before is not None else None
    return report(
        found,
        {"model": "m:new", "digest": "a"},
        [said(text) for text in after],
        served,
        [said(text) for text in before or []],
    )


def test_reports() -> None:
    assert asked(0, False, ["ok", "ok"])["passed"]
    assert not asked(0, False, ["ok", "no"])["passed"]
    assert asked(1, False, ["ok", "no"])["passed"]
    assert asked(1, False, ["ok", "no"], ["no", "ok"])["passed"]
    assert not asked(1, True, ["ok", "no"], ["no", "ok"])["passed"], "what was known is forgotten"
    assert asked(1, True, ["ok", "no"], ["no", "no"])["passed"]
    assert asked(1, True, ["ok", "no"])["passed"], "there is nothing to fall behind"
    found = asked(1, False, ["ok", "no"], ["no", "no"])
    assert (found["candidate"]["met"], found["served"]["met"], found["asked"]) == (1, 0, 2)


def test_words_show_question_answer_and_expectation() -> None:
    found = asked(0, False, ["ok", "non\nnon"], ["ok", "ok"])
    assert summary(found) == "1 of 2 answers of m:new are as expected, 2 of m:latest."
    assert failure_lines(found) == [
        "2. '1?'",
        "   answer: 'non non'",
        "   it is not 'ok'",
        "   served now: 'ok' (as expected)",
    ]
    assert failure_lines(asked(0, False, ["no"] * 30), most=2)[-1] == "and 28 more."
    assert "…" in failure_lines(asked(0, False, ["no" * 999]))[1]
