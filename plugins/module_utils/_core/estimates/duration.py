# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""About how long a step takes. What this host took the last time goes before what can be worked out. Pure.

A training computes 2 floating point operations a parameter and token forwards, 2 backwards for what is passed on, 2
again for what gradient checkpointing computes twice, and 2 for the gradients of what is trained (Kaplan and others
2020, section 2.1): 6 for an adapter, 8 for all of it. A GPU comes to about 0.4 of what its data sheet says.
"""

from __future__ import annotations

import re
import typing as t

#: Operations a second in 16 bits with sums in 32, dense, by the makers' papers on the architectures (in 10¹²).
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
#: 4 bits have to be made 16 again in every pass (Qwen's own table: 1.05 times the time for long rows, 1.25 for short).
_QUANTIZED = 1.2
#: What one processor core comes to, in operations a second.
_CORE = 15e9

#: Seconds a step takes before it does anything: imports of PyTorch and LLaMA-Factory, of the converter (measured).
_START = {"train": 10.0, "merge": 8.0, "gguf": 5.0, "register": 1.0, "base": 1.0}
#: Bytes a second that are read, computed with and written again, on an ordinary SSD.
_RATE = {"merge": 400e6, "gguf": 250e6, "register": 400e6}

#: Characters of a word piece, in the mean: what a token is of French or English text.
_CHARACTERS = 3.5


def teraflops(gpu: str) -> float | None:
    """What a GPU's data sheet says, by its name; None for one that is not in the table."""
    return next((value for pattern, value in TERAFLOPS if re.search(pattern, gpu)), None)


def training_seconds(
    parameters: int,
    tokens: float,
    method: str,
    gpu: str = "",
    cores: int = 0,
) -> float | None:
    """About how long a training takes; None on a GPU nobody has heard of.

    :param parameters: of the model.
    :param tokens: all it sees, over all epochs.
    :param gpu: name of the GPU; empty for a CPU.
    :param cores: of that CPU.
    """
    operations = (8 if method == "full" else 6) * float(parameters) * tokens
    if gpu:
        known = teraflops(gpu)
        if known is None:
            return None
        slower = _QUANTIZED if method == "qlora" else 1.0
        return _START["train"] + operations * slower / (known * 1e12 * _UTILISATION)
    return _START["train"] + operations / (_CORE * max(1, cores))


def total_tokens(dataset_results: t.Mapping[str, t.Any], epochs: float, cutoff: int) -> float | None:
    """Tokens a training sees; None when the size of the dataset is not known.

    :param found_out: ``results`` of the dataset: its ``rows`` and ``bytes``.
    """
    rows, size = dataset_results.get("rows"), dataset_results.get("bytes")
    if not isinstance(rows, int) or not isinstance(size, int) or rows < 1:
        return None
    return rows * min(float(cutoff), size / rows / _CHARACTERS) * epochs


def copying_seconds(kind: str, size: int) -> float | None:
    """About how long a step takes that reads and writes; None for a download, which nobody can tell."""
    return _START[kind] + size / _RATE[kind] if kind in _RATE else None


def describe_seconds(seconds: float) -> str:
    """``about 14 min``."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"
