# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base that the benchmark ``gpu`` makes is one that transformers loads. On the CPU, with a tiny shape."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.model_files import (
    inspect_directory,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.safetensors import read_model
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

_LOAD = """
import sys, transformers
model, info = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], output_loading_info=True)
assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
transformers.AutoTokenizer.from_pretrained(sys.argv[1])
print(model.num_parameters())
"""


def test_random_weights(tmp_path: Path) -> None:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import gpu
    finally:
        sys.path.remove(str(BENCHMARKS))
    venv = os.environ["IA_LF_VENV"]
    small = {"hidden": 64, "intermediate": 128, "heads": 4, "kv_heads": 2, "head_dim": 16, "vocabulary": 2000}
    shape = gpu.with_layers(gpu.dataclasses.replace(gpu.seven_billion(), **small), 2)
    base = gpu.make_base(venv, shape, str(make_tiny_base(tmp_path / "tiny")), tmp_path / "base")
    assert sum(tensor.elements for tensor in read_model(base).values()) == shape.parameters
    assert inspect_directory(base).shape == shape
    python = os.path.join(venv, "bin", "python")
    loaded = subprocess.run([python, "-I", "-c", _LOAD, base], check=True, capture_output=True, text=True)
    assert json.loads(loaded.stdout.split()[-1]) == shape.parameters
