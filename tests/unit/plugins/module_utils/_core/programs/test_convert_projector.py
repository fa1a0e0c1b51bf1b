# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that converts an image encoder, with a stand-in for the converter that lists what it reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import convert_projector

BASE = """
class ModelBase:
    @classmethod
    def filter_tensors(cls, item):
        return item if item[0].startswith("visual.") else None

    def index_tensors(self, names):
        return [item[0] for item in (self.filter_tensors((name, None)) for name in names) if item]
"""
CONVERTER = """
import json
import sys
from conversion.base import ModelBase

model = ModelBase()
print(json.dumps([sys.argv[1:], model.index_tensors(json.loads(sys.argv[1])), "filter_tensors" in vars(model)]))
sys.exit(int(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["visual.a", "model.norm.weight", "lm_head.weight"], ["visual.a"]),
        (["model.visual.a", "model.language_model.norm.weight"], ["visual.a"]),
        (["model.norm.weight"], []),
    ],
)
@pytest.mark.parametrize("status", [0, 3])
def test_tensors_have_the_names_of_the_hub(tmp_path: Path, names: list[str], read: list[str], status: int) -> None:
    (tmp_path / "conversion").mkdir()
    (tmp_path / "conversion" / "__init__.py").touch()
    (tmp_path / "conversion" / "base.py").write_text(BASE)
    converter = tmp_path / "convert_hf_to_gguf.py"
    converter.write_text(CONVERTER)
    arguments = [json.dumps(names), str(status)]
    argv = [sys.executable, convert_projector.__file__, str(converter), "visual.,vision_tower.", *arguments]
    completed = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert completed.returncode == status, completed.stderr
    assert json.loads(completed.stdout) == [arguments, read, False]
