# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lineage, model cards and retention, on receipts written by hand."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.integrity import artifact_defect
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import (
    Identity,
    finetune_steps,
    make_run,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.lineage import (
    ancestry,
    last_training,
    lineage,
    registrations,
    tag_of,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.model_card import (
    RELATIONS,
    model_card,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import Releases
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.retention import (
    Policy,
    deferred,
    prune,
    surplus,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import RunStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.store import Store
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import (
    make_dirs,
    read_json,
    write_json,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.shelf import Shelf

SOURCES = [{"label": "prompts|.json", "sha256": "5" * 64, "bytes": 9, "commit": "c" * 40, "dirty": True}]
BASE_SETTINGS = {"hub": "Qwen/Qwen2.5-0.5B", "commit": "1" * 40}
BASE = Identity(fingerprint("base", BASE_SETTINGS, {}), BASE_SETTINGS)


class House:
    """Versions of models, as receipts and files of a few bytes."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(str(root))
        self.layout.create()
        self.shelf = Shelf()
        self.clock = 0

    def make(
        self, epochs: int, name: str = "m", system: str = "", export: str = "merged", digest: str = ""
    ) -> list[RunStep]:
        """A version that is registered and promoted.

        :param digest: of the model in Ollama; by default one of its own.
        """
        resolved = {"method": "lora", "epochs": epochs, "learning_rate": 2e-4, "seed": 42, "extra": {"a|b": 1}}
        options = {"name": name, "resolved": resolved, "sources": SOURCES}
        settings = {"name": name, "system": system}
        steps, _goals = finetune_steps(
            BASE, Identity("d" * 64), {"epochs": epochs}, options, ["q4_K_M"], settings, export=export
        )
        results = {"metrics": {"train_loss": 0.5}, "rows": 50, "name": "homelab", "quantization": "q4_K_M"}
        for step in steps:
            self.write(step, results)
        tag = self.tag(steps)
        self.shelf.models[tag] = digest or steps[-1].spec.fingerprint
        Releases(self.layout, name).promote(self.shelf.ollama, tag, [f"{name}:latest"])
        return steps

    def write(self, step: RunStep, results: dict[str, t.Any]) -> None:
        self.clock += 1
        path = self.layout.artifact(step.spec.kind, step.spec.fingerprint)
        make_dirs(path)
        if os.path.exists(f"{path}/receipt.json"):
            return
        Path(path, "weights").write_bytes(b"x" * 1000)
        Path(path, "README.md").write_text("card")
        at = f"2026-01-01T00:00:{self.clock:02d}.000Z"
        files = {"weights": {"bytes": 1000}}
        write_json(
            f"{path}/receipt.json", {**step.spec.as_dict(), "finished_at": at, "files": files, "results": results}
        )

    @staticmethod
    def tag(steps: list[RunStep]) -> str:
        return tag_of(steps[-1].spec.as_dict())

    def there(self, steps: list[RunStep]) -> list[str]:
        """Labels of the steps whose files are there."""
        found = []
        for step in steps:
            spec = step.spec
            whole = Path(self.layout.artifact(spec.kind, spec.fingerprint), "weights").exists()
            assert whole == (artifact_defect(self.layout, spec.kind, spec.fingerprint) == "")
            found += [step.label] if whole else []
        return found

    def surplus(self, **policy: t.Any) -> set[tuple[str, str]]:
        return {(item.kind, item.name) for item in surplus(self.layout, "m", Policy(**policy), self.shelf.tags())}

    def prune(self, **policy: t.Any) -> None:
        told = self.surplus(**policy)
        done = prune(self.layout, "m", Policy(**policy), self.shelf.ollama)
        assert {(item.kind, item.name) for item in done} == told, "what was told is what was done"
        assert self.surplus(**policy) == set()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


ALL = ["base", "train", "merge", "gguf-f16", "gguf-q4_K_M", "register-q4_K_M"]


def test_back_from_a_tag(house: House) -> None:
    steps = house.make(3)
    receipt = registrations(house.layout, "M")[0]
    assert [entry["step"] for entry in lineage(house.layout, receipt)] == ["register", "gguf", "merge", "train", "base"]
    trained = last_training(house.layout, "m")
    assert trained is not None and trained["fingerprint"] == steps[1].spec.fingerprint
    assert last_training(house.layout, "other") is None
    Path(house.layout.artifact("merge", steps[2].spec.fingerprint), "receipt.json").write_text("{")
    assert list(ancestry(house.layout, receipt)) == ["register", "gguf"], "a chain that is broken ends there"


@pytest.mark.parametrize("export", ["merged", "adapter"])
def test_cards(house: House, export: str) -> None:
    steps = house.make(3, export=export)
    for step in steps:
        receipt = house.layout.receipt(step.spec.kind, step.spec.fingerprint)
        assert receipt is not None
        card = model_card(house.layout, receipt)
        if step.spec.kind not in RELATIONS:
            assert card == ""
            continue
        head = yaml.safe_load(card.split("---\n")[1])
        assert head["base_model"] == "Qwen/Qwen2.5-0.5B"
        assert head["base_model_relation"] == RELATIONS[step.spec.kind]
        assert "2026" not in card.split("---\n")[1], "the converter reads it: nothing there may change"
        if step.label in ("gguf-f16", "gguf-q4_K_M") and export == "adapter":
            assert "not fine-tuned" in card and "## Training" not in card
            continue
        assert "| epochs | 3 |" in card and "| a\\|b | 1 |" in card and "| train_loss | 0.5 |" in card
        assert steps[1].spec.fingerprint[:12] in card


def test_all_is_kept_by_default(house: House) -> None:
    for epochs in (1, 2, 3, 4):
        house.make(epochs)
    assert house.surplus() == set()


def test_intermediates(house: House) -> None:
    versions = [house.make(epochs) for epochs in (1, 2)]
    house.prune(intermediates=False)
    for steps in versions:
        assert house.there(steps) == ["base", "train", "gguf-q4_K_M", "register-q4_K_M"]
    receipt = house.layout.receipt("merge", versions[0][2].spec.fingerprint)
    assert receipt is not None and receipt["pruned_at"] and receipt["results"]["rows"] == 50
    assert Path(house.layout.artifact("merge", receipt["fingerprint"]), "README.md").exists()


def test_versions(house: House) -> None:
    versions = [house.make(epochs) for epochs in (1, 2, 3, 4)]
    house.prune(keep=1)
    assert [house.there(steps) for steps in versions] == [["base"], ["base"], ALL, ALL], "the way back stays too"
    assert house.tag(versions[0]) not in house.shelf.models and house.tag(versions[2]) in house.shelf.models
    assert [bool(one.get("pruned_at")) for one in registrations(house.layout, "m")] == [False, False, True, True]


def test_what_is_served_and_held_stays(house: House) -> None:
    versions = [house.make(epochs) for epochs in (1, 2, 3, 4)]
    releases = Releases(house.layout, "m")
    releases.rollback(house.shelf.ollama, house.tag(versions[0]))
    house.prune(keep=1)
    there = [house.there(steps) == ALL for steps in versions]
    assert there[0] and there[3], "what is served, and what is held against"
    assert house.shelf.models["m:latest"] == house.shelf.models[house.tag(versions[0])]
    assert releases.release() and releases.promote(house.shelf.ollama, house.tag(versions[3]), ["m:latest"]).changed


def test_equal_to_the_byte_is_one_version(house: House) -> None:
    """Of two equal ones the later stays; they take one place of ``keep``, and the way back is what differs."""
    versions = [house.make(epochs, digest=digest) for epochs, digest in enumerate("aabbcc", 1)]
    releases = Releases(house.layout, "m")
    assert releases.previous(house.shelf.tags()) == house.tag(versions[2])
    house.prune(keep=1)
    there = [house.there(steps) == ALL for steps in versions]
    assert there == [False, False, True, False, False, True], "what the tags were moved to before is the way back"
    assert sorted(house.shelf.models) == sorted(["m:latest", house.tag(versions[2]), house.tag(versions[5])])
    assert house.shelf.models["m:latest"] == "c"
    assert releases.rollback(house.shelf.ollama).tag == house.tag(versions[2])
    house.prune(keep=1)
    assert house.shelf.models["m:latest"] == "b" and house.there(versions[5]) == ALL, "what is held against stays"


def test_the_way_back_is_found_by_its_equal(house: House) -> None:
    """The tag people were given is gone, as one of two; what it was is there under the other."""
    first, again, last = (house.make(epochs, digest=digest) for epochs, digest in enumerate("aab", 1))
    house.shelf.delete(house.tag(first))
    releases = Releases(house.layout, "m")
    assert releases.previous(house.shelf.tags()) == house.tag(again)
    house.prune(keep=1)
    assert house.there(again) == house.there(last) == ALL
    assert releases.rollback(house.shelf.ollama).tag == house.tag(again)
    assert house.shelf.models["m:latest"] == "a"


def test_versions_that_are_gone_from_ollama_are_not_one(house: House) -> None:
    versions = [house.make(epochs) for epochs in (1, 2, 3, 4)]
    for steps in versions[:2]:
        house.shelf.delete(house.tag(steps))
    house.prune(keep=3)
    assert [house.there(steps) == ALL for steps in versions] == [False, True, True, True]


def test_what_others_are_made_from_stays(house: House) -> None:
    """Another model of the same training; another system prompt for it."""
    old, other = house.make(1), house.make(1, "other")
    again = house.make(1, system="Autre.")
    house.make(2)
    house.make(3)
    house.prune(keep=1)
    assert house.there(other) == ALL
    assert house.there(old) == house.there(again) == ALL[:-1], "all but their own registrations"


def test_pruning_that_was_killed_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [house.make(epochs) for epochs in (1, 2, 3)]
    real, calls = os.rename, []

    def rename(source: str, target: str) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        prune(house.layout, "m", Policy(keep=1), house.shelf.ollama)
    monkeypatch.undo()
    house.prune(keep=1)
    assert house.there(versions[0]) == ["base"]
    receipt = read_json(os.path.join(house.layout.artifact("train", versions[0][1].spec.fingerprint), "receipt.json"))
    assert receipt["pruned_at"]


def test_killed_before_the_tags_are_gone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is marked is no version any more: it takes no place, and its tag goes the next time."""
    versions = [house.make(epochs) for epochs in (1, 2, 3, 4)]
    house.make(9, "other")

    def die(name: str) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(house.shelf, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            prune(house.layout, "m", Policy(keep=2), house.shelf.ollama)
    assert house.tag(versions[1]) in house.shelf.models and house.there(versions[1]) == ["base"]
    assert house.surplus(keep=4) == {("tag", house.tag(steps)) for steps in versions[:2]}
    house.prune(keep=2)
    assert [house.there(steps) == ALL for steps in versions] == [False, False, True, True]
    assert not {house.tag(steps) for steps in versions[:2]} & set(house.shelf.models)


def test_a_run_at_work_keeps_what_it_is_made_from(house: House) -> None:
    """And is told apart from what nobody needs: that it ends meanwhile makes nothing of ours unfinished."""
    versions = [house.make(epochs) for epochs in (1, 2, 3)]
    store = Store(house.layout)
    run = make_run("other", versions[0], ["register-q4_K_M"], Toolchain())
    with store.lock():
        store.enqueue(run)
    policy, models = Policy(keep=1), house.shelf.tags()
    later = {(item.kind, item.name) for item in deferred(house.layout, "m", policy, models)}
    tag = house.tag(versions[0])
    assert later == {("tag", tag), *((step.spec.kind, step.spec.fingerprint) for step in versions[0][1:])}
    house.prune(keep=1)
    assert house.there(versions[0]) == ALL and tag in house.shelf.models
    assert deferred(house.layout, "m", policy, models, run.steps[-1].spec.fingerprint) == []


def test_adapters_share_their_base(house: House) -> None:
    versions = [house.make(epochs, export="adapter") for epochs in (1, 2, 3)]
    assert versions[0][-2].spec.fingerprint == versions[2][-2].spec.fingerprint, "one file of the base for all"
    house.prune(keep=1, intermediates=False)
    assert house.there(versions[0]) == ["base", "gguf-q4_K_M"]
    assert house.there(versions[2]) == ["base", "train", "gguf-adapter", "gguf-q4_K_M", "register-q4_K_M"]
