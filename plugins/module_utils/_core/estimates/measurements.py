# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What it takes of a host to measure GGUF files with llama.cpp (importance matrix, likelihood). No side effects."""

from __future__ import annotations

import dataclasses

from ..base_models.entry import Shape
from .memory import expert_parameters, gguf_bytes, parameters

#: Tokens that are computed at a time, and tokens of a piece of text (``steps.measured_text``).
_BATCH = 512
#: Bytes of the logits of a token, by entry of the vocabulary: the result in 32 bits, its copy, and probabilities.
_LOGITS_BYTES = 12
#: RAM of the process that renders the rows and waits, and of llama.cpp besides the model and the logits.
_PROCESS_RAM = 1_000_000_000
#: Bytes of a token in the file of logits, by entry of the vocabulary: half of each piece is kept, in 16 bits.
_KEPT_LOGITS_BYTES = 1.0


@dataclasses.dataclass(frozen=True)
class Takes:
    """What a measurement takes.

    :param disk_bytes: largest size of its files; :param ram_bytes: peak memory.
    :param tokens: tokens that the model reads, over all passes.
    :param active_parameters: parameters that a token uses.
    """

    disk_bytes: int
    ram_bytes: int
    tokens: int
    active_parameters: int

    def as_dict(self) -> dict[str, int]:
        """Plain values for the options of a step."""
        return dataclasses.asdict(self)


def imatrix(shape: Shape, tokens: float) -> Takes:
    """Estimate an importance matrix.

    The file has one number in 32 bits for each input of each linear module, and the name of the module.

    :param tokens: number of tokens that are read.
    """
    width = 6 * shape.hidden + max(1, shape.experts) * max(shape.intermediate, shape.expert_intermediate)
    return Takes(4 * shape.layers * width + 500_000, _ram(shape, "f16"), int(tokens), _active(shape))


def likelihood(shape: Shape, most: int, tokens: float, files: int) -> Takes:
    """Estimate the comparison of quantized files with the 16-bit one.

    :param most: number of tokens that each file reads at most; :param tokens: the same, as estimated from the rows.
    :param files: number of quantized files.
    """
    kept = int(most * shape.vocabulary * _KEPT_LOGITS_BYTES)
    return Takes(kept, _ram(shape, "f16"), int(min(most, tokens) * (1 + files)), _active(shape))


def _ram(shape: Shape, quantization: str) -> int:
    return gguf_bytes(shape, quantization) + _BATCH * shape.vocabulary * _LOGITS_BYTES + _PROCESS_RAM


def _active(shape: Shape) -> int:
    """Number of parameters that one token uses."""
    if not shape.experts:
        return parameters(shape)
    idle = 1 - shape.active_experts / shape.experts
    return parameters(shape) - int(expert_parameters(shape) * idle)
