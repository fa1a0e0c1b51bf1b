# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimated duration of a step. The planner prefers a duration measured on the same host. No side effects.

A training computes, per parameter and token, 2 floating point operations in the forward pass, 2 in the backward pass
for the activations, 2 for the recomputation by gradient checkpointing, and 2 for the gradients of trained weights
(Kaplan and others 2020, section 2.1): 6 for an adapter, 8 for full training. A GPU reaches about 0.4 of the peak in
its data sheet.
"""

from __future__ import annotations

import re
import typing as t

from ..artifacts import kinds
from ..training.optimizer_steps import CHARACTERS_PER_TOKEN

#: Peak operations per second (in 10¹²) by GPU name: dense, 16 bits with 32-bit accumulation, from the vendors'
#: architecture papers.
TERAFLOPS: tuple[tuple[str, float], ...] = (
    (r"B200", 2250),
    (r"H200|H100 (?:80GB HBM3|SXM)|GH200", 989),
    (r"H100", 756),
    (r"A100|A800", 312),
    (r"L40S", 362),
    (r"RTX PRO 6000", 504),
    (r"RTX 6000 Ada", 364),
    (r"RTX A6000", 155),
    (r"RTX A5000", 111),
    (r"\bA10G?\b", 125),
    (r"\bL4\b", 121),
    (r"\bT4\b", 65),
    (r"V100", 125),
    (r"RTX 5090", 210),
    (r"RTX 5080", 113),
    (r"RTX 5070 Ti", 88),
    (r"RTX 5070", 62),
    (r"RTX 4090", 165),
    (r"RTX 4080", 97),
    (r"RTX 4070 Ti", 80),
    (r"RTX 4070", 58),
    (r"RTX 4060 Ti", 44),
    (r"RTX 4060", 30),
    (r"RTX 3090 Ti", 80),
    (r"RTX 3090", 71),
    (r"RTX 3080", 60),
    (r"RTX 3070", 41),
    (r"RTX 3060 Ti", 32),
    (r"RTX 3060", 25),
)
_UTILISATION = 0.4
#: Slowdown of qlora, which dequantizes from 4 to 16 bits in every pass (Qwen's own table: 1.05 for long rows, 1.25 for
#: short ones).
_QLORA_SLOWDOWN = 1.2
#: Operations per second of one CPU core.
_CORE_RATE = 15e9
#: The same where llama.cpp reads text.
_READING_RATE = 15e9

#: Start-up of a training: imports of PyTorch and LLaMA-Factory.
_TRAIN_STARTUP = kinds.BY_NAME["train"].startup_seconds


def teraflops(gpu: str) -> float | None:
    """Peak rate of a GPU in 10¹² operations per second, by its name; None when it is not in the table."""
    return next((value for pattern, value in TERAFLOPS if re.search(pattern, gpu)), None)


def training_seconds(
    parameters: int,
    tokens: float,
    method: str,
    gpu: str = "",
    cores: int = 0,
    gpus: int = 1,
) -> float | None:
    """Estimated duration of a training in seconds; None for an unknown GPU.

    :param parameters: number of parameters of the model.
    :param tokens: number of tokens over all epochs.
    :param method: training method.
    :param gpu: name of the GPU; empty for a CPU.
    :param cores: number of CPU cores; used without a GPU only.
    :param gpus: number of such GPUs, which divide the rows among them.
    """
    operations = (8 if method == "full" else 6) * float(parameters) * tokens
    if gpu:
        peak = teraflops(gpu)
        if peak is None:
            return None
        slowdown = _QLORA_SLOWDOWN if method == "qlora" else 1.0
        return _TRAIN_STARTUP + operations * slowdown / (peak * 1e12 * _UTILISATION * gpus)
    return _TRAIN_STARTUP + operations / (_CORE_RATE * max(1, cores))


def reading_seconds(kind: str, parameters: int, tokens: int, cores: int) -> float:
    """Estimated seconds of a step in which llama.cpp reads text on the CPU: 2 operations per parameter and token.

    :param parameters: number of parameters that a token uses.
    :param tokens: number of tokens.
    :param cores: number of CPU cores.
    """
    return kinds.BY_NAME[kind].startup_seconds + 2 * float(parameters) * tokens / (_READING_RATE * max(1, cores))


def total_tokens(dataset_results: t.Mapping[str, t.Any], epochs: float, cutoff: int) -> float | None:
    """Number of tokens in a training over all epochs; None when the size of the dataset is unknown.

    :param dataset_results: ``results`` of the dataset's receipt: its ``rows`` and ``bytes``.
    :param cutoff: maximum tokens of a row.
    """
    rows, size = dataset_results.get("rows"), dataset_results.get("bytes")
    if not isinstance(rows, int) or not isinstance(size, int) or rows < 1:
        return None
    return rows * min(float(cutoff), size / rows / CHARACTERS_PER_TOKEN) * epochs


def copying_seconds(kind: str, size: int) -> float | None:
    """Estimated seconds of a step that mainly copies data; None for a download, whose speed is unknown."""
    row = kinds.BY_NAME.get(kind)
    if row is None or row.bytes_per_second is None:
        return None
    return row.startup_seconds + size / row.bytes_per_second


def describe_seconds(seconds: float) -> str:
    """``about 14 min``."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"
