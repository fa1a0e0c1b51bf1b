# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a declaration. The golden ids are frozen, as in test_fingerprint."""

from __future__ import annotations

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import (
    Identity,
    make_run,
    run_id,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run, RunStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.registry import get_step
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import model_steps

#: A data directory without results.
NOWHERE = Layout("/nowhere")
BASE = Identity("b" * 64, {"source": "hub"}, {"location": "/somewhere"})
DATASET = "d" * 64
REGISTER = {"name": "homelab-model"}


def steps_of(*quantizations: str, register: bool = True) -> tuple[list[RunStep], list[str]]:
    registration = REGISTER if register else None
    return model_steps(BASE, DATASET, {"lora_rank": 8}, {"name": "homelab-model"}, quantizations, registration)


def short(steps: list[RunStep]) -> dict[str, str]:
    return {step.label: step.spec.fingerprint[:12] for step in steps}


def test_golden_fingerprints() -> None:
    steps, goals = steps_of("q4_K_M", "f16")
    assert goals == ["register-q4_K_M", "register-f16"]
    assert short(steps[1:]) == {
        "train": "66b238be0f6c",
        "merge": "d74fcd3d6b5a",
        "gguf-f16": "52d7e576e726",
        "gguf-q4_K_M": "ede340048d8c",
        "register-q4_K_M": "4eaa17833a58",
        "register-f16": "e3fd1d403f43",
    }
    run = make_run("homelab-model", steps, goals, Toolchain())
    assert run.id == "homelab-model-f2814fade401"


def test_steps_follow_their_inputs() -> None:
    steps, _goals = steps_of("q8_0", "q4_K_M", "bf16")
    available: set[tuple[str, str]] = {("base", BASE.fingerprint), ("dataset", DATASET)}
    for step in steps:
        if step.spec.kind != "base":
            assert set(dict(get_step(step.spec.kind).inputs(NOWHERE, step.spec)).items()) <= available, step.label
        available.add((step.spec.kind, step.spec.fingerprint))


@pytest.mark.parametrize(
    ("quantizations", "labels"),
    [
        (("q4_K_M",), ["gguf-f16", "gguf-q4_K_M"]),
        (("f16",), ["gguf-f16"]),
        (("bf16",), ["gguf-bf16"]),
        (("bf16", "q8_0"), ["gguf-f16", "gguf-bf16", "gguf-q8_0"]),
        (("q8_0", "f16"), ["gguf-f16", "gguf-q8_0"]),
    ],
)
def test_conversions(quantizations: tuple[str, ...], labels: list[str]) -> None:
    steps, goals = steps_of(*quantizations, register=False)
    assert [step.label for step in steps if step.spec.kind == "gguf"] == labels
    assert goals == [f"gguf-{name}" for name in quantizations]


def test_quantized_file_requires_f16_and_is_identified_by_the_weights() -> None:
    steps, _goals = steps_of("q4_K_M")
    by_label = {step.label: step.spec for step in steps}
    quantized = by_label["gguf-q4_K_M"]
    assert quantized.upstream == {"merge": by_label["merge"].fingerprint}
    assert dict(get_step("gguf").inputs(NOWHERE, quantized)) == {"gguf": by_label["gguf-f16"].fingerprint}
    assert dict(get_step("gguf").inputs(NOWHERE, by_label["gguf-f16"])) == {"merge": by_label["merge"].fingerprint}


def test_first_declared_quantization_gets_the_aliases() -> None:
    steps, _goals = steps_of("q8_0", "q4_K_M")
    assert {step.label: step.spec.options["aliases"] for step in steps if step.spec.kind == "register"} == {
        "register-q8_0": ["latest"],
        "register-q4_K_M": [],
    }


def test_equal_requests_have_equal_run_ids() -> None:
    steps, goals = steps_of("q4_K_M")
    one = make_run("Homelab Modèle!", steps, goals, Toolchain())
    other = make_run("Homelab Modèle!", steps, goals, Toolchain(llamafactory_venv="/elsewhere"), submitted_by="rest")
    assert one.id == other.id
    assert one.id.startswith("homelab-mod-le-")
    assert run_id("other", steps[-1:]) != run_id("name", steps[-1:])
    assert run_id("name", steps[-1:]) != run_id("name", steps[-2:-1])
    assert run_id("///", []).startswith("run-")
    assert len(run_id("x" * 500, [])) < 80


def test_stored_run_is_restored() -> None:
    steps, goals = steps_of("q4_K_M")
    run = make_run("m", steps, goals, Toolchain(environment={"A": "1"}), {"name": "m"})
    stored = run.as_dict()
    assert Run.from_dict(stored) == run
    assert Run.from_dict({**stored, "later": 1, "toolchain": {**stored["toolchain"], "later": 1}}) == run


@pytest.mark.parametrize("damage", [None, [], {}, {"steps": 3}, {"steps": [{}]}, {"toolchain": None}, {"seq": "x"}])
def test_invalid_run_records_are_refused(damage: object) -> None:
    steps, goals = steps_of("q4_K_M")
    stored = make_run("m", steps, goals, Toolchain()).as_dict()
    value = {**stored, **damage} if isinstance(damage, dict) and damage else damage
    with pytest.raises(StoreError, match="not the record of a run"):
        Run.from_dict(value)
