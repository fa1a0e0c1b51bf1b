# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same request is the same run as it was: ids, labels, goals and fingerprints of each kind of run, recorded.

The recorded values never change: a run that is queued, and every published artifact, is found by them. They were
recorded when registrations had no ``recipe``: without it, every run of today is the recorded one.
"""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal, run_id
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import (
    Host,
    Request,
    Result,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.recipes import (
    RECIPE,
    earlier_fingerprints,
    without_recipe,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows

RECORDED: dict[str, t.Any] = json.loads((Path(__file__).parent / "recorded_runs.json").read_text(encoding="utf-8"))
GATE = {"prompts": [{"prompt": "Who?", "contains": "homelab"}]}
HOST = Host(Toolchain(), "cpu")


def recorded_form(run: Run) -> dict[str, t.Any]:
    """Return what identifies a run and its steps."""
    return {
        "id": run.id,
        "name": run.name,
        "goals": list(run.goals),
        # a gate was asked by the promotion itself
        "steps": {step.label: step.spec.fingerprint[:16] for step in run.steps if step.spec.kind != "evaluate"},
    }


def by_first_recipe(run: Run) -> Run:
    """Return the run as it was planned when registrations had no recipe."""
    steps, former = [], {}
    for step in run.steps:
        spec = step.spec
        upstream = {kind: former.get(value, value) for kind, value in spec.upstream.items()}
        settings = without_recipe(spec.settings) if spec.kind == "register" else spec.settings
        if spec.kind == "register":
            assert spec.settings["recipe"] == RECIPE and spec.fingerprint != fingerprint(spec.kind, settings, upstream)
        former[spec.fingerprint] = fingerprint(spec.kind, settings, upstream)
        spec = dataclasses.replace(spec, settings=settings, upstream=upstream, fingerprint=former[spec.fingerprint])
        steps.append(dataclasses.replace(step, spec=spec))
    return dataclasses.replace(
        run, steps=tuple(steps), id=run_id(run.name, [step for step in steps if step.label in run.goals])
    )


def planned(lab: PlanLab) -> dict[str, Run]:
    """Plan one run of each kind, on a host where a model was made merged and as an adapter."""
    lab.publish("homelab", rows(20))
    model, adapter = lab.plan(), lab.plan(export="adapter")
    runs = {
        "model": model,
        "model, adapter": adapter,
        "model, several files": lab.plan(quantizations=["q4_K_M", "f16", "q8_0", "bf16"]),
        "model, gate and retention": lab.plan(gate=GATE, keep=2),
        "model, not registered": lab.plan(register=False),
        "model, adapter, not registered": lab.plan(register=False, export="adapter"),
        "model, served": lab.plan(system="Be brief.", parameters={"temperature": 0.2}, aliases=["latest", "v1"]),
        "model, learning rate as text": lab.plan(learning_rate="1e-4"),
        "base": plan(lab.layout, Request.base_model("qwen2.5:0.5b"), HOST),
        "train": lab.plan(goal=Goal.TRAIN),
        "train, lora_rank": lab.plan(goal=Goal.TRAIN, lora_rank=8),
    }
    lab.make(model)
    lab.make(adapter)
    trained, merged = model.step("train").spec.fingerprint, model.step("merge").spec.fingerprint
    gguf = model.step("gguf-q4_K_M").spec.fingerprint
    base_gguf = adapter.step("gguf-q4_K_M").spec.fingerprint
    adapter_gguf = adapter.step("gguf-adapter").spec.fingerprint
    served: dict[str, t.Any] = {"template": "llama3", "system": "Be brief.", "parameters": {"temperature": 0.2}}

    def register(*arguments: t.Any, **options: t.Any) -> Run:
        return plan(lab.layout, Request.register(*arguments, **options), HOST)

    runs.update(
        {
            "merge": plan(lab.layout, Request.merge(trained), HOST),
            "gguf": plan(lab.layout, Request.gguf(Result("merge", merged), ["q4_K_M", "q8_0"]), HOST),
            "gguf, adapter": plan(lab.layout, Request.gguf(Result("train", trained), ["q4_K_M"]), HOST),
            "register": register(gguf, "homelab-model"),
            "register, served": register(gguf, "other", aliases=["v1"], **served),
            "register, gate": register(gguf, "homelab-model", gate=GATE),
            "register, adapter": register(base_gguf, "homelab-model", adapter=adapter_gguf),
            "model, second attempt": lab.plan(regenerate="always"),
        }
    )
    lab.publish("homelab", rows(25))
    runs["model, retrained never"] = lab.plan(regenerate="never", lora_rank=4)
    runs["model, retrained for rows only"] = lab.plan(regenerate_on=["dataset"], lora_rank=4)
    return runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    return planned(PlanLab(tmp_path_factory.mktemp("host")))


@pytest.mark.parametrize("kind", RECORDED)
def test_same_request_is_the_same_run_as_recorded(runs: dict[str, Run], kind: str) -> None:
    assert recorded_form(by_first_recipe(runs[kind])) == RECORDED[kind]


def test_only_what_is_served_depends_on_the_recipe(runs: dict[str, Run]) -> None:
    """Nothing is trained, merged or converted again because of it."""
    for kind, run in runs.items():
        for step in (step for step in run.steps if step.spec.kind != "evaluate"):
            recorded = RECORDED[kind]["steps"][step.label]
            assert step.spec.fingerprint.startswith(recorded) == (
                step.spec.kind not in ("register", "promote", "retain")
            ), (kind, step.label)


def test_former_registrations_are_found(runs: dict[str, Run]) -> None:
    for kind, run in runs.items():
        for step in run.steps:
            if step.spec.kind == "register":
                (former,) = earlier_fingerprints(step.spec.settings, step.spec.upstream)
                assert former.startswith(RECORDED[kind]["steps"][step.label])


def test_each_kind_of_run_is_recorded(runs: dict[str, Run]) -> None:
    assert set(runs) == set(RECORDED)
