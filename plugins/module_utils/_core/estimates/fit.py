# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a training fits a GPU, the nearest setting that does, and which method ``auto`` means. Pure.

All of it goes by the GPU's whole memory less a reserve. What is free just now is no property of the host: Ollama
unloads its models before a training, and what was decided yesterday must hold tomorrow.
"""

from __future__ import annotations

import dataclasses
import itertools
import typing as t

from ..base_models.catalogue import CATALOGUE, Shape
from ..system.disk import gigabytes
from .memory import Estimate, Vram, effective_length, estimate

#: Share of a GPU's memory that is left to the driver, the desktop and fragments of the allocator, and the least of it.
RESERVE_SHARE = 0.04
RESERVE_BYTES = 500_000_000

#: Rows from which training everything can be worth it (the user's table: full fine-tuning for 1000 examples or more).
FULL_ROWS = 1000
#: Learning rates up to this are meant for whole weights; those of adapters are ten times that (LoRA's 2e-4) and ruin
#: them.
FULL_LEARNING_RATE = 5e-5

#: Shortest row that a suggestion cuts to.
_SHORTEST = 256
_SUGGESTIONS = 3
_CHEAPER = {"full": ("lora", "qlora"), "freeze": ("lora", "qlora"), "lora": ("qlora",), "qlora": ()}


def budget(total: int) -> int:
    """What a training may have of a GPU, in bytes.

    :param total: all its memory.
    """
    return total - max(RESERVE_BYTES, int(total * RESERVE_SHARE))


def required_vram(shape: Shape, values: t.Mapping[str, t.Any], longest: int | None = None) -> int:
    """What a training is given of a GPU, in bytes."""
    return _vram(estimate(shape, values, "cuda", longest)).planned


def _vram(found: Estimate) -> Vram:
    """What an estimate made for a GPU tells of it."""
    if found.vram is None:
        raise ValueError("The estimate was made for a CPU.")
    return found.vram


def required_ram(shape: Shape, values: t.Mapping[str, t.Any], longest: int | None = None) -> int:
    """What a training on a CPU takes of the machine's memory, or merging after it, whichever is more, in bytes."""
    return max(estimate(shape, values, "cpu", longest).ram[step] for step in ("train", "merge"))


def required_merge_ram(shape: Shape, values: t.Mapping[str, t.Any], longest: int | None = None) -> int:
    """What merging takes of the machine's memory, in bytes."""
    return estimate(shape, values, "cpu", longest).ram["merge"]


