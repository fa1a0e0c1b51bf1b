# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``thinking`` stands for, by the chat template and the thoughts of the rows."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.thinking import (
    FROM_ROWS,
    KEEP,
    OFF,
    ThoughtUse,
    choose,
    keeps_prompt_open,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

NONE = ThoughtUse(10)
EXACT = ThoughtUse(10, 10, spellings=(("<think>\n", "\n</think>\n\n"),))
ONE_LINE = ThoughtUse(10, 4, spellings=(("<think>", "</think>"),))
EMPTY = ThoughtUse(10, empty=("<think></think>",))


@pytest.mark.parametrize(
    ("declared", "template", "use", "argument", "policy", "setting", "reason"),
    [
        (FROM_ROWS, "qwen3", NONE, None, OFF, OFF, "no row has a thought"),
        (FROM_ROWS, "qwen3", EXACT, None, KEEP, FROM_ROWS, "10 of 10 rows have a thought"),
        (FROM_ROWS, "qwen3", ONE_LINE, None, KEEP, KEEP, "4 of 10 rows have a thought"),
        (FROM_ROWS, "glm4_7", ONE_LINE, None, KEEP, FROM_ROWS, "4 of 10 rows have a thought"),
        (FROM_ROWS, "qwen3", EMPTY, None, OFF, OFF, "no row has a thought"),
        (KEEP, "qwen3", NONE, None, KEEP, FROM_ROWS, "it is declared"),
        (KEEP, "qwen3", EMPTY, None, KEEP, KEEP, "it is declared"),
        (OFF, "qwen3", EXACT, None, OFF, OFF, "10 of 10 rows have a thought, which are removed"),
        (OFF, "qwen3", NONE, None, OFF, OFF, "it is declared"),
        (FROM_ROWS, "qwen3", NONE, False, OFF, FROM_ROWS, "extra.enable_thinking is set"),
        (FROM_ROWS, "qwen3", EXACT, False, OFF, FROM_ROWS, "10 of 10 rows have a thought, which are removed"),
        (FROM_ROWS, "qwen3", ONE_LINE, False, OFF, OFF, "4 of 10 rows have a thought, which are removed"),
        (FROM_ROWS, "qwen3", NONE, True, KEEP, FROM_ROWS, "extra.enable_thinking is set"),
        (FROM_ROWS, "llama3", NONE, None, FROM_ROWS, FROM_ROWS, None),
        (OFF, "llama3", NONE, None, FROM_ROWS, FROM_ROWS, None),
        (OFF, "llama3", EXACT, None, OFF, OFF, "10 of 10 rows have a thought, which are removed"),
        (FROM_ROWS, "a template of a later version", EXACT, None, FROM_ROWS, FROM_ROWS, None),
    ],
)
def test_choice(
    declared: str, template: str, use: ThoughtUse, argument: bool | None, policy: str, setting: str, reason: str | None
) -> None:
    choice = choose(declared, template, use, argument)
    assert (choice.policy, choice.setting) == (policy, setting)
    assert (choice.reason and str(choice.reason)) == reason


def test_mixture_is_told_with_counts() -> None:
    warning = choose(FROM_ROWS, "qwen3", ONE_LINE).warning
    assert str(warning).startswith("Of 10 rows, 4 have a thought before the answer and 6 have none.")
    partly = choose(KEEP, "qwen3", ThoughtUse(3, 3, partly=1)).warning
    assert str(partly).startswith("In 1 of 3 rows, only some answers have a thought.")
    assert choose(FROM_ROWS, "qwen3", EXACT).warning is None
    assert choose(OFF, "qwen3", ONE_LINE).warning is None


def test_template_without_thoughts_is_refused_with_those_that_have_them() -> None:
    with pytest.raises(InputError, match="llama3, which has no form for thoughts.*deepseekr1.*qwen3"):
        choose(KEEP, "llama3", NONE)
    with pytest.raises(InputError, match="4 rows have thoughts before the answer.*Set thinking to off.*qwen3"):
        choose(FROM_ROWS, "llama3", ONE_LINE)


@pytest.mark.parametrize("declared", [KEEP, OFF])
def test_argument_beside_the_option_is_refused(declared: str) -> None:
    with pytest.raises(InputError, match="Leave extra.enable_thinking out") as raised:
        choose(declared, "qwen3", NONE, True)
    assert raised.value.details == {"argument": "enable_thinking"}


def unclear(kind: str, marker: str) -> ThoughtUse:
    place = {"count": 2, "file": "rows.json", "row": 3, "field": "output"}
    return ThoughtUse(10, unclear=({"kind": kind, "marker": marker, **place},))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("open", "begins with <think> and does not end"),
        ("again", "after the thought there is another <think>"),
        ("alone", "no answer after the thought"),
        ("inside", "<think> stands within the answer"),
    ],
)
@pytest.mark.parametrize("declared", [FROM_ROWS, KEEP, OFF])
def test_unclear_thought_is_refused_with_its_place(declared: str, kind: str, text: str) -> None:
    with pytest.raises(InputError, match=f"rows.json row 3, output: .*{text}.*2 answers"):
        choose(declared, "qwen3", unclear(kind, "<think>"))


def test_word_of_another_template_within_an_answer_is_text() -> None:
    assert choose(FROM_ROWS, "qwen3", unclear("inside", "<thinking>")).policy == OFF
    assert choose(FROM_ROWS, "llama3", unclear("inside", "<think>")).policy == FROM_ROWS


@pytest.mark.parametrize(
    ("resolved", "expected"),
    [
        ({}, True),
        ({"thinking": KEEP}, True),
        ({"thinking": FROM_ROWS}, True),
        ({"thinking": OFF}, False),
        ({"thinking": OFF, "extra": {"enable_thinking": None}}, False),
        ({"extra": {"enable_thinking": False}}, False),
        ({"extra": {"enable_thinking": True}}, True),
    ],
)
def test_who_writes_the_empty_thought(resolved: dict[str, t.Any], expected: bool) -> None:
    assert keeps_prompt_open(resolved) is expected
