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

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.server_versions import (
    OLDEST_SERVER,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import load
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
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import (
    llamafactory_arguments,
    option_values,
    options,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.option import Option
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import fake_ollama
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


# -- the server that serves the model ----------------------------------------------------------------------------------


def test_a_server_that_is_too_old_is_refused_before_the_training(lab: PlanLab) -> None:
    declared = {"name": "homelab-model", "base_model": "qwen2.5:0.5b", "dataset": "homelab", "epochs": 30}
    with fake_ollama() as server:
        host = Host(Toolchain(ollama_url=server.url), "cpu")
        server.version = "0.23.4"
        with pytest.raises(NotReadyError, match="version 0.23.4, which is too old"):
            plan(lab.layout, Request.finetune(declared), host)
        trained = plan(lab.layout, Request.finetune(declared, Goal.TRAIN), host)
        server.version = "0.0.0"
        run = plan(lab.layout, Request.finetune(declared), host)
        assert [warning for warning in warnings_of(run) if "reports the version '0.0.0'" in str(warning)]
        assert warnings_of(trained) == [], "a training alone needs no server"
        server.version = "0.32.15"
        assert plan(lab.layout, Request.finetune(declared), host).id == run.id
        assert warnings_of(plan(lab.layout, Request.finetune(declared), host)) == []


def test_a_server_that_is_too_old_for_the_base_is_refused(lab: PlanLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OLDEST_SERVER, "qwen2", "0.32.0")
    declared = {"name": "homelab-model", "base_model": "qwen2.5:0.5b", "dataset": "homelab"}
    with fake_ollama() as server:
        host = Host(Toolchain(ollama_url=server.url), "cpu")
        server.version = "0.24.0"
        with pytest.raises(NotReadyError, match="0.24.0, which does not run models of the architecture qwen2"):
            plan(lab.layout, Request.finetune(declared), host)
        plan(lab.layout, Request.finetune(declared, Goal.TRAIN), host)


def test_a_registration_alone_asks_the_server_too(lab: PlanLab) -> None:
    made = lab.plan()
    lab.make(made)
    gguf = made.step("gguf-q4_K_M").spec.fingerprint
    request = Request.register(gguf, "other")
    with fake_ollama() as server:
        server.version = "0.1.2"
        with pytest.raises(NotReadyError, match="version 0.1.2, which is too old"):
            plan(lab.layout, request, Host(Toolchain(ollama_url=server.url), "cpu"))


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
    """A form sends the defaults as well, those that a schema has."""
    defaults = {option.name: option.copy_default() for option in options.ALL if not option.decides_method}
    given = {name: value for name, value in defaults.items() if value is not None}
    assert lab.plan(goal=Goal.TRAIN, **given).id == lab.plan(goal=Goal.TRAIN).id
    assert lab.plan(**given).id == lab.plan().id


def test_goal_train_keeps_what_a_later_export_uses(lab: PlanLab) -> None:
    run = lab.plan(goal=Goal.TRAIN, system="Be brief.", parameters={"temperature": 0.5}, quantizations=["q8_0"])
    assert run.id == lab.plan(goal=Goal.TRAIN).id
    exported = plan(lab.layout, _export(lab, run), HOST)
    assert exported.goals == ("register-q8_0",)
    assert exported.step("register-q8_0").spec.settings["system"] == "Be brief."


def test_dataset_is_stored_by_its_name(lab: PlanLab) -> None:
    """A status names the dataset, and an export reads the declaration again."""
    declared = {"name": "m", "Model": "qwen2.5:0.5b", "dataset_path": "/app/data/homelab.jsonl", "epochs": 1}
    request = Request.finetune(declared, Goal.TRAIN)
    assert request.declaration == {"name": "m", "base_model": "qwen2.5:0.5b", "dataset": "homelab", "epochs": 1}
    run = plan(lab.layout, request, HOST)
    named = {"name": "m", "base_model": "qwen2.5:0.5b", "dataset": "homelab", "epochs": 1}
    assert run.id == plan(lab.layout, Request.finetune(named, Goal.TRAIN), HOST).id
    exported = plan(lab.layout, _export(lab, run), HOST)
    assert exported.declaration["dataset"] == "homelab"


@pytest.mark.parametrize(
    ("declared", "option"),
    [
        ({"dataset": "homelabs"}, "dataset"),
        ({"dataset": "homelabs", "base_model": "qwen2.5:4711b"}, "dataset"),
        ({"dataset": "homelab", "base_model": "qwen2.5:4711b"}, "base_model"),
        ({"dataset": "homelab", "stage": "dpo"}, "dataset"),
    ],
)
def test_errors_about_names_name_the_option(lab: PlanLab, declared: dict[str, t.Any], option: str) -> None:
    """Forms show them at its field. The dataset is looked up first: it is on this host."""
    with pytest.raises(InputError) as caught:
        lab.plan(**declared)
    assert caught.value.details["options"] == [option]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parameters": {"temperatur": 1}}, "Did you mean temperature?"),
        ({"parameters": {"temperature": "hot"}}, "temperature must be a number, not 'hot'"),
        ({"parameters": {"stop": [1]}}, "stop must be a list of texts"),
        ({"aliases": ["a/b"]}, "'m:a/b' cannot be the name of a model"),
        ({"aliases": ["cloud"]}, "where the model runs"),
        ({"name": "m:v1"}, "'m:v1:latest' cannot be the name of a model"),
        ({"name": "m x", "aliases": []}, "'m x' cannot be the name of a model"),
        ({"gate": {"prompts": [{"prompt": "a", "contains": "b"}]}, "aliases": []}, "no aliases"),
    ],
)
def test_registration_is_checked_when_it_is_requested(options: dict[str, t.Any], message: str) -> None:
    """Not only by the step, after the file was made."""
    with pytest.raises(InputError) as caught:
        Request.register("a" * 64, **{"name": "m", **options})
    assert message in str(caught.value)


