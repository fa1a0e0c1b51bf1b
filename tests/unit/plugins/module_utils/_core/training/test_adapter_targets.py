# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of modules for LLaMA-Factory: test_architectures_real.py trains with them."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.adapter_targets import (
    named_targets,
)


@pytest.mark.parametrize(
    ("config", "targets", "experts_left_out"),
    [
        ({"model_type": "granitemoehybrid", "num_local_experts": 64}, ["all"], True),
        ({"model_type": "granitemoehybrid", "num_local_experts": 64}, ["q_proj"], False),
        ({"model_type": "granitemoehybrid", "num_local_experts": 0}, ["all"], False),
        ({"model_type": "qwen3_moe", "num_local_experts": 64}, ["all"], False),
    ],
)
def test_experts_with_the_name_of_a_linear_module(
    tmp_path: Path, config: dict[str, t.Any], targets: list[str], experts_left_out: bool
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    named = named_targets(str(tmp_path), targets)
    if experts_left_out:
        assert {"q_proj", "in_proj", "shared_mlp.input_linear"} < set(named)
        assert not {"all", "input_linear", "output_linear"} & set(named)
    else:
        assert named == targets


def test_a_base_without_a_configuration(tmp_path: Path) -> None:
    assert named_targets(str(tmp_path), ["all"]) == ["all"]
