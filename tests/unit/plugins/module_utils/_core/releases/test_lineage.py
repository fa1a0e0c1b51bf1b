# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lineage, model cards and retention, on receipts written by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import (
    make_run,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.lineage import (
    ancestry,
    last_training,
    lineage,
    registrations,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.model_card import (
    CARDS,
    model_card,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import Releases
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.retention import (
    Policy,
    deferred,
    prune,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.store import Store
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import (
    read_json,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.model_store import ModelStore


@pytest.fixture
def model_store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


ALL = ["base", "train", "merge", "gguf-f16", "gguf-q4_K_M", "register-q4_K_M"]


def test_lineage_of_a_tag(model_store: ModelStore) -> None:
    steps = model_store.make(3)
    receipt = registrations(model_store.layout, "M")[0]
    assert [entry["step"] for entry in lineage(model_store.layout, receipt)] == [
        "register",
        "gguf",
        "merge",
        "train",
        "base",
    ]
    trained = last_training(model_store.layout, "m")
    assert trained is not None and trained["fingerprint"] == steps[1].spec.fingerprint
    assert last_training(model_store.layout, "other") is None
    Path(model_store.layout.artifact("merge", steps[2].spec.fingerprint), "receipt.json").write_text("{")
    assert list(ancestry(model_store.layout, receipt)) == ["register", "gguf"], (
        "a broken chain ends at the missing receipt"
    )


@pytest.mark.parametrize("export", ["merged", "adapter"])
def test_cards(model_store: ModelStore, export: str) -> None:
    steps = model_store.make(3, export=export)
    for step in steps:
        receipt = model_store.layout.receipt(step.spec.kind, step.spec.fingerprint)
        assert receipt is not None
        card = model_card(model_store.layout, receipt)
        if step.spec.kind not in CARDS:
            assert card == ""
            continue
        head = yaml.safe_load(card.split("---\n")[1])
        assert head["base_model"] == "Qwen/Qwen2.5-0.5B"
        assert head["base_model_relation"] == CARDS[step.spec.kind].relation
        assert "2026" not in card.split("---\n")[1], "llama.cpp's converter reads the front matter: it must not vary"
        if step.label in ("gguf-f16", "gguf-q4_K_M") and export == "adapter":
            assert "not fine-tuned" in card and "## Training" not in card
            continue
        assert "| epochs | 3 |" in card and "| a\\|b | 1 |" in card and "| train_loss | 0.5 |" in card
        assert steps[1].spec.fingerprint[:12] in card


def test_everything_is_kept_by_default(model_store: ModelStore) -> None:
    for epochs in (1, 2, 3, 4):
        model_store.make(epochs)
    assert model_store.surplus() == set()


def test_intermediates(model_store: ModelStore) -> None:
    versions = [model_store.make(epochs) for epochs in (1, 2)]
    model_store.prune(intermediates=False)
    for steps in versions:
        assert model_store.complete_steps(steps) == ["base", "train", "gguf-q4_K_M", "register-q4_K_M"]
    receipt = model_store.layout.receipt("merge", versions[0][2].spec.fingerprint)
    assert receipt is not None and receipt["pruned_at"] and receipt["results"]["rows"] == 50
    assert Path(model_store.layout.artifact("merge", receipt["fingerprint"]), "README.md").exists()


def test_versions(model_store: ModelStore) -> None:
    versions = [model_store.make(epochs) for epochs in (1, 2, 3, 4)]
    model_store.prune(keep=1)
    assert [model_store.complete_steps(steps) for steps in versions] == [["base"], ["base"], ALL, ALL], (
        "the previous version is kept too"
    )
    assert (
        model_store.tag(versions[0]) not in model_store.shelf.models
        and model_store.tag(versions[2]) in model_store.shelf.models
    )
    assert [bool(receipt.get("pruned_at")) for receipt in registrations(model_store.layout, "m")] == [
        False,
        False,
        True,
        True,
    ]


def test_served_and_held_versions_are_kept(model_store: ModelStore) -> None:
    versions = [model_store.make(epochs) for epochs in (1, 2, 3, 4)]
    releases = Releases(model_store.layout, "m")
    releases.rollback(model_store.shelf.ollama, model_store.tag(versions[0]))
    model_store.prune(keep=1)
    complete = [model_store.complete_steps(steps) == ALL for steps in versions]
    assert complete[0] and complete[3], "the served version and the one the hold blocks"
    assert model_store.shelf.models["m:latest"] == model_store.shelf.models[model_store.tag(versions[0])]
    assert (
        releases.release()
        and releases.promote(model_store.shelf.ollama, model_store.tag(versions[3]), ["m:latest"]).changed
    )


def test_identical_versions_count_as_one(model_store: ModelStore) -> None:
    """Of two identical versions the later one is kept. They count once for ``keep``; the rollback target differs."""
    versions = [model_store.make(epochs, digest=digest) for epochs, digest in enumerate("aabbcc", 1)]
    releases = Releases(model_store.layout, "m")
    assert releases.previous(model_store.shelf.tags()) == model_store.tag(versions[2])
    model_store.prune(keep=1)
    complete = [model_store.complete_steps(steps) == ALL for steps in versions]
    assert complete == [False, False, True, False, False, True], (
        "the previous target of the tags is the rollback target"
    )
    assert sorted(model_store.shelf.models) == sorted(
        ["m:latest", model_store.tag(versions[2]), model_store.tag(versions[5])]
    )
    assert model_store.shelf.models["m:latest"] == "c"
    assert releases.rollback(model_store.shelf.ollama).tag == model_store.tag(versions[2])
    model_store.prune(keep=1)
    assert model_store.shelf.models["m:latest"] == "b" and model_store.complete_steps(versions[5]) == ALL, (
        "blocked: kept"
    )


def test_the_previous_version_is_found_by_its_identical_copy(model_store: ModelStore) -> None:
    """The tag that was served is removed as one of two identical ones; its model exists under the other tag."""
    first, again, last = (model_store.make(epochs, digest=digest) for epochs, digest in enumerate("aab", 1))
    model_store.shelf.delete(model_store.tag(first))
    releases = Releases(model_store.layout, "m")
    assert releases.previous(model_store.shelf.tags()) == model_store.tag(again)
    model_store.prune(keep=1)
    assert model_store.complete_steps(again) == model_store.complete_steps(last) == ALL
    assert releases.rollback(model_store.shelf.ollama).tag == model_store.tag(again)
    assert model_store.shelf.models["m:latest"] == "a"


def test_versions_missing_in_ollama_are_not_identical(model_store: ModelStore) -> None:
    versions = [model_store.make(epochs) for epochs in (1, 2, 3, 4)]
    for steps in versions[:2]:
        model_store.shelf.delete(model_store.tag(steps))
    model_store.prune(keep=3)
    assert [model_store.complete_steps(steps) == ALL for steps in versions] == [False, True, True, True]


def test_inputs_of_other_versions_are_kept(model_store: ModelStore) -> None:
    """Another model of the same training; another system prompt for it."""
    old, other = model_store.make(1), model_store.make(1, "other")
    again = model_store.make(1, system="Autre.")
    model_store.make(2)
    model_store.make(3)
    model_store.prune(keep=1)
    assert model_store.complete_steps(other) == ALL
    assert model_store.complete_steps(old) == model_store.complete_steps(again) == ALL[:-1], (
        "all but their own registrations"
    )


def test_killed_pruning_continues(model_store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [model_store.make(epochs) for epochs in (1, 2, 3)]
    real, calls = os.rename, []

    def rename(source: str, target: str) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        prune(model_store.layout, "m", Policy(keep=1), model_store.shelf.ollama)
    monkeypatch.undo()
    model_store.prune(keep=1)
    assert model_store.complete_steps(versions[0]) == ["base"]
    receipt = read_json(
        os.path.join(model_store.layout.artifact("train", versions[0][1].spec.fingerprint), "receipt.json")
    )
    assert receipt["pruned_at"]


def test_killed_before_the_tags_are_deleted(model_store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A marked version no longer counts, and its tag is deleted at the next call."""
    versions = [model_store.make(epochs) for epochs in (1, 2, 3, 4)]
    model_store.make(9, "other")

    def die(name: str) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(model_store.shelf, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            prune(model_store.layout, "m", Policy(keep=2), model_store.shelf.ollama)
    assert model_store.tag(versions[1]) in model_store.shelf.models and model_store.complete_steps(versions[1]) == [
        "base"
    ]
    assert model_store.surplus(keep=4) == {("tag", model_store.tag(steps)) for steps in versions[:2]}
    model_store.prune(keep=2)
    assert [model_store.complete_steps(steps) == ALL for steps in versions] == [False, False, True, True]
    assert not {model_store.tag(steps) for steps in versions[:2]} & set(model_store.shelf.models)


def test_an_active_run_keeps_its_inputs(model_store: ModelStore) -> None:
    """Its inputs are listed apart from unneeded artifacts, so that its end does not make a finished step incomplete."""
    versions = [model_store.make(epochs) for epochs in (1, 2, 3)]
    run_store = Store(model_store.layout)
    run = make_run("other", versions[0], ["register-q4_K_M"], Toolchain())
    with run_store.lock():
        run_store.enqueue(run)
    policy, models = Policy(keep=1), model_store.shelf.tags()
    later = {(item.kind, item.name) for item in deferred(model_store.layout, "m", policy, models)}
    tag = model_store.tag(versions[0])
    assert later == {("tag", tag), *((step.spec.kind, step.spec.fingerprint) for step in versions[0][1:])}
    model_store.prune(keep=1)
    assert model_store.complete_steps(versions[0]) == ALL and tag in model_store.shelf.models
    assert deferred(model_store.layout, "m", policy, models, run.steps[-1].spec.fingerprint) == []


def test_adapters_share_their_base(model_store: ModelStore) -> None:
    versions = [model_store.make(epochs, export="adapter") for epochs in (1, 2, 3)]
    assert versions[0][-2].spec.fingerprint == versions[2][-2].spec.fingerprint, "one file of the base for all"
    model_store.prune(keep=1, intermediates=False)
    assert model_store.complete_steps(versions[0]) == ["base", "gguf-q4_K_M"]
    assert model_store.complete_steps(versions[2]) == [
        "base",
        "train",
        "gguf-adapter",
        "gguf-q4_K_M",
        "register-q4_K_M",
    ]
