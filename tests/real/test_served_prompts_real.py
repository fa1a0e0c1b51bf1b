# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is served is what was taught: a training renders probes, and the server that serves the model renders the same.

Real LLaMA-Factory, llama.cpp and Ollama, the oldest supported version and the current one. The base has a chat template
that knows tools, as models of today have it: such bases could not be registered on Ollama 0.30 and later. About a
minute on two idle cores.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.probes import probes_for
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import Releases
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.recipes import RECIPE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.gguf import GgufStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.merge import MergeStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.prompt_proof import NotProvenError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.register import RegisterStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json, write_json
from ansible_collections.ia_homelab.llamafactory.tests.real import test_steps_real as steps_real
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import (
    Server,
    both_servers,
    free_port,
    old_server_in_full,
    program_of,
)

NAMES = [probe.name for probe in probes_for("qwen")]
#: Without a system prompt of its own, the model gets that of the template, so that every probe is compared.
SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
QUESTION = [{"role": "user", "content": "Bonjour"}]


class Made(t.NamedTuple):
    """A training of one epoch and its GGUF file."""

    workspace: steps_real.Workspace
    train: str
    gguf: str

    def registration(self, url: str, name: str, **settings: t.Any) -> StepContext:
        """A job that registers the file."""
        self.workspace.tools = dataclasses.replace(self.workspace.tools, ollama_url=url)
        wanted = {"name": name, "template": "qwen", "system": SYSTEM, "parameters": {}, "recipe": RECIPE, **settings}
        options = {"quantization": "f16", "aliases": ["latest"]}
        return self.workspace.context("register", wanted, {"gguf": self.gguf}, **options)

    def register(self, ctx: StepContext) -> dict[str, t.Any]:
        """Register as the supervisor and its worker do, and publish."""
        step = RegisterStep()
        step.command(ctx)
        step.perform(ctx)
        results = step.finish(ctx)
        shutil.rmtree(self.workspace.layout.artifact("register", ctx.spec.fingerprint), ignore_errors=True)
        publish(self.workspace, ctx, results)
        return results

    @property
    def probes(self) -> Path:
        """The probes of the training."""
        return Path(self.workspace.layout.artifact("train", self.train), "probes.json")


def publish(workspace: steps_real.Workspace, ctx: StepContext, results: dict[str, t.Any]) -> None:
    """Publish with a complete receipt."""
    path = workspace.publish(ctx, results)
    receipt = read_json(os.path.join(path, "receipt.json"))
    whole = {**ctx.spec.as_dict(), **receipt, "files": {}, "started_at": "2026-11-02T12:00:00.000Z"}
    write_json(os.path.join(path, "receipt.json"), whole)


def prepared(root: Path) -> t.Iterator[Made]:
    """A training of one epoch and its GGUF file, in a directory of their own."""
    for workspace in steps_real.prepared(root):
        train = steps_real.training(workspace, epochs=1)
        publish(workspace, train, workspace.run(TrainStep(), train))
        upstream = {"base": steps_real.BASE, "train": train.spec.fingerprint}
        merge = workspace.context("merge", {}, upstream, resolved=train.spec.options["resolved"])
        publish(workspace, merge, workspace.run(MergeStep(), merge))
        gguf = steps_real.conversion(workspace, merge.spec.fingerprint)
        publish(workspace, gguf, workspace.run(GgufStep(), gguf))
        yield Made(workspace, train.spec.fingerprint, gguf.spec.fingerprint)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Made]:
    yield from prepared(tmp_path_factory.mktemp("served"))


def test_training_renders_its_probes(made: Made) -> None:
    recorded = json.loads(made.probes.read_text(encoding="utf-8"))
    assert (recorded["template"], recorded["eos"]) == ("qwen", "<|im_end|>")
    assert list(recorded["probes"]) == NAMES
    plain = recorded["probes"]["plain"]
    assert plain["text"].startswith("<|im_start|>system\n") and plain["text"].endswith("<|im_start|>assistant\n")
    assert all(probe["ids"] and isinstance(probe["ids"][0], int) for probe in recorded["probes"].values())


@both_servers
def test_every_probe_is_rendered_alike(made: Made, ollama: Ollama) -> None:
    results = made.register(made.registration(ollama.url, "proven"))
    assert results["proof"]["skipped"] == {} and results["proof"]["probes"] == NAMES
    assert set(results["proof"]["counted"]) >= {"several turns", "special characters", "continued answer"}
    assert results["server_version"] == ollama.version()
    assert "tools" in ollama.show("proven")["capabilities"]
    assert ollama.digest("proven") == results["digest"]


def test_interrupted_registration_is_not_taken_for_complete(made: Made, ollama: Ollama) -> None:
    """Killed after the model was created: what is in Ollama does not show that its prompt was verified."""
    ctx, step = made.registration(ollama.url, "interrupted", system="Rien."), RegisterStep()
    step.command(ctx)
    step.perform(ctx)
    os.unlink(os.path.join(ctx.work, "registration.json"))
    with pytest.raises(JobError, match="was not verified"):
        step.finish(ctx)


@old_server_in_full
def test_registration_of_a_training_without_probes(made: Made, ollama: Ollama) -> None:
    """A training of version 0.1.0: LLaMA-Factory renders them now, with the tokenizer of the base."""
    kept = made.probes.read_bytes()
    made.probes.unlink()
    try:
        results = made.register(made.registration(ollama.url, "older"))
    finally:
        made.probes.write_bytes(kept)
    assert results["proof"]["skipped"] == {} and results["proof"]["probes"] == NAMES


