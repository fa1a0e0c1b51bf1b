# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimates memory and disk of a fine-tune from the shape of its model and its settings. No side effects.

All sizes are in bytes; 1 GB is 10⁹ bytes. The entry point is :func:`estimate`.

The GPU estimate is a sum (:class:`Vram`) that lies within 15 % of all published measurements whose method, batch,
length and optimizer are known (``test_memory.py`` names each of them). Planning uses more than the sum: see
:attr:`Vram.planned`.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..base_models.entry import Shape
from ..training.one_pass import declared_obstacle
from ..training.option import ADAPTERS, METHODS, STAGES
from ..training.options import DEFAULTS

#: Bytes per weight in 16 bits.
HALF = 2.0
#: Bytes per weight in 4 or 8 bits, including the scales. NF4 with double quantization has 4.127 bits (QLoRA, Dettmers
#: and others 2023, section 3); the rest is overhead of bitsandbytes. LLM.int8() has one scale per row.
QUANTIZED = {4: 0.53, 8: 1.06}
#: Bytes of optimizer state per weight, for optimizers (transformers' ``optim``) that need less than AdamW with its two
#: moments in 32 bits. Ignores the scales of bitsandbytes' blocks of 256. Optimizers not listed are treated as AdamW.
MOMENTS = {
    "adamw_8bit": 2.0,
    "adamw_bnb_8bit": 2.0,
    "paged_adamw_8bit": 2.0,
    "lion_32bit": 4.0,
    "lion_8bit": 1.0,
    "paged_lion_8bit": 1.0,
    "paged_lion_32bit": 4.0,
    "adafactor": 0.1,
    "sgd": 0.0,
}
_ADAMW_MOMENTS = 8.0
#: Peak bytes per element of the logits, over all copies that the loss keeps: 16 bits, 32 bits, logarithms and gradient,
#: not all at the same time. Fitted to the published measurements of models with vocabularies of 32 000 and 152 000.
_LOGITS_BYTES = 9.0
#: Bytes per element of the layer being computed: activations, their copies and gradients in 16 bits.
_LAYER_BYTES = 3.0
#: Bytes that CUDA, its libraries and the empty allocator occupy.
_CONTEXT_BYTES = 1_000_000_000

#: RAM of Python with PyTorch and LLaMA-Factory loaded (620 MB measured on a CPU); with CUDA about three times that.
_BASE_RAM = {"cpu": 700_000_000, "cuda": 2_500_000_000}
#: RAM of the converter besides the tensors it holds, and while it starts, whatever the size of the model.
_CONVERTER_RAM = 450_000_000
CONVERTER_START_RAM = 700_000_000
#: Disk of tokenizer and configuration in every copy of a model, every checkpoint and every GGUF file: bytes per token
#: of the vocabulary (Qwen 2.5: 11.4 MB for 151 936 tokens; Gemma 3: 38 MB for 262 144), and a constant.
_BYTES_PER_TOKEN = 145
_SIDE_FILE_BYTES = 500_000
#: Checkpoints that exist at the same time: two are kept, and the third is complete before the oldest is deleted.
_MAX_CHECKPOINTS = 3

#: Bits per weight by GGUF type, for Llama 3.1 8B: llama.cpp, tools/quantize/README.md (types it no longer lists:
#: from its earlier versions, computed from the file size).
BITS = {
    "f32": 32.0,
    "f16": 16.0,
    "bf16": 16.0,
    "q8_0": 8.5008,
    "q6_K": 6.5633,
    "q5_K_M": 5.7036,
    "q5_K_S": 5.5704,
    "q5_1": 6.04,
    "q5_0": 5.57,
    "q4_K_M": 4.8944,
    "q4_K_S": 4.6672,
    "q4_1": 5.11,
    "q4_0": 4.64,
    "iq4_NL": 4.6818,
    "iq4_XS": 4.4597,
    "q3_K_L": 4.2979,
    "q3_K_M": 3.9960,
    "q3_K_S": 3.6429,
    "iq3_XXS": 3.2548,
    "q2_K": 3.1593,
    "q2_K_S": 2.9697,
    "iq2_M": 2.9294,
    "iq2_S": 2.7403,
    "iq2_XS": 2.5882,
    "iq2_XXS": 2.3824,
    "iq1_M": 2.1460,
    "iq1_S": 2.0042,
}
#: Bits per weight of the embeddings, which get more bits than the layers; they dominate in small models.
_EMBEDDING_BITS = 6.5633

