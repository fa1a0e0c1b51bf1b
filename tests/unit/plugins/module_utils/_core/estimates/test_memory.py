# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The estimator against published measurements, each by name, and against itself.

The measurements were made by others, on GPUs; none of them could be repeated here.
"""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.catalogue import (
    CATALOGUE,
    Shape,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.names import (
    catalogue_names,
    resolve,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import memory
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import (
    normalise,
    resolved,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.options import (
    OPTIONS,
    QUANTIZATIONS,
)

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
class Point:
    """A published measurement with all that decides it.

    :param state_bytes: of a trained parameter, where the optimizer was not LLaMA-Factory's AdamW.
    """

    name: str
    shape: Shape
    values: dict[str, t.Any]
    length: int
    published: float
    state_bytes: float | None = None


def points() -> list[Point]:
    found = []
    # QwenLM/Qwen, README, "Profiling of Memory and Speed": one A100, batch 1, accumulation 8, FlashAttention 2;
    # finetune_lora_single_gpu.sh: gradient checkpointing; finetune.py: rank 64 on c_attn, c_proj, w1, w2, AdamW.
    qwen = {
        "batch_size": 1,
        "lora_rank": 64,
        "lora_target": ["qkv_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    }
    for length, published in ((256, 20.1), (1024, 21.5), (4096, 29.7), (8192, 36.6)):
        values = {**qwen, "method": "lora"}
        found.append(Point(f"qwen-7b-lora-{length}", QWEN_7B, values, length, published * GB))
    # Q-LoRA ran under DeepSpeed ZeRO 2 in fp16 (finetune_qlora_single_gpu.sh): weight and gradient in 16 bits, weight,
    # its gradient at the step and two moments in 32 bits: 2 + 2 + 4 + 4 + 8.
    for length, published in ((256, 11.5), (1024, 12.3), (4096, 16.9), (8192, 23.5)):
        values = {**qwen, "method": "qlora"}
        found.append(Point(f"qwen-7b-qlora-{length}", QWEN_7B, values, length, published * GB, 20.0))
    # LLaMA-Factory, wiki, "Performance comparison": a 7B in 4 bits, FlashAttention 2, batch 1, told in whole
    # gigabytes. Taken for Llama 2 7B with LLaMA-Factory's defaults of that time: rank 8 on q_proj and v_proj, AdamW.
    wiki = {"method": "qlora", "batch_size": 1, "lora_rank": 8, "lora_target": ["q_proj", "v_proj"]}
    for length, published in ((1024, 6), (2048, 7), (4096, 9), (8192, 12), (16384, 19)):
        found.append(Point(f"llamafactory-wiki-qlora-7b-{length}", LLAMA2_7B, wiki, length, published * GB))
    return found


@pytest.mark.parametrize("point", [pytest.param(point, id=point.name) for point in points()])
def test_within_15_percent_of(point: Point) -> None:
    raw = memory.vram_of(point.shape, point.values, point.length, point.state_bytes).raw
    assert abs(raw / point.published - 1) <= 0.15, f"{raw / GB:.2f} GB, published {point.published / GB:.2f} GB"


@pytest.mark.parametrize("point", [pytest.param(point, id=point.name) for point in points()])
def test_what_is_planned_is_enough_for(point: Point) -> None:
    planned = memory.vram_of(point.shape, point.values, point.length, point.state_bytes).planned
    assert point.published * 0.99 <= planned <= point.published * 1.35


# Published without batch, length or optimizer: the sum must lie in between, for any reading of what is missing.
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
    # torchtune, README, Llama 3.1 8B on a 4090 (its full run steps the optimizer within the way back: not ours)
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


# -- the parts -----------------------------------------------------------------------------------------------------


def test_adapters_are_counted() -> None:
    # "trainable params: 40,370,176" is what PEFT prints for Qwen2.5 7B, rank 16, all linear modules
    assert memory.trainable(shape_of("qwen2.5:7b"), {"method": "lora", "lora_rank": 16}) == 40370176
    # Phi 4 has its modules together; rank 16 on all of them
    assert memory.trainable(shape_of("phi4:14b"), {"method": "lora", "lora_rank": 16}) == 16 * 40 * (
        (5120 + 7680) + (5120 + 5120) + (5120 + 2 * 17920) + (17920 + 5120)
    )


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.hub_id) for entry in CATALOGUE])
def test_the_weights_are_nearly_all_linear_modules_and_embeddings(entry: t.Any) -> None:
    shape = entry.shape
    counted = memory.linear_parameters(shape) + memory.embedding_parameters(shape)
    # norms and biases are the rest; Gemma 3 from 4b on also sees
    most = 1.12 if shape.model_type == "gemma3" else 1.003
    assert 1.0 <= shape.parameters / counted <= most


def test_what_counts_for_a_method() -> None:
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


def test_a_row_is_not_padded_to_the_cutoff() -> None:
    shape = shape_of("qwen2.5:7b")
    short = memory.estimate(shape, {"cutoff_len": 8192}, longest=300)
    assert short.length == 300
    assert memory.estimate(shape, {"cutoff_len": 8192}).length == 8192
    assert memory.estimate(shape, {"cutoff_len": 200}, longest=300).length == 200
    assert memory.estimate(shape, {"cutoff_len": 8192, "extra": {"packing": True}}, longest=300).length == 8192


def test_what_the_sum_does_not_know_is_named() -> None:
    shape = shape_of("qwen2.5:7b")
    assert memory.estimate(shape, {"extra": {"deepspeed": "ds.json"}}).unknown == ("extra.deepspeed",)
    assert memory.estimate(shape).unknown == ()


# -- the rest of the machine ----------------------------------------------------------------------------------------


def test_the_seven_billion_model_takes_about_60_gb_of_disk() -> None:
    found = memory.estimate(shape_of("qwen2.5:7b"), {"method": "lora"})
    assert 14.9 < found.disk["base"] / GB < 15.5
    assert 14.9 < found.disk["merge"] / GB < 15.5
    assert 14.9 < found.disk["gguf-f16"] / GB < 15.5
    # Ollama's library shows qwen2.5:7b with 4.7 GB
    assert 4.6 < found.disk["gguf-q4_K_M"] / GB < 5.1
    assert 50 < sum(found.disk.values()) / GB < 65


def test_merging_needs_two_gigabytes_for_each_billion() -> None:
    found = memory.estimate(shape_of("qwen2.5:7b"))
    assert 15.2 < found.ram["merge"] / GB < 17


def test_a_training_on_a_cpu_is_told_in_ram() -> None:
    found = memory.estimate(shape_of("qwen2.5:0.5b"), {"method": "lora"}, "cpu", 256)
    assert found.vram is None
    assert 2.7 < found.ram["train"] / GB < 4


def test_full_training_saves_whole_checkpoints() -> None:
    shape = shape_of("qwen2.5:0.5b")
    full = memory.estimate(shape, {"method": "full"}).disk["train"]
    assert 0.494 * 40 < full / GB < 0.494 * 40 + 0.2
    assert memory.estimate(shape, {"method": "lora"}).disk["train"] < GB


def test_each_type_has_its_bits() -> None:
    assert set(memory.BITS) == set(QUANTIZATIONS)
    shape = shape_of("llama3.1:8b")
    sizes = [memory.gguf_bytes(shape, name) for name in memory.BITS]
    assert sizes[0] > sizes[1] and min(sizes) == sizes[-1]


def test_the_defaults_are_those_of_the_table() -> None:
    defaults = {option.name: option.default for option in OPTIONS}
    assert {name: defaults[name] for name in memory._DEFAULTS} == memory._DEFAULTS


def test_every_model_of_the_catalogue_with_every_method() -> None:
    for name in catalogue_names():
        for method in ("lora", "qlora", "full", "freeze"):
            values = resolved(normalise({"method": method, "quantizations": ["q4_K_M", "f16"]}))
            found = memory.estimate(shape_of(name), values)
            assert found.vram is not None
            told = found.as_dict()
            assert told["vram"]["planned"] > told["vram"]["raw"] > found.parameters * 0.5
            assert set(found.disk) == {"base", "train", "merge", "gguf-f16", "gguf-q4_K_M", "register-q4_K_M",
                                       "register-f16"}  # fmt: skip


def test_auto_has_no_estimate() -> None:
    with pytest.raises(ValueError, match="auto"):
        memory.estimate(LLAMA2_7B, {"method": "auto"})
