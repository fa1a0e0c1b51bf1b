# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The number of optimizer steps, the warm-up that leaves none of them, and what is said of few."""

from __future__ import annotations

import math
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import optimizer_steps
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import (
    normalise,
    resolved,
)


def values(**declared: t.Any) -> dict[str, t.Any]:
    """Resolved hyperparameters."""
    return resolved(normalise(declared))


def steps(rows: int, nodes: int = 1, train_rows: int | None = None, **declared: t.Any) -> int:
    """Optimizer steps of a training of so many rows of 350 bytes."""
    counted = optimizer_steps.count(values(**declared), {"rows": rows, "bytes": 350 * rows}, nodes, train_rows)
    assert counted is not None
    return counted.steps


@pytest.mark.parametrize(
    ("rows", "declared", "expected"),
    [
        (5, {"epochs": 1}, 1),
        (5, {}, 3),
        (8, {}, 3),
        (9, {}, 6),
        (80, {}, 30),
        (20, {"epochs": 0.5}, 2),
        (20, {"gradient_accumulation": 1}, 60),
        (20, {"batch_size": 4, "gradient_accumulation": 2}, 9),
        (20, {"max_samples": 8}, 3),
        (100, {"validation_share": 0.2}, 30),
        (100, {"extra": {"max_steps": 7}}, 7),
        (1000, {"extra": {"max_steps": -1}}, 375),
        # 200 rows of 100 tokens each are ten pieces of 2048 tokens, nine of them full
        (200, {"stage": "pt", "gradient_accumulation": 1}, 27),
        (200, {"extra": {"packing": True}, "gradient_accumulation": 1}, 27),
    ],
)
def test_count(rows: int, declared: dict[str, t.Any], expected: int) -> None:
    """As transformers counts them."""
    assert steps(rows, **declared) == expected


def test_several_hosts_add_their_rows() -> None:
    assert steps(64, nodes=4) == steps(16)
    assert steps(65, nodes=4) == 9


@given(st.integers(1, 2000), st.sampled_from([1, 2, 4, 8]))
def test_gpus_change_no_number_of_steps(rows: int, gpus: int) -> None:
    """They divide the batches of a step among them."""
    assert steps(rows, gpus=gpus) == steps(rows)


def test_counted_rows_take_the_place_of_the_share() -> None:
    assert steps(100, train_rows=8, validation_share=0.2) == 3


@pytest.mark.parametrize("results", [{}, {"rows": None}, {"rows": 0}])
def test_unknown_rows(results: dict[str, t.Any]) -> None:
    assert optimizer_steps.count(values(), results) is None
    assert optimizer_steps.warnings_for(values(), None) == []


@pytest.mark.parametrize(
    ("count", "declared", "expected"),
    [
        (1, {}, True),
        (2, {}, True),
        (3, {}, True),
        (4, {}, False),
        (30, {}, False),
        (1, {"warmup_ratio": 0}, False),
        (1, {"lr_scheduler": "constant"}, False),
        (4, {"warmup_ratio": 0.3}, True),
        # a declared third or more is followed, as long as steps are left
        (4, {"warmup_ratio": 0.5}, False),
        (1, {"warmup_ratio": 0.5}, True),
        (2, {"warmup_ratio": 0.9}, True),
    ],
)
def test_warmup_left_out(count: int, declared: dict[str, t.Any], expected: bool) -> None:
    assert optimizer_steps.leaves_out_warmup(values(**declared), count) is expected


@given(st.integers(1, 500), st.floats(0, 0.9))
def test_some_step_always_has_a_learning_rate(count: int, ratio: float) -> None:
    """Step 0 of a warm-up has none."""
    declared = values(warmup_ratio=ratio)
    warmup = 0 if optimizer_steps.leaves_out_warmup(declared, count) else math.ceil(count * declared["warmup_ratio"])
    assert warmup < count


def test_warnings() -> None:
    """Few steps, with the number of epochs that makes enough; and no warm-up among them."""
    facts = {"rows": 5, "bytes": 500}

    def text(**declared: t.Any) -> str:
        resolved_values = values(**declared)
        counted = optimizer_steps.count(resolved_values, facts)
        return " ".join(map(str, optimizer_steps.warnings_for(resolved_values, counted)))

    assert "about 1 optimizer step (5 rows, 8 for each step, 1 epoch), which may be too few to learn from." in text(
        epochs=1
    )
    assert "epochs: 30 makes 30 steps or more, and so does a lower gradient_accumulation" in text(epochs=1)
    assert "warmup_ratio 0.1 would take too many of 1 step," in text(epochs=1)
    assert text(epochs=30) == ""
    assert text(epochs=29) != ""
    assert "epochs: 6 makes 30 steps or more; more rows" in text(gradient_accumulation=1)
    assert "Raise extra.max_steps." in text(extra={"max_steps": 5}) and "epochs:" not in text(extra={"max_steps": 5})
