# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimated durations: compared with a published table, and as text."""

from __future__ import annotations

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import duration

#: QwenLM/Qwen, README: seconds for 8 rows of Qwen 7B on an A100, by length, LoRA and Q-LoRA.
QWEN = [
    ("lora", 1024, 2.8),
    ("lora", 2048, 5.2),
    ("lora", 4096, 10.1),
    ("lora", 8192, 21.3),
    ("qlora", 1024, 3.5),
    ("qlora", 4096, 11.6),
    ("qlora", 8192, 22.3),
]


@pytest.mark.parametrize(("method", "length", "published"), QWEN)
def test_within_34_percent_of_the_published_time(method: str, length: int, published: float) -> None:
    estimated = duration.training_seconds(7721324544, 8 * length * 1000, method, "NVIDIA A100-SXM4-80GB")
    assert estimated is not None
    assert abs(estimated / 1000 / published - 1) < 0.34


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 3090 Ti", 80),
        ("NVIDIA GeForce RTX 3060", 25),
        ("NVIDIA RTX A6000", 155),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("Tesla T4", 65),
        ("NVIDIA GeForce RTX 5090", 210),
        ("NVIDIA GeForce GTX 1080 Ti", None),
    ],
)
def test_gpus_by_name(name: str, peak: float | None) -> None:
    assert duration.teraflops(name) == peak


def test_unknown_durations() -> None:
    assert duration.training_seconds(10**9, 10**6, "lora", "A GPU of next year") is None
    assert duration.copying_seconds("base", 10**10) is None
    assert duration.total_tokens({}, 3.0, 2048) is None


def test_tokens() -> None:
    assert duration.total_tokens({"rows": 100, "bytes": 35000}, 3.0, 2048) == 30000
    # longer rows are truncated
    assert duration.total_tokens({"rows": 100, "bytes": 35000}, 1.0, 16) == 1600


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "about 1 s"), (61, "about 61 s"), (840, "about 14 min"), (9000, "about 2.5 h")],
)
def test_description(seconds: float, text: str) -> None:
    assert duration.describe_seconds(seconds) == text
