# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which inputs count, and which attempt is the one to make; on receipts written by hand."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.resolution import BaseIdentity
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import (
    Identity,
    finetune_steps,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.retraining import (
    Kept,
    inputs_that_count,
    next_attempt,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import (
    Releases,
    content_tag,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import RunStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import make_dirs, write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import normalise
from ansible_collections.ia_homelab.llamafactory.tests.support.shelf import Shelf

GATE = {"prompts": [{"messages": [{"role": "user", "content": "x"}], "expect": {}}]}
BASE = BaseIdentity({"hub": "a/b", "commit": "1" * 40}, None, "a/b")
OPTIONS = {"name": "m", "resolved": {"method": "lora", "template": "qwen", "epochs": 3}}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


def made(layout: Layout, step: RunStep, **results: t.Any) -> None:
    """A receipt, as its job would have left it."""
    path = layout.artifact(step.spec.kind, step.spec.fingerprint)
    make_dirs(path)
    times = {"finished_at": "2026-01-01T00:00:00.000Z"}
    write_json(f"{path}/receipt.json", {**step.spec.as_dict(), **times, "files": {}, "results": results})


def plan(attempt: int = 1, gate: t.Any = None, dataset: str = "d" * 64) -> tuple[list[RunStep], list[str]]:
    settings = {"epochs": 2, **({"attempt": attempt} if attempt > 1 else {})}
    register = {"name": "m"}
    identity = Identity(BASE.fingerprint, BASE.settings)
    return finetune_steps(identity, Identity(dataset), settings, OPTIONS, ["q4_K_M"], register, gate=gate)


def attempt_of(steps: list[RunStep]) -> int:
    return int(next(step for step in steps if step.label == "train").spec.settings.get("attempt", 1))


def test_the_attempt_to_make_is_the_first_that_has_not_ended(layout: Layout) -> None:
    for number in (1, 2, 3):
        for _again in range(2):
            steps, goals = next_attempt(layout, plan)
            assert attempt_of(steps) == number, "it is gone on with until it has ended"
            assert goals == ["register-q4_K_M"]
        made(layout, next(step for step in steps if step.label == "train"))
        assert attempt_of(next_attempt(layout, plan)[0]) == number, "trained is not registered"
        made(layout, steps[-1])
    assert attempt_of(next_attempt(layout, plan)[0]) == 4


def test_an_attempt_ends_at_a_shut_gate_too(layout: Layout) -> None:
    steps, goals = next_attempt(layout, lambda number: plan(number, GATE))
    assert goals == ["register-q4_K_M", "promote"]
    register, promote = steps[-2], steps[-1]
    made(layout, register)
    assert attempt_of(next_attempt(layout, lambda number: plan(number, GATE))[0]) == 1
    tag = content_tag("m", register.spec.fingerprint, "q4_K_M")
    report = {"passed": False, "asked_at": "now", "candidate": {"met": 0}, "asked": 1}
    Releases(layout, "m").record_gate(tag, promote.spec.fingerprint, report)
    assert attempt_of(next_attempt(layout, lambda number: plan(number, GATE))[0]) == 2
    other = {**GATE, "allowed_failures": 1}
    assert attempt_of(next_attempt(layout, lambda number: plan(number, other))[0]) == 1, "another gate is asked first"


def test_attempts_have_fingerprints_of_their_own_and_the_first_that_of_none() -> None:
    first, second = (plan(number)[0] for number in (1, 2))
    for one, other in zip(first, second):
        assert (one.spec.fingerprint == other.spec.fingerprint) == (one.label == "base"), one.label


def test_inputs(layout: Layout) -> None:
    assert inputs_that_count("m", "never", ["dataset", "base"]) == ()
    assert inputs_that_count("m", "on_change", ["dataset"]) == ("dataset",)
    for policy, inputs in (("sometimes", []), ("on_change", ["weather"])):
        with pytest.raises(InputError, match=r"m: regenerate"):
            inputs_that_count("m", policy, inputs)


def test_what_does_not_count_stays_as_it_was(layout: Layout) -> None:
    steps, _goals = plan()
    for step in steps:
        made(layout, step, rows=3)
    moved = BaseIdentity({"hub": "a/b", "commit": "2" * 40}, None, "a/b", template="llama3")
    kept = Kept(layout, "m", ("hyperparameters",))
    base = kept.base(moved)
    assert base.fingerprint == BASE.fingerprint and base.template == "qwen"
    assert kept.dataset("e" * 64, {"rows": 9})[0] == "d" * 64
    assert kept.training(normalise({"epochs": 9}), lambda: ({"epochs": 9}, {})) == ({"epochs": 9}, {})
    assert [note.split(" has changed")[0] for note in kept.notes] == ["the base", "the dataset"]
    kept = Kept(layout, "m", ("base", "dataset"))
    assert kept.base(moved) is moved and kept.dataset("e" * 64, {"rows": 9}) == ("e" * 64, {"rows": 9})
    assert kept.training(normalise({"epochs": 2}), lambda: pytest.fail("not asked for")) == ({"epochs": 2}, OPTIONS)
    assert kept.notes == []


@pytest.mark.parametrize(
    ("declared", "told"),
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
def test_hyperparameters_that_do_not_count_are_named(layout: Layout, declared: dict[str, t.Any], told: str) -> None:
    for step in plan()[0]:
        made(layout, step)
    kept = Kept(layout, "m", ("dataset", "base"))
    settings, _options = kept.training(normalise(declared), lambda: pytest.fail("not asked for"))
    assert settings == {"epochs": 2}
    assert len(kept.notes) == bool(told)
    assert not told or f"nothing is trained for them: {told} (regenerate, regenerate_on)." in kept.notes[0]


def test_no_attempt_is_made_of_what_a_rollback_keeps_out(layout: Layout) -> None:
    """It would let in what was rolled back, and on the next apply already."""
    tags = []
    for _attempt in (1, 2):
        steps, _goals = next_attempt(layout, plan)
        for step in steps:
            made(layout, step)
        tags.append(content_tag("m", steps[-1].spec.fingerprint, "q4_K_M"))
    releases = Releases(layout, "m")
    shelf = Shelf()
    for number, tag in enumerate(tags):
        shelf.models[tag] = f"{number:064x}"
        releases.promote(shelf.ollama, tag, ["m:latest"])
    assert attempt_of(next_attempt(layout, plan)[0]) == 3
    assert releases.rollback(shelf.ollama).tag == tags[0]
    assert attempt_of(next_attempt(layout, plan)[0]) == 2, "the one that was rolled back, and is whole"
    other = next_attempt(layout, lambda number: plan(number, dataset="e" * 64))[0]
    assert attempt_of(other) == 1, "another declaration is not kept out"
    releases.release()
    assert attempt_of(next_attempt(layout, plan)[0]) == 3


def test_nothing_is_kept_of_what_was_never_made(layout: Layout) -> None:
    kept = Kept(layout, "m", ())
    assert kept.base(BASE) is BASE
    assert kept.dataset("e" * 64, {}) == ("e" * 64, {})
    assert kept.training(normalise({"epochs": 9}), lambda: ({"epochs": 9}, {})) == ({"epochs": 9}, {})
    assert kept.notes == []