@both_servers
def test_difference_moves_no_tag(made: Made, ollama: Ollama) -> None:
    """The probe, the place and both texts are shown; what was served before stays, and nothing is left over."""
    before = made.register(made.registration(ollama.url, "kept"))
    kept = made.probes.read_bytes()
    recorded = json.loads(kept)
    text = recorded["probes"]["parallel calls"]["text"]
    recorded["probes"]["parallel calls"]["text"] = text.replace("</tool_call>", "</tool_call>\n")
    made.probes.write_text(json.dumps(recorded), encoding="utf-8")
    ctx = made.registration(ollama.url, "kept", parameters={"temperature": 0.5})
    try:
        with pytest.raises(NotProvenError, match="'parallel calls' differs at character") as caught:
            made.register(ctx)
    finally:
        made.probes.write_bytes(kept)
    position = caught.value.details["position"]
    assert caught.value.details["expected"][:position] == caught.value.details["got"][:position]
    tags = [str(model["name"]) for model in ollama.tags() if str(model["name"]).startswith("kept:")]
    assert sorted(tags) == sorted([before["tag"], "kept:latest"])
    assert ollama.digest("kept") == before["digest"]


@both_servers
def test_other_vocabulary_is_noticed(made: Made, ollama: Ollama) -> None:
    """The text is equal, the number of its tokens is not."""
    kept = made.probes.read_bytes()
    recorded = json.loads(kept)
    recorded["probes"]["special characters"]["ids"].append(1)
    made.probes.write_text(json.dumps(recorded), encoding="utf-8")
    try:
        with pytest.raises(NotProvenError, match="'special characters' has .* tokens in training and"):
            made.register(made.registration(ollama.url, "counted"))
    finally:
        made.probes.write_bytes(kept)
    assert ollama.find("counted") is None


@both_servers
def test_model_that_cannot_be_loaded_is_not_promoted(made: Made, ollama: Ollama) -> None:
    """A GGUF file whose tensors do not fit its architecture: the model that was served before is served still."""
    before = made.register(made.registration(ollama.url, "loads"))
    path = Path(made.workspace.layout.artifact("gguf", made.gguf), "model.gguf")
    kept = path.read_bytes()
    # another number of layers than the file has tensors for
    damaged = kept.replace(b"llama.block_count\x04\x00\x00\x00\x02", b"llama.block_count\x04\x00\x00\x00\x03")
    assert damaged != kept
    path.write_bytes(damaged)
    try:
        with pytest.raises(Exception, match=r"cannot be used in Ollama|could not create"):
            made.register(made.registration(ollama.url, "loads", parameters={"top_k": 7}))
    finally:
        path.write_bytes(kept)
    assert ollama.digest("loads") == before["digest"]
    assert ollama.chat("loads", QUESTION, {"num_predict": 1})["done"]


def test_upgraded_server_has_to_prove_it_again(made: Made, tmp_path: Path) -> None:
    """The drift says so; a second registration takes the tag as it is, and nothing else changes."""
    server = Server(program_of("old"), tmp_path, free_port())
    server.start()
    try:
        ctx = made.registration(server.url, "upgraded")
        first = made.register(ctx)
        step, ollama = RegisterStep(), Ollama(server.url)
        assert [str(reason) for reason in step.drift(ctx)] == []
        server.upgrade(program_of("current"))
        assert [str(reason) for reason in step.drift(ctx)] == [
            f"its prompt was verified on Ollama {first['server_version']}, and this is Ollama {ollama.version()}"
        ]
        creations = len(server.requests("POST", "/api/create"))
        second = made.register(made.workspace.again(ctx))
        assert len(server.requests("POST", "/api/create")) == creations
        assert (second["tag"], second["digest"]) == (first["tag"], first["digest"])
        assert second["proof"]["probes"] == NAMES
        assert [str(reason) for reason in step.drift(ctx)] == []
    finally:
        server.stop()


@old_server_in_full
def test_version_that_a_rollback_pins_is_pinned_under_its_new_tag(made: Made, ollama: Ollama) -> None:
    """Two registrations by the first recipe; the older one is pinned, and is registered again as itself."""
    one = made.registration(ollama.url, "pinned", recipe=1)
    first = made.register(one)
    second = made.register(made.registration(ollama.url, "pinned", recipe=1, system="Autre."))
    releases = Releases(made.workspace.layout, "pinned")
    releases.rollback(ollama)
    again = made.registration(ollama.url, "pinned")
    options = {**again.spec.options, "aliases": [], "held": first["tag"]}
    ctx = dataclasses.replace(again, spec=dataclasses.replace(again.spec, options=options))
    results = made.register(ctx)
    hold = releases.ledger().hold
    assert hold is not None and (hold.tag, hold.against) == (results["tag"], (second["tag"],))
    assert ollama.digest("pinned:latest") == results["digest"] == ollama.digest(results["tag"])
    assert ollama.find(first["tag"]) is not None, "the way back"


def test_further_quantization_leaves_the_aliases_alone(made: Made, ollama: Ollama) -> None:
    first = made.register(made.registration(ollama.url, "several"))
    other = made.registration(ollama.url, "several", system="Autre.")
    options = {**other.spec.options, "aliases": []}
    made.register(dataclasses.replace(other, spec=dataclasses.replace(other.spec, options=options)))
    ledger = Releases(made.workspace.layout, "several").ledger()
    assert (ledger.declared, ledger.aliases) == (first["tag"], ("several:latest",))
