# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a training fits a GPU, the nearest settings that do, and the method that ``auto`` resolves to.

No side effects. All decisions use the GPU's total memory minus a reserve, not the free memory: that changes from one
moment to the next (Ollama unloads its models before a training), and a decision must stay the same every day.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import typing as t

from ..base_models.catalogue import CATALOGUE
from ..base_models.entry import Shape
from ..messages.message import Message
from .memory import HALF, Estimate, Vram, effective_length, estimate

#: Share of a GPU's memory that is reserved for the driver, the desktop and allocator fragmentation, and its minimum.
RESERVE_SHARE = 0.04
RESERVE_BYTES = 500_000_000

#: Minimum rows for full training (the user's table: full fine-tuning for 1000 examples or more).
FULL_ROWS = 1000
#: Highest learning rate that is suitable for full training; that of adapters (LoRA's 2e-4) is much higher and would
#: destroy the weights.
FULL_LEARNING_RATE = 5e-5

#: Smallest cutoff_len that is suggested, in tokens.
_MIN_LENGTH = 256
_MAX_SUGGESTIONS = 3
_CHEAPER_METHODS = {"full": ("lora", "qlora"), "freeze": ("lora", "qlora"), "lora": ("qlora",), "qlora": ()}


def budget(total: int) -> int:
    """Memory of a GPU that is available to a training, in bytes.

    :param total: total memory of the GPU, in bytes.
    """
    return total - max(RESERVE_BYTES, int(total * RESERVE_SHARE))


def required_vram(shape: Shape, values: t.Mapping[str, t.Any], longest: int | None = None) -> int:
    """GPU memory planned for a training, in bytes."""
    return _vram(estimate(shape, values, "cuda", longest)).planned


def _vram(resources: Estimate) -> Vram:
    """The GPU part of an estimate.

    :raises ValueError: when the estimate was made for a CPU.
    """
    if resources.vram is None:
        raise ValueError("The estimate was made for a CPU.")
    return resources.vram


def required_ram(shape: Shape, values: t.Mapping[str, t.Any], longest: int | None = None) -> int:
    """Peak RAM of a training on a CPU and of the merge and conversion after it, in bytes."""
    return max(estimate(shape, values, "cpu", longest).ram.values())


def required_ram_after(shape: Shape, values: t.Mapping[str, t.Any], longest: int | None = None) -> int:
    """Peak RAM of the merge and conversion after a training, in bytes."""
    return max(estimate(shape, values, "cpu", longest).ram[step] for step in ("merge", "gguf"))


def required_training_ram(shape: Shape, values: t.Mapping[str, t.Any], longest: int | None = None) -> int:
    """Peak RAM of a training on a CPU alone, in bytes."""
    return estimate(shape, values, "cpu", longest).ram["train"]


