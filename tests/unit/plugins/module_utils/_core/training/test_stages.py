# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages and their datasets: a mismatch is rejected before anything runs."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import planner
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import stages
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.option import STAGES
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

ROWS: dict[str, dict[str, t.Any]] = {
    "sft": {"instruction": "a", "output": "b"},
    "preference": {"instruction": "a", "chosen": "b", "rejected": "c"},
    "kto": {"instruction": "a", "output": "b", "kto_tag": True},
    "pretraining": {"text": "Il était une fois. " * 200},
}
FITTING = {"sft": "sft", "dpo": "preference", "rm": "preference", "kto": "kto", "pt": "pretraining"}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A data directory with a dataset of each kind, and a local base model."""
    layout = Layout(str(tmp_path / "data"))
    for kind, row in ROWS.items():
        registry.apply(layout, registry.Declaration(kind), [Source("records", records=[row])])
    base = tmp_path / "base"
    base.mkdir()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 1, "intermediate_size": 64, "vocab_size": 32,
    }  # fmt: skip
    write_json(str(base / "config.json"), config)
    (base / "tokenizer.json").write_text("{}")
    write_safetensors(base / "model.safetensors", {"lm_head.weight": ("F32", [1], b"\0" * 4)})
    return layout


def plan(layout: Layout, stage: str, kind: str, goal: Goal = Goal.MODEL, **more: t.Any) -> Run:
    """Plan the run of a fine-tune."""
    declared = {
        "name": "essai", "base_model": os.path.join(os.path.dirname(layout.root), "base"), "dataset": kind,
        "stage": stage, "template": "qwen", **more,
    }  # fmt: skip
    return planner.plan(layout, Request.finetune(declared, goal), Host(Toolchain(), "cpu"))


def test_every_stage_is_described() -> None:
    assert set(stages.STAGES) == set(STAGES) == set(FITTING)


@pytest.mark.parametrize("stage", FITTING)
@pytest.mark.parametrize("kind", ROWS)
def test_a_stage_accepts_only_its_own_rows(stage: str, kind: str, layout: Layout) -> None:
    if FITTING[stage] == kind:
        assert plan(layout, stage, kind).steps[1].spec.kind == "train"
        return
    with pytest.raises(InputError, match=f"The stage {stage} trains on .* the dataset {kind!r} holds ") as caught:
        plan(layout, stage, kind)
    fitting = next(other for other, other_kind in FITTING.items() if other_kind == kind)
    assert f"stage: {fitting}" in caught.value.hint
    with pytest.raises(InputError, match="trains on"):
        plan(layout, stage, kind, Goal.TRAIN)


def test_an_unpublished_dataset_is_checked_too(layout: Layout) -> None:
    """Check mode uses the predicted results of the dataset."""
    predicted = {"new": {"fingerprint": "0" * 64, "outcome": {"kind": "kto"}}}
    declared = {
        "name": "essai", "base_model": os.path.join(os.path.dirname(layout.root), "base"), "dataset": "new",
        "template": "qwen",
    }  # fmt: skip
    with pytest.raises(InputError, match="The stage sft trains on questions and answers"):
        planner.plan(layout, Request.finetune(declared), Host(Toolchain(), "cpu", predicted))


def test_the_stage_is_part_of_the_fingerprint(layout: Layout) -> None:
    sigmoid = plan(layout, "dpo", "preference").steps[1].spec
    assert sigmoid.settings["stage"] == "dpo"
    assert sigmoid.options["resolved"]["pref_loss"] == "sigmoid"
    orpo = plan(layout, "dpo", "preference", pref_loss="orpo").steps[1].spec
    assert orpo.settings["pref_loss"] == "orpo"
    assert orpo.fingerprint != sigmoid.fingerprint
    assert "pref_loss" not in plan(layout, "sft", "sft").steps[1].spec.options["resolved"]


def test_steps_of_a_reward_model(layout: Layout) -> None:
    """A reward model has an adapter and a value head, but is not served; a request to serve it is rejected."""
    run = plan(layout, "rm", "preference")
    assert [step.label for step in run.steps] == ["base", "train"]
    assert run.goals == ("train",)
    assert [step.label for step in plan(layout, "rm", "preference", register=False).steps] == ["base", "train"]
    with pytest.raises(InputError, match="essai: A reward model .* nothing for Ollama to serve"):
        plan(layout, "rm", "preference", register=True)
    spec = run.steps[1].spec
    artifact = layout.artifact("train", spec.fingerprint)
    os.makedirs(artifact)
    write_json(os.path.join(artifact, "receipt.json"), {"upstream": spec.upstream, "options": spec.options})
    with pytest.raises(InputError, match="is not merged"):
        planner.plan(layout, Request.merge(spec.fingerprint), Host(Toolchain()))


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto", "pt"])
def test_other_stages_are_registered(stage: str, layout: Layout) -> None:
    run = plan(layout, stage, FITTING[stage])
    assert run.goals == ("register-q4_K_M",)
    assert run.steps[-1].spec.settings["template"] == "qwen"
    assert plan(layout, stage, FITTING[stage], register=False).goals == ("gguf-q4_K_M",)


def test_warnings(layout: Layout) -> None:
    """The default learning rate is too high for other stages, and text does not teach answering."""

    def warnings_for(stage: str, **more: t.Any) -> str:
        return " ".join(map(str, planner.warnings_of(plan(layout, stage, FITTING[stage], **more))))

    assert warnings_for("sft", epochs=30) == ""
    assert "learning_rate 0.0002 suits sft; for dpo something like 5e-06 is usual" in warnings_for("dpo")
    assert warnings_for("dpo", learning_rate=5e-6, epochs=30) == ""
    assert "teaches no answering" in warnings_for("pt")
    assert "5e-06" in warnings_for("kto")


def test_text_shorter_than_one_piece_is_rejected(layout: Layout) -> None:
    """LLaMA-Factory splits text into pieces of cutoff_len tokens, drops the rest, and fails without any piece."""
    with pytest.raises(InputError, match="less text"):
        plan(layout, "pt", "pretraining", cutoff_len=100000)
