# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which steps of a run are pending: found backwards from its goals."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.drift_checks import DriftChecks
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.pending_steps import (
    find_pending_steps,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.registry import get_step
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows

LABELS = ["base", "train", "merge", "gguf-f16", "gguf-q4_K_M"]


@pytest.fixture
def lab(tmp_path: Path) -> PlanLab:
    lab = PlanLab(tmp_path)
    lab.publish("homelab", rows(20))
    return lab


@pytest.fixture
def run(lab: PlanLab) -> Run:
    """Up to the GGUF file: no server is asked."""
    return lab.plan(register=False)


def pending(lab: PlanLab, run: Run) -> dict[str, str]:
    """The steps that must run or may have to, each with its reason."""
    found = find_pending_steps(lab.layout, run, DriftChecks(lab.layout)).labels
    return {label: str(reason) for label, reason in found.items()}


def remove(lab: PlanLab, run: Run, label: str) -> None:
    spec = run.step(label).spec
    shutil.rmtree(lab.layout.artifact(spec.kind, spec.fingerprint))


def test_all_steps_of_a_new_run_are_pending_in_order(lab: PlanLab, run: Run) -> None:
    assert pending(lab, run) == dict.fromkeys(LABELS, "not made yet")
    lab.make(run)
    assert pending(lab, run) == {}


def test_a_complete_result_needs_nothing_before_it(lab: PlanLab, run: Run) -> None:
    lab.make(run)
    for label in ("base", "train", "merge", "gguf-f16"):
        remove(lab, run, label)
    assert pending(lab, run) == {}


def test_a_missing_goal_needs_its_inputs_alone(lab: PlanLab, run: Run) -> None:
    """A quantized file is made from the f16 file, so the merged weights may be gone."""
    lab.make(run)
    for label in ("merge", "gguf-q4_K_M"):
        remove(lab, run, label)
    assert list(pending(lab, run)) == ["gguf-q4_K_M"]
    remove(lab, run, "gguf-f16")
    assert list(pending(lab, run)) == ["merge", "gguf-f16", "gguf-q4_K_M"]
    remove(lab, run, "train")
    assert list(pending(lab, run)) == LABELS[1:]


def test_a_damaged_result_is_pending_with_its_reason(lab: PlanLab, run: Run) -> None:
    lab.make(run)
    spec = run.step("gguf-q4_K_M").spec
    Path(lab.layout.artifact("gguf", spec.fingerprint), "receipt.json").write_text("{")
    assert pending(lab, run) == {"gguf-q4_K_M": "its receipt is damaged"}


def test_the_inputs_of_a_quantized_file(lab: PlanLab, run: Run) -> None:
    f16, quantized = run.step("gguf-f16").spec, run.step("gguf-q4_K_M").spec
    assert dict(get_step("gguf").inputs(lab.layout, quantized)) == {"gguf": f16.fingerprint}
    assert dict(get_step("gguf").inputs(lab.layout, f16)) == {"merge": run.step("merge").spec.fingerprint}
    assert quantized.upstream == f16.upstream, "its fingerprint does not depend on the f16 file"


def test_weights_that_are_wanted_after_a_merge_on_the_way(lab: PlanLab) -> None:
    """The merge is made again where its weights are a goal, and is enough for a conversion where they are not."""
    run = lab.plan(register=False)
    merge = run.step("merge").spec
    assert merge.options["weights"] is False
    lab.make(run)
    receipt = Path(lab.layout.artifact("merge", merge.fingerprint), "receipt.json")
    recorded = json.loads(receipt.read_text())
    receipt.write_text(json.dumps({**recorded, "results": {"weights": False}}))
    assert pending(lab, run) == {}
    kept = lab.plan(register=False, keep_merged=True)
    assert kept.goals[0] == "merge" and kept.step("merge").spec.fingerprint == merge.fingerprint
    assert pending(lab, kept) == {"merge": "merged on the way, and its weights are asked for now"}
    f16 = run.step("gguf-f16").spec
    assert dict(get_step("gguf").inputs(lab.layout, f16)) == {"merge": merge.fingerprint, **merge.upstream}
    remove(lab, run, "gguf-f16")
    remove(lab, run, "gguf-q4_K_M")
    assert list(pending(lab, run)) == ["gguf-f16", "gguf-q4_K_M"]
    remove(lab, run, "train")
    assert list(pending(lab, run)) == ["train", "gguf-f16", "gguf-q4_K_M"]


def test_an_input_that_no_step_makes_is_named(lab: PlanLab, run: Run) -> None:
    rest = dataclasses.replace(run, steps=tuple(step for step in run.steps if step.label != "train"))
    with pytest.raises(NotReadyError) as caught:
        pending(lab, rest)
    assert "homelab-model: merge needs the train " in str(caught.value)
    assert "not made yet" in str(caught.value) and "module ia_homelab.llamafactory.train" in caught.value.hint
    lab.make(run, only=("train",))
    assert "train" not in pending(lab, rest)


def test_a_dataset_that_was_deleted_is_named(lab: PlanLab, run: Run) -> None:
    spec = run.step("train").spec
    shutil.rmtree(lab.layout.artifact("dataset", spec.upstream["dataset"]))
    with pytest.raises(NotReadyError, match="train needs the dataset .* not made yet"):
        pending(lab, run)
    lab.make(run, only=("train",))
    assert list(pending(lab, run)) == [label for label in LABELS if label != "train"]


def test_a_result_that_has_drifted_is_pending_alone(lab: PlanLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inputs are there, and only the goal is compared with what is outside of the data directory."""
    run = lab.plan()
    lab.make(run)
    reasons = {
        "register": [Message("steps.never_registered"), Message("releases.not_in_ollama", tag="m:1")],
        "merge": [Message("steps.quantizing")],
    }
    for kind, found in reasons.items():
        monkeypatch.setattr(type(get_step(kind)), "drift", lambda _self, _ctx, found=found: found)
    assert pending(lab, run) == {"register-q4_K_M": "it was never registered; m:1 is not in Ollama"}
