# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The retention removes surplus versions, records what it removed, and reports what is left to remove as drift."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import RECEIPT
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import make_run, make_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.lineage import registrations
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec, Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.store import Store
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.retain import RetainStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import make_dirs, write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.model_store import ModelStore


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        yield server


@pytest.fixture
def models(tmp_path: Path, server: FakeOllama) -> ModelStore:
    """Four versions of one model, which the server has."""
    store = ModelStore(tmp_path / "data")
    store.shelf.models = server.models
    for epochs in (1, 2, 3, 4):
        store.make(epochs)
    return store


def context(models: ModelStore, server: FakeOllama, **policy: t.Any) -> StepContext:
    receipt = {"register": "e" * 64}
    spec = StepSpec("retain", fingerprint("retain", policy, receipt), policy, receipt, {"name": "m"})
    job_dir = models.layout.path("jobs", "active", "job")
    make_dirs(job_dir)
    tools = Toolchain(ollama_url=server.url)
    return StepContext(models.layout, spec, tools, models.layout.work("retain", spec.fingerprint), job_dir)


def perform(ctx: StepContext) -> dict[str, t.Any]:
    RetainStep().command(ctx)
    RetainStep().perform(ctx)
    return RetainStep().finish(ctx)


def test_surplus_versions_are_removed_and_recorded(models: ModelStore, server: FakeOllama) -> None:
    ctx = context(models, server, keep=2)
    planned = [str(each) for each in RetainStep().drift(ctx)]
    assert len([line for line in planned if line.endswith("is one version too many")]) == 2
    results = perform(ctx)
    kinds = sorted(item["kind"] for item in results["pruned"])
    assert kinds == sorted(["tag", "register", "gguf", "gguf", "merge", "train"] * 2)
    assert results["freed_bytes"] == 10 * 1000, "a tag holds no bytes"
    assert results["deferred"] == []
    assert len([name for name in server.models if name != "m:latest"]) == 2
    assert RetainStep().drift(ctx) == []


def test_everything_is_kept_without_a_policy(models: ModelStore, server: FakeOllama) -> None:
    ctx = context(models, server)
    before = dict(server.models)
    assert RetainStep().drift(ctx) == []
    assert perform(ctx) == {"pruned": [], "deferred": [], "freed_bytes": 0}
    assert server.models == before


def test_what_an_interrupted_attempt_removed_is_not_forgotten(models: ModelStore, server: FakeOllama) -> None:
    ctx = context(models, server, keep=3)
    RetainStep().command(ctx)
    RetainStep().perform(ctx)
    first = RetainStep().finish(ctx)
    assert len(first["pruned"]) == 6
    RetainStep().perform(ctx)  # by the next supervisor: nothing is left to remove
    assert RetainStep().finish(ctx) == first


def test_what_an_active_run_needs_is_deferred_and_no_drift(models: ModelStore, server: FakeOllama) -> None:
    old = models.make(1, system="Tu aides.")  # of the first training, by now the newest version
    run = make_run("other", old[:-1], ["gguf-q4_K_M"], Toolchain())
    for epochs in (5, 6, 7):
        models.make(epochs)
    store = Store(models.layout)
    with store.lock():
        store.enqueue(run)
    ctx = context(models, server, keep=1)
    results = perform(ctx)
    deferred = {(item["kind"], item["name"]) for item in results["deferred"]}
    assert ("train", old[1].spec.fingerprint) in deferred
    assert ("train", old[1].spec.fingerprint) not in {(item["kind"], item["name"]) for item in results["pruned"]}
    active = Path(models.layout.path("jobs", "active"))
    for entry in active.iterdir():  # the other run has ended
        if entry.name != "job":
            entry.rename(Path(models.layout.root, entry.name))
    assert len(RetainStep().drift(ctx)) == len(results["deferred"])
    path = models.layout.artifact("retain", ctx.spec.fingerprint)
    make_dirs(path)
    write_json(f"{path}/{RECEIPT}", {**ctx.spec.as_dict(), "results": results})
    assert RetainStep().drift(ctx) == [], "the run of the next version removes it"


def test_an_unreachable_server_removes_nothing(models: ModelStore, server: FakeOllama) -> None:
    ctx = context(models, server, keep=1)
    server.refuses.add("/api/tags")
    RetainStep().command(ctx)
    with pytest.raises(RemoteError, match="told to fail"):
        RetainStep().perform(ctx)
    server.refuses.clear()
    assert len(perform(ctx)["pruned"]) == 12, "nothing was lost: all is removed now"


def test_an_evaluation_goes_with_its_version(models: ModelStore, server: FakeOllama) -> None:
    """Questions and answers are removed; the report stays, as receipts do."""
    evaluations = {}
    latest, *_others, first = registrations(models.layout, "m")
    for epochs, receipt in ((1, first), (4, latest)):
        upstream = {"register": receipt["fingerprint"]}
        step = make_step("evaluate", {"candidates": {"q4_K_M": receipt["fingerprint"]}}, upstream, {"name": "m"})
        models.write(step, {})
        path = Path(models.layout.artifact("evaluate", step.spec.fingerprint))
        for name in ("report.json", "questions.jsonl", "answers.jsonl"):
            (path / name).write_text("{}")
        evaluations[epochs] = path
    perform(context(models, server, keep=2))
    left = {epochs: {each.name for each in path.iterdir()} for epochs, path in evaluations.items()}
    assert left[1] == {"README.md", "receipt.json", "report.json"}
    assert {"questions.jsonl", "answers.jsonl"} <= left[4]
