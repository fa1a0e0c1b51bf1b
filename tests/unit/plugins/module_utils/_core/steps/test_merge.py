# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step merge without LLaMA-Factory: the export it would run, what it makes of an export."""

from __future__ import annotations

import json
import os
import struct
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.safetensors import Tensor
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import tool_environment
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.merge import (
    MergeStep,
    missing_tensors,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import (
    normalise,
    resolved,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.recorded import recorded
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import BASE, StepLab
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

TRAIN = "7" * 64
TENSORS = {"embed": ("BF16", [4, 2], bytes(16)), "layer": ("BF16", [2, 2], bytes(8))}

#: As transformers 4 wrote it, and as version 5 writes the same.
CONFIG_4 = {"vocab_size": 4, "rope_theta": 1e6, "rope_scaling": None, "torch_dtype": "bfloat16", "hidden_size": 2}
CONFIG_5 = {
    "vocab_size": 4,
    "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"},
    "dtype": "bfloat16",
    "hidden_size": 2,
}
TOKENIZER = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<eos>"}]}


def dump(path: str, value: t.Any) -> None:
    """JSON of another program."""
    Path(path).write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def lab(tmp_path: Path) -> StepLab:
    """A base with weights and tokenizer, and a training."""
    made = StepLab(tmp_path)
    made.artifact("train", TRAIN)
    base = tmp_path / "base"
    write_safetensors(base / "model.safetensors", TENSORS)
    dump(str(base / "config.json"), CONFIG_4)
    dump(str(base / "tokenizer.json"), TOKENIZER)
    dump(str(base / "tokenizer_config.json"), {"tokenizer_class": "LlamaTokenizer", "chat_template": "{{ x }}"})
    (base / "tokenizer.model").write_bytes(b"pieces")
    (base / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    return made


def context(lab: StepLab, **declared: t.Any) -> StepContext:
    """A job for a merge."""
    options = {"resolved": resolved(normalise({"template": "qwen", **declared}))}
    return lab.context("merge", {"base": BASE, "train": TRAIN}, options)


def export(ctx: StepContext, tensors: t.Mapping[str, tuple[str, list[int], bytes]] | None = None) -> None:
    """What ``llamafactory-cli export`` leaves."""
    tensors = TENSORS if tensors is None else tensors
    os.makedirs(ctx.work, exist_ok=True)
    write_safetensors(os.path.join(ctx.work, "model.safetensors"), tensors)
    dump(os.path.join(ctx.work, "config.json"), CONFIG_5)
    dump(os.path.join(ctx.work, "tokenizer.json"), TOKENIZER)
    extra = {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<eos>"]}
    dump(os.path.join(ctx.work, "tokenizer_config.json"), extra)
    Path(ctx.work, "generation_config.json").write_text('{"eos_token_id": 1}')
    for name in ("Modelfile", "chat_template.jinja"):
        Path(ctx.work, name).touch()


def configuration(ctx: StepContext) -> dict[str, t.Any]:
    """What LLaMA-Factory will read."""
    MergeStep().command(ctx)
    found: dict[str, t.Any] = yaml.safe_load(Path(ctx.job_dir, "export.yaml").read_text(encoding="utf-8"))
    return found


def test_command(lab: StepLab) -> None:
    """An adapter goes onto the 16-bit base, in the base's own type, whatever the training computed with."""
    ctx = context(lab, method="qlora")
    os.makedirs(ctx.work)
    Path(ctx.work, "left.safetensors").touch()
    assert configuration(ctx) == {
        "model_name_or_path": str(lab.root / "base"),
        "adapter_name_or_path": lab.layout.artifact("train", TRAIN),
        "template": "qwen",
        "finetuning_type": "lora",
        "infer_dtype": "bfloat16",
        "export_dir": ctx.work,
        "export_size": 5,
        "export_device": "cpu",
        "export_legacy_format": False,
    }
    assert os.listdir(ctx.work) == []


@pytest.mark.parametrize("method", ["full", "freeze"])
def test_command_for_whole_weights(lab: StepLab, method: str) -> None:
    """The training's own weights, no adapter."""
    found = configuration(context(lab, method=method))
    assert found["model_name_or_path"] == lab.layout.artifact("train", TRAIN)
    assert "adapter_name_or_path" not in found
    assert found["finetuning_type"] == method


def test_arguments_that_shape_the_model_are_handed_on(lab: StepLab) -> None:
    """Others would be refused by the export."""
    found = configuration(context(lab, extra={"add_tokens": "<x>", "resize_vocab": True, "neftune_noise_alpha": 5}))
    assert (found["add_tokens"], found["resize_vocab"]) == ("<x>", True)
    assert "neftune_noise_alpha" not in found


def test_room(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk too small is said before, not after half an hour."""
    monkeypatch.setattr(tool_environment, "free_bytes", lambda _path: 10)
    with pytest.raises(NotReadyError, match="room"):
        MergeStep().command(context(lab))


def test_what_is_missing_is_said_before_anything_is_taken_away(lab: StepLab) -> None:
    ctx = context(lab)
    export(ctx)
    (lab.root / "lf/bin/python").unlink()
    with pytest.raises(NotReadyError, match="lf/bin/python"):
        MergeStep().command(ctx)
    assert os.path.exists(os.path.join(ctx.work, "model.safetensors"))


def test_put_back(lab: StepLab) -> None:
    """The base's tokenizer, its configuration in the form everybody reads, its stop tokens; no Modelfile."""
    ctx = context(lab)
    export(ctx)
    assert MergeStep().finish(ctx) == {
        "tensors": 2,
        "parameters": 12,
        "bytes": os.path.getsize(os.path.join(ctx.work, "model.safetensors")),
        "dtype": "BF16",
        "tokenizer": "base",
    }
    base = lab.root / "base"
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert Path(ctx.work, name).read_bytes() == (base / name).read_bytes()
    assert json.loads(Path(ctx.work, "config.json").read_text()) == CONFIG_4
    assert not os.path.exists(os.path.join(ctx.work, "Modelfile"))
    # the export's own copy of a template that the base has in its tokenizer_config.json
    assert not os.path.exists(os.path.join(ctx.work, "chat_template.jinja"))
    assert MergeStep().finish(ctx)["tensors"] == 2, "a supervisor killed here calls it again"


def test_template_of_a_base_without_one(lab: StepLab) -> None:
    """Then the one that LLaMA-Factory wrote stays."""
    dump(str(lab.root / "base" / "tokenizer_config.json"), {"tokenizer_class": "LlamaTokenizer"})
    ctx = context(lab)
    export(ctx)
    MergeStep().finish(ctx)
    assert os.path.exists(os.path.join(ctx.work, "chat_template.jinja"))


@pytest.mark.parametrize("how", ["in the tokenizer", "in extra"])
def test_added_tokens(lab: StepLab, how: str) -> None:
    """A training that added tokens keeps its tokenizer, in a form that transformers 4 reads."""
    ctx = context(lab, extra={"add_tokens": "<x>"} if how == "in extra" else {})
    export(ctx)
    if how == "in the tokenizer":
        added = [*TOKENIZER["added_tokens"], {"id": 3, "content": "<x>"}]  # type: ignore[misc]
        dump(os.path.join(ctx.work, "tokenizer.json"), {**TOKENIZER, "added_tokens": added})
    assert MergeStep().finish(ctx)["tokenizer"] == "export"
    assert not os.path.exists(os.path.join(ctx.work, "tokenizer.model"))
    found = json.loads(Path(ctx.work, "tokenizer_config.json").read_text())
    assert found == {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<eos>"]}


@pytest.mark.parametrize("name", ["tokenizer_config.json", "added_tokens.json"])
def test_tokens_the_base_names_elsewhere_are_not_added(lab: StepLab, name: str) -> None:
    """Version 5 writes into tokenizer.json what older bases have beside it."""
    ctx = context(lab)
    export(ctx)
    added = [*TOKENIZER["added_tokens"], {"id": 3, "content": "<x>"}]  # type: ignore[misc]
    dump(os.path.join(ctx.work, "tokenizer.json"), {**TOKENIZER, "added_tokens": added})
    content = {"added_tokens_decoder": {"3": {"content": "<x>"}}} if name == "tokenizer_config.json" else {"<x>": 3}
    dump(str(lab.root / "base" / name), content)
    assert MergeStep().finish(ctx)["tokenizer"] == "base"


@pytest.mark.parametrize(
    "changed",
    [
        {"vocab_size": 64},
        {"rope_parameters": {"rope_theta": 1e6, "rope_type": "linear", "factor": 2.0}},
    ],
)
def test_configuration_that_the_training_changed(lab: StepLab, changed: dict[str, t.Any]) -> None:
    """More tokens or a stretched position encoding: the base's configuration would be wrong."""
    ctx = context(lab)
    export(ctx)
    dump(os.path.join(ctx.work, "config.json"), {**CONFIG_5, **changed})
    MergeStep().finish(ctx)
    assert json.loads(Path(ctx.work, "config.json").read_text()) == {**CONFIG_5, **changed}


def test_export_that_did_not_end(lab: StepLab) -> None:
    """Modelfile is what it writes last."""
    ctx = context(lab)
    export(ctx)
    os.unlink(os.path.join(ctx.work, "Modelfile"))
    with pytest.raises(JobError, match="did not finish"):
        MergeStep().finish(ctx)


def test_marker_of_an_earlier_export_does_not_count(lab: StepLab) -> None:
    """A job whose command had to be started again."""
    ctx = context(lab)
    export(ctx)
    MergeStep().finish(ctx)
    MergeStep().command(ctx)
    export(ctx)
    os.unlink(os.path.join(ctx.work, "Modelfile"))
    with pytest.raises(JobError, match="did not finish"):
        MergeStep().finish(ctx)


def test_torn_export(lab: StepLab) -> None:
    """Weights cut off."""
    ctx = context(lab)
    export(ctx)
    os.truncate(os.path.join(ctx.work, "model.safetensors"), 150)
    with pytest.raises(JobError, match="is incomplete"):
        MergeStep().finish(ctx)


def test_lost_tensor(lab: StepLab) -> None:
    """A model that transformers writes only in part."""
    ctx = context(lab)
    export(ctx, {"embed": TENSORS["embed"]})
    with pytest.raises(JobError, match="lacks 1 of the base's tensors, such as layer"):
        MergeStep().finish(ctx)


def test_no_numbers(lab: StepLab) -> None:
    """Infinity after a type that is too small."""
    ctx = context(lab)
    export(ctx, {**TENSORS, "layer": ("BF16", [2, 2], struct.pack("<H", 0x7F80) * 4)})
    with pytest.raises(JobError, match=r"no numbers \(layer\)"):
        MergeStep().finish(ctx)


def test_counterparts() -> None:
    """Renamed is not lost; computed and tied tensors need not be there."""

    def tensors(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
        return {name.replace("__", "."): Tensor("BF16", shape, 0, 0) for name, shape in shapes.items()}

    base = tensors(a=(2, 2), b=(3,), lm_head__weight=(9, 2), x__rotary_emb__inv_freq=(8,))
    assert missing_tensors(base, tensors(a=(2, 2), b=(3,))) == []
    assert missing_tensors(base, tensors(a=(2, 2), model__b=(3,))) == []
    assert missing_tensors(base, tensors(a=(2, 2), model__b=(4,))) == ["b"]
    assert missing_tensors(base, tensors(model__a=(2, 2))) == ["b"]
    assert missing_tensors(tensors(a=(2,), b=(2,)), tensors(c=(2,))) == ["b"]


def test_progress(lab: StepLab) -> None:
    """From a recorded export."""
    ctx = context(lab)
    assert MergeStep().progress(ctx) is None
    Path(ctx.job_dir, "log.txt").write_bytes(recorded("export.log"))
    found = MergeStep().progress(ctx)
    assert found is not None and (found.note, found.current, found.total) == ("writing", 1, 1)
    text = recorded("export.log").decode("utf-8")
    Path(ctx.job_dir, "log.txt").write_text(text.split("[INFO|2026-11-23")[0], encoding="utf-8")
    found = MergeStep().progress(ctx)
    assert found is not None and (found.note, found.current, found.total) == ("loading", 20, 20)
