# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that the value of another option leaves without effect."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp


@pytest.mark.parametrize(
    ("declared", "warning"),
    [
        ({"stage": "dpo", "simpo_gamma": 1}, "has no effect with pref_loss: sigmoid. Declare pref_loss: simpo, or"),
        (
            {"lr_scheduler": "constant", "warmup_ratio": 0.2},
            "constant_with_warmup, cosine_with_restarts, polynomial or",
        ),
    ],
)
def test_options_that_another_value_leaves_idle_are_kept_with_a_warning(
    declared: dict[str, t.Any], warning: str
) -> None:
    """Earlier versions took them into the fingerprint, so refusing them would repeat a training."""
    hyper = hp.normalise(declared)
    (message,) = hp.idle_options(hyper.values)
    assert warning in str(message)
    assert set(declared) <= set(hp.settings(hyper)), "the fingerprint is that of earlier versions"


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"stage": "dpo", "pref_loss": "simpo", "simpo_gamma": 1},
        {"lr_scheduler": "constant", "warmup_ratio": 0},
        {"lr_scheduler": "constant_with_warmup", "warmup_ratio": 0.2},
    ],
)
def test_options_with_an_effect_need_no_warning(declared: dict[str, t.Any]) -> None:
    assert hp.idle_options(hp.normalise(declared).values) == []
