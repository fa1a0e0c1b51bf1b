# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all evaluations: bounds enclose values, and asking for more is never easier."""

from __future__ import annotations

import math
import typing as t

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import report
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.intervals import (
    DEGREES,
    bounds_of_mean,
    wilson,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.items import Item
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.report import Facts, Model
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.requirements import (
    Requirements,
    check,
    passed,
    unattainable,
)

SHARES = st.tuples(st.integers(1, 300), st.integers(0, 300)).map(lambda pair: (min(pair), max(pair[0], pair[1])))
#: Scores of a candidate and of the served model for each question: a guard question, or a text with its chrF.
ANSWERS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.integers(0, 100), st.integers(0, 100)), min_size=1, max_size=12
)


def built(answers: t.Sequence[tuple[bool, bool, int, int]], required: Requirements | None = None) -> dict[str, t.Any]:
    asked = ({"role": "user", "content": "?"},)
    items: list[Item] = []
    lines: dict[str, dict[str, t.Any]] = {"new": {}, "served": {}}
    for number, (new, old, new_text, old_text) in enumerate(answers):
        items += [
            Item(f"g{number}", "guard", asked),
            Item(f"t{number}", "held_out", asked, reference={"content": "a text"}),
        ]
        for label, met, text in (("new", new, new_text), ("served", old, old_text)):
            answer = {"tokens": 1, "seconds": 1.0}
            lines[label][f"g{number}"] = {"answer": answer, "scores": {"guard": float(met)}}
            scores = {"exact": 0.0, "same": float(met), "text": float(text)}
            lines[label][f"t{number}"] = {"answer": answer, "scores": scores}
    models = [Model("new", "candidate", "m:v2", "2" * 64), Model("served", "served", "m:v1", "1" * 64)]
    facts = Facts("m", "new", models, "2026-01-01T00:00:00Z", 1.0, "0.32.15")
    return report.build(facts, items, lines, required or Requirements())


@given(SHARES, st.sampled_from(DEGREES))
def test_bounds_of_shares(share: tuple[int, int], degree: float) -> None:
    met, asked = share
    found = wilson(met, asked, degree)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert wilson(asked - met, asked, degree).high == 1 - found.low or math.isclose(
        wilson(asked - met, asked, degree).high, 1 - found.low, abs_tol=1e-12
    )
    if met < asked:
        assert wilson(met + 1, asked, degree).low > found.low
    assert wilson(2 * met, 2 * asked, degree).high - wilson(2 * met, 2 * asked, degree).low < found.high - found.low


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_bounds_of_means(values: list[float]) -> None:
    mean, bounds = bounds_of_mean(values, samples=200)
    for low, high in bounds.values():
        assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    widths = [high - low for low, high in bounds.values()]
    assert widths == sorted(widths) and min(values) - 1e-9 <= mean <= max(values) + 1e-9


@settings(max_examples=15, deadline=None)
@given(ANSWERS)
def test_the_better_model_is_said_to_be_better(answers: list[tuple[bool, bool, int, int]]) -> None:
    made = built(answers)
    for each in made["comparisons"]:
        values = [model["measures"][each["measure"]]["value"] for model in made["models"]]
        assert math.isclose(each["difference"], values[0] - values[1], abs_tol=1e-9)
        assert each["low"] - 1e-9 <= each["difference"] <= each["high"] + 1e-9
        assert not set(each["worse"]) & set(each["better"])
    turned = built([(old, new, old_text, new_text) for new, old, new_text, old_text in answers])
    for one, other in zip(made["comparisons"], turned["comparisons"]):
        assert math.isclose(one["difference"], -other["difference"], abs_tol=1e-9)
        assert set(one["worse"]) == set(other["better"])


@settings(max_examples=15, deadline=None)
@given(ANSWERS, st.integers(1, 10), st.sampled_from(DEGREES))
def test_asking_for_more_is_never_easier(
    answers: list[tuple[bool, bool, int, int]], tenths: int, degree: float
) -> None:
    made = built(answers)

    def passes(required: Requirements) -> bool:
        return passed(check(required, made), ["new"])["new"]

    for measure, least in (("guard", tenths / 10), ("text", tenths * 10.0)):
        if passes(Requirements({measure: least}, confidence=degree)):
            assert passes(Requirements({measure: least}))
            assert passes(Requirements({measure: least * 0.9}, confidence=degree))
        if not passes(Requirements({measure: least})):
            assert not passes(Requirements({measure: min(least * 1.1, 100.0)}))
    drop = tenths / 10 - 0.1
    if passes(Requirements(guard_drop_at_most=drop, confidence=degree)):
        assert passes(Requirements(guard_drop_at_most=drop))
    if passes(Requirements(not_worse_than_served=True)):
        assert passes(Requirements(not_worse_than_served=True, confidence=degree)), "not worse is not proven worse"


@given(st.integers(1, 400), st.integers(1, 99), st.sampled_from([None, *DEGREES]))
def test_what_is_attainable_is_met_by_right_answers_alone(asked: int, hundredths: int, degree: float | None) -> None:
    required = Requirements({"guard": hundredths / 100}, confidence=degree)
    measures = {"guard": {**wilson(asked, asked)._asdict(), "met": asked, "asked": asked}}
    model = {"label": "new", "role": "candidate", "measures": measures}
    (entry,) = check(required, {"models": [model], "comparisons": []})
    assert entry["met"] is not bool(unattainable(required, {"guard": asked}))
