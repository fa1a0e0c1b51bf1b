# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gate, rollback, lineage, adapters and retention from end to end: real trainings of a tiny base, a real Ollama.

The tests build on each other, in their order. About two minutes on two idle cores.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import model_versions
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan, warnings_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import Releases
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.status import RunView
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import old_server_in_full
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

pytestmark = old_server_in_full

FILES = Path(__file__).resolve().parents[2] / "playbooks" / "files"
PROMPTS = json.loads((FILES / "homelab_prompts.json").read_text("utf-8"))
COMMIT = "c0ffee" * 6 + "beef"
#: A few rows, which are memorized quickly.
ROWS = 5
LATEST = "gated:latest"

#: Epochs that suffice to memorize the answers, and far too few.
LEARNED = {"epochs": 28, "learning_rate": 3e-3}
POOR = {"epochs": 1, "learning_rate": 1e-4}


def question(row: t.Mapping[str, str]) -> str:
    """The user's message of a row."""
    return "\n".join(part for part in (row["instruction"], row["input"]) if part)


def gate_of_rows(*rows: int, **more: t.Any) -> dict[str, t.Any]:
    """A gate that only a model passes which has memorized some rows."""
    asked = [{"prompt": question(PROMPTS[row]), "equals": PROMPTS[row]["output"]} for row in rows]
    return {"prompts": [{**one, "ends_by_itself": True} for one in asked], "options": {"num_predict": 200}, **more}


#: A gate that every model passes.
LENIENT = {"prompts": [{"prompt": "Bonjour", "not_contains": "MOT SECRET"}], "options": {"num_predict": 20}}


@dataclasses.dataclass
class Applied:
    """The outcome of one apply."""

    run: Run
    pending: tuple[str, ...]
    view: RunView


class Workspace:
    """One data directory and its declaration."""

    def __init__(self, root: Path, url: str) -> None:
        self.layout = Layout(str(root / "data"))
        self.layout.create()
        self.engine = Engine(self.layout.root)
        self.ollama = Ollama(url, slow_timeout=300)
        self.releases = Releases(self.layout, "gated")
        self.base = str(root / "tiny-base")
        venv = os.environ["IA_LF_VENV"]
        self.tools = Toolchain(venv, os.environ["IA_CONV_VENV"], os.environ["IA_LLAMA_CPP_DIR"], url)
        make_tiny_base(Path(self.base))
        few = root / "homelab_prompts.json"
        few.write_text(json.dumps(PROMPTS[:ROWS]), "utf-8")
        source = registry.Source(few.name, str(few), commit=COMMIT, dirty=True)
        registry.apply(self.layout, registry.Declaration("homelab"), [source])

    def plan(self, write: bool = True, **declared: t.Any) -> Run:
        """Plan the run of a declaration."""
        whole = {
            "name": "gated", "base_model": self.base, "dataset": "homelab", "template": "qwen", "method": "lora",
            "batch_size": ROWS, "gradient_accumulation": 1, "cutoff_len": 512, "save_steps": 1000, **declared,
        }  # fmt: skip
        return plan(self.layout, Request.finetune(whole), Host(self.tools, "cpu", write=write))

    def apply(self, **declared: t.Any) -> Applied:
        """Apply a declaration as the playbook does."""
        run = self.plan(**declared)
        asked = self.engine.submit(run)
        view = self.engine.follow(run.id, timeout=600) if asked.pending else asked.view
        return Applied(run, asked.pending, view)

    def tag(self, applied: Applied) -> str:
        """Full content tag of what was registered."""
        spec = next(step.spec for step in applied.run.steps if step.spec.kind == "register")
        return f"{spec.settings['name']}:{spec.fingerprint[:12]}-q4_K_M"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, ollama_server: t.Any) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("promotion"), ollama_server.url)


@pytest.fixture(scope="module")
def applies() -> dict[str, Applied]:
    """The applies of earlier tests."""
    return {}


