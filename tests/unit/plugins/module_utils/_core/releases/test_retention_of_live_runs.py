# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention keeps whatever an active run reads, in whichever way that run was planned."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.integrity import artifact_defect
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal, make_run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import (
    Host,
    Request,
    Result,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases import retention
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import Releases
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.retention import (
    Policy,
    prune,
    surplus,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.store import Store
from ansible_collections.ia_homelab.llamafactory.tests.support.model_store import ModelStore
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows

HOST = Host(Toolchain(), "cpu")
NAME = "homelab-model"
VERSIONS = (1, 2, 3, 4)
Artifact = tuple[str, str]


class Versions:
    """A data directory with versions of one model, as the planner makes them. All of their files exist."""

    def __init__(self, root: Path, export: str = "merged") -> None:
        self.lab = PlanLab(root)
        self.lab.publish("homelab", rows(20))
        self.store = ModelStore(root / "data")
        self.export = export
        self.runs = {}
        for epochs in VERSIONS:
            self.runs[epochs] = run = self.lab.plan(epochs=epochs, export=export)
            self.publish(run)

    def publish(self, run: Run) -> None:
        """Write the results of a run, and serve its model."""
        for step in run.steps:
            self.store.write(step, {})
        tag = self.store.tag([step for step in run.steps if step.spec.kind == "register"])
        self.store.shelf.models[tag] = run.step("register-q4_K_M").spec.fingerprint
        Releases(self.lab.layout, NAME).promote(self.store.shelf.ollama, tag, [f"{NAME}:latest"])

    def of(self, version: int, label: str) -> str:
        """Fingerprint of a step of a version."""
        return self.runs[version].step(label).spec.fingerprint

    def requests(self, version: int) -> dict[str, t.Callable[[], Request]]:
        """Every way to plan a run that continues from a result of a version."""
        raw = {"name": NAME, "base_model": "qwen2.5:0.5b", "dataset": "homelab", "epochs": version}
        ways: dict[str, t.Callable[[], Request]] = {
            "base": lambda: Request.base_model("qwen2.5:0.5b"),
            "train": lambda: Request.finetune(raw, Goal.TRAIN),
            "model": lambda: Request.finetune({**raw, "export": self.export}),
            "model of the other export": lambda: Request.finetune(
                {**raw, "export": "merged" if self.export == "adapter" else "adapter"}
            ),
            "files only": lambda: Request.finetune({**raw, "register": False}),
            "further quantization": lambda: Request.finetune({**raw, "quantizations": ["q4_K_M", "q8_0", "q5_K_M"]}),
            "other system prompt": lambda: Request.finetune({**raw, "system": "Réponds."}),
            "gate": lambda: Request.finetune({**raw, "gate": {"prompts": [{"prompt": "Who?", "contains": "lab"}]}}),
            "export": lambda: Request.export({**raw, "quantizations": ["q5_K_M"]}, self.of(version, "train")),
            "merge": lambda: Request.merge(self.of(version, "train")),
            "adapter": lambda: Request.gguf(Result("train", self.of(version, "train")), ["q8_0", "q5_K_M"]),
        }
        gguf = self.of(version, "gguf-q4_K_M")
        if self.export == "merged":
            merge = Result("merge", self.of(version, "merge"))
            ways["gguf"] = lambda: Request.gguf(merge, ["q8_0", "q5_K_M"])
            ways["register"] = lambda: Request.register(gguf, "copy", aliases=[])
            ways["register as a version"] = lambda: Request.register(gguf, NAME, system="Réponds.")
        else:
            adapter = self.of(version, "gguf-adapter")
            ways["register adapter"] = lambda: Request.register(gguf, "copy", adapter=adapter)
        return ways

    def submit(self, run: Run) -> None:
        """Put a run into the queue."""
        store = Store(self.lab.layout)
        with store.lock():
            store.enqueue(run)

    def complete(self) -> set[Artifact]:
        """All artifacts whose files exist."""
        specs = [step.spec for run in self.runs.values() for step in run.steps]
        found = {(spec.kind, spec.fingerprint) for spec in specs}
        return {(kind, value) for kind, value in found if artifact_defect(self.lab.layout, kind, value) is None}

    def read_by(self, run: Run) -> set[Artifact]:
        """What a run makes and reads, and what that was made from, by the runs that made it."""
        made_by = {step.spec.fingerprint: step.spec for each in [*self.runs.values(), run] for step in each.steps}
        found: set[Artifact] = set()
        queue = [(step.spec.kind, step.spec.fingerprint) for step in run.steps]
        while queue:
            kind, value = queue.pop()
            found.add((kind, value))
            spec = made_by.get(value)
            if spec is not None:
                queue += [each for each in spec.upstream.items() if each not in found]
                if kind == "gguf" and spec.options.get("f16"):
                    queue.append((kind, spec.options["f16"]))
        return found


def ways_of(export: str) -> list[str]:
    """Names of the ways to plan."""
    with tempfile.TemporaryDirectory() as root:
        return sorted(Versions(Path(root), export).requests(1))


WAYS = {export: ways_of(export) for export in ("merged", "adapter")}


@st.composite
def live_runs(draw: t.Callable[[t.Any], t.Any]) -> tuple[str, list[tuple[str, int]]]:
    """An export, and one or two runs: the way to plan each, and the version from which it continues."""
    export = draw(st.sampled_from(sorted(WAYS)))
    one = st.tuples(st.sampled_from(WAYS[export]), st.sampled_from(VERSIONS))
    return export, draw(st.lists(one, min_size=1, max_size=2, unique=True))


POLICIES = st.builds(Policy, st.sampled_from([1, 2, None]), st.booleans())


@settings(max_examples=60 if os.environ.get("IA_FULL") else 20, deadline=None)
@given(live_runs(), POLICIES)
def test_what_an_active_run_reads_is_kept(runs: tuple[str, list[tuple[str, int]]], policy: Policy) -> None:
    export, wanted = runs
    with tempfile.TemporaryDirectory() as root:
        versions = Versions(Path(root), export)
        planned = [plan(versions.lab.layout, versions.requests(version)[way](), HOST) for way, version in wanted]
        for run in planned:
            versions.submit(run)
        before = versions.complete()
        prune(versions.lab.layout, NAME, policy, versions.store.shelf.ollama)
        lost = before - versions.complete()
        for run in planned:
            assert not lost & versions.read_by(run), "removed although an active run reads it"


@pytest.mark.parametrize("export", sorted(WAYS))
def test_every_way_to_plan_starts_from_results_that_would_be_removed(tmp_path: Path, export: str) -> None:
    """The property above says nothing about a way whose inputs are never surplus: only the base is like that."""
    versions = Versions(tmp_path, export)
    items = surplus(versions.lab.layout, NAME, Policy(1, False), versions.store.shelf.tags())
    removed = {(item.kind, item.name) for item in items}
    for way, request in versions.requests(1).items():
        run = plan(versions.lab.layout, request(), HOST)
        assert bool(removed & versions.read_by(run)) == (way != "base"), way


def test_the_adapter_that_a_merge_reads_is_kept(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.submit(plan(versions.lab.layout, Request.merge(versions.of(1, "train")), HOST))
    prune(versions.lab.layout, NAME, Policy(keep=1), versions.store.shelf.ollama)
    assert artifact_defect(versions.lab.layout, "train", versions.of(1, "train")) is None
    assert artifact_defect(versions.lab.layout, "train", versions.of(2, "train")) is not None


def test_a_run_with_the_same_retention_that_is_not_that_far_keeps_its_inputs(tmp_path: Path) -> None:
    """A further quantization has the same retention step, and reads the 16-bit file that the first run removes."""
    versions = Versions(tmp_path)
    first = versions.lab.plan(epochs=4, keep_intermediates=False)
    second = versions.lab.plan(epochs=4, keep_intermediates=False, quantizations=["q4_K_M", "q5_K_M"])
    retain = first.step("retain").spec.fingerprint
    assert second.step("retain").spec.fingerprint == retain and second.id != first.id
    for run in (first, second):
        versions.submit(run)
    arguments = (versions.lab.layout, NAME, Policy(intermediates=False), versions.store.shelf.tags(), retain)
    intermediate = {("merge", versions.of(4, "merge")), ("gguf", versions.of(4, "gguf-f16"))}
    assert not intermediate & {(item.kind, item.name) for item in surplus(*arguments)}
    for step in second.steps:
        if step.spec.kind not in ("retain", "base"):
            versions.store.write(step, {})
    assert intermediate <= {(item.kind, item.name) for item in surplus(*arguments)}, "nothing reads them any more"


def test_a_goal_that_no_step_has_hides_no_inputs(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    run = plan(versions.lab.layout, Request.merge(versions.of(1, "train")), HOST)
    odd = make_run(run.name, run.steps, ["merge"], run.toolchain)
    versions.submit(dataclasses.replace(odd, goals=("another",)))
    prune(versions.lab.layout, NAME, Policy(keep=1), versions.store.shelf.ollama, "e" * 64)
    assert artifact_defect(versions.lab.layout, "train", versions.of(1, "train")) is None


def test_a_run_that_still_merges_keeps_what_it_reads(tmp_path: Path) -> None:
    """It wants weights where the merge of an earlier run left none."""
    versions = Versions(tmp_path)
    lab = versions.lab
    run = lab.plan(epochs=5, keep_merged=True, keep=1)
    merge, retain = run.step("merge").spec, next(step.spec for step in run.steps if step.spec.kind == "retain")
    versions.submit(run)
    for step in run.steps:
        if step.spec.kind not in ("merge", "retain"):
            versions.store.write(step, {})
    versions.store.write(run.step("merge"), {"weights": False})
    read = {("train", merge.upstream["train"])}
    assert read <= retention._inputs_of_active_runs(lab.layout, retain.fingerprint)
    Path(lab.layout.artifact("merge", merge.fingerprint), "receipt.json").unlink()
    versions.store.write(run.step("merge"), {"weights": True})
    assert not read & retention._inputs_of_active_runs(lab.layout, retain.fingerprint)
