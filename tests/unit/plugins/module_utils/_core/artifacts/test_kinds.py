# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the kinds of steps, and what is derived from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts import kinds
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates.duration import copying_seconds
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.plan import DERIVED_INPUTS
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases import lineage
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.registry import get_step

MODULES = Path(__file__).parents[6] / "plugins" / "modules"


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_each_kind_has_a_step_and_a_module(kind: str) -> None:
    """A dataset is published by its module, not by a job."""
    if kind == "dataset":
        with pytest.raises(InputError):
            get_step(kind)
    else:
        assert get_step(kind).kind == kind
    module = kinds.module_of(kind).rpartition(".")[2]
    assert (MODULES / f"{module}.py").is_file()
    assert kind in kinds.KINDS_OF_MODULE[module]


def test_modules_handle_their_kinds_in_the_order_of_the_pipeline() -> None:
    assert kinds.KINDS_OF_MODULE == {
        "base": ("base",),
        "dataset": ("dataset",),
        "train": ("train", "train_node"),
        "merge": ("merge",),
        "gguf": ("imatrix", "gguf", "likelihood", "gguf_adapter", "projector"),
        "ollama_model": ("register", "evaluate", "promote", "retain"),
        "job": kinds.KINDS,
    }


def test_orders_that_results_are_shown_in() -> None:
    assert lineage.ORDER == (
        "promote",
        "register",
        "gguf",
        "imatrix",
        "gguf_adapter",
        "projector",
        "merge",
        "train",
        "dataset",
        "base",
    )
    assert set(kinds.KINDS) - set(DERIVED_INPUTS) == {"base", "dataset"}


def test_time_of_steps_that_copy() -> None:
    assert copying_seconds("merge", 800_000_000) == pytest.approx(10.0)
    assert copying_seconds("gguf", 250_000_000) == pytest.approx(6.0)
    for kind in ("base", "gguf_adapter", "promote", "probe"):
        assert copying_seconds(kind, 1) is None
