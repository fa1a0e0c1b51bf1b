# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: an option has its effect for every goal or is refused, and nothing is checked or estimated twice."""

from __future__ import annotations

import collections
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import fit, memory
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan, warnings_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import (
    Host,
    Request,
    Result,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import option_values, options
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.option import Option
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, nvidia_smi, rows

GATE = {"prompts": [{"prompt": "Who?", "contains": "homelab"}]}
HOST = Host(Toolchain(), "cpu")


@pytest.fixture
def lab(tmp_path: Path) -> PlanLab:
    lab = PlanLab(tmp_path)
    lab.publish("homelab", rows(20))
    return lab


def attempt(lab: PlanLab, goal: Goal) -> int:
    run = lab.plan(goal=goal, regenerate="always")
    return int(run.step("train").spec.settings.get("attempt", 1))


# -- options have their effect for every goal --------------------------------------------------------------------------


@pytest.mark.parametrize("goal", [Goal.TRAIN, Goal.MODEL])
def test_regenerate_always_starts_the_next_attempt(lab: PlanLab, goal: Goal) -> None:
    for number in (1, 2, 3):
        assert attempt(lab, goal) == number
        assert attempt(lab, goal) == number, "an attempt is not followed by another until it is finished"
        lab.make(lab.plan(goal=goal, regenerate="always"))


@pytest.mark.parametrize("goal", [Goal.TRAIN, Goal.MODEL])
def test_untracked_inputs_keep_the_value_of_the_last_training(lab: PlanLab, goal: Goal) -> None:
    trained = lab.plan(goal=goal)
    lab.make(trained)
    lab.publish("homelab", rows(30))
    for declared in ({"regenerate": "never"}, {"regenerate_on": ["hyperparameters"]}):
        run = lab.plan(goal=goal, **declared)
        assert run.id == trained.id
        assert any("the dataset has changed, and does not count" in str(warning) for warning in warnings_of(run))
    assert lab.plan(goal=goal).id != trained.id


@pytest.mark.parametrize("goal", [Goal.TRAIN, Goal.MODEL])
def test_training_records_the_sources_of_its_rows(lab: PlanLab, goal: Goal) -> None:
    assert lab.plan(goal=goal).step("train").spec.options["sources"][0]["label"] == "records"


# -- or are refused ----------------------------------------------------------------------------------------------------

NOT_SERVED: dict[str, dict[str, t.Any]] = {
    "gate": {"gate": GATE},
    "aliases": {"aliases": ["v1"]},
    "keep": {"keep": 2},
    "keep_intermediates": {"keep_intermediates": False},
}


@pytest.mark.parametrize(
    ("option", "values"), [*NOT_SERVED.items(), ("export", {"export": "adapter"}), ("register", {"register": False})]
)
def test_goal_train_refuses_options_of_a_served_model(lab: PlanLab, option: str, values: dict[str, t.Any]) -> None:
    with pytest.raises(InputError) as caught:
        lab.plan(goal=Goal.TRAIN, **values)
    assert caught.value.message == (
        f"homelab-model: {option} has no effect with goal: train, which ends with the trained adapter."
    )
    assert "request goal: model" in caught.value.hint
    assert caught.value.details == {"options": [option]}
    assert lab.plan(**values).goals


@pytest.mark.parametrize(
    ("option", "values"),
    [*NOT_SERVED.items(), ("system", {"system": "x"}), ("parameters", {"parameters": {"top_k": 1}})],
)
def test_unregistered_model_refuses_options_of_a_served_one(
    lab: PlanLab, option: str, values: dict[str, t.Any]
) -> None:
    with pytest.raises(InputError, match=f"{option} has no effect with register: false, which ends with the GGUF"):
        lab.plan(register=False, **values)


def test_defaults_are_accepted_with_every_goal(lab: PlanLab) -> None:
    """A form sends the defaults as well."""
    defaults = {option.name: option.copy_default() for option in options.ALL}
    given = {name: value for name, value in defaults.items() if value is not None}
    assert lab.plan(goal=Goal.TRAIN, **given).id == lab.plan(goal=Goal.TRAIN).id
    assert lab.plan(**given).id == lab.plan().id


def test_goal_train_keeps_what_a_later_export_uses(lab: PlanLab) -> None:
    run = lab.plan(goal=Goal.TRAIN, system="Be brief.", parameters={"temperature": 0.5}, quantizations=["q8_0"])
    assert run.id == lab.plan(goal=Goal.TRAIN).id
    exported = plan(lab.layout, _export(lab, run), HOST)
    assert exported.goals == ("register-q8_0",)
    assert exported.step("register-q8_0").spec.settings["system"] == "Be brief."


# -- runs that continue from a result ----------------------------------------------------------------------------------


def _export(lab: PlanLab, run: t.Any) -> Request:
    lab.make(run)
    return Request.export(run.declaration, run.step("train").spec.fingerprint)


def test_export_continues_from_what_was_trained(lab: PlanLab) -> None:
    """Neither new rows nor another attempt change which training is exported; the run is that of goal: model."""
    model = lab.plan()
    first = lab.plan(goal=Goal.TRAIN, regenerate="always")
    request = _export(lab, first)
    assert plan(lab.layout, request, HOST).id == model.id
    second = lab.plan(goal=Goal.TRAIN, regenerate="always")
    assert second.id != first.id
    request = _export(lab, second)
    lab.publish("homelab", rows(30))
    exported = plan(lab.layout, request, HOST)
    assert exported.step("train").spec.fingerprint == second.step("train").spec.fingerprint
    assert [step.label for step in exported.steps] == [step.label for step in model.steps]
    assert not any("does not count" in str(warning) for warning in warnings_of(exported))


def test_reward_model_is_not_exported(lab: PlanLab) -> None:
    lab.publish("pairs", [{"instruction": "a", "chosen": "b", "rejected": "c"}])
    run = lab.plan(goal=Goal.TRAIN, dataset="pairs", stage="rm")
    with pytest.raises(InputError, match="is not exported"):
        _export(lab, run)


@pytest.mark.parametrize(
    "request_",
    [
        Request.merge("a" * 64),
        Request.gguf(Result("merge", "a" * 64), ["q4_K_M"]),
        Request.gguf(Result("train", "a" * 64), ["q4_K_M"]),
        Request.register("a" * 64, "m"),
    ],
)
def test_missing_result_is_named(lab: PlanLab, request_: Request) -> None:
    with pytest.raises(NotReadyError, match="There is no (train|merge|gguf) aaaaaaaaaaaa in "):
        plan(lab.layout, request_, HOST)


# -- once --------------------------------------------------------------------------------------------------------------


def test_each_option_is_checked_once(lab: PlanLab, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: collections.Counter[str] = collections.Counter()
    check = option_values.check_value

    def count(option: Option, value: t.Any) -> t.Any:
        checked[option.name] += 1
        return check(option, value)

    monkeypatch.setattr(option_values, "check_value", count)
    lab.plan(learning_rate="1e-4", lora_rank=8, quantizations=["q8_0"])
    assert {"base_model", "dataset", "learning_rate", "lora_rank", "quantizations"} <= set(checked)
    assert set(checked.values()) == {1}


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
@pytest.mark.parametrize("goal", [Goal.TRAIN, Goal.MODEL])
def test_memory_is_estimated_once(
    lab: PlanLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, accelerator: str, goal: Goal
) -> None:
    directory = nvidia_smi(tmp_path / "bin", 24564, 24000)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    estimated = []
    estimate = memory.estimate

    def count(*arguments: t.Any) -> memory.Estimate:
        estimated.append(arguments)
        return estimate(*arguments)

    monkeypatch.setattr(memory, "estimate", count)
    monkeypatch.setattr(fit, "estimate", count)
    lab.plan(accelerator, goal=goal)
    assert len(estimated) == 1
