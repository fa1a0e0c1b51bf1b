# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requirements of an evaluation: what is refused, what no answer can meet, and what a report meets."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import requirements
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.intervals import wilson
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.requirements import (
    Requirements,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message

PLACE = Message("releases.place_gate")
COUNTS = {"gate": 5, "calls": 20, "json": 10, "exact": 30, "same": 30, "text": 30, "guard": 40}


def test_what_is_declared() -> None:
    declared = {
        "calls": 0.8,
        "json": 1,
        "text": "60",
        "not_worse_than_served": "yes",
        "guard_drop_at_most": 0,
        "allowed_failures": "2",
        "no_regression": True,
        "confidence": 0.95,
    }
    made = requirements.read(declared, PLACE)
    assert made == Requirements({"calls": 0.8, "json": 1.0, "text": 60.0}, True, 0.0, 2, True, 0.95)
    assert requirements.read(made.as_settings(), PLACE) == made
    assert made and not requirements.read({}, PLACE) and not requirements.read(None, PLACE)
    assert requirements.read({"calls": None}, PLACE) == Requirements()


@pytest.mark.parametrize(
    ("declared", "code"),
    [
        ([], "evaluations.require_invalid"),
        (0.8, "evaluations.require_invalid"),
        ({"call": 0.8}, "evaluations.requirement_unknown"),
        ({"calls": 80}, "evaluations.share_invalid"),
        ({"calls": 0}, "evaluations.share_invalid"),
        ({"calls": True}, "evaluations.share_invalid"),
        ({"calls": "80 %"}, "evaluations.share_invalid"),
        ({"calls": float("nan")}, "evaluations.share_invalid"),
        ({"guard": [0.8]}, "evaluations.share_invalid"),
        ({"text": 0.7}, "evaluations.text_invalid"),
        ({"text": 101}, "evaluations.text_invalid"),
        ({"guard_drop_at_most": 1}, "evaluations.drop_invalid"),
        ({"guard_drop_at_most": -0.1}, "evaluations.drop_invalid"),
        ({"allowed_failures": 1.5}, "evaluations.failures_invalid"),
        ({"allowed_failures": -1}, "evaluations.failures_invalid"),
        ({"no_regression": 1}, "releases.no_boolean"),
        ({"not_worse_than_served": 0.1}, "releases.no_boolean"),
        ({"calls": 0.8, "confidence": 0.5}, "evaluations.confidence_unknown"),
        ({"confidence": 0.95}, "evaluations.confidence_without_effect"),
        ({"allowed_failures": 1, "confidence": 0.95}, "evaluations.confidence_without_effect"),
    ],
)
def test_what_is_refused(declared: t.Any, code: str) -> None:
    with pytest.raises(InputError) as caught:
        requirements.read(declared, PLACE)
    assert caught.value.code == code
    assert code not in str(caught.value)


def test_the_nearest_key_is_named() -> None:
    with pytest.raises(InputError, match="guard_drop_at_most"):
        requirements.read({"guard_drop": 0.1}, PLACE)


# ---------------------------------------------------------------------- what no answer can meet


@pytest.mark.parametrize(
    ("required", "code"),
    [
        (Requirements({"calls": 0.9}, confidence=0.95), "evaluations.requirement_unattainable"),
        (Requirements({"guard": 1.0}, confidence=0.8), "evaluations.requirement_unprovable"),
        (Requirements(allowed_failures=5), "releases.gate_allows_all"),
    ],
)
def test_requirements_that_cannot_be_met(required: Requirements, code: str) -> None:
    (found,) = requirements.unattainable(required, COUNTS)
    assert found.code == code and str(found) != code


@pytest.mark.parametrize(
    "required",
    [
        Requirements({"calls": 0.5}),
        Requirements(guard_drop_at_most=0.1),
        Requirements(allowed_failures=0),
        Requirements(no_regression=True),
        Requirements(not_worse_than_served=True),
    ],
)
def test_requirements_that_no_question_measures(required: Requirements) -> None:
    (found,) = requirements.unattainable(required, {})
    assert found.code == "evaluations.requirement_without_questions"


@pytest.mark.parametrize("confidence", [None, 0.8, 0.95])
def test_requirements_that_can_be_met(confidence: float | None) -> None:
    required = Requirements({"calls": 0.8, "text": 100.0}, True, 0.0, 4, True, confidence)
    assert requirements.unattainable(required, COUNTS) == []


def test_the_rows_needed_are_those_that_suffice() -> None:
    for least in (0.5, 0.8, 0.95):
        for confidence in (0.8, 0.95, 0.99):
            required = Requirements({"calls": least}, confidence=confidence)
            (found,) = requirements.unattainable(required, {"calls": 1})
            needed = found.parameters["needed"]
            assert requirements.unattainable(required, {"calls": needed}) == []
            assert len(requirements.unattainable(required, {"calls": needed - 1})) == 1


def test_what_ten_rows_can_show() -> None:
    (note,) = requirements.notes({"json": 10, "text": 10, "guard": 50})
    assert str(note) == (
        "json: with 10 questions, a measured share of 9/10 may truly be anything from 0.60 to 0.98 (95 % confidence)."
    )


# ---------------------------------------------------------------------- what a report meets


def model(label: str, role: str = "candidate", **met: tuple[int, int]) -> dict[str, t.Any]:
    measures = {
        name: {**wilson(right, asked)._asdict(), "met": right, "asked": asked} for name, (right, asked) in met.items()
    }
    return {"label": label, "role": role, "measures": measures}


def difference(
    measure: str, value: float, low: float = -1.0, high: float = 1.0, against: str = "served", worse: int = 0
) -> dict[str, t.Any]:
    bounds = {str(degree): [low, high] for degree in (0.8, 0.9, 0.95, 0.99)}
    facts = {"difference": value, "low": low, "high": high, "bounds": bounds, "worse": ["x"] * worse, "better": []}
    return {"model": "q4", "against": against, "measure": measure, "asked": 10, **facts}


def check(
    required: Requirements, *models: dict[str, t.Any], comparisons: t.Sequence[t.Any] = ()
) -> list[dict[str, t.Any]]:
    found = requirements.check(required, {"models": list(models), "comparisons": list(comparisons)})
    for entry in found:
        assert set(entry) - {"measure"} == {"model", "name", "wanted", "value", "bound", "met"}
        if not entry["met"]:
            text = requirements.describe(entry)
            assert str(text) != text.code and "evaluations." not in str(text)
            assert text.render("fr") != text.render("en")
    return found


def test_the_share_itself_is_compared() -> None:
    (entry,) = check(Requirements({"calls": 0.8}), model("q4", calls=(8, 10)))
    assert entry == {"model": "q4", "name": "calls", "wanted": 0.8, "value": 0.8, "bound": None, "met": True}
    (entry,) = check(Requirements({"calls": 0.8}), model("q4", calls=(7, 10)))
    assert not entry["met"]


def test_confidence_compares_the_bound() -> None:
    (entry,) = check(Requirements({"calls": 0.8}, confidence=0.95), model("q4", calls=(50, 50)))
    assert entry["bound"] == wilson(50, 50).low and entry["met"]
    (entry,) = check(Requirements({"calls": 0.8}, confidence=0.95), model("q4", calls=(45, 50)))
    assert entry["value"] == 0.9 and entry["bound"] == wilson(45, 50).low < 0.8 and not entry["met"]
    (entry,) = check(Requirements({"calls": 0.8}, confidence=0.8), model("q4", calls=(45, 50)))
    assert entry["bound"] == wilson(45, 50, 0.8).low and entry["met"]


def test_the_bound_of_chrf() -> None:
    text = {"value": 70.0, "low": 60.0, "high": 80.0, "bounds": {"0.8": [65.0, 75.0], "0.95": [60.0, 80.0]}, "asked": 9}
    asked = {"label": "q4", "role": "candidate", "measures": {"text": text}}
    assert check(Requirements({"text": 70.0}), asked)[0]["met"]
    assert check(Requirements({"text": 65.0}, confidence=0.8), asked)[0]["met"]
    assert not check(Requirements({"text": 65.0}, confidence=0.95), asked)[0]["met"]


def test_a_measure_without_answers_is_not_met() -> None:
    (entry,) = check(Requirements({"calls": 0.1}), model("q4"))
    assert entry["value"] is None and not entry["met"]


def test_only_candidates_are_checked() -> None:
    found = check(Requirements({"calls": 0.8}), model("q4", calls=(1, 1)), model("served", "served", calls=(0, 1)))
    assert [entry["model"] for entry in found] == ["q4"]


SERVED = model("served", "served")


def test_not_worse_than_served_looks_at_every_measure() -> None:
    required = Requirements(not_worse_than_served=True)
    compared = [difference("calls", 0.0), difference("json", -0.1), difference("text", 2.0), difference("exact", -0.1)]
    found = check(required, model("q4"), SERVED, comparisons=compared)
    assert [(entry["measure"], entry["met"]) for entry in found] == [("calls", True), ("json", False), ("text", True)]
    coarse = check(required, model("q4"), SERVED, comparisons=[difference("same", -0.1)])
    assert [entry["met"] for entry in coarse] == [False], "without chrF, texts are measured by same"


def test_with_confidence_it_must_be_proven_worse() -> None:
    required = Requirements(not_worse_than_served=True, confidence=0.95)
    perhaps = difference("calls", -0.1, -0.3, 0.1)
    proven = difference("calls", -0.3, -0.5, -0.1)
    (entry,) = check(required, model("q4"), SERVED, comparisons=[perhaps])
    assert entry["met"] and entry["bound"] == 0.1
    assert not check(required, model("q4"), SERVED, comparisons=[proven])[0]["met"]


def test_nothing_is_worse_than_nothing() -> None:
    required = Requirements(not_worse_than_served=True, no_regression=True)
    assert [(entry["value"], entry["met"]) for entry in check(required, model("q4", gate=(1, 2)))] == [(None, True)] * 2


@pytest.mark.parametrize(
    ("value", "low", "confidence", "met"),
    [
        (-0.1, -0.3, None, True),
        (-0.11, -0.3, None, False),
        (0.2, 0.1, None, True),
        (-0.05, -0.2, 0.95, False),
        (-0.05, -0.1, 0.95, True),
    ],
)
def test_how_far_the_guard_may_drop(value: float, low: float, confidence: float | None, met: bool) -> None:
    required = Requirements(guard_drop_at_most=0.1, confidence=confidence)
    against_served = difference("guard", -0.9)
    against_base = difference("guard", value, low, against="base")
    models = (model("q4", guard=(9, 10)), SERVED, model("base", "base"))
    (entry,) = check(required, *models, comparisons=[against_served, against_base])
    assert entry["met"] is met and entry["value"] == value


def test_without_the_base_the_guard_is_compared_with_the_served_model() -> None:
    required = Requirements(guard_drop_at_most=0.1)
    compared = [difference("guard", -0.2)]
    assert not check(required, model("q4", guard=(8, 10)), SERVED, comparisons=compared)[0]["met"]
    assert check(required, model("q4", guard=(1, 10)))[0]["met"], "there is nothing that it could have dropped from"
    assert not check(required, model("q4"), SERVED)[0]["met"], "it has no answers to the guard questions"


def test_a_gate_counts_failures_and_regressions() -> None:
    required = Requirements(allowed_failures=1, no_regression=True)
    models = (model("q4", gate=(4, 5)), SERVED)
    found = check(required, *models, comparisons=[difference("gate", 0.0, worse=1)])
    assert [(entry["name"], entry["value"], entry["met"]) for entry in found] == [
        ("allowed_failures", 1, True),
        ("no_regression", 1, False),
    ]
    found = check(required, model("q4", gate=(3, 5)), SERVED, comparisons=[difference("gate", 0.4)])
    assert [(entry["value"], entry["met"]) for entry in found] == [(2, False), (0, True)]
    assert not check(required, model("q4"))[0]["met"]


def test_a_candidate_passes_if_it_meets_everything() -> None:
    entries = [{"model": "a", "met": True}, {"model": "a", "met": False}, {"model": "b", "met": True}]
    assert requirements.passed(entries, ["a", "b", "c"]) == {"a": False, "b": True, "c": True}
