# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of an evaluation: measures, comparisons, the choice of a candidate, and its size in memory."""

from __future__ import annotations

import json
import random
import tracemalloc
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import comparison, report
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.intervals import wilson
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.items import Item
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.report import Facts, Model
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.requirements import (
    Requirements,
    check,
    describe,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message

Q4 = Model("q4_K_M", "candidate", "m:v2-q4_K_M", "1" * 64, 400)
F16 = Model("f16", "candidate", "m:v2-f16", "2" * 64, 900)
SERVED = Model("served", "served", "m:v1", "3" * 64, 400)
BASE = Model("base", "base", "m-base:q4_K_M", "4" * 64, 400)


def facts(*models: Model, **more: t.Any) -> Facts:
    return Facts("m", "q4_K_M", models, "2026-01-01T00:00:00Z", 12.5, "0.32.15", **more)


def question(number: int, part: str = "held_out", content: str = "", calls: t.Any = ()) -> Item:
    messages = ({"role": "user", "content": f"question {number}"},)
    reference = {"content": content, "calls": calls} if part == "held_out" else None
    return Item(f"{part}-{number}", part, messages, reference=reference)


def line(tokens: int = 10, seconds: float = 0.5, malformed: bool = False, **scores: float) -> dict[str, t.Any]:
    answer = {"text": "", "ended": True, "tokens": tokens, "seconds": seconds, "malformed_call": malformed}
    return {"answer": answer, "scores": scores}


CALLS = [question(number, calls=[{"name": "a", "arguments": {}}]) for number in range(4)]
TEXTS = [question(number, content="text") for number in range(4, 7)]
GUARD = [question(number, "guard") for number in range(2)]
ITEMS = [*CALLS, *TEXTS, *GUARD]


def answers(calls: str, texts: t.Sequence[float], guard: str) -> dict[str, t.Any]:
    """Lines by question: ``1`` is a right answer and ``0`` a wrong one."""
    made = {item.id: line(calls=float(met)) for item, met in zip(CALLS, calls)}
    made |= {item.id: line(exact=0.0, same=0.0, text=value) for item, value in zip(TEXTS, texts)}
    return made | {item.id: line(guard=float(met)) for item, met in zip(GUARD, guard)}


ANSWERS = {
    "q4_K_M": answers("1101", [50.0, 60.0, 70.0], "11"),
    "f16": answers("1111", [52.0, 60.0, 80.0], "11"),
    "served": answers("0011", [40.0, 90.0, 60.0], "11"),
    "base": answers("0000", [10.0, 10.0, 10.0], "11"),
}


def built(required: Requirements | None = None, **more: t.Any) -> dict[str, t.Any]:
    made = report.build(facts(Q4, F16, SERVED, BASE, **more), iter(ITEMS), ANSWERS, required or Requirements())
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return made


def test_what_is_said_beside_the_numbers() -> None:
    made = built(notes=[Message("evaluations.answers_missing", model="x", count=2)])
    assert made["items"] == 9 and made["parts"] == {"held_out": 7, "guard": 2}
    assert (made["schema"], made["seconds"], made["server_version"], made["name"]) == (1, 12.5, "0.32.15", "m")
    assert [(model["label"], model["role"]) for model in made["models"]] == [
        ("q4_K_M", "candidate"),
        ("f16", "candidate"),
        ("served", "served"),
        ("base", "base"),
    ]
    assert made["notes"][0]["text"] == "x has not answered 2 questions."


def test_shares_have_the_interval_of_wilson() -> None:
    measures = built()["models"][0]["measures"]
    assert measures["calls"] == {**wilson(3, 4)._asdict(), "met": 3, "asked": 4}
    assert measures["guard"] == {**wilson(2, 2)._asdict(), "met": 2, "asked": 2}
    assert list(measures) == ["calls", "exact", "same", "text", "guard"]


def test_chrf_is_a_mean_with_its_interval() -> None:
    text = built(corpora={"q4_K_M": 61.5})["models"][0]["measures"]["text"]
    assert text["value"] == 60.0 and text["asked"] == 3 and "met" not in text
    assert 50.0 <= text["low"] < 60.0 < text["high"] <= 70.0
    assert text["bounds"]["0.95"] == [text["low"], text["high"]]
    assert text["bounds"]["0.8"][0] >= text["low"] >= text["bounds"]["0.99"][0]
    assert text["corpus"] == 61.5


def test_chrf_may_be_given_beside_the_lines() -> None:
    lines = {item.id: line(exact=0.0, same=0.0) for item in TEXTS}
    given = {"q4_K_M": {item.id: 30.0 for item in TEXTS}}
    made = report.build(facts(Q4, texts=given), TEXTS, {"q4_K_M": lines}, Requirements())
    assert made["models"][0]["measures"]["text"]["value"] == 30.0


def test_candidates_are_compared_with_served_base_and_the_largest() -> None:
    found = built()["comparisons"]
    assert list(dict.fromkeys((each["model"], each["against"]) for each in found)) == [
        ("q4_K_M", "served"),
        ("q4_K_M", "base"),
        ("q4_K_M", "f16"),
        ("f16", "served"),
        ("f16", "base"),
    ]
    calls = comparison.find(found, "q4_K_M", "served", "calls")
    assert calls is not None
    assert (calls["difference"], calls["asked"]) == (0.25, 4)
    assert (calls["worse"], calls["better"]) == (["held_out-2"], ["held_out-0", "held_out-1"])
    text = comparison.find(found, "q4_K_M", "served", "text")
    assert text is not None
    assert text["difference"] == pytest.approx(-10 / 3)
    assert (text["worse"], text["better"]) == (["held_out-5"], ["held_out-4", "held_out-6"])
    quantized = comparison.find(found, "q4_K_M", "f16", "text")
    assert quantized is not None and quantized["worse"] == ["held_out-6"], "two points are no noticeable difference"


def test_a_comparison_has_only_questions_that_both_answered() -> None:
    other = {key: each for key, each in ANSWERS["served"].items() if key != "held_out-2"}
    (calls, *_rest) = comparison.between(ITEMS, "new", ANSWERS["q4_K_M"], "old", other)
    assert (calls["model"], calls["against"], calls["asked"], calls["difference"]) == ("new", "old", 3, 2 / 3)
    assert comparison.between(ITEMS, "new", ANSWERS["q4_K_M"], "old", {}) == []


def test_comparing_the_other_way_round_changes_signs() -> None:
    one = comparison.between(ITEMS, "a", ANSWERS["q4_K_M"], "b", ANSWERS["served"])
    other = comparison.between(ITEMS, "b", ANSWERS["served"], "a", ANSWERS["q4_K_M"])
    for first, second in zip(one, other):
        assert first["difference"] == pytest.approx(-second["difference"])
        assert set(first["worse"]) == set(second["better"])


def test_length_and_time_are_those_of_answers() -> None:
    lines = {
        "held_out-0": line(10, 1.0, calls=1.0),
        "held_out-1": line(20, 2.0, calls=1.0),
        "held_out-2": line(0, 0.0, malformed=True, calls=0.0),
    }
    (model,) = report.build(facts(Q4), CALLS[:3], {"q4_K_M": lines}, Requirements())["models"]
    assert (model["tokens_per_answer"], model["seconds_per_answer"]) == (15.0, 1.5)
    assert model["measures"]["calls"]["met"] == 2


def test_a_candidate_with_missing_answers_does_not_pass() -> None:
    lines = dict(ANSWERS["f16"])
    del lines["held_out-0"]
    made = report.build(facts(Q4, F16), ITEMS, {**ANSWERS, "f16": lines}, Requirements())
    assert made["passed"] == {"q4_K_M": True, "f16": False}
    assert "evaluations.answers_missing" in [note["code"] for note in made["notes"]]
    assert [model["missing"] for model in made["models"]] == [0, 1]
    (entry,) = made["requirements"]
    assert entry == {"model": "f16", "name": "answers", "wanted": 9, "value": 8, "bound": None, "met": False}
    assert str(describe(entry)) == "f16 has not answered 1 question."
    assert check(Requirements(), made) == [entry], "a changed requirement must not let it pass"
    nothing = report.build(facts(Q4), ITEMS, {}, Requirements())
    assert nothing["passed"] == {"q4_K_M": False} and nothing["models"][0]["measures"] == {}


@pytest.mark.parametrize(
    ("least", "rule", "chosen"),
    [
        ({}, "declared", "q4_K_M"),
        ({"calls": 1.0}, "declared", ""),
        ({"calls": 1.0}, "smallest", "f16"),
        ({"calls": 0.7}, "smallest", "q4_K_M"),
        ({"text": 90.0}, "smallest", ""),
    ],
)
def test_which_candidate_is_chosen(least: dict[str, float], rule: str, chosen: str) -> None:
    made = built(Requirements(least), rule=rule)
    assert made["chosen"] == chosen == report.choose(made, rule)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError):
        report.choose(built(), "largest")


