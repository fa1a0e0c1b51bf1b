# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a model: what is served, what deviates, and which versions active runs will promote."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import model_versions
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import (
    make_run,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import Releases
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.recipes import RECIPE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.store import Store
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json, write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.evaluation_fixture import write_evaluation
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.model_store import BASE, ModelStore
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import model_steps


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        yield server


def make(store: ModelStore, epochs: int, name: str = "m", **options: t.Any) -> None:
    """Add a version of a model whose receipt says what a registration finds out.

    :param options: more options of its registration.
    """
    steps = store.make(epochs, name)
    receipt = Path(store.layout.artifact("register", steps[-1].spec.fingerprint), "receipt.json")
    facts = {"tag": store.tag(steps), "digest": steps[-1].spec.fingerprint}
    raw = read_json(str(receipt))
    options = {**raw["options"], **options}
    write_json(str(receipt), {**raw, "options": options, "results": {**raw["results"], **facts}})


@pytest.fixture
def models(tmp_path: Path, server: FakeOllama) -> ModelStore:
    """Three versions of the model m, promoted one after the other; the server has them."""
    store = ModelStore(tmp_path, RECIPE)
    store.shelf.models = server.models
    for epochs in (1, 2, 3):
        make(store, epochs)
    return store


def submit(models: ModelStore, name: str, epochs: int, aliases: t.Sequence[str] = ("latest",)) -> str:
    """Put a run into the queue that registers a new version; its tag."""
    steps, goals = model_steps(
        BASE, "d" * 64, {"epochs": epochs}, {"name": name}, ["q4_K_M"], {"name": name}, aliases=aliases
    )
    run = make_run(name, steps, goals, Toolchain())
    store = Store(models.layout)
    with store.lock():
        store.enqueue(run)
    return models.tag([step for step in steps if step.spec.kind == "register"])


def test_overview_of_a_served_model(models: ModelStore, server: FakeOllama) -> None:
    state = model_versions.overview(models.layout, Ollama(server.url), "m")
    tags = [version["tag"] for version in state["versions"]]
    assert state["served"] == {"m:latest": {"version": tags[0], "digest": server.models[tags[0]]}}
    assert (state["declared"], state["previous"]) == (tags[0], tags[1])
    assert state["hold"] == {} and state["drift"] == []
    newest = state["versions"][0]
    assert newest["there"] and newest["registered_at"] and newest["promoted_at"] and newest["pruned_at"] == ""
    assert newest["path"].endswith(f"/outputs/models/{newest['lineage'][0]['fingerprint']}")
    assert [entry["step"] for entry in newest["lineage"]] == ["register", "gguf", "merge", "train", "base"]


def test_overview_has_the_evaluation_of_each_version(models: ModelStore, server: FakeOllama) -> None:
    newest = model_versions.overview(models.layout, Ollama(server.url), "m")["versions"][0]
    assert newest["evaluation"] == {}
    registration = newest["lineage"][0]["fingerprint"]
    made = write_evaluation(models.layout, registration, newest["digest"])
    newest, older, _oldest = model_versions.overview(models.layout, Ollama(server.url), "m")["versions"]
    assert older["evaluation"] == {}
    evaluation = newest["evaluation"]
    assert (evaluation["fingerprint"], evaluation["label"], evaluation["passed"]) == (made, "q4_K_M", True)
    assert evaluation["line"].startswith("calls 48/50, text 71.2, guard 39/40, vs served calls +6.0 ± 8.0")
    assert evaluation["line_message"]["code"] == "evaluations.line"
    assert evaluation["measures"]["calls"]["met"] == 48
    assert [(entry["measure"], entry["worse"], entry["better"]) for entry in evaluation["comparisons"]] == [
        ("calls", 1, 0), ("text", 1, 1), ("guard", 0, 0),
    ]  # fmt: skip
    assert [entry["verdict"]["text"] for entry in evaluation["comparisons"]] == ["undecided", "better", "undecided"]
    assert evaluation["lines"][-1]["text"] == "Two rows were left out."
    write_evaluation(models.layout, registration, newest["digest"], at="2026-12-01T08:01:00.000Z", requirements=[])
    newest = model_versions.overview(models.layout, Ollama(server.url), "m")["versions"][0]
    assert newest["evaluation"]["passed"] is None


def test_upgrade_that_changes_the_prompt_is_reported(tmp_path: Path, server: FakeOllama) -> None:
    """Of the collection (another recipe) and of the server, for what is served."""
    store = ModelStore(tmp_path)
    store.shelf.models = server.models
    make(store, 1)
    (first,) = (
        version["tag"] for version in model_versions.overview(store.layout, Ollama(server.url), "m")["versions"]
    )
    drift = model_versions.overview(store.layout, Ollama(server.url), "m")["drift"]
    assert [reason.partition(",")[0] for reason in drift] == [f"{first} was registered by recipe 1"]
    store.recipe = RECIPE
    for epochs in (1, 2):
        make(store, epochs)
    verified = f"its prompt was verified on Ollama 0.24.0, and this is Ollama {server.version}"
    for path in Path(store.layout.parent("register")).glob("*/receipt.json"):
        raw = read_json(str(path))
        proof = {"proof": {"probes": ["plain"]}, "server_version": "0.24.0"}
        write_json(str(path), {**raw, "results": {**raw["results"], **proof}})
    assert model_versions.overview(store.layout, Ollama(server.url), "m")["drift"] == [verified], "once: one is served"


def test_overview_after_a_rollback(models: ModelStore, server: FakeOllama) -> None:
    ollama = Ollama(server.url)
    before = model_versions.overview(models.layout, ollama, "m")
    tags = [version["tag"] for version in before["versions"]]
    planned = model_versions.rollback(models.layout, ollama, "m", check=True)
    assert (planned.tag, planned.changed) == (tags[1], True)
    assert model_versions.overview(models.layout, ollama, "m") == before, "check changes nothing"
    assert model_versions.rollback(models.layout, ollama, "m").moved == ("m:latest",)
    state = model_versions.overview(models.layout, ollama, "m")
    assert state["served"]["m:latest"]["version"] == tags[1]
    assert (state["hold"]["tag"], list(state["hold"]["against"])) == (tags[1], [tags[0]])
    assert state["drift"] == [], "what a rollback moved is as it was recorded"


def test_a_rollback_blocks_the_versions_that_are_being_made(models: ModelStore, server: FakeOllama) -> None:
    coming = submit(models, "m", 9)
    submit(models, "other", 9)
    assert model_versions.pending_versions(models.layout, "M") == [coming], "Ollama ignores case"
    change = model_versions.rollback(models.layout, Ollama(server.url), "m")
    assert change.hold is not None and change.hold.blocks(coming)
    assert Releases(models.layout, "m").version_to_serve(coming) == change.tag


def test_a_run_without_aliases_promotes_nothing(models: ModelStore) -> None:
    submit(models, "m", 9, aliases=())
    assert model_versions.pending_versions(models.layout, "m") == []


def test_there_is_nothing_to_roll_back_to(tmp_path: Path, server: FakeOllama) -> None:
    store = ModelStore(tmp_path, RECIPE)
    with pytest.raises(InputError, match="Nothing of the model m was ever promoted here"):
        model_versions.rollback(store.layout, Ollama(server.url), "m")
    store.shelf.models = server.models
    store.make(1)
    with pytest.raises(InputError, match="it has had no other version"):
        model_versions.rollback(store.layout, Ollama(server.url), "m", check=True)


def test_drift_names_each_deviation_once(models: ModelStore, server: FakeOllama) -> None:
    tags = [version["tag"] for version in model_versions.overview(models.layout, Ollama(server.url), "m")["versions"]]
    server.models["m:latest"] = "f" * 64
    del server.models[tags[2]]
    state = model_versions.overview(models.layout, Ollama(server.url), "m")
    assert state["served"] == {"m:latest": {"version": "", "digest": "f" * 64}}
    assert state["drift"] == [f"m:latest is another model than {tags[0]}", f"{tags[2]} is not in Ollama"]
    assert [version["there"] for version in state["versions"]] == [True, True, False]
    del server.models["m:latest"]
    drift = model_versions.overview(models.layout, Ollama(server.url), "m")["drift"]
    assert drift[0] == f"m:latest does not exist and must be {tags[0]}"


def test_a_pruned_version_is_no_drift(models: ModelStore, server: FakeOllama) -> None:
    make(models, 4)
    models.prune(keep=1)
    state = model_versions.overview(models.layout, Ollama(server.url), "m")
    pruned = [version for version in state["versions"] if version["pruned_at"]]
    assert len(pruned) == 2 and not any(version["there"] for version in pruned)
    assert not any(version["tag"] in line for version in pruned for line in state["drift"])


def test_names_of_registered_models(models: ModelStore) -> None:
    models.make(1, "a")
    assert model_versions.names(models.layout) == ["a", "m"]


def test_the_base_that_evaluations_ask_is_no_version(models: ModelStore, server: FakeOllama) -> None:
    """It has a name of its own, and says of which model it is the base."""
    make(models, 1, "m-base", base_of="m")
    ollama = Ollama(server.url)
    assert {each["base_of"] for each in model_versions.overview(models.layout, ollama, "m")["versions"]} == {""}
    (version,) = model_versions.overview(models.layout, ollama, "m-base")["versions"]
    assert version["base_of"] == "m"
