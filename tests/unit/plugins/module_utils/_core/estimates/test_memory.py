# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the estimator with published measurements, each by name, and checks its consistency.

The measurements are from other projects and were made on GPUs; none of them was repeated here.
"""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.catalogue import CATALOGUE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.entry import Shape
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.names import (
    catalogue_names,
    resolve,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import memory
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import (
    normalise,
    resolved,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.known_names import QUANTIZATIONS

GB = 1e9
GIB = 2.0**30

LLAMA2_7B = Shape("llama", 32, 4096, 11008, 32, 32, 128, 32000, 6738415616, False)
QWEN_7B = Shape("qwen", 32, 4096, 11008, 32, 32, 128, 151936, 7721324544, False)
LLAMA31_8B = Shape("llama", 32, 4096, 14336, 32, 8, 128, 128256, 8030261248, False)


def shape_of(name: str) -> Shape:
    shape = resolve(name).shape
    assert shape is not None
    return shape


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A published measurement with all relevant settings.

    :param published: measured GPU memory in bytes.
    :param state_bytes: bytes per trained parameter, when the optimizer was not LLaMA-Factory's AdamW.
    """

    name: str
    shape: Shape
    values: dict[str, t.Any]
    length: int
    published: float
    state_bytes: float | None = None


def measurements_of() -> list[Measurement]:
    measurements = []
    # QwenLM/Qwen, README, "Profiling of Memory and Speed": one A100, batch 1, accumulation 8, FlashAttention 2;
    # finetune_lora_single_gpu.sh: gradient checkpointing; finetune.py: rank 64 on c_attn, c_proj, w1, w2, AdamW.
    qwen = {
        "batch_size": 1,
        "lora_rank": 64,
        "lora_target": ["qkv_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    }
    for length, published in ((256, 20.1), (1024, 21.5), (4096, 29.7), (8192, 36.6)):
        values = {**qwen, "method": "lora"}
        measurements.append(Measurement(f"qwen-7b-lora-{length}", QWEN_7B, values, length, published * GB))
    # Q-LoRA ran under DeepSpeed ZeRO 2 in fp16 (finetune_qlora_single_gpu.sh): weight and gradient in 16 bits, weight,
    # its gradient at the step and two moments in 32 bits: 2 + 2 + 4 + 4 + 8.
    for length, published in ((256, 11.5), (1024, 12.3), (4096, 16.9), (8192, 23.5)):
        values = {**qwen, "method": "qlora"}
        measurements.append(Measurement(f"qwen-7b-qlora-{length}", QWEN_7B, values, length, published * GB, 20.0))
    # LLaMA-Factory, wiki, "Performance comparison": a 7B in 4 bits, FlashAttention 2, batch 1, rounded to
    # gigabytes. Assumed: Llama 2 7B with LLaMA-Factory's defaults of that time: rank 8 on q_proj and v_proj, AdamW.
    wiki = {"method": "qlora", "batch_size": 1, "lora_rank": 8, "lora_target": ["q_proj", "v_proj"]}
    for length, published in ((1024, 6), (2048, 7), (4096, 9), (8192, 12), (16384, 19)):
        measurements.append(
            Measurement(f"llamafactory-wiki-qlora-7b-{length}", LLAMA2_7B, wiki, length, published * GB)
        )
    return measurements


@pytest.mark.parametrize("point", [pytest.param(point, id=point.name) for point in measurements_of()])
def test_within_15_percent_of(point: Measurement) -> None:
    raw = memory.vram_of(point.shape, point.values, point.length, point.state_bytes).raw
    assert abs(raw / point.published - 1) <= 0.15, f"{raw / GB:.2f} GB, published {point.published / GB:.2f} GB"


@pytest.mark.parametrize("point", [pytest.param(point, id=point.name) for point in measurements_of()])
def test_planned_memory_is_sufficient(point: Measurement) -> None:
    planned = memory.vram_of(point.shape, point.values, point.length, point.state_bytes).planned
    assert point.published * 0.99 <= planned <= point.published * 1.35


# Published without batch, length or optimizer: must lie between the estimates for all plausible values of these.
SANITY = [
    # LLaMA-Factory, README, "Hardware Requirement", 7B
    ("readme-full-amp", LLAMA2_7B, {"method": "full"}, 120 * GB, 256, 2048),
    ("readme-pure-bf16", LLAMA2_7B, {"method": "full", "extra": {"pure_bf16": True}}, 60 * GB, 256, 2048),
    ("readme-lora", LLAMA2_7B, {"method": "lora"}, 16 * GB, 256, 2048),
    ("readme-qlora-8", LLAMA2_7B, {"method": "qlora", "quantization_bit": 8}, 10 * GB, 256, 2048),
    ("readme-qlora-4", LLAMA2_7B, {"method": "qlora"}, 6 * GB, 256, 2048),
    # published runs, Llama 2 7B on an A100
    ("a100-lora", LLAMA2_7B, {"method": "lora"}, 16.3 * GB, 256, 2048),
    ("a100-qlora", LLAMA2_7B, {"method": "qlora"}, 7.5 * GB, 256, 4096),
    # torchtune, README, Llama 3.1 8B on a 4090 (its full run steps the optimizer in the backward pass, unlike ours)
    ("torchtune-lora", LLAMA31_8B, {"method": "lora", "lora_rank": 8}, 16.2 * GIB, 256, 2048),
    ("torchtune-qlora", LLAMA31_8B, {"method": "qlora", "lora_rank": 8}, 7.4 * GIB, 256, 2048),
]


@pytest.mark.parametrize(
    ("shape", "values", "published", "shortest", "longest"), [pytest.param(*each[1:], id=each[0]) for each in SANITY]
)
def test_sanity(shape: Shape, values: dict[str, t.Any], published: float, shortest: int, longest: int) -> None:
    low = memory.vram_of(shape, values, shortest).raw * 0.85
    high = memory.vram_of(shape, {**values, "batch_size": 2}, longest).planned
    assert low <= published <= high, f"{low / GB:.2f} to {high / GB:.2f} GB, published {published / GB:.2f} GB"


# -- components ---------------------------------------------------------------------------------------------------


def test_trainable_parameters_of_an_adapter() -> None:
    # "trainable params: 40,370,176" is what PEFT prints for Qwen2.5 7B, rank 16, all linear modules
    assert memory.trainable(shape_of("qwen2.5:7b"), {"method": "lora", "lora_rank": 16}) == 40370176
    # Phi 4 has fused modules; rank 16 on all of them
    assert memory.trainable(shape_of("phi4:14b"), {"method": "lora", "lora_rank": 16}) == 16 * 40 * (
        (5120 + 7680) + (5120 + 5120) + (5120 + 2 * 17920) + (17920 + 5120)
    )


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.hub_id) for entry in CATALOGUE if entry.shape])
def test_weights_are_mostly_linear_modules_and_embeddings(entry: t.Any) -> None:
    shape = entry.shape
    counted = memory.linear_parameters(shape) + memory.embedding_parameters(shape) + memory.expert_parameters(shape)
    # the rest are norms and biases; Gemma 3 from 4b on has a vision part too
    most = 1.12 if shape.model_type == "gemma3" else 1.003
    assert 1.0 <= shape.parameters / counted <= most