def test_declared_values_of_a_registration_are_kept() -> None:
    """They are part of its fingerprint."""
    request = Request.register("a" * 64, "m", parameters={"temperature": "0.5", "stop": "x"}, aliases=["latest", "v1"])
    assert request.registration is not None
    assert request.registration.parameters == {"temperature": "0.5", "stop": "x"}
    assert request.registration.aliases == ("latest", "v1")


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


@pytest.mark.parametrize("value", [True, "true", False])
def test_code_of_the_base_is_fetched_only_for_a_training_that_runs_it(
    lab: PlanLab, monkeypatch: pytest.MonkeyPatch, value: t.Any
) -> None:
    supported = llamafactory_arguments.LfArguments({"trust_remote_code": "bool"}, ("qwen",), "0.9.5")
    monkeypatch.setattr(llamafactory_arguments, "read_arguments", lambda _venv: supported)
    plain = lab.plan().step("base").spec
    declared = lab.plan(extra={"trust_remote_code": value}).step("base").spec
    assert "remote_code" not in plain.options
    assert declared.options.get("remote_code", False) is (value is not False)
    # the weights are the same, and so is the artifact
    assert declared.fingerprint == plain.fingerprint


def test_code_that_another_training_declared_is_not_fetched_again(
    lab: PlanLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    supported = llamafactory_arguments.LfArguments({"trust_remote_code": "bool"}, ("qwen",), "0.9.5")
    monkeypatch.setattr(llamafactory_arguments, "read_arguments", lambda _venv: supported)
    lab.make(lab.plan(extra={"trust_remote_code": True}))
    # the base and its options are those of the receipt, except whether this training runs code
    kept = lab.plan(regenerate_on=["hyperparameters"], extra={})
    assert "remote_code" not in kept.step("base").spec.options
    assert lab.plan(regenerate="never", extra={}).step("base").spec.options["remote_code"] is True


def test_a_file_that_extra_names_is_part_of_the_training(lab: PlanLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new content is a new training, and a new place is none."""
    supported = llamafactory_arguments.LfArguments({"deepspeed": "dict | str | None"}, ("qwen",), "0.9.5")
    monkeypatch.setattr(llamafactory_arguments, "read_arguments", lambda _venv: supported)
    one, other = lab.root / "a.json", lab.root / "b.json"
    one.write_text("{}")
    other.write_text("{}")
    first, moved = (lab.plan(extra={"deepspeed": str(path)}).step("train").spec for path in (one, other))
    assert first.fingerprint == moved.fingerprint
    assert moved.options["resolved"]["extra"] == {"deepspeed": str(other)}
    lab.make(lab.plan(extra={"deepspeed": str(one)}))
    one.write_text('{"zero_optimization": {"stage": 3}}')
    assert lab.plan(extra={"deepspeed": str(one)}).step("train").spec.fingerprint != first.fingerprint
    kept = lab.plan(extra={"deepspeed": str(one)}, regenerate="never")
    assert kept.step("train").spec.fingerprint == first.fingerprint
    with pytest.raises(
        InputError, match=r"extra\.deepspeed names .*/c\.json, which does not exist on this host"
    ) as caught:
        lab.plan(extra={"deepspeed": str(lab.root / "c.json")})
    assert caught.value.details["options"] == ["extra"]


def test_warnings_about_the_rows_are_part_of_the_plan(lab: PlanLab) -> None:
    """For those who did not publish the dataset; in a play, the module dataset has just reported them."""
    lab.publish("unfilled", [{"instruction": "a", "output": "Je suis {{name}}."}, {"instruction": "b", "output": "c"}])
    for more in ({}, {"regenerate": "never"}):
        run = lab.plan(dataset="unfilled", **more)
        texts = [str(warning) for warning in warnings_of(run, lab.layout)]
        about_rows = [text for text in texts if "unfilled: 1 row has {{…}} in a text (records row 1)." in text]
        assert len(about_rows) == 1 and about_rows[0].startswith("homelab-model: unfilled: "), "a warning of its own"
        lab.make(run)
    facts = {"fingerprint": run.step("train").spec.upstream["dataset"], "outcome": load(lab.layout, "unfilled").results}
    raw = {"name": "homelab-model", "base_model": "qwen2.5:0.5b", "dataset": "unfilled"}
    reported = plan(lab.layout, Request.finetune(raw), Host(Toolchain(), "cpu", datasets={"unfilled": facts}))
    assert warnings_of(reported, lab.layout) == []
