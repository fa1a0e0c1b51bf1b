# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image encoder in a plan: which fine-tunes are served with it, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import vision
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan, warnings_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.readiness import disk_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.recipes import (
    earlier_fingerprints,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

TEXT = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 16, "vocab_size": 32}
TEMPLATES = {"gemma3": "gemma3", "qwen2_5_vl": "qwen2_vl", "qwen3_vl": "qwen3_vl_nothink", "mistral3": "ministral3"}
LANGUAGE = "model.layers.0.mlp.up_proj.weight"


class VisionLab(PlanLab):
    """A data directory with a dataset, and a base in a directory."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.publish("homelab", rows(20))

    def base(self, model_type: str, *tensors: str) -> str:
        """A base with tensors of four elements; return its directory."""
        path = self.root / model_type
        path.mkdir(exist_ok=True)
        config = {"model_type": model_type, "text_config": TEXT, "vision_config": {}, "tie_word_embeddings": True}
        (path / "config.json").write_text(json.dumps(config))
        write_safetensors(path / "model.safetensors", {name: ("F16", [2, 2], bytes(8)) for name in tensors})
        return str(path)

    def planned(self, base: str, url: str = "", **declared: object) -> Run:
        template = TEMPLATES[Path(base).name]
        raw = {"name": "mine", "base_model": base, "dataset": "homelab", "template": template, **declared}
        tools = Toolchain(ollama_url=url) if url else Toolchain(ollama_url="http://127.0.0.1:9")
        return plan(self.layout, Request.finetune(raw), Host(tools, "cpu"))


@pytest.fixture
def lab(tmp_path: Path) -> VisionLab:
    return VisionLab(tmp_path)


def kinds(run: Run) -> list[str]:
    return [step.spec.kind for step in run.steps]


def said(run: Run) -> str:
    return " ".join(map(str, warnings_of(run)))


def test_encoder_is_made_before_the_training_and_registered(lab: VisionLab) -> None:
    run = lab.planned(lab.base("gemma3", LANGUAGE, "vision_tower.a", "multi_modal_projector.b"))
    assert kinds(run) == ["base", "projector", "train", "merge", "gguf", "gguf", "register"]
    projector, register = run.step("projector"), run.step("register-q4_K_M")
    assert projector.spec.upstream == {"base": run.step("base").spec.fingerprint} and not projector.spec.settings
    assert set(register.spec.upstream) == {"gguf", "projector"}
    assert register.spec.upstream["projector"] == projector.spec.fingerprint
    assert "served as a text model" not in said(run)
    assert disk_of(run, projector) == int(8 * 2.2)
    without = lab.planned(lab.base("gemma3", LANGUAGE, "vision_tower.a", "multi_modal_projector.b"), register=False)
    assert "projector" not in kinds(without)


def test_fine_tunes_of_a_base_share_the_encoder(lab: VisionLab) -> None:
    base = lab.base("gemma3", LANGUAGE, "vision_tower.a")
    one, other = lab.planned(base), lab.planned(base, name="other", lora_rank=4)
    assert one.step("projector").spec.fingerprint == other.step("projector").spec.fingerprint
    assert one.step("train").spec.fingerprint != other.step("train").spec.fingerprint


def test_adapter_is_served_with_the_encoder(lab: VisionLab) -> None:
    run = lab.planned(lab.base("gemma3", LANGUAGE, "vision_tower.a"), export="adapter")
    assert set(run.step("register-q4_K_M").spec.upstream) == {"gguf", "gguf_adapter", "projector"}


def test_version_without_the_encoder_is_the_former_one(lab: VisionLab) -> None:
    """The registration that an earlier version of the collection made of the same version."""
    spec = lab.planned(lab.base("gemma3", LANGUAGE, "vision_tower.a")).step("register-q4_K_M").spec
    formerly = {"gguf": spec.upstream["gguf"]}
    without = earlier_fingerprints(spec.settings, spec.upstream)
    assert len(without) == 2 and spec.fingerprint not in without
    assert without[1:] == earlier_fingerprints(spec.settings, formerly)


def test_weights_without_an_encoder(lab: VisionLab) -> None:
    run = lab.planned(lab.base("qwen2_5_vl", LANGUAGE))
    assert "projector" not in kinds(run) and "the weights on this host have no encoder" in said(run)


def test_architecture_whose_encoder_is_not_served(lab: VisionLab) -> None:
    run = lab.planned(lab.base("mistral3", LANGUAGE, "vision_tower.a"))
    assert "projector" not in kinds(run) and "not served for the architecture mistral3" in said(run)


@pytest.mark.parametrize("argument", ["freeze_vision_tower", "freeze_multi_modal_projector"])
def test_training_that_changes_the_encoder(lab: VisionLab, argument: str) -> None:
    directory = lab.base("gemma3", LANGUAGE, "vision_tower.a")
    base = vision.Base("b" * 64, directory, "", "gemma3", directory)
    step, note = vision.projector_step(lab.layout, base, {"extra": {argument: False}}, Toolchain(), provided=True)
    assert step is None and f"{argument}: false the training changes the encoder" in str(note)
    for extra in ({argument: True}, {}):
        step, note = vision.projector_step(lab.layout, base, {"extra": extra}, Toolchain(), provided=True)
        assert step is not None and note is None


def test_server_that_cannot_run_the_encoder(lab: VisionLab) -> None:
    base = lab.base("qwen3_vl", LANGUAGE, "model.visual.a")
    with fake_ollama() as server:
        server.version = "0.24.0"
        old = lab.planned(base, url=server.url)
        assert "projector" not in kinds(old) and "is version 0.24.0, which cannot run its encoder" in said(old)
        server.version = "0.32.0"
        assert "projector" in kinds(lab.planned(base, url=server.url))
    assert "projector" in kinds(lab.planned(base)), "a server that does not answer may be started later"


def test_text_bases_are_as_they_were(lab: VisionLab) -> None:
    run = lab.plan()
    assert "projector" not in kinds(run) and set(run.step("register-q4_K_M").spec.upstream) == {"gguf"}


def test_base_that_is_not_fetched_is_estimated(lab: VisionLab) -> None:
    base = vision.Base("b" * 64, "google/gemma-3-4b-it", "google/gemma-3-4b-it", "gemma3", "")
    step, note = vision.projector_step(lab.layout, base, {}, Toolchain(), provided=True)
    assert step is not None and note is None
    assert 0.8e9 < step.spec.options["bytes"] < 1.1e9
    step, note = vision.projector_step(lab.layout, base, {}, Toolchain(), provided=False)
    assert step is None and isinstance(note, Message) and note.code == "planning.encoder_missing"
