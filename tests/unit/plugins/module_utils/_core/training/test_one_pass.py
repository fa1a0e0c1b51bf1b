# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an adapter does to the tensors of its base, from the headers of both."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import (
    normalise,
    resolved,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.one_pass import (
    Change,
    NotInOnePassError,
    declared_obstacle,
    read_changes,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

Q = "model.layers.0.self_attn.q_proj"
PREFIX = "base_model.model."
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "bias": "none", "fan_in_fan_out": False}


def tensor(*shape: int) -> tuple[str, list[int], bytes]:
    """A tensor of zeros."""
    size = 2
    for count in shape:
        size *= count
    return "BF16", list(shape), bytes(size)


BASE = {
    "model.embed_tokens.weight": tensor(8, 4),
    f"{Q}.weight": tensor(6, 4),
    "model.norm.weight": tensor(4),
    "lm_head.weight": tensor(8, 4),
}
LORA = {f"{PREFIX}{Q}.lora_A.weight": tensor(2, 4), f"{PREFIX}{Q}.lora_B.weight": tensor(6, 2)}


def changes(
    root: Path,
    adapter: t.Mapping[str, t.Any] | None = None,
    config: t.Mapping[str, t.Any] | None = None,
    base: t.Mapping[str, t.Any] | None = None,
    tied: bool | None = False,
) -> dict[str, Change]:
    """Write base and adapter, and read the changes."""
    written = {
        "base/model.safetensors": BASE if base is None else base,
        "trained/adapter_model.safetensors": LORA if adapter is None else adapter,
    }
    for name, tensors in written.items():
        (root / name).parent.mkdir(exist_ok=True)
        write_safetensors(root / name, tensors)
    (root / "trained" / "adapter_config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    (root / "base" / "config.json").write_text(json.dumps({} if tied is None else {"tie_word_embeddings": tied}))
    return read_changes(str(root / "base"), str(root / "trained"))


def test_lora(tmp_path: Path) -> None:
    found = changes(tmp_path)
    assert found == {f"{Q}.weight": Change(f"{PREFIX}{Q}.lora_A.weight", f"{PREFIX}{Q}.lora_B.weight", 8 / 2)}


def test_rank_stabilized_lora(tmp_path: Path) -> None:
    assert changes(tmp_path, config={"use_rslora": True})[f"{Q}.weight"].scale == pytest.approx(8 / 2**0.5)


@pytest.mark.parametrize("suffix", ["", ".weight"])
def test_dora(tmp_path: Path, suffix: str) -> None:
    """PEFT has written the vector under both names."""
    magnitude = f"{PREFIX}{Q}.lora_magnitude_vector{suffix}"
    found = changes(tmp_path, {**LORA, magnitude: tensor(6)}, {"use_dora": True})
    assert found[f"{Q}.weight"].magnitude == magnitude


def test_modules_to_save(tmp_path: Path) -> None:
    adapter = {**LORA, f"{PREFIX}lm_head.weight": tensor(8, 4), f"{PREFIX}model.norm.weight": tensor(4)}
    found = changes(tmp_path, adapter)
    assert found["lm_head.weight"] == Change(replacement=f"{PREFIX}lm_head.weight")
    assert found["model.norm.weight"] == Change(replacement=f"{PREFIX}model.norm.weight")


@pytest.mark.parametrize("tied", [True, None])
def test_tied_embeddings(tmp_path: Path, tied: bool | None) -> None:
    """They may be there; what changes them is for transformers. A configuration that says nothing may mean tied."""
    assert changes(tmp_path, tied=tied)
    with pytest.raises(NotInOnePassError, match="input and output at once"):
        changes(tmp_path, {**LORA, f"{PREFIX}lm_head.weight": tensor(8, 4)}, tied=tied)


def test_containers_in_another_order(tmp_path: Path) -> None:
    """transformers 5 has model.language_model where checkpoints of Gemma 3 have language_model.model."""
    name = "layers.0.self_attn.q_proj"
    base = {
        f"language_model.model.{name}.weight": tensor(6, 4),
        f"vision_tower.{name}.weight": tensor(6, 4),
    }
    adapter = {
        f"{PREFIX}model.language_model.{name}.lora_A.weight": tensor(2, 4),
        f"{PREFIX}model.language_model.{name}.lora_B.weight": tensor(6, 2),
    }
    assert list(changes(tmp_path, adapter, base=base)) == [f"language_model.model.{name}.weight"]


def test_container_that_the_files_of_the_hub_do_not_have(tmp_path: Path) -> None:
    """transformers 5 has model.language_model where checkpoints of Qwen2.5-VL have model alone."""
    name = "layers.0.self_attn.q_proj"
    base = {
        f"model.{name}.weight": tensor(6, 4),
        f"visual.{name}.weight": tensor(6, 4),
        "model.norm.weight": tensor(4),
    }
    adapter = {
        f"{PREFIX}model.language_model.{name}.lora_A.weight": tensor(2, 4),
        f"{PREFIX}model.language_model.{name}.lora_B.weight": tensor(6, 2),
    }
    assert list(changes(tmp_path, adapter, base=base)) == [f"model.{name}.weight"]


def test_a_language_model_loaded_without_its_encoders(tmp_path: Path) -> None:
    """transformers saves qwen3_5_text under model.language_model, and loads it as model."""
    name = "layers.0.mlp.up_proj"
    base = {f"model.language_model.{name}.weight": tensor(6, 4), f"model.visual.{name}.weight": tensor(6, 4)}
    adapter = {
        f"{PREFIX}model.{name}.lora_A.weight": tensor(2, 4),
        f"{PREFIX}model.{name}.lora_B.weight": tensor(6, 2),
    }
    assert list(changes(tmp_path, adapter, base=base)) == [f"model.language_model.{name}.weight"]
    base[f"language_model.{name}.weight"] = tensor(6, 4)
    with pytest.raises(NotInOnePassError, match=name):
        changes(tmp_path, adapter, base=base)


@pytest.mark.parametrize(
    ("adapter", "reason"),
    [
        ({f"{PREFIX}{Q}.lora_A.weight": tensor(2, 4)}, f"the base has no tensor that {PREFIX}{Q}.lora_A.weight"),
        ({**LORA, f"{PREFIX}{Q}.lora_magnitude_vector": tensor(6)}, "the base has no tensor that"),
        ({f"{PREFIX}model.embed_tokens.lora_embedding_A": tensor(2, 8)}, "lora_embedding_A"),
        ({f"{PREFIX}other.lora_A.weight": tensor(2, 4), f"{PREFIX}other.lora_B.weight": tensor(6, 2)}, "other.weight"),
        ({**LORA, f"{PREFIX}{Q}.lora_B.weight": tensor(5, 2)}, "another shape"),
        ({**LORA, f"{PREFIX}model.norm.weight": tensor(5)}, "another shape"),
        ({"encoder.weight": tensor(4)}, "encoder.weight"),
        ({}, "empty"),
    ],
)
def test_what_is_not_understood_has_a_reason(tmp_path: Path, adapter: dict[str, t.Any], reason: str) -> None:
    with pytest.raises(NotInOnePassError) as caught:
        changes(tmp_path, adapter)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        {"peft_type": "OFT"}, {"bias": "all"}, {"alpha_pattern": {"q_proj": 4}}, {"rank_pattern": {"q_proj": 4}},
        {"lora_bias": True}, {"init_lora_weights": "pissa_niter_4"}, {"init_lora_weights": "loftq"},
        {"layer_replication": [[0, 1]]}, {"target_parameters": ["experts.gate_up_proj"]},
    ],
)  # fmt: skip
def test_settings_that_change_how_an_adapter_acts(tmp_path: Path, setting: dict[str, t.Any]) -> None:
    with pytest.raises(NotInOnePassError, match=f"its adapter has {next(iter(setting))} in adapter_config.json"):
        changes(tmp_path, config=setting)


def test_a_base_with_old_weight_files(tmp_path: Path) -> None:
    changes(tmp_path)
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base" / "pytorch_model.bin")
    with pytest.raises(NotInOnePassError, match="no weights in safetensors files"):
        read_changes(str(tmp_path / "base"), str(tmp_path / "trained"))


@pytest.mark.parametrize(
    ("declared", "obstacle"),
    [
        ({}, None),
        ({"method": "qlora"}, None),
        ({"extra": {"use_dora": True}}, None),
        ({"extra": {"resize_vocab": False}}, None),
        ({"method": "full"}, "the method full changes the base's own weights"),
        ({"method": "freeze"}, "the method freeze changes the base's own weights"),
        ({"extra": {"rope_scaling": "yarn"}}, "extra.rope_scaling changes more than an adapter does"),
        ({"extra": {"add_tokens": "<x>"}}, "extra.add_tokens changes more than an adapter does"),
    ],
)
def test_what_a_declaration_tells(declared: dict[str, t.Any], obstacle: str | None) -> None:
    found = declared_obstacle(resolved(normalise({"template": "qwen", **declared})))
    assert (str(found) if found else None) == obstacle