def test_experts_are_named_and_stay_in_16_bits() -> None:
    """A quantized training keeps experts in 16 bits: bitsandbytes replaces linear modules, and they are none."""
    shape = shape_of("qwen3:30b")
    estimate = memory.estimate(shape, {"method": "qlora"}, longest=300)
    experts = 48 * 128 * 3 * 2048 * 768
    assert estimate.as_dict()["experts"] == {"count": 128, "active": 8, "parameters": experts}
    assert estimate.vram is not None
    assert 2 * experts < estimate.vram.weights < 2 * experts + 4e9
    # an adapter is on the attention alone: queries, keys, values and output
    widths = (2048 + 4096) + 2 * (2048 + 512) + (4096 + 2048)
    assert estimate.trainable == 48 * 16 * widths
    assert "experts" not in memory.estimate(shape_of("qwen2.5:7b")).as_dict()


def test_a_token_uses_a_few_experts() -> None:
    shape = shape_of("qwen3:30b")
    used = dataclasses.replace(shape, active_experts=128)
    few, all_of_them = (memory.vram_of(each, {"method": "lora"}, 1024).layer for each in (shape, used))
    assert all_of_them > 8 * few


def test_effect_of_the_settings() -> None:
    shape = shape_of("qwen2.5:7b")

    def raw(**values: t.Any) -> float:
        return memory.vram_of(shape, values, 1024).raw / GB

    assert raw(method="qlora") < raw(method="qlora", quantization_bit=8) < raw(method="lora") < raw(method="freeze")
    assert raw(method="freeze") < raw(method="full", extra={"pure_bf16": True}) < raw(method="full")
    assert raw(method="full", extra={"optim": "paged_adamw_8bit"}) < raw(method="full")
    assert raw(method="lora", batch_size=4) > raw(method="lora", batch_size=2)
    assert raw(method="lora", gradient_checkpointing=False) > raw(method="lora") * 1.1
    assert raw(method="lora", extra={"flash_attn": "disabled"}) > raw(method="lora")
    assert raw(method="lora", extra={"enable_liger_kernel": True}) < raw(method="lora") - 1.3
    assert raw(method="lora", stage="dpo") > raw(method="lora")
    assert raw(method="lora", lora_target=["something_new"]) > raw(method="lora", lora_target=["q_proj"])


