# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory and disk a fine-tune takes, from the shape of its model and its settings. Pure: looks at nothing.

Everything is in bytes; a GB is 10⁹ of them. :func:`estimate` is the one to call.

The figure for the GPU is a sum (:class:`Vram`) that lies within 15 % of the published measurements whose method,
batch, length and optimizer are known (``tests/unit/plugins/module_utils/test_memory.py`` has each by name). What is
planned with is more than the sum: see :attr:`Vram.planned`.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..base_models.catalogue import Shape
from ..training.options import ADAPTERS, METHODS, STAGES

#: Bytes of a weight that is kept in 16 bits.
HALF = 2.0
#: Bytes of a weight in 4 or 8 bits, with its scales. NF4 with double quantization has 4.127 bits (QLoRA, Dettmers and
#: others 2023, section 3); the rest is what bitsandbytes keeps beside it. LLM.int8() has a scale a row.
QUANTIZED = {4: 0.53, 8: 1.06}
#: Bytes of the two moments of AdamW in 32 bits, and of optimizers that keep less (transformers' ``optim``; the scales
#: of bitsandbytes' blocks of 256 left out). What is not named here is taken for AdamW.
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
_ADAMW = 8.0
#: Bytes of an element of the logits, over all that the loss keeps of them at its peak: in 16 bits, in 32 bits, their
#: logarithms and their gradient, not all at once. Fitted to the published measurements of models with 32 000 and with
#: 152 000 rows of vocabulary.
_LOGITS = 9.0
#: Bytes of an element of the one layer that is at work: values, their copies and gradients in 16 bits.
_LAYER = 3.0
#: What CUDA, its libraries and the allocator take before there is anything in them.
_CONTEXT = 1_000_000_000

#: Python with PyTorch and LLaMA-Factory loaded (620 MB measured on a CPU), with CUDA's part about three times that.
_RAM_BASE = {"cpu": 700_000_000, "cuda": 2_500_000_000}
#: The converter and what it holds of one tensor.
_RAM_CONVERTER = 1_000_000_000
#: Bytes of tokenizer and configuration for each word of the vocabulary, beside every copy of a model, every checkpoint
#: and in a GGUF file (Qwen 2.5: 11.4 MB for 151 936 words; Gemma 3: 38 MB for 262 144), and of the rest.
_WORD = 145
_REST = 500_000
#: Checkpoints at a time: two are kept, and the third is whole before the oldest goes.
_CHECKPOINTS = 3

#: Bits of a weight by GGUF type, for Llama 3.1 8B: llama.cpp, tools/quantize/README.md (the types it no longer lists:
#: its earlier versions, from the size of the file).
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
    "q2_K": 3.1593,
}
#: The embeddings get more bits than the layers: in small models they are the larger part.
_EMBEDDING_BITS = 6.5633

#: Input and output widths of the linear modules of a layer, as functions of a shape; ``all`` means those a model has.
_Widths = t.Callable[[Shape], "tuple[int, int]"]


def _query(shape: Shape) -> int:
    return shape.heads * shape.head_dim


def _key(shape: Shape) -> int:
    return shape.kv_heads * shape.head_dim


_MODULES: dict[str, _Widths] = {
    "q_proj": lambda s: (s.hidden, _query(s)),
    "k_proj": lambda s: (s.hidden, _key(s)),
    "v_proj": lambda s: (s.hidden, _key(s)),
    "o_proj": lambda s: (_query(s), s.hidden),
    "gate_proj": lambda s: (s.hidden, s.intermediate),
    "up_proj": lambda s: (s.hidden, s.intermediate),
    "down_proj": lambda s: (s.intermediate, s.hidden),
    # Phi 3 and 4 have theirs together
    "qkv_proj": lambda s: (s.hidden, _query(s) + 2 * _key(s)),
    "gate_up_proj": lambda s: (s.hidden, 2 * s.intermediate),
}
_SEPARATE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_TOGETHER = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")