@contextlib.contextmanager
def asked_all_the_while(workspace: Workspace, pause: float = 0.05) -> t.Iterator[dict[str, int]]:
    """Query a model continuously in the background; count answers and errors.

    :param pause: seconds between two questions, to leave processor time to a training.
    """
    counts: dict[str, int] = {}
    stop = threading.Event()
    messages = [{"role": "user", "content": question(PROMPTS[0])}]

    def ask() -> None:
        client = Ollama(workspace.ollama.url, slow_timeout=300)
        while not stop.is_set():
            try:
                said = client.chat(LATEST, messages, {"temperature": 0, "seed": 42, "num_predict": 40})
                text = str(said["message"]["content"])
            except RemoteError as error:
                text = f"ERROR {error}"
            counts[text] = counts.get(text, 0) + 1
            time.sleep(pause)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield counts
    finally:
        stop.set()
        thread.join()


def test_passed_gate_promotes(workspace: Workspace, applies: dict[str, Applied]) -> None:
    done = applies["learned"] = workspace.apply(**LEARNED, gate=gate_of_rows(0, 1, 2, allowed_failures=1))
    assert done.view.state == "succeeded", done.view.error
    assert done.pending[-3:] == ("register-q4_K_M", "evaluate", "promote")
    assert workspace.ollama.digest(LATEST) == workspace.ollama.digest(workspace.tag(done)) != ""
    receipt = workspace.layout.receipt("promote", done.run.steps[-1].spec.fingerprint)
    assert receipt is not None
    assert receipt["results"]["met"] >= 2 and receipt["results"]["met_before"] is None
    assert workspace.apply(**LEARNED, gate=gate_of_rows(0, 1, 2, allowed_failures=1)).pending == ()


def test_failed_gate_keeps_the_served_model(workspace: Workspace, applies: dict[str, Applied]) -> None:
    """The error has question, condition and answer; the served model is still available."""
    gate = gate_of_rows(0, 1, 2, allowed_failures=1)
    before, ledger = workspace.ollama.digest(LATEST), workspace.releases.ledger()
    with asked_all_the_while(workspace, pause=0.3) as counts:
        failed = applies["poor"] = workspace.apply(**POOR, gate=gate)
    assert failed.view.state == "failed" and failed.view.error is not None
    message = failed.view.error["message"]
    assert message.startswith("The gate is shut: 0 of 3 answers") and f"{LATEST} stays as it was." in message
    assert repr(PROMPTS[0]["instruction"])[1:20] in message and repr(PROMPTS[0]["output"])[1:30] in message
    assert "served now: " in message and "(as expected)" in message
    report = failed.view.error["details"]["evaluation"]
    met = {model["role"]: model["measures"]["gate"]["met"] for model in report["models"]}
    assert met["candidate"] == 0 and met["served"] >= 2
    assert workspace.ollama.digest(LATEST) == before
    assert workspace.releases.ledger().moves == ledger.moves
    assert not any(text.startswith("ERROR") for text in counts), counts
    assert sum(counts.values()) > 3


def test_changed_gate_runs_only_the_gate(workspace: Workspace, applies: dict[str, Applied]) -> None:
    poor = applies["poor"]
    again = workspace.apply(**POOR, gate=gate_of_rows(0, 1, 2, allowed_failures=1))
    assert again.pending == ("promote",) and again.view.state == "failed", "the same answers fail again, unasked"
    with asked_all_the_while(workspace) as counts:
        done = applies["poor"] = workspace.apply(**POOR, gate=LENIENT)
    assert done.pending == ("evaluate", "promote"), "neither trained nor registered"
    assert done.view.state == "succeeded", done.view.error
    assert workspace.ollama.digest(LATEST) == workspace.ollama.digest(workspace.tag(poor))
    assert not any(text.startswith("ERROR") for text in counts), counts
    assert workspace.apply(**POOR, gate=LENIENT).pending == ()