def test_rows_are_not_padded_to_the_cutoff() -> None:
    shape = shape_of("qwen2.5:7b")
    short = memory.estimate(shape, {"cutoff_len": 8192}, longest=300)
    assert short.length == 300
    assert memory.estimate(shape, {"cutoff_len": 8192}).length == 8192
    assert memory.estimate(shape, {"cutoff_len": 200}, longest=300).length == 200
    assert memory.estimate(shape, {"cutoff_len": 8192, "extra": {"packing": True}}, longest=300).length == 8192


def test_unmodelled_settings_are_reported() -> None:
    shape = shape_of("qwen2.5:7b")
    assert memory.estimate(shape, {"extra": {"deepspeed": "ds.json"}}).unknown == ("extra.deepspeed",)
    assert memory.estimate(shape).unknown == ()


# -- RAM and disk --------------------------------------------------------------------------------------------------


def test_a_7b_model_needs_about_70_gb_of_disk() -> None:
    estimate = memory.estimate(shape_of("qwen2.5:7b"), {"method": "lora", "keep_merged": True})
    assert 14.9 < estimate.disk["base"] / GB < 15.5
    assert 14.9 < estimate.disk["merge"] / GB < 15.5
    assert 14.9 < estimate.disk["gguf-f16"] / GB < 15.5
    # Ollama's library shows qwen2.5:7b with 4.7 GB
    assert 4.6 < estimate.disk["gguf-q4_K_M"] / GB < 5.1
    # Ollama 0.30 and later: the upload, what llama-quantize writes from it, and the blob that this is copied to
    assert estimate.disk["register-q4_K_M"] == 3 * estimate.disk["gguf-q4_K_M"]
    assert 65 < sum(estimate.disk.values()) / GB < 70


def test_merging_needs_two_gigabytes_per_billion_parameters() -> None:
    for values in ({"keep_merged": True}, {"method": "full"}, {"extra": {"resize_vocab": True}}):
        estimate = memory.estimate(shape_of("qwen2.5:7b"), values)
        assert 15.2 < estimate.ram["merge"] / GB < 17


def test_merging_on_the_way_needs_no_memory_and_no_disk_of_its_own() -> None:
    estimate = memory.estimate(shape_of("qwen2.5:7b"))
    assert (estimate.ram["merge"], estimate.disk["merge"]) == (0, 0)
    assert estimate.ram["gguf"] / GB < 6


@pytest.mark.parametrize(("model", "peak"), [("qwen2.5:0.5b", 1.51), ("qwen2.5:1.5b", 2.27)])
def test_memory_of_a_conversion_in_one_pass(model: str, peak: float) -> None:
    """Measured by ``benchmarks/one_pass.py``; the tiny base is measured by ``tests/real/test_steps_real.py``."""
    assert memory.estimate(shape_of(model)).ram["gguf"] / GB == pytest.approx(peak, rel=0.2)


def test_training_on_a_cpu_uses_ram() -> None:
    estimate = memory.estimate(shape_of("qwen2.5:0.5b"), {"method": "lora"}, "cpu", 256)
    assert estimate.vram is None
    assert 2.7 < estimate.ram["train"] / GB < 4


def test_full_training_saves_full_checkpoints() -> None:
    shape = shape_of("qwen2.5:0.5b")
    full = memory.estimate(shape, {"method": "full"}).disk["train"]
    assert 0.494 * 40 < full / GB < 0.494 * 40 + 0.2
    assert memory.estimate(shape, {"method": "lora"}).disk["train"] < GB


def test_every_type_has_its_bits() -> None:
    assert set(memory.BITS) == set(QUANTIZATIONS)
    shape = shape_of("llama3.1:8b")
    sizes = [memory.gguf_bytes(shape, name) for name in memory.BITS]
    assert sizes[0] > sizes[1] and min(sizes) == sizes[-1]


def test_every_model_of_the_catalogue_with_every_method() -> None:
    for name in catalogue_names():
        if resolve(name).shape is None:
            continue  # read from the files of the model
        for method in ("lora", "qlora", "full", "freeze"):
            values = resolved(normalise({"method": method, "quantizations": ["q4_K_M", "f16"]}))
            estimate = memory.estimate(shape_of(name), values)
            assert estimate.vram is not None
            content = estimate.as_dict()
            assert content["vram"]["planned"] > content["vram"]["raw"] > estimate.parameters * 0.5
            assert set(estimate.disk) == {
                "base",
                "train",
                "merge",
                "gguf_adapter",
                "gguf-f16",
                "gguf-q4_K_M",
                "register-q4_K_M",
                "register-f16",
            }


def test_auto_has_no_estimate() -> None:
    with pytest.raises(ValueError, match="auto"):
        memory.estimate(LLAMA2_7B, {"method": "auto"})
