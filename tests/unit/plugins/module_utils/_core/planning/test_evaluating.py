# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of an evaluation: steps, fingerprints, and requirements that cannot be met."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates.host import Machine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.plan import make_plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan, warnings_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.registry import get_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json, write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows

GATE = {"prompts": [{"prompt": "Who?", "contains": "homelab"}, {"prompt": "Where?", "contains": "rack"}]}


@pytest.fixture
def lab(tmp_path: Path) -> PlanLab:
    lab = PlanLab(tmp_path)
    lab.publish("homelab", rows(40))
    lab.publish("tests", rows(30, start=20))
    return lab


def labels(run: Run) -> list[str]:
    return [step.label for step in run.steps]


def spec(run: Run, label: str) -> t.Any:
    return run.step(label).spec


def test_the_steps_of_a_gate(lab: PlanLab) -> None:
    run = lab.plan(gate=GATE, quantizations=["q4_K_M", "q8_0"])
    assert labels(run)[-4:] == ["register-q4_K_M", "register-q8_0", "evaluate", "promote"]
    assert run.goals == ("register-q4_K_M", "register-q8_0", "promote"), "a promoted version needs no evaluation"
    evaluate, promote = spec(run, "evaluate"), spec(run, "promote")
    registered = spec(run, "register-q4_K_M").fingerprint
    assert evaluate.settings["candidates"] == {"q4_K_M": registered}, "a gate alone asks the first quantization"
    assert evaluate.settings["against"] == ["served"] and evaluate.upstream == {"register": registered}
    # as it was when the promotion asked the gate itself: what was promoted before is not asked again
    gate = {
        "prompts": [
            {"messages": [{"role": "user", "content": p["prompt"]}], "expect": {"contains": [p["contains"]]}}
            for p in GATE["prompts"]
        ]
    }
    assert promote.fingerprint == fingerprint("promote", {"gate": gate}, {"register": registered})
    assert get_step(promote.kind).inputs(lab.layout, promote) == [
        ("register", registered),
        ("evaluate", evaluate.fingerprint),
    ]


def test_what_changes_the_questions_and_what_only_the_promotion(lab: PlanLab) -> None:
    declared: dict[str, t.Any] = {"gate": GATE, "evaluation": {"held_out": 0.2}}
    first = lab.plan(**declared)
    conditions: list[dict[str, t.Any]] = [
        {"gate": {**GATE, "allowed_failures": 1}},
        {"gate": {**GATE, "no_regression": True}},
        {"evaluation": {"held_out": 0.2, "require": {"same": 0.5}}},
        {"evaluation": {"held_out": 0.2, "choose": "smallest"}},
    ]
    for changed in conditions:
        run = lab.plan(**{**declared, **changed})
        assert spec(run, "evaluate").fingerprint == spec(first, "evaluate").fingerprint, changed
        assert spec(run, "promote").fingerprint != spec(first, "promote").fingerprint, changed
    questions: list[dict[str, t.Any]] = [
        {"gate": {**GATE, "options": {"num_predict": 9}}},
        {"evaluation": {"held_out": 0.2, "guard": "general"}},
        {"evaluation": {"held_out": 0.2, "against": []}},
        {"evaluation": {"held_out": 0.2, "judge": {"model": "j"}}},
    ]
    for changed in questions:
        run = lab.plan(**{**declared, **changed})
        assert spec(run, "evaluate").fingerprint != spec(first, "evaluate").fingerprint, changed
        assert spec(run, "register-q4_K_M").fingerprint == spec(first, "register-q4_K_M").fingerprint, (
            "nothing is trained"
        )


def test_held_out_rows_are_not_trained_on(lab: PlanLab) -> None:
    plain, held_out = lab.plan(), lab.plan(evaluation={"held_out": 0.2})
    assert spec(held_out, "train").settings == {**spec(plain, "train").settings, "held_out": 0.2}
    asked = spec(held_out, "evaluate").settings["held_out"]
    assert asked == {"share": 0.2, "dataset": spec(held_out, "train").upstream["dataset"]}
    rows_of = lab.plan(evaluation={"rows": "tests"})
    assert spec(rows_of, "train").fingerprint == spec(plain, "train").fingerprint
    asked = spec(rows_of, "evaluate").settings["rows"]
    assert asked["trained_on"] == spec(plain, "train").upstream["dataset"] != asked["dataset"]