@dataclasses.dataclass(frozen=True)
class Vram:
    """What a training takes of a GPU's memory, part by part, in bytes.

    :param weights: the model's weights that are not trained.
    :param trained: what is trained, with its gradients and the optimizer's moments.
    :param checkpoints: the input of every layer, kept for the way back; all values of all layers without
        gradient checkpointing.
    :param layer: the one layer that is at work.
    :param logits: scores of all words of the vocabulary for every token, and their gradients. The largest part for a
        long row and a large vocabulary.
    :param context: CUDA and its libraries.
    """

    weights: int
    trained: int
    checkpoints: int
    layer: int
    logits: int
    context: int = _CONTEXT

    @property
    def raw(self) -> int:
        """The sum of the parts."""
        return self.weights + self.trained + self.checkpoints + self.layer + self.logits + self.context

    @property
    def planned(self) -> int:
        """What a training is given: ``1.12 · raw + 0.5 GB``.

        The sum is up to 12 % below what was measured (fragments of the allocator, workspaces of the kernels), never
        far above; a training that dies at its longest row has cost hours.
        """
        return int(self.raw * 1.12) + 500_000_000


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a fine-tune takes, in bytes.

    :param parameters: of the model.
    :param trainable: those that are trained.
    :param length: tokens of the longest row, as far as it is read.
    :param vram: of the training on a GPU; None on a CPU.
    :param ram: the most a step takes of the machine's memory, by kind of step.
    :param disk: what a step writes at most, by kind of step; for ``gguf`` and ``register`` by ``gguf-TYPE``.
    :param unknown: settings under which the figure for the GPU means little.
    """

    parameters: int
    trainable: int
    length: int
    vram: Vram | None
    ram: dict[str, int]
    disk: dict[str, int]
    unknown: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, t.Any]:
        """Plain values, with ``raw`` and ``planned`` of the GPU's memory."""
        found = dataclasses.asdict(self)
        found["unknown"] = list(self.unknown)
        if self.vram is not None:
            found["vram"].update(raw=self.vram.raw, planned=self.vram.planned)
        return found


def estimate(
    shape: Shape,
    values: t.Mapping[str, t.Any] | None = None,
    accelerator: str = "cuda",
    longest: int | None = None,
) -> Estimate:
    """What a fine-tune takes of GPU memory, RAM and disk.

    For a name of the catalogue: ``estimate(names.resolve("qwen2.5:7b").shape, {"method": "qlora"})``.

    :param shape: how the base model is built.
    :param values: hyperparameters by name, typed (:func:`training.hyperparameters.resolved`); what is missing is at its
        default. ``method`` must not be ``auto``.
    :param accelerator: ``cuda`` or ``cpu``.
    :param longest: tokens of the longest row of the dataset; None when not known: then all of ``cutoff_len`` counts.
    """
    given = _with_defaults(values or {})
    if given["method"] not in METHODS or given["method"] == "auto":
        raise ValueError(f"an estimate needs a method, not {given['method']!r}")
    total = parameters(shape)
    trained = trainable(shape, given)
    length = effective_length(given, longest)
    vram = vram_of(shape, given, length) if accelerator == "cuda" else None
    ram = {
        "train": _RAM_BASE[accelerator] + (_cpu_training(shape, given, length) if vram is None else _largest(shape)),
        # the base's weights in 16 bits, and PyTorch: about 2 GB for each billion parameters
        "merge": int(HALF * total) + _RAM_BASE["cpu"],
        "gguf": _RAM_CONVERTER + 2 * _largest(shape),
    }
    disk = {
        "base": int(HALF * total) + side_file_bytes(shape),
        "train": train_disk(shape, given),
        "merge": int(HALF * total) + side_file_bytes(shape),
    }
    for name in ("f16", *given["quantizations"]):
        disk[f"gguf-{name}"] = gguf_bytes(shape, name)
    for name in given["quantizations"]:
        disk[f"register-{name}"] = register_disk(disk[f"gguf-{name}"])
    return Estimate(total, trained, length, vram, ram, disk, tuple(_unknown(given)))


_DEFAULTS: dict[str, t.Any] = {
    "stage": "sft",
    "method": "lora",
    "batch_size": 1,
    "cutoff_len": 2048,
    "lora_rank": 16,
    "lora_target": ("all",),
    "quantization_bit": 4,
    "freeze_trainable_layers": 2,
    "precision": "auto",
    "gradient_checkpointing": True,
    "pref_loss": "sigmoid",
    "quantizations": ("q4_K_M",),
    "extra": {},
}