def test_rollback_is_fast_and_held(workspace: Workspace, applies: dict[str, Applied]) -> None:
    declared: dict[str, t.Any] = {**POOR, "gate": LENIENT}
    good, bad = workspace.tag(applies["learned"]), workspace.tag(applies["poor"])
    planned = model_versions.rollback(workspace.layout, workspace.ollama, "gated", check=True)
    assert planned.changed and workspace.ollama.digest(LATEST) == workspace.ollama.digest(bad)
    with asked_all_the_while(workspace) as counts:
        began = time.monotonic()
        done = model_versions.rollback(workspace.layout, workspace.ollama, "gated")
        took = time.monotonic() - began
    assert not any(text.startswith("ERROR") for text in counts), counts
    assert done.tag == good and took < 20
    assert workspace.ollama.digest(LATEST) == workspace.ollama.digest(good)
    applied = workspace.apply(**declared)
    assert applied.pending == ()
    warnings = warnings_of(applied.run, workspace.layout)
    assert any(f"held at {good}" in str(warning) for warning in warnings)
    assert workspace.ollama.digest(LATEST) == workspace.ollama.digest(good)
    assert workspace.releases.release()
    assert workspace.apply(**declared).pending == ("promote",)
    assert workspace.ollama.digest(LATEST) == workspace.ollama.digest(bad)


def test_lineage_leads_to_the_prompts(workspace: Workspace, applies: dict[str, Applied]) -> None:
    found = model_versions.overview(workspace.layout, workspace.ollama, "gated")
    assert found["served"][LATEST]["version"] == workspace.tag(applies["poor"])
    assert found["previous"] == workspace.tag(applies["learned"]) and found["drift"] == [] and found["hold"] == {}
    assert model_versions.names(workspace.layout) == ["gated"]
    version = next(one for one in found["versions"] if one["tag"] == workspace.tag(applies["learned"]))
    steps = {entry["step"]: entry for entry in version["lineage"]}
    assert list(steps) == ["register", "gguf", "merge", "train", "dataset", "base"]
    assert steps["train"]["facts"]["sources"][0]["commit"] == COMMIT
    assert steps["train"]["facts"]["sources"][0]["dirty"] is True
    assert steps["base"]["facts"]["location"] == workspace.base
    assert all(entry["there"] for entry in steps.values())
    for kind in ("register", "gguf", "train"):
        card = Path(steps[kind]["path"], "README.md").read_text("utf-8")
        assert card.startswith("---\n") and COMMIT in card and steps["train"]["fingerprint"][:12] in card
    assert "changes that are not committed" in card


def test_drift_is_reported(workspace: Workspace, applies: dict[str, Applied], gguf: t.Any) -> None:
    """Detects replaced weights under a tag with equal settings, and a moved tag."""
    tag = workspace.tag(applies["poor"])
    shown = workspace.ollama.show(tag)
    receipt = next(
        r
        for r in [workspace.layout.receipt("register", applies["poor"].run.step("register-q4_K_M").spec.fingerprint)]
        if r
    )
    workspace.ollama.push_blob(gguf.path, gguf.digest)
    workspace.ollama.create(
        tag, files={"model.gguf": gguf.digest}, template=shown["template"], system=shown["system"],
        parameters=receipt["results"]["parameters"],
    )  # fmt: skip
    found = model_versions.overview(workspace.layout, workspace.ollama, "gated")["drift"]
    assert f"{tag} has another weights" in found and f"{LATEST} is another model than {tag}" in found
    declared: dict[str, t.Any] = {**POOR, "gate": LENIENT}
    seen = workspace.engine.preview(workspace.plan(write=False, **declared))
    assert {step.label: step.reason for step in seen.steps if step.state == "needed"} == {
        "register-q4_K_M": f"{tag} has another weights",
        "promote": f"{LATEST} is another model than {tag}",
    }
    assert workspace.apply(**declared).pending == ("register-q4_K_M", "promote")
    assert model_versions.overview(workspace.layout, workspace.ollama, "gated")["drift"] == []


