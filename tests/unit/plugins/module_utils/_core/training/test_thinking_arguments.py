# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``thinking`` as a declared value, and as an argument of LLaMA-Factory. YAML reads ``off`` as false."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"thinking": "off"}, False),
        ({"thinking": False}, False),
        ({"thinking": "off", "extra": {"enable_thinking": None}}, False),
        ({"extra": {"enable_thinking": False}}, False),
        ({"extra": {"enable_thinking": True}}, True),
        ({"thinking": "keep"}, None),
        ({}, None),
    ],
)
def test_thinking(declared: dict[str, t.Any], expected: bool | None) -> None:
    """LLaMA-Factory's own default leaves the thought to the model."""
    values = hp.resolved(hp.normalise({"template": "qwen3", **declared}))
    assert hp.llamafactory_train_arguments(values, "/b", "d", "/d", "/o", "cuda").get("enable_thinking") is expected


def test_true_is_no_choice() -> None:
    with pytest.raises(InputError, match="thinking"):
        hp.normalise({"thinking": True})
