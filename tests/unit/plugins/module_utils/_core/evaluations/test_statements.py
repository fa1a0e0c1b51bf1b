# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of an evaluation."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import statements
from ansible_collections.ia_homelab.llamafactory.tests.support.evaluation_fixture import report, share

DIGEST = "a" * 64
TEXT = {"value": 71.2, "low": 66.0, "high": 76.4, "asked": 31}


def compared(measure: str, difference: float, low: float, high: float, against: str = "served") -> dict[str, t.Any]:
    return {
        "model": "q4_K_M", "against": against, "measure": measure, "difference": difference, "low": low, "high": high,
        "asked": 31, "worse": [], "better": [],
    }  # fmt: skip


def with_measures(measures: dict[str, t.Any], **changes: t.Any) -> dict[str, t.Any]:
    value = report(DIGEST, requirements=[], **changes)
    value["models"][0]["measures"] = measures
    return value


def said(value: dict[str, t.Any], language: str = "en") -> str:
    line = statements.line(value, "q4_K_M")
    assert line is not None
    return line.render(language).message


def test_the_line_of_a_version() -> None:
    value = with_measures(
        {"calls": share(48, 50, 0.9, 1.0), "text": TEXT}, comparisons=[compared("text", 3.1, 1.1, 5.1)]
    )
    assert said(value) == "calls 48/50, text 71.2, vs served +3.1 ± 2.0"


def test_several_differences_have_the_names_of_their_measures_and_shares_are_in_points() -> None:
    assert said(report(DIGEST)) == (
        "calls 48/50, text 71.2, guard 39/40, vs served calls +6.0 ± 8.0, text +3.1 ± 2.0, guard -2.5 ± 3.8"
    )


@pytest.mark.parametrize(
    ("measures", "line"),
    [
        ({"exact": share(1, 2, 0, 1), "same": share(2, 2, 0, 1)}, "same 2/2"),
        ({"exact": share(1, 2, 0, 1)}, "exact 1/2"),
        ({"gate": share(3, 4, 0, 1), "json": share(0, 4, 0, 1)}, "gate 3/4, json 0/4"),
        ({}, "nothing was measured"),
    ],
)
def test_a_line_has_each_measure_once(measures: dict[str, t.Any], line: str) -> None:
    assert said(with_measures(measures, comparisons=[])) == line


def test_without_a_served_model_the_line_compares_with_the_base() -> None:
    others = [compared("text", -1.0, -2.0, 0.0, "f16"), compared("text", 9.0, 5.0, 13.0, "base")]
    assert said(with_measures({"text": TEXT}, comparisons=others)) == "text 71.2, vs base +9.0 ± 4.0"


def test_the_line_names_the_requirements_that_are_not_met() -> None:
    unmet = {"model": "q4_K_M", "name": "json", "wanted": 1.0, "value": 0.9, "bound": None, "met": False}
    value = with_measures({"text": TEXT}, comparisons=[])
    value["requirements"] = [unmet, {**unmet, "model": "q8_0", "name": "calls"}]
    assert said(value) == "text 71.2; not met: json"
    assert said(value, "fr") == "text 71,2 ; non satisfait : json"


def test_a_model_that_the_report_does_not_have_has_no_line() -> None:
    assert statements.line(report(DIGEST), "q8_0") is None


def test_requirements_that_are_not_met_come_first() -> None:
    fact = {"model": "q4_K_M", "bound": None}
    entries = [
        {**fact, "name": "calls", "wanted": 0.8, "value": 0.96, "bound": 0.8654, "met": True},
        {**fact, "name": "not_worse_than_served", "measure": "json", "wanted": 0.0, "value": 0.02, "met": True},
        {**fact, "name": "not_worse_than_served", "measure": "text", "wanted": 0.0, "value": -3.0, "met": False},
        {**fact, "name": "guard_drop_at_most", "wanted": 0.1, "value": None, "met": True},
        {**fact, "name": "guard_drop_at_most", "wanted": 0.1, "value": -0.05, "met": True},
        {**fact, "name": "allowed_failures", "wanted": 2, "value": 1, "met": True},
        {**fact, "name": "no_regression", "wanted": 0, "value": 0, "met": True},
        {"model": "q8_0", "name": "guard", "wanted": 1, "value": None, "bound": None, "met": False},
    ]
    value = report(DIGEST, requirements=entries)
    assert [str(line) for line in statements.requirements(value, "q4_K_M")] == [
        "q4_K_M: text is lower by 3 than that of the model served now.",
        "q4_K_M: calls is 0.96 (bound 0.865), and at least 0.8 is required.",
        "q4_K_M: json differs by 0.02 from that of the model served now: it is not worse.",
        "q4_K_M: guard_drop_at_most is met: there is nothing to compare with.",
        "q4_K_M: the share of guard questions differs by -0.05, and may be lower by 0.1.",
        "q4_K_M: 1 answer to the gate is not as expected, and 2 are allowed.",
        "q4_K_M: no question of the gate fails that the model served now passes.",
    ]
    assert str(statements.requirements(value)[1]) == "q8_0: guard was not measured, and 1 is required."


def test_values_with_their_bounds() -> None:
    assert statements.measured("calls", share(48, 50, 0.865, 0.989)).text == "48/50 = 96.0 % (86.5 to 98.9)"
    assert statements.measured("text", TEXT).text == "71.2 (66.0 to 76.4, 31 answers)"


@pytest.mark.parametrize(("low", "high", "word"), [(0.1, 2, "better"), (-2, -0.1, "worse"), (-1, 1, "undecided")])
def test_a_difference_within_chance_is_undecided(low: float, high: float, word: str) -> None:
    assert statements.verdict(compared("text", (low + high) / 2, low, high)).text == word


def test_a_judge_is_told_with_its_habits() -> None:
    pair = {
        "model": "q4_K_M", "against": "served", "wins": 3, "losses": 1, "ties": 1, "asked": 6, "disagreements": 1,
        "position": 0.75, "longer": 0.5,
    }  # fmt: skip
    value = report(DIGEST, judge={"model": "qwen3:14b", "pairs": [pair, {**pair, "model": "q8_0"}]})
    assert [str(line) for line in statements.judged(value, "q4_K_M")] == [
        "qwen3:14b preferred q4_K_M to served in 3 of 6 questions, and served in 1; 1 tie. "
        "It contradicted itself in 1.",
        "Of its verdicts, qwen3:14b gave 75 % to the answer that it read first and 50 % to the longer one.",
    ]
    assert len(statements.judged(value)) == 4


def test_a_card_has_the_line_the_requirements_and_the_notes() -> None:
    lines = statements.card(report(DIGEST), "q4_K_M")
    assert lines[0].startswith("calls 48/50")
    assert "q4_K_M: calls is 0.96 (bound 0.865), and at least 0.8 is required." in lines
    assert lines[-1] == "Two rows were left out."