def _with_defaults(values: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    # a test holds these to the table of hyperparameters
    return {name: default if values.get(name) is None else values[name] for name, default in _DEFAULTS.items()}


def effective_length(values: t.Mapping[str, t.Any], longest: int | None) -> int:
    """Tokens of the longest row as it is trained on: rows are padded to the longest of their batch, not to
    ``cutoff_len``, unless several are packed into one.

    :param longest: tokens of the longest row of the dataset; None when not known.
    """
    given = _with_defaults(values)
    cutoff = int(given["cutoff_len"])
    packed = given["extra"].get("packing") or given["extra"].get("neat_packing")
    return cutoff if longest is None or packed else max(1, min(cutoff, longest))


# -- the model -------------------------------------------------------------------------------------------------------


def linear_parameters(shape: Shape) -> int:
    """Parameters of the linear modules of all layers, norms and biases left out: ``L · (2·H·(Q + K) + 3·H·I)``.

    ``Q`` and ``K`` are the widths of all query heads and of all key heads.
    """
    attention = 2 * shape.hidden * (_query(shape) + _key(shape))
    return shape.layers * (attention + 3 * shape.hidden * shape.intermediate)


def embedding_parameters(shape: Shape) -> int:
    """Parameters of the embedding matrix, and of the output layer where it is another one: ``V · H`` or twice that."""
    return shape.vocabulary * shape.hidden * (1 if shape.tied else 2)


def parameters(shape: Shape) -> int:
    """Parameters of a model: those counted in its weights, or else worked out from its shape."""
    return shape.parameters or linear_parameters(shape) + embedding_parameters(shape)


def trainable(shape: Shape, values: t.Mapping[str, t.Any]) -> int:
    """Parameters that are trained.

    An adapter of rank ``r`` on a module with ``a`` inputs and ``b`` outputs has ``r · (a + b)`` (LoRA, Hu and others
    2021, section 4.1). ``freeze`` trains whole layers.
    """
    given = _with_defaults(values)
    if given["method"] == "full":
        return parameters(shape)
    if given["method"] == "freeze":
        count = min(abs(int(given["freeze_trainable_layers"])), shape.layers)
        return linear_parameters(shape) // shape.layers * count
    usual = _TOGETHER if shape.model_type == "phi3" else _SEPARATE
    names = usual if "all" in given["lora_target"] else tuple(given["lora_target"])
    width = 0
    for name in names:
        # one this table does not know is not smaller than the largest it knows
        inputs, outputs = _MODULES.get(name, _MODULES["gate_up_proj"])(shape)
        width += inputs + outputs
    return shape.layers * int(given["lora_rank"]) * width


# -- the GPU ---------------------------------------------------------------------------------------------------------


def vram_of(shape: Shape, values: t.Mapping[str, t.Any], length: int, state_bytes: float | None = None) -> Vram:
    """What a training takes of a GPU's memory.

    ``B`` rows of ``S`` tokens, ``L`` layers of width ``H``, ``K`` the width of the keys, ``I`` of the feed-forward
    part, ``V`` words:

    * weights: 2 bytes a parameter; 0.53 (4 bits) or 1.06 (8 bits) for the linear ones of qlora, whose embeddings and
      output layer stay in 16 bits;
    * trained: 16 bytes a parameter: itself, its gradient and AdamW's two moments in 32 bits; for ``full`` and
      ``freeze`` 2 more for the copy in 16 bits that autocast keeps (weights that are trained are not counted twice);
    * checkpoints: ``B·S·H·2·L``;
    * the layer at work: ``B·S·(4·H + 2·K + 3·I)·3``;
    * logits: ``B·S·V·9``;
    * context: 1 GB.

    Stages that compare two answers (dpo, rm) or shift them (kto) have two rows for each; dpo (but for orpo and simpo)
    and kto compare with a copy of the base in 16 bits, which an adapter that is switched off stands for.

    :param length: ``S``, the tokens of a row.
    :param state_bytes: bytes of a trained parameter with all that belongs to it, where it is neither LLaMA-Factory's
        AdamW nor what ``extra`` names.
    """
    given = _with_defaults(values)
    method, extra = given["method"], given["extra"]
    total, trained = parameters(shape), trainable(shape, given)
    half = 4.0 if given["precision"] == "fp32" else HALF
    tokens = int(given["batch_size"]) * length * (2 if given["stage"] in ("dpo", "rm", "kto") else 1)
    if state_bytes is None:
        state_bytes = _state_bytes(method, extra)
    frozen = total if method in ADAPTERS else total - trained
    weights = frozen * half
    if method == "qlora":
        linear = min(linear_parameters(shape), total)
        weights = linear * QUANTIZED[int(given["quantization_bit"])] + (total - linear) * half
    if method not in ADAPTERS and (
        given["stage"] == "kto" or (given["stage"] == "dpo" and given["pref_loss"] not in ("orpo", "simpo"))
    ):
        weights += total * half
    layer = tokens * (4 * shape.hidden + 2 * _key(shape) + 3 * shape.intermediate) * _LAYER
    if extra.get("flash_attn") == "disabled":
        # then the matrix of all pairs of tokens is there, in 32 bits and in 16
        layer += given["batch_size"] * shape.heads * length**2 * 6
    kept = tokens * shape.hidden * HALF * shape.layers if given["gradient_checkpointing"] else layer * shape.layers
    logits = 0.0 if extra.get("enable_liger_kernel") else tokens * shape.vocabulary * _LOGITS
    return Vram(int(weights), int(trained * state_bytes), int(kept), int(layer), int(logits))


def _state_bytes(method: str, extra: t.Mapping[str, t.Any]) -> float:
    moments = MOMENTS.get(str(extra.get("optim", "")), _ADAMW)
    if extra.get("pure_bf16"):
        return 4.0 + moments / 2  # all of it in 16 bits
    return 8.0 + moments + (0.0 if method in ADAPTERS else HALF)


def _unknown(values: t.Mapping[str, t.Any]) -> list[str]:
    """Settings that move a training's memory somewhere this sum does not know."""
    extra = values["extra"]
    names = ("deepspeed", "fsdp", "use_unsloth", "use_unsloth_gc", "use_galore", "use_apollo", "use_badam", "use_dora")
    found = [f"extra.{name}" for name in (*names, "additional_target") if extra.get(name)]
    return found + ([f"stage {values['stage']}"] if values["stage"] not in STAGES else [])


# -- RAM -------------------------------------------------------------------------------------------------------------


def _largest(shape: Shape) -> int:
    """The largest tensor, in 32 bits: weights pass through the machine's memory one by one."""
    return 4 * shape.hidden * max(shape.vocabulary, shape.intermediate)


def _cpu_training(shape: Shape, values: t.Mapping[str, t.Any], length: int) -> int:
    """A training on a CPU has the same parts, in 32 bits: weights of 4 bytes, values of twice the size."""
    vram = vram_of(shape, {**values, "precision": "fp32"}, length)
    return vram.weights + vram.trained + 2 * (vram.checkpoints + vram.layer) + vram.logits


# -- disk ------------------------------------------------------------------------------------------------------------


def side_file_bytes(shape: Shape) -> int:
    """What lies beside the weights in a copy of a model: tokenizer, configuration."""
    return _WORD * shape.vocabulary + _REST


def train_disk(shape: Shape, values: t.Mapping[str, t.Any]) -> int:
    """What a training writes at most: three checkpoints (weights and two moments in 32 bits), and the result.

    Weights are saved in full when any of them is trained without an adapter.
    """
    given = _with_defaults(values)
    trained = trainable(shape, given)
    saved = 4 * (trained if given["method"] in ADAPTERS else parameters(shape))
    return _CHECKPOINTS * (saved + 8 * trained + side_file_bytes(shape)) + saved + side_file_bytes(shape)


def gguf_bytes(shape: Shape, quantization: str) -> int:
    """Size of the GGUF file of a model; embeddings get no fewer than 6.56 bits."""
    embeddings = embedding_parameters(shape)
    bits = BITS[quantization]
    layers = (parameters(shape) - embeddings) * bits
    return int((layers + embeddings * max(bits, _EMBEDDING_BITS)) / 8) + side_file_bytes(shape)


def quantized_bytes(half: int, quantization: str) -> int:
    """About the size of a GGUF file that is made from one with 16 bits a weight.

    :param half: size of that file.
    """
    # how much of it are embeddings is not known here: a seventh more covers all but the smallest models
    return min(half, int(half * BITS[quantization] / 16 * 1.15)) + _REST


def register_disk(gguf: int) -> int:
    """What a registration writes where Ollama keeps its models: newer servers write the file anew beside the upload.

    :param gguf: size of the GGUF file.
    """
    return 2 * gguf
