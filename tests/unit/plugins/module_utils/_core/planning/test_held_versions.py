# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version that a rollback pins is registered again as itself when the recipe changes, and stays pinned."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import held_versions
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import (
    Releases,
    former_tags,
    later_tags,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.recipes import RECIPE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import RunStep
from ansible_collections.ia_homelab.llamafactory.tests.support.model_store import ModelStore

ALIAS = "m:latest"


@dataclasses.dataclass
class Pinned:
    """Two versions that were registered by the first recipe, the second declared and the first pinned by a rollback."""

    store: ModelStore
    first: list[RunStep]
    second: list[RunStep]

    @property
    def releases(self) -> Releases:
        return Releases(self.store.layout, "m")

    def registered_again(self, steps: list[RunStep]) -> tuple[str, tuple[str, ...]]:
        """Register a version by the current recipe: its new tag, and its former ones."""
        new = self.store.by_recipe(steps[-1], RECIPE)
        self.store.write(new, {})
        tag = self.store.tag([new])
        self.store.shelf.models[tag] = new.spec.fingerprint
        return tag, former_tags("m", new.spec.settings, new.spec.upstream, "q4_K_M")


@pytest.fixture
def pinned(tmp_path: Path) -> Pinned:
    store = ModelStore(tmp_path)
    made = Pinned(store, store.make(1), store.make(2))
    made.releases.rollback(store.shelf.ollama)
    hold = made.releases.ledger().hold
    assert hold is not None and hold.tag == store.tag(made.first)
    return made


def test_pinned_version_is_registered_as_itself_and_stays_pinned(pinned: Pinned) -> None:
    old = pinned.store.tag(pinned.first)
    step = held_versions.registration(pinned.store.layout, "m")
    assert step is not None and step.label == "register-held"
    assert step.spec.options["held"] == old and step.spec.options["aliases"] == []
    assert step.spec.upstream == pinned.first[-1].spec.upstream
    assert step.spec.settings == {**pinned.first[-1].spec.settings, "recipe": RECIPE}

    tag, former = pinned.registered_again(pinned.first)
    assert former == (old,) and tag == pinned.store.tag([step])
    assert pinned.releases.replace_held(pinned.store.shelf.ollama, old, tag) == (ALIAS,)
    hold = pinned.releases.ledger().hold
    assert hold is not None and hold.tag == tag and hold.against == (pinned.store.tag(pinned.second),)
    assert pinned.store.shelf.models[ALIAS] == pinned.store.shelf.models[tag]
    assert old in pinned.store.shelf.models, "the former tag is the way back"
    assert held_versions.registration(pinned.store.layout, "m") is None, "it is needed once"


def test_hold_blocks_the_declared_version_under_its_new_tag(pinned: Pinned) -> None:
    tag, former = pinned.registered_again(pinned.second)
    change = pinned.releases.promote(pinned.store.shelf.ollama, tag, [ALIAS], formerly=former)
    assert change.tag == pinned.store.tag(pinned.first) and change.moved == ()
    hold = pinned.releases.ledger().hold
    assert hold is not None and set(hold.against) == {tag, *former}
    assert pinned.releases.misplaced(pinned.store.shelf.tags(), tag, [ALIAS], former) == []


def test_without_the_former_tags_the_hold_would_be_lost(pinned: Pinned) -> None:
    tag, _former = pinned.registered_again(pinned.second)
    assert pinned.releases.blocking_hold(tag) is None


def test_new_registration_that_was_rolled_back_is_not_repeated(tmp_path: Path) -> None:
    """The user went back from the new registration of a version to the former one: it stays."""
    store = ModelStore(tmp_path)
    pinned = Pinned(store, store.make(1), [])
    tag, former = pinned.registered_again(pinned.first)
    pinned.releases.promote(store.shelf.ollama, tag, [ALIAS], formerly=former)
    assert pinned.releases.rollback(store.shelf.ollama).tag == store.tag(pinned.first)
    assert held_versions.registration(store.layout, "m") is None


def test_nothing_pinned_or_files_missing(pinned: Pinned) -> None:
    gguf = pinned.first[-1].spec.upstream["gguf"]
    Path(pinned.store.layout.artifact("gguf", gguf), "weights").unlink()
    assert held_versions.registration(pinned.store.layout, "m") is None
    pinned.releases.release()
    assert held_versions.registration(pinned.store.layout, "m") is None
    assert held_versions.registration(pinned.store.layout, "other") is None


def test_replacing_a_version_that_is_not_pinned_any_more_changes_nothing(pinned: Pinned) -> None:
    tag, _former = pinned.registered_again(pinned.first)
    pinned.releases.release()
    before = dict(pinned.store.shelf.models)
    assert pinned.releases.replace_held(pinned.store.shelf.ollama, pinned.store.tag(pinned.first), tag) == ()
    assert pinned.store.shelf.models == before and pinned.releases.ledger().hold is None


def test_registrations_of_one_version_count_as_one(pinned: Pinned) -> None:
    """An upgrade registers the kept versions again; none of them is one too many because of that."""
    pinned.releases.release()
    for steps in (pinned.first, pinned.second):
        tag, former = pinned.registered_again(steps)
        pinned.releases.promote(pinned.store.shelf.ollama, tag, [ALIAS], formerly=former)
    assert pinned.store.surplus(keep=2) == set()


def test_run_of_an_older_version_leaves_the_aliases_to_the_later_registration(tmp_path: Path) -> None:
    """A run that was queued before an upgrade registers by the first recipe, after the current one was registered."""
    store = ModelStore(tmp_path)
    pinned = Pinned(store, store.make(1), [])
    old = pinned.first[-1].spec
    tag, former = pinned.registered_again(pinned.first)
    pinned.releases.promote(store.shelf.ollama, tag, [ALIAS], formerly=former)
    later = later_tags("m", old.settings, old.upstream, "q4_K_M")
    assert later == (tag,)
    change = pinned.releases.promote(store.shelf.ollama, former[0], [ALIAS], later=later)
    assert (change.tag, change.moved) == (tag, ())
    assert pinned.releases.misplaced(store.shelf.tags(), former[0], [ALIAS], later=later) == []
    assert pinned.releases.ledger().declared == tag