def test_few_questions_are_told_and_many_are_not() -> None:
    notes = [Message.from_stored(note) for note in built()["notes"]]
    assert str(notes[0]) == (
        "calls: with 4 questions, a measured share of 3/4 may truly be anything from 0.30 to 0.95 (95 % confidence)."
    )
    assert str(notes[-1]) == (
        "q4_K_M and served agree on all 2 questions measured by guard; even so, their answers may differ to up to 78% "
        "of all questions (95 % confidence)."
    )
    items = [question(number, "guard") for number in range(200)]
    many = report.build(facts(Q4), items, {"q4_K_M": {item.id: line(guard=1.0) for item in items}}, Requirements())
    assert many["notes"] == []


class Lines(t.Mapping[str, t.Mapping[str, t.Any]]):
    """Answers with long texts, made when they are read, as if from a file."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._generator = random.Random(seed)

    def __getitem__(self, key: str) -> dict[str, t.Any]:
        made = line(exact=0.0, same=0.0, text=self._generator.uniform(0, 100))
        made["answer"]["text"] = "x" * 20_000
        return made

    def __iter__(self) -> t.Iterator[str]:
        return (f"held_out-{number}" for number in range(self._count))

    def __len__(self) -> int:
        return self._count


def test_many_questions_need_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 000 questions of two models with 20 kB in each answer, 80 MB altogether."""
    monkeypatch.setattr("random.Random.choices", lambda _self, values, k: values)  # the bootstrap's time is not tested
    items = (question(number, content="y" * 20_000) for number in range(2000))
    tracemalloc.start()
    try:
        made = report.build(
            facts(Q4, SERVED), items, {"q4_K_M": Lines(2000, 1), "served": Lines(2000, 2)}, Requirements()
        )
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert made["models"][0]["measures"]["text"]["asked"] == 2000
    assert peak < 8e6
