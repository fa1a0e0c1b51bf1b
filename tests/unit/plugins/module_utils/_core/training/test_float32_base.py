# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base for a training in 32 bits: links to the same files, and a configuration that names float32."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.checkpoints import (
    normalise_adapter,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.float32_base import in_float32


def write_base(root: Path, config: dict[str, t.Any]) -> str:
    (root / "base").mkdir()
    (root / "base" / "config.json").write_text(json.dumps(config))
    (root / "base" / "model.safetensors").write_text("weights")
    return str(root / "base")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"dtype": "bfloat16", "n": 1}, {"dtype": "float32", "n": 1}),
        ({"torch_dtype": "float16"}, {"torch_dtype": "float32"}),
        ({"n": 1}, {"dtype": "float32", "n": 1}),
        (
            {"dtype": "float32", "text_config": {"dtype": "bfloat16", "n": 1}, "rope": {"a": 1}},
            {"dtype": "float32", "text_config": {"dtype": "float32", "n": 1}, "rope": {"a": 1}},
        ),
    ],
)
def test_configuration_names_float32(tmp_path: Path, config: dict[str, t.Any], expected: dict[str, t.Any]) -> None:
    source = write_base(tmp_path, config)
    for _attempt in range(2):
        directory = in_float32(source, str(tmp_path / "wide"))
        assert directory == str(tmp_path / "wide")
        assert json.loads((tmp_path / "wide" / "config.json").read_text()) == expected
        assert os.path.samefile(tmp_path / "wide" / "model.safetensors", tmp_path / "base" / "model.safetensors")
    assert json.loads((tmp_path / "base" / "config.json").read_text()) == config


@pytest.mark.parametrize("config", [{"dtype": "float32"}, {"torch_dtype": "float32", "text_config": {"n": 1}}])
def test_float32_base_is_used_directly(tmp_path: Path, config: dict[str, t.Any]) -> None:
    source = write_base(tmp_path, config)
    assert in_float32(source, str(tmp_path / "wide")) == source
    assert not (tmp_path / "wide").exists()


def test_adapter_configuration_is_reproducible(tmp_path: Path) -> None:
    normalise_adapter(str(tmp_path), "/models/base")
    assert os.listdir(tmp_path) == []
    texts = set()
    for modules in (["q_proj", "v_proj"], ["v_proj", "q_proj"]):
        config = {"r": 16, "target_modules": modules, "base_model_name_or_path": "/somewhere/tmp/base"}
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        for _time in range(2):
            normalise_adapter(str(tmp_path), "/models/base")
            texts.add((tmp_path / "adapter_config.json").read_text())
    assert [json.loads(text) for text in texts] == [
        {"r": 16, "target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": "/models/base"}
    ]
