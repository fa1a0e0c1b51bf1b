# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluations on the disk: found by version, read page by page, compared."""

from __future__ import annotations

import json
import tracemalloc
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.answered import (
    Answered,
    change,
    index_of,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.store import (
    Evaluations,
    model_of,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.versions import (
    answered_by,
    comparisons,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import (
    Releases,
    content_tag,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.evaluation_fixture import (
    QUESTIONS,
    SERVED_DIGEST,
    write_evaluation,
)

ONE, TWO = "1" * 64, "2" * 64
A, B = "a" * 64, "b" * 64


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path))
    layout.create()
    return layout


def columns(evaluations: Evaluations) -> dict[str, str]:
    report = evaluations.all[0].report()
    assert report is not None
    return {model["label"]: model["digest"] for model in report["models"]}


def test_without_evaluations_there_is_none(tmp_path: Path) -> None:
    assert Evaluations(Layout(str(tmp_path / "none"))).latest_of(ONE) is None


def test_the_last_evaluation_of_a_version_is_found(layout: Layout) -> None:
    write_evaluation(layout, ONE, A, at="2026-11-30T08:01:00.000Z")
    later = write_evaluation(layout, ONE, A, at="2026-11-30T09:01:00.000Z")
    write_evaluation(layout, TWO, B, "q8_0", at="2026-11-30T10:01:00.000Z")
    evaluations = Evaluations(layout)
    found = evaluations.report_of(ONE)
    assert found is not None
    evaluation, report, label = found
    assert (evaluation.fingerprint, label) == (later, "q4_K_M")
    model = model_of(report, label)
    assert model is not None and model["digest"] == A
    assert model_of(report, "q8_0") is None
    assert len(evaluations.all) == 3 and evaluations.report_of("3" * 64) is None


def test_requirements_are_those_of_the_last_comparison(layout: Layout) -> None:
    """A promotion with other requirements compares the same report again, and asks nothing."""
    write_evaluation(layout, ONE, A)
    releases, tag = Releases(layout, "m"), content_tag("m", ONE, "q4_K_M")

    def unmet() -> list[str]:
        found = Evaluations(layout).report_of(ONE)
        assert found is not None
        return [entry["name"] for entry in found[1]["requirements"] if not entry["met"]]

    assert unmet() == []
    report = Evaluations(layout).all[0].report()
    assert report is not None
    failed = {"model": "q4_K_M", "name": "calls", "wanted": 0.99, "value": 0.96, "bound": None, "met": False}
    entry = {"passed": False, "at": "2026-11-30T08:02:00.000Z", "met": 48, "asked": 50}
    releases.record_gate(tag, "f" * 64, entry, {**report, "requirements": [failed], "passed": {"q4_K_M": False}})
    assert unmet() == ["calls"]
    releases.record_gate(tag, "f" * 64, entry, {**report, "requirements": []})
    assert unmet() == []
    # of an earlier evaluation of the same version, and of a gate alone by an earlier version of the collection
    for other in ({**report, "requirements": [failed], "asked_at": "2026-01-01T00:00:00Z"}, {"questions": []}):
        releases.record_gate(tag, "f" * 64, entry, other)
        assert unmet() == []


@pytest.mark.parametrize("damage", ["receipt", "report", "work"])
def test_what_is_incomplete_is_left_out(layout: Layout, damage: str) -> None:
    path = Path(layout.artifact("evaluate", write_evaluation(layout, ONE, A)))
    if damage == "receipt":
        (path / "receipt.json").write_text("{")
    elif damage == "report":
        (path / "report.json").unlink()
    else:
        path.rename(path.parent / f".work-{path.name}")
    assert Evaluations(layout).report_of(ONE) is None


def test_a_report_outlives_questions_and_answers(layout: Layout) -> None:
    path = Path(layout.artifact("evaluate", write_evaluation(layout, ONE, A)))
    for name in ("questions.jsonl", "answers.jsonl"):
        (path / name).unlink()
    receipt = json.loads((path / "receipt.json").read_text())
    (path / "receipt.json").write_text(json.dumps({**receipt, "pruned_at": "2026-12-01"}))
    evaluations = Evaluations(layout)
    assert evaluations.report_of(ONE) is not None
    answered = Answered([index_of(str(path))], columns(evaluations))
    assert answered.ordered("q4_K_M", "served") == []


def test_questions_that_became_worse_come_first(layout: Layout) -> None:
    evaluation = Evaluations(layout)
    write_evaluation(layout, ONE, A)
    evaluation = Evaluations(layout)
    answered = Answered([index_of(evaluation.all[0].path)], columns(evaluation))
    ordered = answered.ordered("q4_K_M", "served")
    assert [item for item, _change in ordered] == ["call-1", "text-2", "guard-1", "text-1"]
    changes = dict(ordered)
    assert changes["call-1"] == -1.0 and changes["guard-1"] == 0.0
    assert changes["text-2"] == pytest.approx(-0.056 / 3)
    read = answered.read("call-1")
    assert read["item"] == QUESTIONS["call-1"]
    assert read["answers"]["q4_K_M"]["answer"]["text"] == "Voilà."
    assert read["answers"]["served"]["answer"]["calls"][0]["name"] == "request_media"
    assert [item for item, _change in answered.ordered("q4_K_M")] == ["call-1", "text-2", "guard-1", "text-1"]


def test_a_torn_last_line_and_a_missing_answer_are_shown_as_no_answer(layout: Layout) -> None:
    write_evaluation(layout, ONE, A)
    evaluations = Evaluations(layout)
    answers = Path(evaluations.all[0].path, "answers.jsonl")
    answers.write_text(answers.read_text()[:-20])
    answered = Answered([index_of(evaluations.all[0].path)], columns(evaluations))
    assert answered.read("text-2")["answers"]["served"] is None
    assert dict(answered.ordered("q4_K_M", "served"))["text-2"] is None
    assert "text-2" not in dict(answered.ordered("q4_K_M", "served", only_shared=True))


def test_chrf_that_was_computed_later_is_among_the_scores(layout: Layout) -> None:
    write_evaluation(layout, ONE, A)
    evaluations = Evaluations(layout)
    path = Path(evaluations.all[0].path)
    (path / "chrf.json").write_text(json.dumps({"q4_K_M": {"text-2": 12.5, "gone": 1.0}, "other": {"text-2": 1.0}}))
    answered = Answered([index_of(str(path))], columns(evaluations))
    assert answered.scores("q4_K_M")["text-2"] == {"exact": 0.0, "same": 0.0, "text": 12.5}
    assert answered.read("text-2")["answers"]["q4_K_M"]["scores"]["text"] == 12.5
    assert answered.read("text-2")["answers"]["served"]["scores"]["text"] == 48.0
    assert dict(answered.ordered("q4_K_M", "served"))["text-2"] == pytest.approx(-0.355 / 3)


def test_two_versions_of_different_evaluations_are_compared(layout: Layout) -> None:
    write_evaluation(layout, ONE, A)
    write_evaluation(layout, TWO, B, at="2026-11-30T09:01:00.000Z", swapped=True)
    answered = answered_by(Evaluations(layout).all, {"new": B, "old": A})
    entries = {entry["measure"]: entry for entry in comparisons(answered, "new", "old")}
    assert set(entries) == {"calls", "exact", "same", "text", "guard"}
    assert (entries["calls"]["difference"], entries["calls"]["better"]) == (1.0, ["call-1"])
    text = entries["text"]
    assert text["difference"] == pytest.approx(((40 - 100) + (48 - 42.4)) / 2)
    assert (text["worse"], text["better"], text["asked"]) == (["text-1"], ["text-2"], 2)
    assert text["low"] <= text["difference"] <= text["high"]
    backwards = {entry["measure"]: entry for entry in comparisons(answered, "old", "new")}
    assert backwards["text"]["difference"] == -text["difference"]
    assert answered.read("text-1")["answers"]["old"]["answer"]["text"] == "Dans le bureau."


def test_models_without_a_common_question_have_no_comparison(layout: Layout) -> None:
    write_evaluation(layout, ONE, A)
    answered = answered_by(Evaluations(layout).all, {"one": A, "other": "f" * 64})
    assert comparisons(answered, "one", "other") == []
    assert answered.ordered("one", "other", only_shared=True) == []
    assert comparisons(answered_by(Evaluations(layout).all, {"one": A, "served": SERVED_DIGEST}), "one", "served")


def test_the_change_is_the_mean_of_the_shared_measures() -> None:
    assert change({"text": 60.0, "same": 1.0}, {"text": 50.0, "same": 0.0, "calls": 1.0}) == pytest.approx(0.55)
    assert change({"text": 60.0}, {"calls": 1.0}) == 0.0


def test_two_thousand_questions_are_read_in_flat_memory(tmp_path: Path) -> None:
    """Ten megabytes of texts leave an index of less than a fourth, however many pages are read."""
    text = "é" * 1200
    with open(tmp_path / "questions.jsonl", "w") as questions, open(tmp_path / "answers.jsonl", "w") as answers:
        for number in range(2000):
            item: dict[str, t.Any] = {"id": f"{number:064d}", "part": "held_out", "messages": [{"content": text}]}
            questions.write(json.dumps(item, ensure_ascii=False) + "\n")
            for digest in (A, B):
                line = {"item": item["id"], "digest": digest, "answer": {"text": text}, "scores": {"text": number / 20}}
                answers.write(json.dumps(line, ensure_ascii=False) + "\n")
    size = sum((tmp_path / name).stat().st_size for name in ("questions.jsonl", "answers.jsonl"))
    assert size > 14e6
    tracemalloc.start()
    try:
        answered = Answered([index_of(str(tmp_path))], {"one": A, "other": B})
        for item_id, _change in answered.ordered("one", "other")[:100]:
            assert answered.read(item_id)["answers"]["other"]["answer"]["text"] == text
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 4