def test_other_rows_are_another_promotion(lab: PlanLab) -> None:
    before = spec(lab.plan(evaluation={"rows": "tests"}), "promote").fingerprint
    lab.publish("tests", rows(31, start=20))
    assert spec(lab.plan(evaluation={"rows": "tests"}), "promote").fingerprint != before


def test_all_quantizations_and_the_base(lab: PlanLab) -> None:
    declared = {"held_out": 0.2, "against": ["served", "base"], "choose": "smallest"}
    run = lab.plan(evaluation=declared, quantizations=["q8_0", "q4_K_M"], keep=2)
    assert labels(run)[-8:] == [
        "gguf-base-f16", "gguf-base-q8_0", "register-base", "register-q8_0", "register-q4_K_M", "evaluate", "promote",
        "retain",
    ]  # fmt: skip
    assert run.goals == ("register-q8_0", "register-q4_K_M", "promote", "retain"), "the base is no goal"
    base, evaluate = spec(run, "register-base"), spec(run, "evaluate")
    assert base.settings["name"] == "homelab-model-base" and base.options["aliases"] == []
    assert base.options["base_of"] == "homelab-model", "what status and the page say of it"
    assert "base_of" not in spec(run, "register-q8_0").options
    assert spec(run, "gguf-base-q8_0").upstream == {"base": spec(run, "base").fingerprint}
    assert get_step(evaluate.kind).inputs(lab.layout, evaluate) == [
        ("register", spec(run, "register-q8_0").fingerprint),
        ("register", spec(run, "register-q4_K_M").fingerprint),
        ("register", base.fingerprint),
    ]
    assert spec(run, "promote").options["candidates"] == evaluate.settings["candidates"]
    more = lab.plan(evaluation=declared, quantizations=["q8_0", "q4_K_M", "q2_K"])
    assert spec(more, "promote").fingerprint != spec(run, "promote").fingerprint, "a smaller one may be chosen"


def test_the_base_is_new_and_not_a_changed_model(lab: PlanLab) -> None:
    lab.make(lab.plan(quantizations=["q4_K_M"]))
    run = lab.plan(quantizations=["q4_K_M"], evaluation={"guard": "general", "against": ["base"]})
    plan = make_plan(lab.layout, run, Engine(lab.layout.root).preview(run), Machine("cpu"))
    steps = {step["label"]: step for step in plan["steps"]}
    for label in ("gguf-base-f16", "gguf-base-q4_K_M", "register-base"):
        assert steps[label]["why"] == ["new in this fine-tune"], label


