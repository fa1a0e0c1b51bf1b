# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step merge without LLaMA-Factory: its export command, and its checks of an export."""

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

#: The same configuration as written by transformers 4 and by version 5.
CONFIG_4 = {"vocab_size": 4, "rope_theta": 1e6, "rope_scaling": None, "torch_dtype": "bfloat16", "hidden_size": 2}
CONFIG_5 = {
    "vocab_size": 4,
    "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"},
    "dtype": "bfloat16",
    "hidden_size": 2,
}
TOKENIZER = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<eos>"}]}


def dump(path: str, value: t.Any) -> None:
    """Write JSON as another program does."""
    Path(path).write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def lab(tmp_path: Path) -> StepLab:
    """A base with weights and tokenizer, and a training."""
    step_lab = StepLab(tmp_path)
    step_lab.artifact("train", TRAIN)
    base = tmp_path / "base"
    write_safetensors(base / "model.safetensors", TENSORS)
    dump(str(base / "config.json"), CONFIG_4)
    dump(str(base / "tokenizer.json"), TOKENIZER)
    dump(str(base / "tokenizer_config.json"), {"tokenizer_class": "LlamaTokenizer", "chat_template": "{{ x }}"})
    (base / "tokenizer.model").write_bytes(b"pieces")
    (base / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    return step_lab


def context(lab: StepLab, **declared: t.Any) -> StepContext:
    """Context of a merge."""
    options = {"resolved": resolved(normalise({"template": "qwen", **declared}))}
    return lab.context("merge", {"base": BASE, "train": TRAIN}, options)


def trained_adapter(lab: StepLab, **settings: t.Any) -> None:
    """The adapter that the training made, of one module."""
    directory = lab.layout.artifact("train", TRAIN)
    dump(os.path.join(directory, "adapter_config.json"), {"peft_type": "LORA", "r": 1, "lora_alpha": 2, **settings})
    tensors = {
        "base_model.model.layer.lora_A.weight": ("BF16", [1, 2], bytes(4)),
        "base_model.model.layer.lora_B.weight": ("BF16", [2, 1], bytes(4)),
    }
    write_safetensors(os.path.join(directory, "adapter_model.safetensors"), tensors)


def rename_layer(lab: StepLab) -> None:
    """The base's tensor as PEFT names it."""
    tensors = {"embed": TENSORS["embed"], "layer.weight": TENSORS["layer"]}
    write_safetensors(lab.root / "base" / "model.safetensors", tensors)


def on_the_way(lab: StepLab, **declared: t.Any) -> StepContext:
    """Context of a merge whose weights are not required."""
    ctx = context(lab, **declared)
    ctx.spec.options["weights"] = False
    return ctx


def test_merge_on_the_way(lab: StepLab) -> None:
    """No program runs, LLaMA-Factory need not even be there; the result says what the adapter does."""
    rename_layer(lab)
    trained_adapter(lab)
    (lab.root / "lf/bin/python").unlink()
    ctx = on_the_way(lab)
    os.makedirs(ctx.work)
    Path(ctx.work, "left.safetensors").touch()
    assert MergeStep().command(ctx) is None
    assert os.listdir(ctx.work) == ["adapter_changes.json"]
    changes = json.loads(Path(ctx.work, "adapter_changes.json").read_text())
    assert list(changes) == ["layer.weight"] and changes["layer.weight"]["scale"] == 2.0
    results = MergeStep().finish(ctx)
    assert results == {"weights": False, "modules": 1, "tokenizer": "base"}
    assert MergeStep().finish(ctx) == results, "a supervisor killed here calls it again"


@pytest.mark.parametrize(
    ("declared", "settings", "code"),
    [
        ({"method": "full"}, {}, "one_pass_method"),
        ({"extra": {"resize_vocab": True}}, {}, "one_pass_argument"),
        ({}, {"fan_in_fan_out": True}, "one_pass_setting"),
        ({}, {"init_lora_weights": "pissa"}, "one_pass_setting"),
        ({}, {"use_dora": True}, "one_pass_tensor"),
        ({}, {"r": 2}, "one_pass_shape"),
    ],
)
def test_what_cannot_be_merged_on_the_way_is_exported(
    lab: StepLab, declared: dict[str, t.Any], settings: dict[str, t.Any], code: str
) -> None:
    rename_layer(lab)
    trained_adapter(lab, **settings)
    ctx = on_the_way(lab, **declared)
    assert MergeStep().command(ctx) is not None
    export(ctx, {"embed": TENSORS["embed"], "layer.weight": TENSORS["layer"]})
    results = MergeStep().finish(ctx)
    assert results["weights"] is True and results["obstacle"]["code"] == f"training.{code}"


def test_a_tokenizer_that_the_training_enlarged_is_exported(lab: StepLab) -> None:
    rename_layer(lab)
    trained_adapter(lab)
    added = [*TOKENIZER["added_tokens"], {"id": 3, "content": "<x>"}]  # type: ignore[misc]
    dump(os.path.join(lab.layout.artifact("train", TRAIN), "tokenizer.json"), {**TOKENIZER, "added_tokens": added})
    ctx = on_the_way(lab)
    assert MergeStep().command(ctx) is not None
    assert json.loads(Path(ctx.job_dir, "obstacle.json").read_text())["code"] == "training.one_pass_tokens"


def export(ctx: StepContext, tensors: t.Mapping[str, tuple[str, list[int], bytes]] | None = None) -> None:
    """Write the files that ``llamafactory-cli export`` writes."""
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
    """The configuration that LLaMA-Factory reads."""
    MergeStep().command(ctx)
    config: dict[str, t.Any] = yaml.safe_load(Path(ctx.job_dir, "export.yaml").read_text(encoding="utf-8"))
    return config


def test_command(lab: StepLab) -> None:
    """An adapter is merged into the 16-bit base, in the base's type, whatever the precision of the training."""
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
def test_command_for_full_weights(lab: StepLab, method: str) -> None:
    """Exports the training's own weights, without an adapter."""
    config = configuration(context(lab, method=method))
    assert config["model_name_or_path"] == lab.layout.artifact("train", TRAIN)
    assert "adapter_name_or_path" not in config
    assert config["finetuning_type"] == method


def test_arguments_that_shape_the_model_are_passed_on(lab: StepLab) -> None:
    """Other arguments are omitted, because the export would reject them."""
    config = configuration(context(lab, extra={"add_tokens": "<x>", "resize_vocab": True, "neftune_noise_alpha": 5}))
    assert (config["add_tokens"], config["resize_vocab"]) == ("<x>", True)
    assert "neftune_noise_alpha" not in config


def test_disk_space(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing disk space is reported before the merge, not after half an hour."""
    monkeypatch.setattr(tool_environment, "free_bytes", lambda _path: 10)
    with pytest.raises(NotReadyError, match="room"):
        MergeStep().command(context(lab))


def test_missing_tool_is_reported_before_any_deletion(lab: StepLab) -> None:
    ctx = context(lab)
    export(ctx)
    (lab.root / "lf/bin/python").unlink()
    with pytest.raises(NotReadyError, match="lf/bin/python"):
        MergeStep().command(ctx)
    assert os.path.exists(os.path.join(ctx.work, "model.safetensors"))


def test_restored_base_files(lab: StepLab) -> None:
    """The base's tokenizer, its configuration in the compatible form, and its stop tokens; no Modelfile."""
    ctx = context(lab)
    export(ctx)
    assert MergeStep().finish(ctx) == {
        "weights": True,
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
    # the export's copy of a template that is in the base's tokenizer_config.json
    assert not os.path.exists(os.path.join(ctx.work, "chat_template.jinja"))
    assert MergeStep().finish(ctx)["tensors"] == 2, "a supervisor killed here calls it again"


def test_template_of_a_base_without_one(lab: StepLab) -> None:
    """The template that LLaMA-Factory wrote is kept."""
    dump(str(lab.root / "base" / "tokenizer_config.json"), {"tokenizer_class": "LlamaTokenizer"})
    ctx = context(lab)
    export(ctx)
    MergeStep().finish(ctx)
    assert os.path.exists(os.path.join(ctx.work, "chat_template.jinja"))


@pytest.mark.parametrize("how", ["in the tokenizer", "in extra"])
def test_added_tokens(lab: StepLab, how: str) -> None:
    """After a training that added tokens the exported tokenizer is kept, in a form that transformers 4 reads."""
    ctx = context(lab, extra={"add_tokens": "<x>"} if how == "in extra" else {})
    export(ctx)
    if how == "in the tokenizer":
        added = [*TOKENIZER["added_tokens"], {"id": 3, "content": "<x>"}]  # type: ignore[misc]
        dump(os.path.join(ctx.work, "tokenizer.json"), {**TOKENIZER, "added_tokens": added})
    assert MergeStep().finish(ctx)["tokenizer"] == "export"
    assert not os.path.exists(os.path.join(ctx.work, "tokenizer.model"))
    config = json.loads(Path(ctx.work, "tokenizer_config.json").read_text())
    assert config == {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<eos>"]}


@pytest.mark.parametrize("name", ["tokenizer_config.json", "added_tokens.json"])
def test_tokens_in_other_files_of_the_base_are_not_added(lab: StepLab, name: str) -> None:
    """Version 5 writes tokens into tokenizer.json that older bases have in other files."""
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
    """With more tokens or a scaled position encoding the base's configuration would be wrong."""
    ctx = context(lab)
    export(ctx)
    dump(os.path.join(ctx.work, "config.json"), {**CONFIG_5, **changed})
    MergeStep().finish(ctx)
    assert json.loads(Path(ctx.work, "config.json").read_text()) == {**CONFIG_5, **changed}


def test_unfinished_export(lab: StepLab) -> None:
    """Modelfile is the last file that an export writes."""
    ctx = context(lab)
    export(ctx)
    os.unlink(os.path.join(ctx.work, "Modelfile"))
    with pytest.raises(JobError, match="did not finish"):
        MergeStep().finish(ctx)


def test_marker_of_an_earlier_export_is_ignored(lab: StepLab) -> None:
    """The command of the job was started again."""
    ctx = context(lab)
    export(ctx)
    MergeStep().finish(ctx)
    MergeStep().command(ctx)
    export(ctx)
    os.unlink(os.path.join(ctx.work, "Modelfile"))
    with pytest.raises(JobError, match="did not finish"):
        MergeStep().finish(ctx)


def test_truncated_export(lab: StepLab) -> None:
    """The weights are truncated."""
    ctx = context(lab)
    export(ctx)
    os.truncate(os.path.join(ctx.work, "model.safetensors"), 150)
    with pytest.raises(JobError, match="is incomplete"):
        MergeStep().finish(ctx)


def test_missing_tensor(lab: StepLab) -> None:
    """transformers wrote the model only partially."""
    ctx = context(lab)
    export(ctx, {"embed": TENSORS["embed"]})
    with pytest.raises(JobError, match="lacks 1 of the base's tensors, such as layer"):
        MergeStep().finish(ctx)


def test_non_finite_values(lab: StepLab) -> None:
    """Infinite values, from the overflow of a small number type."""
    ctx = context(lab)
    export(ctx, {**TENSORS, "layer": ("BF16", [2, 2], struct.pack("<H", 0x7F80) * 4)})
    with pytest.raises(JobError, match=r"no numbers \(layer\)"):
        MergeStep().finish(ctx)


def test_renamed_tensors_are_not_missing() -> None:
    """Renamed tensors are not missing; computed and tied tensors are optional."""

    def tensors(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
        return {name.replace("__", "."): Tensor("BF16", shape, 0, 0) for name, shape in shapes.items()}

    base = tensors(a=(2, 2), b=(3,), lm_head__weight=(9, 2), x__rotary_emb__inv_freq=(8,))
    assert missing_tensors(base, tensors(a=(2, 2), b=(3,))) == []
    assert missing_tensors(base, tensors(a=(2, 2), model__b=(3,))) == []
    assert missing_tensors(base, tensors(a=(2, 2), model__b=(4,))) == ["b"]
    assert missing_tensors(base, tensors(model__a=(2, 2))) == ["b"]
    assert missing_tensors(tensors(a=(2,), b=(2,)), tensors(c=(2,))) == ["b"]


def test_progress(lab: StepLab) -> None:
    """Progress is parsed from a recorded export."""
    ctx = context(lab)
    assert MergeStep().progress(ctx) is None
    Path(ctx.job_dir, "log.txt").write_bytes(recorded("export.log"))
    progress = MergeStep().progress(ctx)
    assert progress is not None and (str(progress.note), progress.current, progress.total) == ("writing", 1, 1)
    text = recorded("export.log").decode("utf-8")
    Path(ctx.job_dir, "log.txt").write_text(text.split("[INFO|2026-11-23")[0], encoding="utf-8")
    progress = MergeStep().progress(ctx)
    assert progress is not None and (str(progress.note), progress.current, progress.total) == ("loading", 20, 20)
