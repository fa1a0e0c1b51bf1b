# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs that trigger a retraining, and the number of the next attempt, based on handwritten receipts."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.resolution import BaseIdentity
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.inputs import ResolvedDataset
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Identity
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.retraining import (
    PinnedInputs,
    next_attempt,
    retraining_inputs,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import (
    Releases,
    content_tag,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import RunStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import make_dirs, write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import normalise
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import model_steps
from ansible_collections.ia_homelab.llamafactory.tests.support.shelf import Shelf

GATE = {"prompts": [{"messages": [{"role": "user", "content": "x"}], "expect": {}}]}
BASE = BaseIdentity({"hub": "a/b", "commit": "1" * 40}, None, "a/b")
OPTIONS = {"name": "m", "resolved": {"method": "lora", "template": "qwen", "epochs": 3}}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


def write_receipt(layout: Layout, step: RunStep, at: str = "2026-01-01T00:00:00.000Z", **results: t.Any) -> None:
    """Write the receipt that the job of a step would have written."""
    path = layout.artifact(step.spec.kind, step.spec.fingerprint)
    make_dirs(path)
    times = {"finished_at": at}
    write_json(f"{path}/receipt.json", {**step.spec.as_dict(), **times, "files": {}, "results": results})


def plan(attempt: int = 1, gate: t.Any = None, dataset: str = "d" * 64) -> tuple[list[RunStep], list[str]]:
    settings = {"epochs": 2, **({"attempt": attempt} if attempt > 1 else {})}
    register = {"name": "m"}
    identity = Identity(BASE.fingerprint, BASE.settings)
    return model_steps(identity, dataset, settings, OPTIONS, ["q4_K_M"], register, gate=gate)


def attempt_of(steps: list[RunStep]) -> int:
    return int(next(step for step in steps if step.label == "train").spec.settings.get("attempt", 1))


def test_next_attempt_is_the_first_unfinished_one(layout: Layout) -> None:
    for number in (1, 2, 3):
        for _again in range(2):
            steps, goals = next_attempt(layout, plan)
            assert attempt_of(steps) == number, "an attempt is resumed until it is finished"
            assert goals == ["register-q4_K_M"]
        write_receipt(layout, next(step for step in steps if step.label == "train"))
        assert attempt_of(next_attempt(layout, plan)[0]) == number, "a trained attempt is not registered yet"
        write_receipt(layout, steps[-1])
    assert attempt_of(next_attempt(layout, plan)[0]) == 4


def test_failed_gate_finishes_an_attempt(layout: Layout) -> None:
    steps, goals = next_attempt(layout, lambda number: plan(number, GATE))
    assert goals == ["register-q4_K_M", "promote"]
    register, promote = steps[-3], steps[-1]
    write_receipt(layout, register)
    assert attempt_of(next_attempt(layout, lambda number: plan(number, GATE))[0]) == 1
    tag = content_tag("m", register.spec.fingerprint, "q4_K_M")
    entry = {"passed": False, "at": "now", "met": 0, "asked": 1}
    Releases(layout, "m").record_gate(tag, promote.spec.fingerprint, entry, {"schema": 1})
    assert attempt_of(next_attempt(layout, lambda number: plan(number, GATE))[0]) == 2
    other = {**GATE, "allowed_failures": 1}
    assert attempt_of(next_attempt(layout, lambda number: plan(number, other))[0]) == 1, (
        "another gate is evaluated first"
    )


def test_attempts_have_distinct_fingerprints_except_for_the_base() -> None:
    first, second = (plan(number)[0] for number in (1, 2))
    for one, other in zip(first, second):
        assert (one.spec.fingerprint == other.spec.fingerprint) == (one.label == "base"), one.label


def test_retraining_inputs(layout: Layout) -> None:
    assert retraining_inputs("m", "never", ["dataset", "base"]) == ()
    assert retraining_inputs("m", "on_change", ["dataset"]) == ("dataset",)
    for policy, inputs in (("sometimes", []), ("on_change", ["weather"])):
        with pytest.raises(InputError, match=r"m: regenerate"):
            retraining_inputs("m", policy, inputs)


def test_untracked_inputs_are_pinned(layout: Layout) -> None:
    steps, _goals = plan()
    for step in steps:
        write_receipt(layout, step, rows=3)
    moved = BaseIdentity({"hub": "a/b", "commit": "2" * 40}, None, "a/b", template="llama3")
    changed = ResolvedDataset("e" * 64, {"rows": 9}, [])
    pinned = PinnedInputs(layout, "m", ("hyperparameters",))
    base = pinned.base(lambda: moved)
    assert base.fingerprint == BASE.fingerprint and base.template == "qwen"
    assert pinned.dataset(lambda: changed).fingerprint == "d" * 64
    assert pinned.training(normalise({"epochs": 9}), lambda: ({"epochs": 9}, {})) == ({"epochs": 9}, {})
    assert [str(note).partition(" has changed")[0] for note in pinned.notes] == ["the base", "the dataset"]
    pinned = PinnedInputs(layout, "m", ("base", "dataset"))
    assert pinned.base(lambda: moved) is moved and pinned.dataset(lambda: changed) is changed
    assert pinned.training(normalise({"epochs": 2}), lambda: pytest.fail("not asked for")) == ({"epochs": 2}, OPTIONS)
    assert pinned.notes == []


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"epochs": 2.0, "method": "auto"}, ""),
        ({"epochs": "2", "template": "qwen"}, "template none → qwen"),
        ({"epochs": 2, "lora_rank": 32}, "lora_rank 16 → 32"),
        ({"epochs": 4, "learning_rate": "1e-4"}, "epochs 2 → 4, learning_rate 0.0002 → 0.0001"),
        ({"epochs": 2, "method": "full"}, "method lora → full"),
        ({"epochs": 2, "extra": {"a": 1}}, "extra.a none → 1"),
        ({"epochs": 2, "quantizations": ["q8_0"], "save_steps": 7}, ""),
    ],
)
def test_ignored_hyperparameters_are_reported(layout: Layout, declared: dict[str, t.Any], message: str) -> None:
    for step in plan()[0]:
        write_receipt(layout, step)
    pinned = PinnedInputs(layout, "m", ("dataset", "base"))
    settings, _options = pinned.training(normalise(declared), lambda: pytest.fail("not asked for"))
    assert settings == {"epochs": 2}
    assert len(pinned.notes) == bool(message)
    assert not message or f"nothing is trained for them: {message} (regenerate, regenerate_on)." in str(pinned.notes[0])