def test_inputs_that_do_not_count(workspace: Workspace, applies: dict[str, Applied]) -> None:
    """The declaration changes, and the training is kept."""
    trained = applies["poor"].run.step("train").spec.fingerprint
    other = {"epochs": 2, "learning_rate": 1e-4}
    assert workspace.plan(**other).step("train").spec.fingerprint != trained
    assert workspace.plan(**other, regenerate="never").step("train").spec.fingerprint == trained
    same = workspace.plan(**other, regenerate_on=["dataset", "base"])
    assert same.step("train").spec.fingerprint == trained
    rows = [{"instruction": "a", "output": "b"}]
    registry.apply(workspace.layout, registry.Declaration("other"), [registry.Source("records", records=rows)])
    kept = workspace.plan(**POOR, dataset="other", regenerate_on=["hyperparameters"])
    assert kept.step("train").spec.fingerprint == trained
    assert any("the dataset has changed, and does not count" in str(warning) for warning in warnings_of(kept))
    assert workspace.plan(**POOR, dataset="other").step("train").spec.fingerprint != trained
    new = workspace.plan(**POOR, name="new", regenerate="never")
    assert new.step("train").spec.fingerprint == trained, "there is no result yet, so the declared value is used"


def test_always_makes_one_attempt_per_apply(workspace: Workspace, applies: dict[str, Applied]) -> None:
    gate = LENIENT
    first = applies["poor"].run.step("train").spec.fingerprint
    declared: dict[str, t.Any] = {**POOR, "gate": gate, "regenerate": "always"}
    one = workspace.plan(write=False, **declared)
    assert workspace.plan(write=False, **declared).id == one.id, "planning makes no attempt"
    done = applies["attempt"] = workspace.apply(**declared)
    assert done.run.id == one.id and done.view.state == "succeeded", done.view.error
    assert done.pending[0] == "train" and done.run.step("train").spec.settings["attempt"] == 2
    assert workspace.layout.receipt("train", first) is not None, "existing results are kept"
    assert workspace.ollama.digest(LATEST) == workspace.ollama.digest(workspace.tag(done))
    assert workspace.plan(write=False, **declared).step("train").spec.settings["attempt"] == 3
    assert workspace.apply(**POOR, gate=gate, regenerate="never").pending == ()


def test_adapter_export(workspace: Workspace, applies: dict[str, Applied]) -> None:
    """No merged weights; the same answers as the merged model; the base is converted once."""
    merged = {path.name for path in Path(workspace.layout.parent("merge")).iterdir()}
    name = "beside"
    done = workspace.apply(**LEARNED, name=name, export="adapter", gate=gate_of_rows(0, 1, 2, allowed_failures=1))
    assert done.view.state == "succeeded", done.view.error
    assert "train" not in done.pending, "the training is the same"
    assert {path.name for path in Path(workspace.layout.parent("merge")).iterdir()} == merged
    tag = workspace.tag(done)
    assert "ADAPTER" in workspace.ollama.show(tag)["modelfile"]
    assert workspace.ollama.digest(f"{name}:latest") == workspace.ollama.digest(tag)
    right = 0
    for row in PROMPTS[:ROWS]:
        messages = [{"role": "user", "content": question(row)}]
        said = workspace.ollama.chat(tag, messages, {"temperature": 0, "seed": 42, "num_predict": 300})
        right += said["message"]["content"].strip() == row["output"].strip()
    assert right >= ROWS - 1
    steps = {
        entry["step"]
        for entry in model_versions.overview(workspace.layout, workspace.ollama, name)["versions"][0]["lineage"]
    }
    assert steps == {"register", "gguf", "gguf_adapter", "train", "dataset", "base"}
    other = workspace.plan(**POOR, name="third", export="adapter")
    needed = workspace.engine.pending_steps(other)
    assert set(needed) == {"gguf-adapter", "register-q4_K_M"}
    assert (
        workspace.apply(**LEARNED, name=name, export="adapter", gate=gate_of_rows(0, 1, 2, allowed_failures=1)).pending
        == ()
    )