#: Tells what settings take.
Measure = t.Callable[[Shape, "t.Mapping[str, t.Any]", "int | None"], int]


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A setting that fits.

    :param settings: what to declare instead.
    :param bytes: what it takes.
    :param base_model: another base model, by its name in the catalogue; empty to keep it.
    """

    settings: dict[str, t.Any]
    bytes: int
    base_model: str = ""

    def words(self) -> str:
        """``batch_size: 2, gradient_accumulation: 16 (17.9 GB)``."""
        parts = [f"base_model: {self.base_model}"] if self.base_model else []
        parts += [f"{name}: {value}" for name, value in self.settings.items()]
        return f"{', '.join(parts)} ({gigabytes(self.bytes)})"


def nearest(
    shape: Shape,
    values: t.Mapping[str, t.Any],
    room: int,
    longest: int | None = None,
    name: str = "",
    measure: Measure = required_vram,
) -> list[Suggestion]:
    """Up to three settings that fit, the nearest first: those that change the fewest things; smaller batches, which
    change the result least, before another method, and that before shorter rows; a smaller model last.

    :param room: what there is, in bytes.
    :param longest: tokens of the longest row of the dataset.
    :param name: the base model's name in the catalogue, for smaller ones of its family.
    :param measure: what is measured: GPU memory by default.
    """
    found: list[Suggestion] = []
    # on a CPU there is no qlora
    methods = _methods(values) if measure is required_vram else []
    moves = {"batch": _batches(values), "method": methods, "length": _lengths(values, longest)}
    for size in range(1, len(moves) + 1):
        for chosen in itertools.combinations(moves, size):
            for each in itertools.product(*(moves[move] for move in chosen)):
                change = {key: value for move in each for key, value in move.items()}
                takes = measure(shape, {**values, **change}, longest)
                if takes <= room:
                    found.append(Suggestion(change, takes))
                    break
        if found:
            break
    return (found or _smaller(shape, values, room, longest, name, measure))[:_SUGGESTIONS]


def _batches(values: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Smaller batches, the largest first; as many rows go into a step as before."""
    batch = int(values.get("batch_size") or 1)
    rows = batch * int(values.get("gradient_accumulation") or 1)
    return [
        {"batch_size": smaller, "gradient_accumulation": rows // smaller}
        for smaller in range(batch - 1, 0, -1)
        if rows % smaller == 0
    ]


def _methods(values: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    return [{"method": method} for method in _CHEAPER[str(values["method"])]]


def _lengths(values: t.Mapping[str, t.Any], longest: int | None) -> list[dict[str, t.Any]]:
    """Shorter rows, the longest first: powers of two below what is read now."""
    length = effective_length(values, longest)
    found = []
    power = 1 << max(length - 1, 1).bit_length() - 1
    while power >= _SHORTEST:
        if power < length:
            found.append({"cutoff_len": power})
        power //= 2
    return found


def _smaller(
    shape: Shape, values: t.Mapping[str, t.Any], room: int, longest: int | None, name: str, measure: Measure
) -> list[Suggestion]:
    """A smaller model of the same family, or else of the same make: the largest that fits, as it is or with everything
    turned down."""
    family = name.partition(":")[0]
    akin = [entry for entry in CATALOGUE if family in (entry.family, "") or entry.shape.model_type == shape.model_type]
    below = [entry for entry in akin if not shape.parameters or entry.shape.parameters < shape.parameters]
    down: dict[str, t.Any] = {}
    for options in (_batches(values), _methods(values) if measure is required_vram else []):
        down.update(options[-1] if options else {})
    for entry in sorted(below, key=lambda each: (each.family != family, -each.shape.parameters)):
        for change in ({}, down):
            size = measure(entry.shape, {**values, **change}, longest)
            if size <= room:
                return [Suggestion(dict(change), size, f"{entry.family}:{entry.tags[0]}")]
    return []


@dataclasses.dataclass(frozen=True)
class Misfit:
    """Why a training does not fit, in words.

    :param message: what it needs and what there is.
    :param hint: the nearest settings that would.
    """

    message: str
    hint: str


def misfit(
    shape: Shape,
    values: t.Mapping[str, t.Any],
    gpu_total: int,
    longest: int | None = None,
    name: str = "",
) -> Misfit | None:
    """Whether a training cannot fit a GPU; None when it can, or when its settings are such that nobody can tell.

    :param gpu_total: all memory of the GPU (of the smallest, where there are several: each holds a whole copy).
    :param name: the base model's name in the catalogue.
    """
    found = estimate(shape, values, "cuda", longest)
    room, planned = budget(gpu_total), _vram(found).planned
    if found.unknown or planned <= room:
        return None
    message = (
        f"This training takes about {gigabytes(planned)} of GPU memory ({_parts(found)}); "
        f"the GPU has {gigabytes(gpu_total)}, of which {gigabytes(gpu_total - room)} are kept in reserve."
    )
    return Misfit(message, hint(nearest(shape, values, room, longest, name)))


def hint(near: t.Sequence[Suggestion]) -> str:
    """What fits, in words."""
    if not near:
        return "Nothing smaller in the catalogue would fit either."
    return f"The nearest that fits: {'; or '.join(each.words() for each in near)}."


def _parts(found: Estimate) -> str:
    vram = _vram(found)
    parts = {
        "weights": vram.weights,
        "what is trained": vram.trained,
        "values kept for the way back": vram.checkpoints + vram.layer,
        "scores of the vocabulary": vram.logits,
    }
    return ", ".join(f"{name} {gigabytes(size)}" for name, size in parts.items() if size >= 1e8)


def choose_method(
    shape: Shape | None,
    values: t.Mapping[str, t.Any],
    gpu_total: int | None,
    rows: int | None = None,
    longest: int | None = None,
) -> tuple[str, str]:
    """The method that ``auto`` means on a host, and why.

    The table of the user's own document, corrected where it would run out of memory (lora "from 12 GB" takes 20 GB for
    a model of 7 billion parameters, and full "from 24 GB" 156):

    * no GPU: lora;
    * 1000 rows or more, a learning rate meant for whole weights, and full fits: full;
    * lora where it fits, else qlora.

    :param values: hyperparameters; their ``method`` does not count.
    :param gpu_total: all memory of the GPU; None without one.
    :param rows: rows of the dataset; None when not known.
    :param longest: tokens of its longest row.
    """
    if gpu_total is None:
        return "lora", "no GPU: quantized training needs one"
    room = budget(gpu_total)
    has = f"{gigabytes(gpu_total)} of GPU memory, {gigabytes(gpu_total - room)} in reserve"
    if shape is None:
        small = gpu_total < int(12e9 * 0.97)
        return ("qlora", f"{has}: less than 12 GB") if small else ("lora", f"{has}: 12 GB or more")
    full, lora, qlora = (
        required_vram(shape, {**values, "method": method}, longest) for method in ("full", "lora", "qlora")
    )
    bears_full = rows is not None and rows >= FULL_ROWS and full <= room
    if bears_full and float(values.get("learning_rate") or 1) <= FULL_LEARNING_RATE:
        return "full", f"{has}; {rows} rows, and full takes about {gigabytes(full)}"
    if lora <= room:
        more = ""
        if bears_full:
            more = f" ({rows} rows would bear full as well, with a learning_rate of at most {FULL_LEARNING_RATE:g})"
        return "lora", f"{has}; lora takes about {gigabytes(lora)}{more}"
    takes = f"lora would take about {gigabytes(lora)}, qlora takes about {gigabytes(qlora)}"
    return "qlora", f"{has}; {takes}" + ("" if qlora <= room else ", and that is too much as well")
