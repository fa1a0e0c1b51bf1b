# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The types of GGUF files, in the spellings that users know."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.known_names import QUANTIZATIONS


@pytest.mark.parametrize(
    ("declared", "canonical"),
    [
        ("q4_k_m", ["q4_K_M"]),
        ("Q4_K_M", ["q4_K_M"]),
        ("q4-k-m", ["q4_K_M"]),
        (["Q8_0", "F16", "q8_0"], ["q8_0", "f16"]),
        ("f16, q5_k_s", ["f16", "q5_K_S"]),
        ("Q4_K", ["q4_K_M"]),
        ("IQ4_xs", ["iq4_XS"]),
    ],
)
def test_quantizations(declared: t.Any, canonical: list[str]) -> None:
    assert hp.normalise({"quantizations": declared}).quantizations == canonical
    assert hp.normalise({"quantization": declared}).quantizations == canonical


def test_canonical_quantizations_are_unchanged() -> None:
    assert hp.normalise({"quantizations": list(QUANTIZATIONS), "imatrix": "dataset"}).quantizations == [*QUANTIZATIONS]
    assert hp.normalise({}).quantizations == ["q4_K_M"]