def test_retention(workspace: Workspace, applies: dict[str, Applied], ollama_server: t.Any) -> None:
    """Tags, blobs and files are removed; the served model and the target of a rollback still answer; rollback works.

    Whether the second attempt equals the first byte for byte depends on the machine: one of both is the
    target of a rollback, and the other is removed.
    """
    before = {one: workspace.tag(applies[one]) for one in ("learned", "poor", "attempt")}
    old = {entry["step"]: entry for entry in _lineage_of(workspace, before["learned"])}
    blob = ollama_server.root / "models" / "blobs" / str(old["register"]["facts"]["blob"]).replace(":", "-")
    assert blob.is_file() and all(entry["there"] for entry in old.values())
    policy: dict[str, t.Any] = {"keep": 1, "keep_intermediates": False, "regenerate": "never", "gate": LENIENT}
    declared: dict[str, t.Any] = {**POOR, **policy, "system": "Tu réponds."}
    done = workspace.apply(**declared)
    assert done.view.state == "succeeded", done.view.error
    assert done.pending == ("register-q4_K_M", "evaluate", "promote", "retain")

    served, way_back = (
        workspace.tag(done),
        model_versions.overview(workspace.layout, workspace.ollama, "gated")["previous"],
    )
    assert way_back in (before["poor"], before["attempt"])
    tags = {str(model["name"]): str(model["digest"]) for model in workspace.ollama.tags()}
    assert tags[LATEST] == tags[served] != tags[way_back]
    pruned = set(before.values()) - {way_back}
    assert not pruned & set(tags), "neither served nor a rollback target, or equal to one"
    assert not blob.exists(), "Ollama has removed unused blobs"
    old = {entry["step"]: entry for entry in _lineage_of(workspace, before["learned"])}
    assert [step for step, entry in old.items() if entry["pruned_at"]] == ["register", "gguf", "merge"]
    assert old["train"]["there"], "it is an input of another model"
    for step in ("register", "gguf", "merge"):
        left = set(os.listdir(old[step]["path"]))
        assert left <= {"receipt.json", "README.md", "Modelfile"} and "receipt.json" in left
    assert old["merge"]["facts"]["weights"] is False
    assert old["gguf"]["facts"]["bytes"] > 0 and COMMIT in Path(old["gguf"]["path"], "README.md").read_text("utf-8")
    assert list(Path(workspace.layout.parent("merge")).glob("*/*.safetensors")) == [], "no intermediates"
    kept = {entry["step"]: entry for entry in _lineage_of(workspace, served)}
    assert [step for step, entry in kept.items() if not entry["there"]] == ["merge"]
    receipt = workspace.layout.receipt("retain", done.run.steps[-1].spec.fingerprint)
    assert receipt is not None and receipt["results"]["freed_bytes"] > blob_size(old)
    assert workspace.apply(**declared).pending == ()

    assert answers(workspace, LATEST) and answers(workspace, way_back)
    back = model_versions.rollback(workspace.layout, workspace.ollama, "gated")
    assert back.tag == way_back and workspace.ollama.digest(LATEST) == tags[way_back]
    assert answers(workspace, LATEST)
    held = workspace.apply(**declared)
    assert held.pending == () and workspace.ollama.digest(LATEST) == tags[way_back]
    assert any(f"held at {way_back}" in str(warning) for warning in warnings_of(held.run, workspace.layout))
    assert workspace.releases.release()
    assert workspace.apply(**declared).pending == ("promote",)
    assert workspace.ollama.digest(LATEST) == tags[served]


def answers(workspace: Workspace, name: str) -> bool:
    """Whether a model answers a request."""
    said = workspace.ollama.chat(name, [{"role": "user", "content": "Bonjour"}], {"num_predict": 5})
    return bool(said["done"])


def blob_size(lineage: dict[str, t.Any]) -> int:
    """Bytes of the GGUF file in a lineage."""
    return int(lineage["gguf"]["facts"]["bytes"])


def _lineage_of(workspace: Workspace, tag: str) -> list[dict[str, t.Any]]:
    versions = model_versions.overview(workspace.layout, workspace.ollama, "gated")["versions"]
    return next(version["lineage"] for version in versions if version["tag"] == tag)