def test_an_ignored_file_is_reported_when_its_content_changes(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text("{}")
    declared = normalise({"epochs": 2, "extra": {"deepspeed": str(path)}})
    for before, changed in ((str(path), False), ("sha256:" + "1" * 64, True)):
        recorded = {"epochs": 2, "extra": {"deepspeed": before}}
        identity = Identity(BASE.fingerprint, BASE.settings)
        steps, _goals = model_steps(identity, "d" * 64, recorded, OPTIONS, ["q8_0"], {"name": "m"})
        for number, step in enumerate(steps):
            write_receipt(layout, step, at=f"2026-01-0{1 + number % 2 + 2 * changed}T00:00:00.000Z")
        pinned = PinnedInputs(layout, "m", ("dataset", "base"))
        pinned.training(declared, lambda: pytest.fail("not asked for"))
        assert len(pinned.notes) == changed


def test_no_new_attempt_while_a_rollback_holds_out_the_last_one(layout: Layout) -> None:
    """It would undo the rollback on the next apply."""
    tags = []
    for _attempt in (1, 2):
        steps, _goals = next_attempt(layout, plan)
        for step in steps:
            write_receipt(layout, step)
        tags.append(content_tag("m", steps[-1].spec.fingerprint, "q4_K_M"))
    releases = Releases(layout, "m")
    shelf = Shelf()
    for number, tag in enumerate(tags):
        shelf.models[tag] = f"{number:064x}"
        releases.promote(shelf.ollama, tag, ["m:latest"])
    assert attempt_of(next_attempt(layout, plan)[0]) == 3
    assert releases.rollback(shelf.ollama).tag == tags[0]
    assert attempt_of(next_attempt(layout, plan)[0]) == 2, "the attempt that was rolled back and is complete"
    other = next_attempt(layout, lambda number: plan(number, dataset="e" * 64))[0]
    assert attempt_of(other) == 1, "another declaration is not held out"
    releases.release()
    assert attempt_of(next_attempt(layout, plan)[0]) == 3


def test_no_inputs_are_pinned_without_a_training(layout: Layout) -> None:
    pinned = PinnedInputs(layout, "m", ())
    changed = ResolvedDataset("e" * 64, {}, [])
    assert pinned.base(lambda: BASE) is BASE
    assert pinned.dataset(lambda: changed) is changed
    assert pinned.training(normalise({"epochs": 9}), lambda: ({"epochs": 9}, {})) == ({"epochs": 9}, {})
    assert pinned.notes == []
