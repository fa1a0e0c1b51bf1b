# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan says which tool format ``auto`` takes and why. For rows without tools the choice changes nothing."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import host
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import plan as planning_plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import plan_text
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import memory
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.memory import Ram
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, nvidia_smi, rows

MACHINE = host.Machine("cpu", ram=Ram(16 * 10**9, 12 * 10**9, 0))
TOOL = {"name": "f", "parameters": {"type": "object", "properties": {}}}


def calling(content: str = "") -> list[dict[str, t.Any]]:
    """A row with a call."""
    said = {"role": "assistant", "content": content, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    return [{"messages": [{"role": "user", "content": "Ajoute."}, said], "tools": [TOOL]}]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanLab:
    monkeypatch.setattr(memory, "ram", lambda: Ram(64 * 10**9, 60 * 10**9, 0))
    made = PlanLab(tmp_path)
    made.publish("homelab", rows(50))
    made.publish("calls", calling())
    made.publish("beside", calling("Je l'ajoute."))
    return made


def planned(lab: PlanLab, dataset: str = "calls", template: str = "llama3", **declared: t.Any) -> Run:
    return lab.plan(dataset=dataset, template=template, register=False, **declared)


def spec(run: Run, kind: str = "train") -> StepSpec:
    return next(step.spec for step in run.steps if step.spec.kind == kind)


def shown(lab: PlanLab, run: Run) -> dict[str, t.Any]:
    return planning_plan.make_plan(lab.layout, run, Engine(lab.layout.root).preview(run), MACHINE, None, 2)


def test_auto_and_its_reason(lab: PlanLab) -> None:
    plan = shown(lab, planned(lab))
    assert plan["tool_format"] == "house"
    assert plan["tool_format_cause"]["text"] == (
        "of the calls in the format of llama3, Ollama reads back: only a single call without text before it"
    )
    assert "tool_format house: of the calls in the format of llama3" in plan_text.text(plan)
    kept = shown(lab, planned(lab, template="qwen"))
    assert (kept["tool_format"], kept["tool_format_cause"]["text"]) == (
        "template",
        "Ollama reads every call in the format of qwen back",
    )
    plain = shown(lab, planned(lab, dataset="homelab"))
    assert (plain["tool_format"], plain["tool_format_cause"]) == ("template", {})
    assert "tool_format" not in plan_text.text(plain)


def test_only_the_house_format_is_part_of_a_fingerprint(lab: PlanLab) -> None:
    """Trainings before this option wrote calls in the format of the template."""
    for dataset, template in (("homelab", "llama3"), ("calls", "qwen")):
        assert "tool_format" not in spec(planned(lab, dataset, template)).settings
        assert (
            spec(planned(lab, dataset, template)).fingerprint
            == spec(planned(lab, dataset, template, tool_format="template")).fingerprint
        )
    assert spec(planned(lab)).settings["tool_format"] == "house"
    assert "tool_format" not in spec(planned(lab, tool_format="template")).settings
    assert spec(planned(lab, "homelab", "qwen", tool_format="house")).settings["tool_format"] == "house"


def test_what_was_trained_before_is_kept(lab: PlanLab) -> None:
    """An upgrade trains nothing again. A declared format does, and says why; so does a change of anything else."""
    lab.make(planned(lab, tool_format="template"))
    kept = planned(lab)
    assert "tool_format" not in spec(kept).settings
    assert "a training in the format of llama3 exists" in spec(kept).options["tool_format_cause"]["text"]
    assert "only a single call" in spec(kept).options["warning"]
    plan = shown(lab, kept)
    assert not plan["changed"] and plan["tool_format"] == "template"
    again = shown(lab, planned(lab, tool_format="house"))
    assert next(step["why"] for step in again["steps"] if step["label"] == "train") == ["tool_format auto → house"]
    assert spec(planned(lab, epochs=1)).settings["tool_format"] == "house"


def test_nothing_is_checked_for_a_training_that_exists(lab: PlanLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for one in the format of its template, which auto keeps, nor for one in the house format."""
    lab.make(planned(lab, tool_format="template"))
    lab.make(planned(lab, epochs=2))
    monkeypatch.setattr(memory, "ram", lambda: Ram(10**8, 10**8, 0))
    for declared in ({}, {"epochs": 2}):
        assert "few to learn from" not in spec(planned(lab, **declared)).options.get("warning", "")
    with pytest.raises(InputError, match="of the machine's memory"):
        planned(lab, epochs=1)


@pytest.mark.parametrize("method", ["lora", "auto"])
def test_number_format_of_a_training_in_the_house_format_is_kept(
    lab: PlanLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def install(capability: str) -> None:
        monkeypatch.setenv("PATH", f"{nvidia_smi(tmp_path / 'bin', 24564, 24000, 'a GPU', capability)}:/usr/bin:/bin")

    install("7.5")
    run = planned(lab, accelerator="cuda", method=method)
    assert (spec(run).settings["tool_format"], spec(run).options["resolved"]["precision"]) == ("house", "fp16")
    lab.make(run)
    for name in ("precisions.json", "methods.json"):
        Path(lab.layout.parent("train"), name).unlink(missing_ok=True)
    install("8.9")
    again = planned(lab, accelerator="cuda", method=method)
    assert (again.id, spec(again).options["resolved"]["precision"]) == (run.id, "fp16")
    declared = {"accelerator": "cuda", "method": method, "precision": "bf16"}
    trained = planned(lab, **declared)
    lab.make(trained)
    install("7.5")
    assert planned(lab, **declared).id == trained.id


def test_interrupted_training_is_continued(lab: PlanLab) -> None:
    before = spec(planned(lab, tool_format="template"))
    os.makedirs(lab.layout.work("train", before.fingerprint))
    assert spec(planned(lab)).fingerprint == before.fingerprint


def test_served_as_it_was_trained(lab: PlanLab, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import planner

    monkeypatch.setattr(planner, "version_warning", lambda *_about: None)
    assert spec(lab.plan(dataset="calls", template="llama3"), "register").settings["tool_format"] == "house"
    assert "tool_format" not in spec(lab.plan(dataset="calls", template="qwen"), "register").settings


def test_rows_of_an_earlier_version_of_the_collection(lab: PlanLab) -> None:
    """Its receipts do not say whether rows have tools: the rows do."""
    info = lab.publish("calls", calling())
    path = os.path.join(info.path, "receipt.json")
    receipt = json.loads(Path(path).read_text(encoding="utf-8"))
    del receipt["results"]["tools"]
    Path(path).write_text(json.dumps(receipt), encoding="utf-8")
    assert shown(lab, planned(lab))["tool_format"] == "house"


def test_warning_and_refusal(lab: PlanLab) -> None:
    options = spec(planned(lab, tool_format="template")).options
    assert (
        "Of the calls that the model learns in the format of llama3, Ollama reads back: only a single call"
        in (options["warning"])
    )
    with pytest.raises(InputError, match="The training would fail: .* a text beside a call in the format of gemma2"):
        planned(lab, "beside", "gemma2", tool_format="template")
    assert spec(planned(lab, "beside", "gemma2")).settings["tool_format"] == "house"
    assert spec(planned(lab, "beside", "mistral")).settings["tool_format"] == "house"


@pytest.mark.parametrize(("tool_format", "told"), [("auto", False), ("house", False), ("template", True)])
def test_pinned_training_keeps_its_format(lab: PlanLab, tool_format: str, told: bool) -> None:
    """The choice of auto is no change; a declared format that is not used is reported."""
    lab.make(planned(lab))
    run = planned(lab, tool_format=tool_format, regenerate_on=["dataset", "base"])
    assert spec(run).settings["tool_format"] == "house" and spec(run).options["resolved"]["tool_format"] == "house"
    assert (
        "tool_format house → auto" in json.dumps([step.spec.options for step in run.steps], ensure_ascii=False)
    ) is told
