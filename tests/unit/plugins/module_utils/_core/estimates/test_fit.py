# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory check, suggested settings, and the resolution of ``auto``."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.entry import Shape
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.names import (
    catalogue_names,
    resolve,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import fit
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import (
    normalise,
    resolved,
)

MIB = 2**20
#: Memory as reported by graphics cards, in MiB.
CARDS = {"3050": 8192, "3060": 12288, "4060ti": 16380, "4090": 24564, "5090": 32607, "a6000": 49140, "a100": 81920}


def shape_of(name: str) -> Shape:
    shape = resolve(name).shape
    assert shape is not None
    return shape


def values_of(**declared: t.Any) -> dict[str, t.Any]:
    return resolved(normalise(declared))


def card(name: str) -> int:
    return CARDS[name] * MIB


# -- auto ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "gpu", "method"),
    [
        # the user's table says lora from 12 GB: a 7B does not fit there
        ("qwen2.5:7b", "3060", "qlora"),
        ("qwen2.5:7b", "4060ti", "qlora"),
        ("qwen2.5:7b", "4090", "lora"),
        ("llama3.1:8b", "4090", "lora"),
        ("qwen2.5:14b", "4090", "qlora"),
        ("qwen2.5:14b", "a6000", "lora"),
        ("qwen2.5:1.5b", "3050", "lora"),
        ("qwen2.5:0.5b", "3050", "lora"),
    ],
)
def test_auto_chooses_a_method_that_fits(model: str, gpu: str, method: str) -> None:
    chosen, reason = fit.choose_method(shape_of(model), values_of(), card(gpu), 50, 200)
    assert chosen == method, reason
    assert "GB" in str(reason) and "reserve" in str(reason)


def test_auto_without_a_gpu() -> None:
    method, reason = fit.choose_method(shape_of("qwen2.5:7b"), values_of(), None)
    assert (method, str(reason)) == ("lora", "no GPU: quantized training needs one")


def test_auto_of_an_unknown_model_follows_the_users_table() -> None:
    assert fit.choose_method(None, values_of(), card("3050"))[0] == "qlora"
    assert fit.choose_method(None, values_of(), card("3060"))[0] == "lora"


def test_auto_chooses_full_only_for_many_rows_and_a_low_learning_rate() -> None:
    shape = shape_of("qwen2.5:0.5b")
    low = values_of(learning_rate=1e-5)
    assert fit.choose_method(shape, low, card("4090"), 1000, 200)[0] == "full"
    assert fit.choose_method(shape, low, card("4090"), 999, 200)[0] == "lora"
    # 24 GB are not enough for full training of a 7B, despite the user's table
    assert fit.choose_method(shape_of("qwen2.5:7b"), low, card("4090"), 5000, 200)[0] == "lora"
    method, reason = fit.choose_method(shape, values_of(), card("4090"), 5000, 200)
    assert method == "lora" and "learning_rate" in str(reason)


def test_auto_reports_when_nothing_fits() -> None:
    method, reason = fit.choose_method(shape_of("llama3.1:70b"), values_of(), card("4090"), 50)
    assert method == "qlora" and "too much as well" in str(reason)


# -- suggested settings --------------------------------------------------------------------------------------------


def test_fitting_settings_are_accepted() -> None:
    assert fit.misfit(shape_of("qwen2.5:7b"), values_of(method="qlora"), card("4090"), 512) is None
    # the estimate does not model what DeepSpeed offloads
    values = values_of(method="full", extra={"deepspeed": "ds.json"})
    assert fit.misfit(shape_of("qwen2.5:7b"), values, card("3050")) is None


def test_a_smaller_batch_is_suggested_first() -> None:
    values = values_of(method="lora", batch_size=8, gradient_accumulation=2, cutoff_len=2048)
    misfit = fit.misfit(shape_of("qwen2.5:7b"), values, card("a6000"))
    assert misfit is not None
    assert "GPU memory" in misfit.message and "51.5 GB" in misfit.message
    # with the same number of rows per step
    assert misfit.hint.startswith("The nearest that fits: batch_size: 4, gradient_accumulation: 4 (")


def test_qlora_is_suggested_when_no_batch_fits() -> None:
    misfit = fit.misfit(shape_of("qwen2.5:7b"), values_of(method="lora"), card("4060ti"), 300)
    assert misfit is not None
    assert misfit.hint.startswith("The nearest that fits: method: qlora (")


def test_shorter_rows_are_suggested() -> None:
    values = values_of(method="qlora", cutoff_len=16384)
    misfit = fit.misfit(shape_of("qwen2.5:7b"), values, card("3060"))
    assert misfit is not None
    assert misfit.hint.startswith("The nearest that fits: cutoff_len: 1024 (")
    # short rows are not truncated, so a lower cutoff_len is not needed
    assert fit.misfit(shape_of("qwen2.5:7b"), values, card("3060"), 300) is None


def test_a_smaller_model_is_suggested() -> None:
    misfit = fit.misfit(shape_of("qwen2.5:72b"), values_of(method="qlora"), card("4090"), 300, "qwen2.5:72b")
    assert misfit is not None
    assert misfit.hint.startswith("The nearest that fits: base_model: qwen2.5:14b")
    misfit = fit.misfit(shape_of("llama3.1:70b"), values_of(method="full"), card("3050"), 300, "llama3.1:70b")
    assert misfit is not None
    # its family has no smaller one; llama3.2 has the same architecture
    assert misfit.hint.startswith("The nearest that fits: base_model: llama3.2:3b, method: qlora (")


def test_nothing_fits() -> None:
    misfit = fit.misfit(shape_of("qwen2.5:7b"), values_of(method="qlora"), 10**9, 300, "qwen2.5:7b")
    assert misfit is not None
    assert misfit.hint.startswith("Nothing smaller")


@settings(deadline=None)
@given(
    model=st.sampled_from([name for name in catalogue_names() if resolve(name).shape]),
    method=st.sampled_from(("lora", "qlora", "full", "freeze")),
    batch=st.integers(1, 16),
    cutoff=st.sampled_from((256, 1000, 2048, 8192)),
    gpu=st.sampled_from(sorted(CARDS)),
    longest=st.none() | st.integers(1, 20000),
)
def test_suggestions_fit(model: str, method: str, batch: int, cutoff: int, gpu: str, longest: int | None) -> None:
    shape = shape_of(model)
    values = values_of(method=method, batch_size=batch, cutoff_len=cutoff)
    room = fit.budget(card(gpu))
    fits = fit.required_vram(shape, values, longest) <= room
    assert (fit.misfit(shape, values, card(gpu), longest, model) is None) == fits
    for suggestion in fit.nearest_settings(shape, values, room, longest, model):
        suggested_shape = shape_of(suggestion.base_model) if suggestion.base_model else shape
        assert (
            fit.required_vram(suggested_shape, {**values, **suggestion.settings}, longest) == suggestion.bytes <= room
        )
        if "gradient_accumulation" in suggestion.settings:
            rows = suggestion.settings["batch_size"] * suggestion.settings["gradient_accumulation"]
            assert rows == values["batch_size"] * values["gradient_accumulation"]
    # auto chooses lora whenever it fits
    chosen, _reason = fit.choose_method(shape, values, card(gpu), 50, longest)
    assert chosen in ("lora", "qlora")
    assert (chosen == "lora") == (fit.required_vram(shape, {**values, "method": "lora"}, longest) <= room)
