# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``thinking`` in a plan: what it stands for and why, and that no existing training is repeated."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import host
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import inputs, plan_text, planner
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import plan as planning_plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.inputs import register_settings
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import memory
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.memory import Ram
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import llamafactory_arguments
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows

MACHINE = host.Machine("cpu", ram=Ram(16 * 10**9, 12 * 10**9, 0))


def thinking_rows(count: int, text: str = "<think>Je pense {}.</think>Oui.") -> list[dict[str, t.Any]]:
    return [{"instruction": f"Question {number} ?", "output": text.format(number)} for number in range(count)]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanLab:
    monkeypatch.setattr(memory, "ram", lambda: Ram(64 * 10**9, 60 * 10**9, 0))
    monkeypatch.setattr(llamafactory_arguments, "check", lambda hyper, _installed: hyper)
    made = PlanLab(tmp_path)
    made.publish("plain", rows(50))
    made.publish("thoughts", thinking_rows(50))
    made.publish("exact", thinking_rows(50, "<think>\nJe pense {}.\n</think>\n\nOui."))
    made.publish("mixed", [*thinking_rows(30), *rows(20, 50)])
    return made


def planned(lab: PlanLab, dataset: str, template: str = "qwen3", **declared: t.Any) -> Run:
    return lab.plan(dataset=dataset, template=template, register=False, **declared)


def spec(run: Run, kind: str = "train") -> StepSpec:
    return next(step.spec for step in run.steps if step.spec.kind == kind)


def shown(lab: PlanLab, run: Run) -> dict[str, t.Any]:
    return planning_plan.make_plan(lab.layout, run, Engine(lab.layout.root).preview(run), MACHINE, None, 2)


@pytest.mark.parametrize(
    ("dataset", "declared", "line"),
    [
        ("plain", {}, "thinking off: no row has a thought"),
        ("plain", {"thinking": "keep"}, "thinking keep: it is declared"),
        ("thoughts", {}, "thinking keep: 50 of 50 rows have a thought"),
        ("thoughts", {"thinking": "off"}, "thinking off: 50 of 50 rows have a thought, which are removed"),
        ("mixed", {}, "thinking keep: 30 of 50 rows have a thought"),
    ],
)
def test_plan_says_what_it_takes_and_why(lab: PlanLab, dataset: str, declared: dict[str, t.Any], line: str) -> None:
    run = planned(lab, dataset, **declared)
    assert line in plan_text.text(shown(lab, run))
    warned = "30 have a thought before the answer and 20 have none" in spec(run).options.get("warning", "")
    assert warned == (dataset == "mixed")


def test_template_without_thoughts(lab: PlanLab) -> None:
    run = planned(lab, "plain", "llama3")
    assert "thinking" not in plan_text.text(shown(lab, run))
    assert "thinking" not in spec(run).settings
    with pytest.raises(InputError, match="50 rows have thoughts before the answer"):
        planned(lab, "thoughts", "llama3")
    with pytest.raises(InputError, match="has no form for thoughts"):
        planned(lab, "plain", "llama3", thinking="keep")
    removed = planned(lab, "thoughts", "llama3", thinking="off")
    assert spec(removed).settings["thinking"] == "off"


def test_fingerprint_has_it_only_where_the_text_differs(lab: PlanLab) -> None:
    assert "thinking" not in spec(planned(lab, "exact")).settings
    assert "thinking" not in spec(planned(lab, "plain", thinking="keep")).settings
    assert spec(planned(lab, "plain")).settings["thinking"] == "off"
    assert spec(planned(lab, "thoughts")).settings["thinking"] == "keep"
    off = planned(lab, "plain", extra={"enable_thinking": False})
    assert "thinking" not in spec(off).settings and spec(off).options["resolved"]["thinking"] == "off"


@pytest.mark.parametrize("dataset", ["plain", "thoughts"])
def test_what_was_trained_before_is_kept(lab: PlanLab, dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of earlier versions have no such setting; an upgrade trains nothing again, a declaration does."""
    with monkeypatch.context() as patch:
        patch.setattr(inputs, "_STAGES_OF_ANSWERS", ())
        before = planned(lab, dataset)
    assert "thinking" not in spec(before).settings
    lab.make(before)
    after = planned(lab, dataset)
    assert spec(after).fingerprint == spec(before).fingerprint
    assert spec(after).options["resolved"]["thinking"] == "from_rows"
    assert "whose rows stay as they were" in spec(after).options["thinking_cause"]["text"]
    assert not shown(lab, after)["changed"]
    again = shown(lab, planned(lab, dataset, thinking="off"))
    assert next(step["why"] for step in again["steps"] if step["label"] == "train") == ["thinking from_rows → off"]
    assert "thinking" in spec(planned(lab, dataset, epochs=1)).settings


def test_refused_rows_that_were_trained_before(lab: PlanLab) -> None:
    """What a version without the option trained as text stays."""
    training = spec(planned(lab, "plain", "llama3"))
    upstream = {**training.upstream, "dataset": spec(planned(lab, "exact")).upstream["dataset"]}
    earlier = fingerprint("train", training.settings, upstream)
    os.makedirs(lab.layout.work("train", earlier))
    assert spec(planned(lab, "exact", "llama3")).fingerprint == earlier


def test_rows_of_an_earlier_version_of_the_collection(lab: PlanLab) -> None:
    """Its receipts do not say whether rows have thoughts: the rows do."""
    info = lab.publish("thoughts", thinking_rows(50))
    path = os.path.join(info.path, "receipt.json")
    receipt = json.loads(Path(path).read_text(encoding="utf-8"))
    assert receipt["results"].pop("thoughts") == {"rows": 50, "spellings": [["<think>", "</think>"]]}
    Path(path).write_text(json.dumps(receipt), encoding="utf-8")
    assert spec(planned(lab, "thoughts")).options["resolved"]["thinking"] == "keep"


def test_unclear_row_is_refused_with_row_and_field(lab: PlanLab) -> None:
    lab.publish("open", [*rows(4), *thinking_rows(1, "<think>Je pense. Oui.")])
    with pytest.raises(InputError, match="row 5, output: a thought begins with <think> and does not end"):
        planned(lab, "open")


def test_argument_and_option(lab: PlanLab) -> None:
    with pytest.raises(InputError, match="Leave extra.enable_thinking out"):
        planned(lab, "plain", thinking="off", extra={"enable_thinking": False})


@pytest.mark.parametrize(("thinking", "told"), [("from_rows", False), ("off", False), ("keep", True)])
def test_pinned_training_keeps_its_thinking(lab: PlanLab, thinking: str, told: bool) -> None:
    lab.make(planned(lab, "plain"))
    lab.publish("plain", rows(60))
    run = planned(lab, "plain", thinking=thinking, regenerate_on=["dataset", "base"])
    assert spec(run).settings["thinking"] == "off"
    assert ("thinking off → keep" in json.dumps([step.spec.options for step in run.steps], ensure_ascii=False)) is told


def test_served_as_it_was_trained(lab: PlanLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "version_warning", lambda *_about: None)
    for dataset, expected in (("plain", False), ("thoughts", None)):
        run = lab.plan(dataset=dataset, template="qwen3")
        assert spec(run, "register").settings.get("enable_thinking") is expected
    off = {"template": "qwen3", "thinking": "off", "extra": {}}
    assert register_settings("m", off, {}, "", {})[0]["enable_thinking"] is False
    removed = {"template": "llama3", "thinking": "off", "extra": {}}
    assert "enable_thinking" not in register_settings("m", removed, {}, "", {})[0]
