# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option for every goal and through every module: accepted with its effect on the plan, or refused by its name.

``service/tests/test_option_edges.py`` does the same for the interfaces of the service.
"""

from __future__ import annotations

import importlib
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import CoreError, InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import planner
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import memory
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import options
from ansible_collections.ia_homelab.llamafactory.tests.support import modules
from ansible_collections.ia_homelab.llamafactory.tests.support.option_cases import (
    CONTEXTS,
    NEEDS,
    VALUES,
    OptionLab,
    declared,
    facts,
    names_it,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import rows

HOST = Host(Toolchain(), "cpu")
#: Options whose effect depends on what is on the host, which has a test of its own here.
OF_THE_HOST = ("memory_check", "regenerate", "regenerate_on")
#: Options of a later export that a training alone keeps in its declaration.
KEPT = ("system", "parameters")
ENTRY = {"name": "homelab-model", "base_model": "qwen2.5:0.5b", "dataset": "homelab"}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OptionLab:
    return OptionLab(tmp_path, monkeypatch)


def planned(lab: OptionLab, **values: t.Any) -> t.Any:
    """Return the facts of a plan, or the error."""
    try:
        return facts(lab.plan(**values))
    except CoreError as error:
        return error


def test_every_option_has_values() -> None:
    assert list(VALUES) == [option.name for option in options.ALL]
    for name, values in VALUES.items():
        default = options.BY_NAME[name].copy_default()
        assert [value for value in values if value != default], name


# -- the core ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", [Goal.TRAIN, Goal.MODEL])
def test_every_option_has_its_effect_with_what_it_needs(lab: OptionLab, goal: Goal) -> None:
    """Or belongs to a served model, which is refused for a training alone, or kept for its export."""
    refused: set[str] = set()
    kept: set[str] = set()
    for option, values in VALUES.items():
        default = options.BY_NAME[option].copy_default()
        for value in (one for one in values if one != default and option not in OF_THE_HOST):
            before = planned(lab, goal=goal, **NEEDS.get(option, {}))
            after = planned(lab, goal=goal, **declared(option, value))
            if isinstance(after, CoreError):
                assert names_it(str(after), option), f"{option}: {after}"
                refused.add(option)
            elif after == before:
                kept.add(option)
    served = {"aliases", "register", "gate", "evaluation", "export", "keep", "keep_intermediates", "keep_merged"}
    # what needs several hosts or a GPU
    assert refused - {"nodes", "gpus"} == (served if goal is Goal.TRAIN else set())
    assert kept == (set(KEPT) if goal is Goal.TRAIN else set())


@pytest.mark.parametrize("context", CONTEXTS)
def test_no_option_is_ignored_beside_others(lab: OptionLab, context: str) -> None:
    beside = CONTEXTS[context]
    before = planned(lab, **beside)
    assert not isinstance(before, CoreError), before
    # what is the case anyway
    same = {"register": {"stage: rm", "stage: rm, goal: train"}, **{name: {"goal: train"} for name in KEPT}}
    checked = 0
    for option, values in VALUES.items():
        for value in values if option not in (*OF_THE_HOST, *beside) else ():
            after = planned(lab, **{**beside, option: value})
            checked += 1
            if isinstance(after, CoreError):
                assert names_it(str(after), option), f"{option}: {after}"
            else:
                assert after != before or context in same.get(option, ()), f"{option}: {value!r} is ignored"
    assert checked > 50


def test_a_training_alone_keeps_the_options_of_its_export(lab: OptionLab) -> None:
    exported = []
    for more in ({}, *({name: VALUES[name][0]} for name in KEPT)):
        run = lab.plan(goal=Goal.TRAIN, **more)
        lab.make(run)
        request = Request.export(run.declaration, run.step("train").spec.fingerprint)
        exported.append(facts(planner.plan(lab.layout, request, HOST)))
    assert exported[0] not in exported[1:] and exported[1] != exported[2]
    with pytest.raises(InputError, match="system, parameters have no effect with stage: rm"):
        lab.plan(goal=Goal.TRAIN, stage="rm", dataset="pairs", system="x", parameters={"top_k": 1})


@pytest.mark.parametrize("goal", [Goal.TRAIN, Goal.MODEL])
def test_retraining_follows_its_options(lab: OptionLab, goal: Goal) -> None:
    def trained(**more: t.Any) -> str:
        return lab.plan(goal=goal, **more).step("train").spec.fingerprint

    first = trained()
    lab.make(lab.plan(goal=goal))
    assert trained() == first and trained(regenerate="always") != first
    lab.publish("homelab", rows(50))
    assert trained() != first
    assert trained(regenerate="never") == trained(regenerate_on=["hyperparameters"]) == first
    refused = planned(lab, goal=goal, regenerate="never", regenerate_on=["dataset"])
    assert str(refused) == (
        "homelab-model: regenerate_on has no effect with regenerate: never. "
        "Declare regenerate: on_change or always, or leave regenerate_on out."
    )


@pytest.mark.parametrize("goal", [Goal.TRAIN, Goal.MODEL])
def test_short_memory_is_refused_or_warned_about(lab: OptionLab, monkeypatch: pytest.MonkeyPatch, goal: Goal) -> None:
    monkeypatch.setattr(memory, "ram", lambda: memory.Ram(10**8, 10**8, 0))
    assert isinstance(planned(lab, goal=goal), CoreError)
    assert not isinstance(planned(lab, goal=goal, memory_check="warn"), CoreError)


# -- the modules -------------------------------------------------------------------------------------------------------


class Modules:
    """Calls modules in check mode, and keeps the run that they plan."""

    def __init__(self, lab: OptionLab, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.runs: list[Run] = []
        self._monkeypatch, self._plan = monkeypatch, planner.plan
        monkeypatch.setattr(planner, "plan", self._record)

    def _record(self, *arguments: t.Any) -> Run:
        self.runs.append(self._plan(*arguments))
        return self.runs[-1]

    def call(self, module: str, **arguments: t.Any) -> t.Any:
        """Return the facts of the run that a module plans, or the message with which it fails."""
        name = f"ansible_collections.ia_homelab.llamafactory.plugins.modules.{module}"
        importlib.import_module(name)
        if hasattr(sys.modules[name], "plan"):
            self._monkeypatch.setattr(sys.modules[name], "plan", self._record)
        self.runs.clear()
        given = {"data_dir": str(self.lab.layout.root), "ollama_url": "http://127.0.0.1:9", **arguments}
        answer = modules.call(module, given, check=True)
        if answer.get("failed"):
            return str(answer["msg"])
        (run,) = self.runs
        return facts(run)

    def compare(self, module: str, option: str, value: t.Any, **arguments: t.Any) -> bool:
        """Check an option of a module that is called with other arguments; return whether it is accepted."""
        after = self.call(module, **{**arguments, option: value})
        if isinstance(after, str):
            assert names_it(after, option), f"{module} {option}: {after}"
            return False
        assert after != self.call(module, **arguments), f"{module} ignores {option}: {value!r}"
        return True


@pytest.fixture
def called(lab: OptionLab, monkeypatch: pytest.MonkeyPatch) -> Modules:
    return Modules(lab, monkeypatch)


@pytest.mark.parametrize("module", ["job", "plan_info"])
def test_modules_of_declarations_plan_what_the_core_plans(called: Modules, lab: OptionLab, module: str) -> None:
    for option, values in VALUES.items():
        entry = {**ENTRY, **declared(option, values[0])}
        core = planned(lab, write=False, **entry)
        found = called.call(module, finetunes=[entry], accelerator="cpu")
        assert found == core if not isinstance(core, CoreError) else str(core.message) in found, option


def test_the_module_train_takes_the_options_of_a_training(called: Modules, lab: OptionLab) -> None:
    accepted = set()
    for option, values in VALUES.items():
        entry = {**ENTRY, **declared(option, values[0])}
        core = planned(lab, goal=Goal.TRAIN, write=False, **entry)
        found = called.call("train", accelerator="cpu", **entry)
        if isinstance(found, str):
            assert option in found, f"{option}: {found}"
        else:
            assert found == core, option
            accepted.add(option)
    of_training = {option.name for option in options.OPTIONS if option.step == "train"}
    # several GPUs are refused on a host without one
    assert accepted == {*of_training, *ENTRY, "base_revision", "memory_check", "preflight_check"} - {"gpus"}


def test_single_steps_take_no_option_without_effect(called: Modules, lab: OptionLab) -> None:
    """Those of a fine-tune that a module does not have are refused by Ansible, with their names."""
    made = lab.plan(export="adapter")
    lab.make(made)
    merged = lab.plan()
    lab.make(merged)
    starts: dict[str, dict[str, t.Any]] = {
        "base": {"name": "qwen2.5:0.5b"},
        "merge": {"adapter": merged.step("train").spec.fingerprint},
        "gguf": {"merged": merged.step("merge").spec.fingerprint},
        "ollama_model": {"name": "homelab-model", "gguf": merged.step("gguf-q4_K_M").spec.fingerprint},
    }
    accepted: dict[str, set[str]] = {}
    for module, start in starts.items():
        assert not isinstance(called.call(module, **start), str)
        accepted[module] = {
            option
            for option, values in VALUES.items()
            if option != "name" and called.compare(module, option, values[0], **start)
        }
    assert accepted == {
        "base": set(),
        "merge": set(),
        "gguf": {"quantizations"},
        "ollama_model": {"system", "parameters", "aliases", "gate", "template"},
    }


def test_the_module_dataset_takes_no_option_of_a_fine_tune(lab: OptionLab) -> None:
    given = {"data_dir": str(lab.layout.root), "name": "new", "records": rows(3)}
    assert not modules.call("dataset", given, check=True).get("failed")
    for option, values in VALUES.items():
        if option != "name":
            answer = modules.call("dataset", {**given, option: values[0]}, check=True)
            assert answer.get("failed") and names_it(answer["msg"], option), option


def test_the_module_ollama_model_takes_no_option_of_another_state(lab: OptionLab) -> None:
    common = {"data_dir": str(lab.layout.root), "ollama_url": "http://127.0.0.1:9", "name": "homelab-model"}
    given = {
        "gguf": "a" * 64,
        "adapter": "b" * 64,
        **{name: VALUES[name][0] for name in ("system", "parameters", "gate")},
    }
    given |= {"template": "llama3", "aliases": ["v1"]}
    for state in ("absent", "rolled_back", "released"):
        for option, value in given.items():
            answer = modules.call("ollama_model", {**common, "state": state, option: value}, check=True)
            assert answer["failed"] and f"{option} has no effect with state: {state}." in answer["msg"]
    for state in ("present", "absent", "released"):
        answer = modules.call("ollama_model", {**common, "state": state, "version": "abc"}, check=True)
        assert answer["failed"] and f"version has no effect with state: {state}." in answer["msg"]


@pytest.mark.parametrize("module", ["base", "train", "merge", "gguf", "ollama_model"])
def test_a_module_that_follows_runs_takes_nothing_to_make(lab: OptionLab, module: str) -> None:
    own = {"merge": "adapter", "gguf": "merged"}.get(module, "name")
    answer = modules.call(module, {"data_dir": str(lab.layout.root), "runs": [], own: "x", **TRAINED.get(module, {})})
    assert answer["failed"] and "mutually exclusive" in answer["msg"]


TRAINED = {"train": {"base_model": "qwen2.5:0.5b", "dataset": "homelab"}}
