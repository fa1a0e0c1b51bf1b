# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pipeline in the images of the role, built from packages; a training is stopped and resumed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.docker import LABEL_STORE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.docker import DockerEngine
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import PROMPTS, make_tiny_base


class Place:
    """A data directory with a dataset, a base outside of it, and an Ollama server."""

    def __init__(self, root: Path, server: Server) -> None:
        self.data = root / "data"
        self.layout = Layout(str(self.data))
        self.layout.create()
        self.base = make_tiny_base(root / "tiny-base")
        registry.apply(self.layout, registry.Declaration("homelab"), [registry.Source("prompts.json", str(PROMPTS))])
        # without tools of the host: only those in the images exist
        self.tools = Toolchain(
            ollama_url=server.url,
            llamafactory_image=os.environ["IA_LF_IMAGE"],
            llama_cpp_image=os.environ["IA_LLAMA_CPP_IMAGE"],
            memory_limit="6g",
        )
        self.engine = Engine(str(self.data))

    def plan(self, **declared: t.Any) -> t.Any:
        # as in the quickstart
        settings = {
            "name": "contained", "base_model": str(self.base), "dataset": "homelab", "template": "qwen",
            "lora_rank": 32, "learning_rate": 5e-3, "epochs": 16, "batch_size": 5, "gradient_accumulation": 1,
            "cutoff_len": 512, "warmup_ratio": 0, "save_steps": 1000, **declared,
        }  # fmt: skip
        return plan(self.layout, Request.finetune(settings), Host(self.tools, "cpu"))

    def ask(self, model: str, row: t.Mapping[str, str]) -> str:
        """The answer of a model to the question of a row."""
        question = "\n".join(filter(None, (row["instruction"], row.get("input"))))
        asked = [{"role": "user", "content": question}]
        said = Ollama(self.tools.ollama_url).chat(model, asked, {"temperature": 0, "seed": 42, "num_predict": 300})
        return str(said["message"]["content"]).strip()

    def record(self, run: t.Any, label: str, name: str) -> dict[str, t.Any]:
        record = self.engine.store.record(run.id)
        assert record is not None
        job = next(job for job in reversed(record.jobs) if job.label == label)
        found: dict[str, t.Any] = json.loads(Path(job.directory, name).read_text())
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Place]:
    root = Path(tempfile.mkdtemp(prefix="contained-"))
    root.chmod(0o755)  # accessible to the job user
    server = Server(os.environ["IA_OLLAMA_BIN"], tmp_path_factory.mktemp("ollama"), free_port())
    server.start()
    try:
        yield Place(root, server)
    finally:
        server.stop(hard=True)
        engine = DockerEngine()
        for found in engine.labelled(f"{LABEL_STORE}={os.path.realpath(root / 'data' / 'jobs')}"):
            engine.remove(found["Id"])
        shutil.rmtree(root)


@pytest.mark.full
def test_pipeline_from_prompts_to_answer(place: Place) -> None:
    """All steps in containers, and the merge. In every run, the scenario ``stack`` of Molecule gets to an answer so."""
    made_once = place.plan()
    place.engine.submit(made_once)
    view = place.engine.follow(made_once.id)
    assert view.state == "succeeded", view.error
    converted = place.layout.receipt("gguf", made_once.step("gguf-f16").spec.fingerprint)
    assert converted is not None and converted["results"]["recipe"] == "one_pass"
    kept = place.plan(keep_merged=True)
    assert place.engine.submit(kept).pending == ("merge",)
    view = place.engine.follow(kept.id)
    assert view.state == "succeeded", view.error
    ran = {"train": "llamafactory", "merge": "llamafactory", "gguf-f16": "llama-cpp", "gguf-q4_K_M": "llama-cpp"}
    for label, kind in ran.items():
        run = kept if label == "merge" else made_once
        assert place.record(run, label, "job.json")["runner"] == "docker", label
        made = place.record(run, label, "command.json")
        assert made["container"], label
        there = DockerEngine().image(made["image"])
        assert there is not None and f"/{kind}:" in there["RepoTags"][0], label
    run = made_once
    assert place.record(run, "register-q4_K_M", "job.json")["runner"] == "process", "the core does it itself"
    for label, made_by_it in (("train", "*.safetensors"), ("merge", "*.safetensors"), ("gguf-q4_K_M", "*.gguf")):
        spec = run.step(label).spec
        owners = {
            path.stat().st_uid for path in Path(place.layout.artifact(spec.kind, spec.fingerprint)).glob(made_by_it)
        }
        assert owners == {os.geteuid()}, label
    rows = json.loads(PROMPTS.read_text())
    told = [place.ask("contained", rows[number]) == rows[number]["output"].strip() for number in (0, 6, 14)]
    assert told.count(True) >= 2, told
    assert place.engine.submit(run).pending == (), "a second run has no pending steps"


def test_stopped_training_saves_and_resumes(place: Place) -> None:
    """SIGTERM reaches the training in the container, which saves a checkpoint; the next run resumes from it."""
    run = place.plan(epochs=8, name="stopped", register=False)
    place.engine.submit(run)
    end = time.monotonic() + 600
    while place.engine.observe(run.id).progress.get("current", 0) < 5:
        assert time.monotonic() < end, "it does not begin"
        time.sleep(0.2)
    place.engine.cancel(run.id)
    assert place.engine.follow(run.id).state == "cancelled"
    work = Path(place.layout.work("train", run.step("train").spec.fingerprint))
    assert list(work.glob("checkpoint-*")), "it was asked to stop and had time to save"
    place.engine.submit(run)
    assert place.engine.follow(run.id, until={"train"}).state != "failed"
    receipt = place.layout.receipt("train", run.step("train").spec.fingerprint)
    assert receipt is not None and receipt["results"]["resumed_from"] >= 5
    place.engine.cancel(run.id)
    place.engine.follow(run.id)


def test_arguments_are_checked_against_the_image(place: Place) -> None:
    with pytest.raises(InputError, match="no argument 'neftune_noise_alhpa'"):
        place.plan(name="x", extra={"neftune_noise_alhpa": 5})
    kept = list((place.data / "cache" / "images").iterdir())
    assert len(kept) == 1, "an image is inspected once"
    run = place.plan(name="x", extra={"neftune_noise_alpha": "5"})
    assert run.step("train").spec.settings["extra"] == {"neftune_noise_alpha": 5.0}