#: Computes the memory that settings need, in bytes.
Measure = t.Callable[[Shape, "t.Mapping[str, t.Any]", "int | None"], int]


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A change of settings that fits.

    :param settings: options to declare instead.
    :param bytes: memory needed with these settings.
    :param base_model: catalogue name of another base model; empty to keep the current one.
    """

    settings: dict[str, t.Any]
    bytes: int
    base_model: str = ""

    def content(self) -> Message:
        """``batch_size: 2, gradient_accumulation: 16 (17.9 GB)``."""
        parts = [f"base_model: {self.base_model}"] if self.base_model else []
        parts += [f"{name}: {json.dumps(value) if value is False else value}" for name, value in self.settings.items()]
        return Message("estimates.suggestion", settings=parts, memory=self.bytes)


def nearest_settings(
    shape: Shape,
    values: t.Mapping[str, t.Any],
    room: int,
    longest: int | None = None,
    name: str = "",
    measure: Measure = required_vram,
) -> list[Suggestion]:
    """Suggest up to three changes of settings that fit, nearest first.

    Changes of fewer settings come first. Merged weights that nothing needs come before smaller batches, which change
    the result least, then another method, then shorter rows. A smaller model is suggested last.

    :param room: available memory, in bytes.
    :param longest: tokens of the longest row of the dataset.
    :param name: catalogue name of the base model, to find smaller ones of its family.
    :param measure: computes the memory needed: GPU memory by default.
    """
    suggestions: list[Suggestion] = []
    # other measures are for training on a CPU or merging, where qlora is no alternative
    methods = _method_changes(values) if measure is required_vram else []
    # merged weights need no memory of a GPU
    weights = [{"keep_merged": False}] if values.get("keep_merged") and measure is not required_vram else []
    alternatives = {
        "weights": weights,
        "batch": _batch_changes(values),
        "method": methods,
        "length": _length_changes(values, longest),
    }
    for count in range(1, len(alternatives) + 1):
        for selected in itertools.combinations(alternatives, count):
            for combination in itertools.product(*(alternatives[name] for name in selected)):
                change = {key: value for setting in combination for key, value in setting.items()}
                needed = measure(shape, {**values, **change}, longest)
                if needed <= room:
                    suggestions.append(Suggestion(change, needed))
                    break
        if suggestions:
            break
    return (suggestions or _smaller_models(shape, values, room, longest, name, measure))[:_MAX_SUGGESTIONS]


def _batch_changes(values: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Smaller batch sizes, largest first, with the same number of rows per step."""
    batch = int(values.get("batch_size") or 1)
    rows = batch * int(values.get("gradient_accumulation") or 1)
    return [
        {"batch_size": smaller, "gradient_accumulation": rows // smaller}
        for smaller in range(batch - 1, 0, -1)
        if rows % smaller == 0
    ]


def _method_changes(values: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    return [{"method": method} for method in _CHEAPER_METHODS[str(values["method"])]]


def _length_changes(values: t.Mapping[str, t.Any], longest: int | None) -> list[dict[str, t.Any]]:
    """Smaller cutoff lengths, longest first: powers of two below the current effective length."""
    length = effective_length(values, longest)
    changes = []
    power = 1 << max(length - 1, 1).bit_length() - 1
    while power >= _MIN_LENGTH:
        if power < length:
            changes.append({"cutoff_len": power})
        power //= 2
    return changes


def _smaller_models(
    shape: Shape, values: t.Mapping[str, t.Any], room: int, longest: int | None, name: str, measure: Measure
) -> list[Suggestion]:
    """The largest smaller model that fits, with the current settings or with minimal ones.

    Models of the same family come before others of the same architecture.
    """
    family = name.partition(":")[0]
    related = [
        (entry, entry.shape)
        for entry in CATALOGUE
        if entry.shape and (family in (entry.family, "") or entry.model_type == shape.model_type)
    ]
    smaller = [(entry, other) for entry, other in related if other.parameters < (shape.parameters or math.inf)]
    minimal: dict[str, t.Any] = {}
    for options in (_batch_changes(values), _method_changes(values) if measure is required_vram else []):
        minimal.update(options[-1] if options else {})
    for entry, other in sorted(smaller, key=lambda pair: (pair[0].family != family, -pair[1].parameters)):
        for change in ({}, minimal):
            needed = measure(other, {**values, **change}, longest)
            if needed <= room:
                return [Suggestion(dict(change), needed, entry.name)]
    return []


@dataclasses.dataclass(frozen=True)
class Misfit:
    """Explains why a training does not fit.

    :param content: memory needed and available; its hint names the nearest settings that fit.
    """

    content: Message

    @property
    def message(self) -> str:
        """Memory needed and available, in English."""
        return self.content.text

    @property
    def hint(self) -> str:
        """The nearest settings that fit, in English."""
        return self.content.hint


def misfit(
    shape: Shape,
    values: t.Mapping[str, t.Any],
    gpu_total: int,
    longest: int | None = None,
    name: str = "",
    resources: Estimate | None = None,
) -> Misfit | None:
    """Explain why a training does not fit a GPU; None when it fits, or when its settings make the estimate unreliable.

    :param gpu_total: total memory of the GPU in bytes (of the smallest of several: each holds a complete copy).
    :param longest: tokens of the longest row of the dataset.
    :param name: catalogue name of the base model.
    :param resources: the estimate for the GPU, if there is one already.
    """
    resources = resources or estimate(shape, values, "cuda", longest)
    available, planned = budget(gpu_total), _vram(resources).planned
    if resources.unknown or planned <= available:
        return None
    content = Message(
        "estimates.gpu_too_small",
        needed=planned,
        parts=_describe_parts(resources),
        total=gpu_total,
        reserve=gpu_total - available,
        suggestions=describe_suggestions(nearest_settings(shape, values, available, longest, name)),
    )
    return Misfit(content)


def describe_suggestions(suggestions: t.Sequence[Suggestion]) -> Message:
    """Text of a hint with the settings that fit."""
    if not suggestions:
        return Message("estimates.nothing_smaller")
    return Message("estimates.nearest", suggestions=[each.content() for each in suggestions])


def _describe_parts(resources: Estimate) -> list[Message]:
    vram = _vram(resources)
    weights = Message("estimates.weights", size=vram.weights)
    if resources.experts:
        experts = resources.experts
        weights = Message(
            "estimates.weights_with_experts",
            size=vram.weights,
            experts=experts["count"],
            active=experts["active"],
            share=int(experts["parameters"] * HALF),
        )
    parts = (
        weights,
        Message("estimates.trained", size=vram.trained),
        Message("estimates.activations", size=vram.checkpoints + vram.layer),
        Message("estimates.logits", size=vram.logits),
    )
    return [part for part in parts if part.parameters["size"] >= 1e8]


def choose_method(
    shape: Shape | None,
    values: t.Mapping[str, t.Any],
    gpu_total: int | None,
    rows: int | None = None,
    longest: int | None = None,
) -> tuple[str, Message]:
    """Resolve ``auto`` to a method for a host.

    The rules follow the table in the user's document, except where it would run out of memory (lora "from 12 GB" needs
    20 GB for a model of 7 billion parameters, and full "from 24 GB" needs 156 GB):

    * no GPU: lora;
    * 1000 rows or more, a learning rate suitable for full training, and full fits: full;
    * lora where it fits, else qlora.

    :param shape: shape of the base model; None when unknown.
    :param values: hyperparameters; their ``method`` is ignored.
    :param gpu_total: total memory of the GPU in bytes; None without a GPU.
    :param rows: rows of the dataset; None when unknown.
    :param longest: tokens of its longest row; None when unknown.
    :returns: the method, and the reason for it.
    """
    if gpu_total is None:
        return "lora", Message("estimates.no_gpu")
    room = budget(gpu_total)
    memory = {"total": gpu_total, "reserve": gpu_total - room}
    if shape is None:
        if gpu_total < int(12e9 * 0.97):
            return "qlora", Message("estimates.small_gpu", **memory)
        return "lora", Message("estimates.large_gpu", **memory)
    full, lora, qlora = (
        required_vram(shape, {**values, "method": method}, longest) for method in ("full", "lora", "qlora")
    )
    full_possible = rows is not None and rows >= FULL_ROWS and full <= room
    if full_possible and float(values.get("learning_rate") or 1) <= FULL_LEARNING_RATE:
        return "full", Message("estimates.full_fits", **memory, rows=rows, full=full)
    if lora <= room:
        if not full_possible:
            return "lora", Message("estimates.lora_fits", **memory, lora=lora)
        rate = FULL_LEARNING_RATE
        return "lora", Message("estimates.lora_or_full_fits", **memory, lora=lora, rows=rows, learning_rate=rate)
    code = "estimates.qlora_fits" if qlora <= room else "estimates.nothing_fits"
    return "qlora", Message(code, **memory, lora=lora, qlora=qlora)