def test_the_base_of_an_adapter_is_converted_once(lab: PlanLab) -> None:
    run = lab.plan(evaluation={"held_out": 0.2, "against": ["base"]}, export="adapter")
    assert [label for label in labels(run) if "gguf" in label] == ["gguf-adapter", "gguf-f16", "gguf-q4_K_M"]
    assert spec(run, "register-base").upstream == {"gguf": spec(run, "gguf-q4_K_M").fingerprint}


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"evaluation": {"held_out": 0.2}, "aliases": []}, "An evaluation is declared, and no aliases"),
        ({"evaluation": {"held_out": 0.2}, "register": False}, "evaluation"),
        ({"evaluation": {"held_out": 0.2}, "held_out": 0.3}, "held_out"),
        ({"evaluation": {"helt_out": 0.2}}, "Did you mean held_out?"),
        ({"evaluation": {"rows": "homelab"}}, "which is trained on"),
        ({"evaluation": {"rows": "nowhere"}}, "nowhere"),
        (
            {
                "evaluation": {"held_out": 0.2, "require": {"allowed_failures": 1}},
                "gate": {**GATE, "allowed_failures": 1},
            },
            "allowed_failures is declared for the gate and in require",
        ),
        ({"evaluation": {"held_out": 0.2, "require": {"calls": 0.8}}}, "no question measures it"),
        ({"evaluation": {"rows": "test"}}, "homelab-model: rows of the evaluation: There is no dataset 'test'"),
        ({"evaluation": {"rows": "test"}}, "Did you mean 'tests'? Declare it in finetune_datasets."),
        ({"evaluation": {"guard": "genral"}}, "Did you mean 'general'?"),
        ({"evaluation": {"rows": "homelab"}}, "homelab-model: rows of the evaluation is the dataset homelab, which is"),
        ({"evaluation": {"held_out": 0.2, "guard": "homelab"}}, "guard of the evaluation is the dataset homelab"),
        (
            {"evaluation": {"held_out": 0.2, "require": {"same": 0.95, "confidence": 0.95}}},
            "At least 73 questions are needed",
        ),
        (
            {"evaluation": {"guard": "general", "require": {"guard": 1, "confidence": 0.95}}},
            "no number of questions proves",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_plan_time(lab: PlanLab, declared: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        lab.plan(**declared)
    assert message in str(caught.value)


def warnings(lab: PlanLab, toolchain: Toolchain, datasets: dict[str, t.Any], **evaluation: t.Any) -> list[str]:
    declared = {"name": "m", "base_model": "qwen2.5:0.5b", "dataset": "homelab", "evaluation": evaluation}
    host = Host(toolchain, "cpu", datasets=datasets, write=False)
    return [str(warning) for warning in warnings_of(plan(lab.layout, Request.finetune(declared), host))]


def test_what_cannot_be_checked_before_the_rows_are_published_is_said(lab: PlanLab) -> None:
    """A first check has no rows to count: with or without something to require, it plans."""
    unpublished = {"new": {"fingerprint": "f" * 64, "outcome": {"rows": 30}}}

    def said(**evaluation: t.Any) -> bool:
        found = warnings(lab, Toolchain(), unpublished, **evaluation)
        return any("is checked when its datasets are published" in each for each in found)

    assert said(rows="new", require={"same": 0.5}) and not said(rows="new")
    assert not said(rows="tests", require={"same": 0.5}), "it was checked"


def test_a_judge_that_is_not_in_ollama_is_told(lab: PlanLab) -> None:
    with fake_ollama() as server:
        server.models["there:latest"] = "1" * 64

        def said(model: str) -> list[str]:
            found = warnings(lab, Toolchain(ollama_url=server.url), {}, held_out=0.2, judge={"model": model})
            return [each for each in found if "judge" in each]

        assert said("there") == []
        (told,) = said("qwen3:14b")
        assert "Run 'ollama pull qwen3:14b'" in told


def test_a_training_alone_has_no_evaluation(lab: PlanLab) -> None:
    with pytest.raises(InputError, match="evaluation"):
        lab.plan(goal=Goal.TRAIN, evaluation={"guard": "general"})


def test_the_time_of_an_evaluation_is_that_of_the_last_answers(lab: PlanLab) -> None:
    declared: dict[str, t.Any] = {"quantizations": ["q4_K_M", "q8_0"], "evaluation": {"rows": "tests"}}
    first = lab.plan(**declared)
    lab.make(first)
    path = os.path.join(lab.layout.artifact("evaluate", spec(first, "evaluate").fingerprint), "receipt.json")
    receipt = read_json(path)
    write_json(path, {**receipt, "results": {"seconds_per_answer": 0.5}})
    asked = spec(first, "evaluate").options["questions"]
    assert asked == 10, "20 of 30 rows of the dataset are trained on"
    declared["evaluation"]["guard"] = "general"
    run = lab.plan(**declared)
    plan = make_plan(lab.layout, run, Engine(lab.layout.root).preview(run), Machine("cpu"))
    (step,) = [step for step in plan["steps"] if step["kind"] == "evaluate"]
    # two quantizations and the served model, 40 more questions
    assert (step["takes"]["seconds"], step["takes"]["seconds_from"]) == (3 * (asked + 40) * 0.5, "the last time")
