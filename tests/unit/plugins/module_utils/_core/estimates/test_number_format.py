# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``precision: auto``: what it means on a GPU, that it is decided once, and that it is no part of the fingerprint."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import host, number_format
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import warnings_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import gpus, memory
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import normalise
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, nvidia_smi, rows

Gpu = t.Callable[[str], None]
#: Compute capabilities of a T4 or an RTX 2080 Ti, a V100, and an RTX 4090.
TURING, VOLTA, ADA = "7.5", "7.0", "8.9"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanLab:
    monkeypatch.setattr(memory, "ram", lambda: memory.Ram(64 * 10**9, 60 * 10**9, 0))
    plan_lab = PlanLab(tmp_path)
    plan_lab.publish("homelab", rows(50))
    return plan_lab


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """Installs a simulated GPU with a compute capability; an empty one: the driver does not know the field."""

    def install(capability: str) -> None:
        directory = nvidia_smi(tmp_path / "bin", 24564, 24000, "a GPU", capability)
        monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")

    return install


def plan(lab: PlanLab, **declared: t.Any) -> Run:
    return lab.plan(**{"accelerator": "cuda", "method": "lora", "base_model": "qwen2.5:0.5b", **declared})


def precision_of(run: Run) -> str:
    return str(run.step("train").spec.options["resolved"]["precision"])


@pytest.mark.parametrize(
    ("capability", "expected"), [(VOLTA, "fp16"), (TURING, "fp16"), ("8.0", "bf16"), (ADA, "bf16"), ("12.0", "bf16")]
)
def test_auto_follows_the_gpu(lab: PlanLab, gpu: Gpu, capability: str, expected: str) -> None:
    gpu(capability)
    run = plan(lab)
    assert precision_of(run) == expected
    assert any("precision: auto is fp16" in str(warning) for warning in warnings_of(run)) == (expected == "fp16")
    assert "precision" not in run.step("train").spec.settings


def test_auto_is_decided_once(lab: PlanLab, gpu: Gpu) -> None:
    gpu(TURING)
    first = plan(lab)
    gpu(ADA)
    second = plan(lab)
    assert (precision_of(second), second.id) == ("fp16", first.id)
    # another training is another decision
    assert precision_of(plan(lab, lora_rank=4)) == "bf16"
    stored = json.loads((Path(lab.layout.parent("train")) / "precisions.json").read_text())
    decision = stored[first.step("train").spec.fingerprint]
    assert (decision["precision"], decision["capability"]) == ("fp16", "7.5")


def test_check_mode_stores_no_decision(lab: PlanLab, gpu: Gpu) -> None:
    gpu(TURING)
    before = lab.tree()
    assert precision_of(plan(lab, write=False)) == "fp16"
    assert lab.tree() == before
    gpu(ADA)
    assert precision_of(plan(lab)) == "bf16"


def test_unknown_gpu_is_not_recorded(lab: PlanLab, gpu: Gpu) -> None:
    gpu("")
    assert precision_of(plan(lab)) == "bf16"
    assert not os.path.exists(os.path.join(lab.layout.parent("train"), "precisions.json"))


def test_auto_on_a_cpu_stays(lab: PlanLab) -> None:
    assert precision_of(plan(lab, accelerator="cpu")) == "auto"


def test_completed_training_keeps_its_format_and_asks_no_driver(
    lab: PlanLab, gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu(TURING)
    run = plan(lab)
    lab.make(run)
    os.unlink(os.path.join(lab.layout.parent("train"), "precisions.json"))
    gpu(ADA)
    again = plan(lab)
    assert (again.id, precision_of(again)) == (run.id, "fp16")
    asked = tmp_path / "asked"
    (tmp_path / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\ntouch {asked}\nexit 9\n")
    assert number_format.resolve(
        lab.layout,
        normalise({"method": "lora", "template": "qwen"}),
        host.Subject(run.step("train").spec.upstream["base"], run.step("train").spec.upstream["dataset"]),
        host.Machine("cuda"),
        "x",
        True,
    ) == ("fp16", None)
    assert not asked.exists()


def test_declared_format_is_part_of_the_fingerprint(lab: PlanLab, gpu: Gpu) -> None:
    gpu(ADA)
    auto, declared = plan(lab).step("train").spec, plan(lab, precision="bf16").step("train").spec
    assert declared.settings == {**auto.settings, "precision": "bf16"}
    assert declared.fingerprint != auto.fingerprint


@pytest.mark.parametrize("declared", [{"precision": "bf16"}, {"extra": {"pure_bf16": True}}])
def test_bf16_is_refused_without_it(lab: PlanLab, gpu: Gpu, declared: dict[str, t.Any]) -> None:
    gpu(TURING)
    subject = host.Subject("b" * 64, "d" * 64)
    hyper = normalise({"method": "lora", **declared})
    with pytest.raises(InputError, match=r"needs compute capability 8.0 and later; the GPU has 7.5") as caught:
        number_format.resolve(lab.layout, hyper, subject, host.Machine("cuda"), "mine", True)
    assert "precision: fp16" in caught.value.hint
    gpu(ADA)
    assert number_format.resolve(lab.layout, hyper, subject, host.Machine("cuda"), "mine", True) == ("bf16", None)


def test_recorded_bf16_is_refused_on_a_gpu_without_it(lab: PlanLab, gpu: Gpu) -> None:
    gpu(ADA)
    plan(lab)
    gpu(TURING)
    with pytest.raises(InputError, match="the GPU has 7.5"):
        plan(lab)
    assert precision_of(plan(lab, precision="fp16")) == "fp16"


def test_the_gpu_with_the_lowest_capability_counts() -> None:
    assert host.Machine("cuda", (), capabilities={0: (8, 9), 1: (7, 5)}).compute_capability() == (7, 5)
    assert host.Machine("cpu", (), capabilities={0: (8, 9)}).compute_capability() is None


def test_only_the_gpus_that_the_training_uses_count(lab: PlanLab) -> None:
    """An RTX 2080 Ti beside an RTX 4090: a training on one GPU uses the one with more memory."""
    there = [gpus.Gpu(0, "RTX 2080 Ti", 11 * 10**9, 11 * 10**9), gpus.Gpu(1, "RTX 4090", 24 * 10**9, 24 * 10**9)]
    machine = host.Machine("cuda", there, capabilities={0: (7, 5), 1: (8, 9)})
    subject = host.Subject("b" * 64, "d" * 64)

    def resolved(**declared: t.Any) -> str:
        hyper = normalise({"method": "lora", **declared})
        return number_format.resolve(lab.layout, hyper, subject, machine, "homelab-model", write=True)[0]

    assert (resolved(), resolved(precision="bf16"), resolved(gpus=2)) == ("bf16", "bf16", "fp16")
    with pytest.raises(InputError, match="7.5"):
        resolved(gpus=2, precision="bf16")