#: Input and output widths of a linear module of a layer, as a function of the shape.
_Widths = t.Callable[[Shape], "tuple[int, int]"]


def _query_width(shape: Shape) -> int:
    return shape.heads * shape.head_dim


def _key_width(shape: Shape) -> int:
    return shape.kv_heads * shape.head_dim


_MODULES: dict[str, _Widths] = {
    "q_proj": lambda s: (s.hidden, _query_width(s)),
    "k_proj": lambda s: (s.hidden, _key_width(s)),
    "v_proj": lambda s: (s.hidden, _key_width(s)),
    "o_proj": lambda s: (_query_width(s), s.hidden),
    "gate_proj": lambda s: (s.hidden, _dense_width(s)),
    "up_proj": lambda s: (s.hidden, _dense_width(s)),
    "down_proj": lambda s: (_dense_width(s), s.hidden),
    # fused modules of Phi 3 and 4
    "qkv_proj": lambda s: (s.hidden, _query_width(s) + 2 * _key_width(s)),
    "gate_up_proj": lambda s: (s.hidden, 2 * max(s.intermediate, s.expert_intermediate)),
}
_SEPARATE_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_DENSE_MODULES = ("gate_proj", "up_proj", "down_proj")
_FUSED_MODULES = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")


@dataclasses.dataclass(frozen=True)
class Vram:
    """GPU memory of a training by component, in bytes.

    :param weights: frozen weights of the model.
    :param trained: trained weights, with their gradients and the optimizer's moments.
    :param checkpoints: input of every layer, kept for the backward pass; without gradient checkpointing, all
        activations of all layers.
    :param layer: activations of the layer being computed.
    :param logits: logits of the vocabulary for every token, and their gradients. The largest component for a long row
        and a large vocabulary.
    :param context: CUDA and its libraries.
    """

    weights: int
    trained: int
    checkpoints: int
    layer: int
    logits: int
    context: int = _CONTEXT_BYTES

    @property
    def raw(self) -> int:
        """The sum of the components."""
        return self.weights + self.trained + self.checkpoints + self.layer + self.logits + self.context

    @property
    def planned(self) -> int:
        """Memory to plan for a training: ``1.12 · raw + 0.5 GB``.

        The sum is up to 12 % below the measurements (allocator fragmentation, kernel workspaces) and never far above.
        The margin matters because a training that runs out of memory at its longest row has wasted hours.
        """
        return int(self.raw * 1.12) + 500_000_000


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Resources of a fine-tune, in bytes.

    :param parameters: number of parameters of the model.
    :param trainable: number of trained parameters.
    :param length: tokens of the longest row, after truncation.
    :param vram: GPU memory of the training; None on a CPU.
    :param ram: peak RAM by kind of step.
    :param disk: maximum disk usage by kind of step; for ``gguf`` and ``register`` by ``gguf-TYPE``.
    :param unknown: settings that make the GPU estimate unreliable.
    :param experts: of a mixture of experts: ``count`` in a layer, ``active`` for a token, ``parameters`` of all.
    :param kept: disk usage after the step, by kind or label, where it is not that of ``disk``.
    """

    parameters: int
    trainable: int
    length: int
    vram: Vram | None
    ram: dict[str, int]
    disk: dict[str, int]
    unknown: tuple[str, ...] = ()
    experts: dict[str, int] | None = None
    kept: dict[str, int] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, t.Any]:
        """The estimate as plain values, with ``raw`` and ``planned`` of the GPU memory added."""
        values = dataclasses.asdict(self)
        values["unknown"] = list(self.unknown)
        if self.experts is None:
            del values["experts"]
        if self.vram is not None:
            values["vram"].update(raw=self.vram.raw, planned=self.vram.planned)
        return values


def estimate(
    shape: Shape,
    values: t.Mapping[str, t.Any] | None = None,
    accelerator: str = "cuda",
    longest: int | None = None,
) -> Estimate:
    """Estimate GPU memory, RAM and disk of a fine-tune.

    With a catalogue name: ``estimate(names.resolve("qwen2.5:7b").shape, {"method": "qlora"})``.

    :param shape: shape of the base model.
    :param values: typed hyperparameters by name (:func:`training.hyperparameters.resolved`); missing ones get their
        default. ``method`` must not be ``auto``.
    :param accelerator: ``cuda`` or ``cpu``.
    :param longest: tokens of the longest row of the dataset; None when unknown, which counts as ``cutoff_len``.
    :raises ValueError: when the method is unknown or ``auto``.
    """
    options = _with_defaults(values or {})
    if options["method"] not in METHODS or options["method"] == "auto":
        raise ValueError(f"an estimate needs a method, not {options['method']!r}")
    total = parameters(shape)
    trained = trainable(shape, options)
    length = effective_length(options, longest)
    merges = bool(options["keep_merged"]) or declared_obstacle(options) is not None
    vram = vram_of(shape, options, length) if accelerator == "cuda" else None
    ram = {
        "train": _BASE_RAM[accelerator]
        + (_cpu_training_ram(shape, options, length) if vram is None else _largest_tensor(shape)),
        # the base's weights in 16 bits, and PyTorch: about 2 GB per billion parameters
        "merge": int(HALF * total) + _BASE_RAM["cpu"] if merges else 0,
        "gguf": max(CONVERTER_START_RAM, _CONVERTER_RAM + 2 * _largest_tensor(shape)),
    }
    disk = {
        "base": int(HALF * total) + side_file_bytes(shape),
        "train": train_disk(shape, options),
        "merge": int(HALF * total) + side_file_bytes(shape) if merges else 0,
        "gguf_adapter": int(HALF * trained),
    }
    for name in ("f16", *options["quantizations"]):
        disk[f"gguf-{name}"] = gguf_bytes(shape, name)
    kept = {"train": trained_bytes(shape, options)}
    for name in options["quantizations"]:
        disk[f"register-{name}"] = register_disk(disk[f"gguf-{name}"])
        # the upload, and the blob that was made from it
        kept[f"register-{name}"] = 2 * disk[f"gguf-{name}"]
    experts = None
    if shape.experts:
        count = expert_parameters(shape)
        experts = {"count": shape.experts, "active": shape.active_experts, "parameters": count}
    unknown = tuple(_unmodelled_settings(options))
    return Estimate(total, trained, length, vram, ram, disk, unknown, experts, kept)


def _with_defaults(values: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {name: default if values.get(name) is None else values[name] for name, default in DEFAULTS.items()}


def effective_length(values: t.Mapping[str, t.Any], longest: int | None) -> int:
    """Tokens of the longest row as it is trained on.

    Rows are padded to the longest row of their batch, not to ``cutoff_len``, unless several are packed into one.

    :param longest: tokens of the longest row of the dataset; None when unknown.
    """
    options = _with_defaults(values)
    cutoff = int(options["cutoff_len"])
    packed = options["extra"].get("packing") or options["extra"].get("neat_packing")
    return cutoff if longest is None or packed else max(1, min(cutoff, longest))


# -- the model -------------------------------------------------------------------------------------------------------


def linear_parameters(shape: Shape) -> int:
    """Number of parameters of all linear modules, without norms and biases: ``L · (2·H·(Q + K) + 3·H·I)``.

    ``Q`` and ``K`` are the total widths of the query heads and of the key heads, ``I`` the width of the feed-forward
    part that every token uses. Experts are no linear modules: transformers keeps those of a layer in one tensor.
    """
    attention = 2 * shape.hidden * (_query_width(shape) + _key_width(shape))
    return shape.layers * (attention + 3 * shape.hidden * _dense_width(shape))


def expert_parameters(shape: Shape) -> int:
    """Number of parameters of all experts: ``L · E · 3·H·I``; 0 for a dense model."""
    return shape.layers * shape.experts * 3 * shape.hidden * shape.expert_intermediate


def _dense_width(shape: Shape) -> int:
    """Width of the feed-forward part that every token uses."""
    return shape.shared_intermediate if shape.experts else shape.intermediate


def _used_width(shape: Shape) -> int:
    """Width of everything in the feed-forward part that one token uses."""
    return _dense_width(shape) + shape.active_experts * shape.expert_intermediate


def embedding_parameters(shape: Shape) -> int:
    """Number of parameters of the embedding matrix and of an untied output layer: ``V · H`` or twice that."""
    return shape.vocabulary * shape.hidden * (1 if shape.tied else 2)


def parameters(shape: Shape) -> int:
    """Number of parameters of a model: as counted in its weights, or else computed from its shape."""
    return shape.parameters or linear_parameters(shape) + expert_parameters(shape) + embedding_parameters(shape)


def trainable(shape: Shape, values: t.Mapping[str, t.Any]) -> int:
    """Number of trained parameters.

    An adapter of rank ``r`` on a module with ``a`` inputs and ``b`` outputs has ``r · (a + b)`` (LoRA, Hu and others
    2021, section 4.1). ``freeze`` trains all parameters of some layers.
    """
    options = _with_defaults(values)
    if options["method"] == "full":
        return parameters(shape)
    if options["method"] == "freeze":
        count = min(abs(int(options["freeze_trainable_layers"])), shape.layers)
        return linear_parameters(shape) // shape.layers * count
    all_modules = _FUSED_MODULES if shape.model_type == "phi3" else _SEPARATE_MODULES
    names = all_modules if "all" in options["lora_target"] else tuple(options["lora_target"])
    width = 0
    for name in names:
        if (
            "all" in options["lora_target"]
            and shape.experts
            and not shape.shared_intermediate
            and name in _DENSE_MODULES
        ):
            continue  # no such linear module in its layers
        # an unknown module counts as the largest known one, to stay on the safe side
        inputs, outputs = _MODULES.get(name, _MODULES["gate_up_proj"])(shape)
        width += inputs + outputs
    return shape.layers * int(options["lora_rank"]) * width


# -- the GPU ---------------------------------------------------------------------------------------------------------


def vram_of(shape: Shape, values: t.Mapping[str, t.Any], length: int, state_bytes: float | None = None) -> Vram:
    """Estimate the GPU memory of a training.

    With ``B`` rows of ``S`` tokens, ``L`` layers of width ``H``, ``K`` the width of the keys, ``I`` that of the
    feed-forward part, and a vocabulary of ``V`` tokens:

    * weights: 2 bytes per parameter; for qlora 0.53 (4 bits) or 1.06 (8 bits) per linear parameter, while embeddings,
      output layer and experts (:func:`linear_parameters`) stay in 16 bits;
    * trained: 16 bytes per parameter: weight, gradient and AdamW's two moments in 32 bits; for ``full`` and
      ``freeze`` 2 more for the 16-bit copy that autocast keeps (trained weights are not counted as frozen ones too);
    * checkpoints: ``B·S·H·2·L``;
    * the layer being computed: ``B·S·(4·H + 2·K + 3·I)·3``;
    * logits: ``B·S·V·9``;
    * context: 1 GB.

    Stages that compare two answers (dpo, rm) or shift them (kto) have two rows per example. dpo (except orpo and
    simpo) and kto need a reference copy of the base in 16 bits; with an adapter, the base with the adapter disabled
    is the reference.

    :param length: ``S``, the tokens of a row.
    :param state_bytes: bytes per trained parameter including gradient and optimizer state; None to derive it from the
        method and ``extra``.
    """
    options = _with_defaults(values)
    method, extra = options["method"], options["extra"]
    total, trained = parameters(shape), trainable(shape, options)
    weight_bytes = 4.0 if options["precision"] == "fp32" else HALF
    tokens = int(options["batch_size"]) * length * (2 if options["stage"] in ("dpo", "rm", "kto") else 1)
    if state_bytes is None:
        state_bytes = _state_bytes(method, extra)
    frozen = total if method in ADAPTERS else total - trained
    weights = frozen * weight_bytes
    if method == "qlora":
        linear = min(linear_parameters(shape), total)
        weights = linear * QUANTIZED[int(options["quantization_bit"])] + (total - linear) * weight_bytes
    if method not in ADAPTERS and (
        options["stage"] == "kto" or (options["stage"] == "dpo" and options["pref_loss"] not in ("orpo", "simpo"))
    ):
        weights += total * weight_bytes
    layer = tokens * (4 * shape.hidden + 2 * _key_width(shape) + 3 * _used_width(shape)) * _LAYER_BYTES
    if extra.get("flash_attn") == "disabled":
        # then the full attention matrix is in memory, in 32 and in 16 bits
        layer += options["batch_size"] * shape.heads * length**2 * 6
    kept_inputs = (
        tokens * shape.hidden * HALF * shape.layers if options["gradient_checkpointing"] else layer * shape.layers
    )
    logits = 0.0 if extra.get("enable_liger_kernel") else tokens * shape.vocabulary * _LOGITS_BYTES
    return Vram(int(weights), int(trained * state_bytes), int(kept_inputs), int(layer), int(logits))


def _state_bytes(method: str, extra: t.Mapping[str, t.Any]) -> float:
    moments = MOMENTS.get(str(extra.get("optim", "")), _ADAMW_MOMENTS)
    if extra.get("pure_bf16"):
        return 4.0 + moments / 2  # everything in 16 bits
    return 8.0 + moments + (0.0 if method in ADAPTERS else HALF)


def _unmodelled_settings(values: t.Mapping[str, t.Any]) -> list[str]:
    """Settings whose effect on GPU memory the estimate does not model."""
    extra = values["extra"]
    names = ("deepspeed", "fsdp", "use_unsloth", "use_unsloth_gc", "use_galore", "use_apollo", "use_badam", "use_dora")
    settings = [f"extra.{name}" for name in (*names, "additional_target") if extra.get(name)]
    return settings + ([f"stage {values['stage']}"] if values["stage"] not in STAGES else [])


# -- RAM -------------------------------------------------------------------------------------------------------------


def _largest_tensor(shape: Shape) -> int:
    """Bytes of the largest tensor in 32 bits: weights pass through RAM one tensor at a time."""
    return 4 * shape.hidden * max(shape.vocabulary, shape.intermediate)


def _cpu_training_ram(shape: Shape, values: t.Mapping[str, t.Any], length: int) -> int:
    """RAM of a training on a CPU: the components of :class:`Vram` in 32 bits, so activations have twice the size."""
    vram = vram_of(shape, {**values, "precision": "fp32"}, length)
    return vram.weights + vram.trained + 2 * (vram.checkpoints + vram.layer) + vram.logits


# -- disk ------------------------------------------------------------------------------------------------------------


def side_file_bytes(shape: Shape) -> int:
    """Bytes of the files beside the weights in a copy of a model: tokenizer, configuration."""
    return _BYTES_PER_TOKEN * shape.vocabulary + _SIDE_FILE_BYTES


def train_disk(shape: Shape, values: t.Mapping[str, t.Any]) -> int:
    """Maximum disk usage of a training: three checkpoints (weights and two moments in 32 bits), and the result.

    Without an adapter all weights are saved, even when only some are trained.
    """
    saved = trained_bytes(shape, values)
    return _MAX_CHECKPOINTS * (saved + 8 * trainable(shape, _with_defaults(values))) + saved


def trained_bytes(shape: Shape, values: t.Mapping[str, t.Any]) -> int:
    """Disk usage of the result of a training."""
    options = _with_defaults(values)
    weights = trainable(shape, options) if options["method"] in ADAPTERS else parameters(shape)
    return 4 * weights + side_file_bytes(shape)


def gguf_bytes(shape: Shape, quantization: str) -> int:
    """Size of the GGUF file of a model; embeddings get no fewer than 6.56 bits."""
    embeddings = embedding_parameters(shape)
    bits = BITS[quantization]
    layers = (parameters(shape) - embeddings) * bits
    return int((layers + embeddings * max(bits, _EMBEDDING_BITS)) / 8) + side_file_bytes(shape)


def quantized_bytes(half: int, quantization: str) -> int:
    """Estimated size of a GGUF file quantized from a 16-bit one.

    :param half: size of the 16-bit file.
    """
    # the share of the embeddings is unknown here; 15 % more covers all but the smallest models
    return min(half, int(half * BITS[quantization] / 16 * 1.15)) + _SIDE_FILE_BYTES


def register_disk(gguf: int) -> int:
    """Largest disk usage during a registration in Ollama's model directory.

    From version 0.30 on, the server has ``llama-quantize`` copy the upload to a temporary file, and copies that into a
    blob (``rewriteLayerWithLlamaQuantize`` in ``server/create.go``). The upload stays until the server starts again.

    :param gguf: size of the GGUF file, in bytes.
    """
    return 3 * gguf
