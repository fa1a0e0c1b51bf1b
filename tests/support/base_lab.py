# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small chat model without weights, and stand-ins of the tools that know its architecture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
#: What Qwen 2.5 writes, without tools.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)


def stand_in_tools(tmp_path: Path) -> Toolchain:
    """Write stand-ins of LLaMA-Factory's environment and of the converter.

    Each call of the environment's Python adds a line to the file ``calls``.
    """
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho x >> {tmp_path}/calls\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    auto = tmp_path / "venv/lib/python3.11/site-packages/transformers/models/auto"
    auto.mkdir(parents=True)
    (auto / "modeling_auto.py").write_text(
        'MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict([("llama", "LlamaForCausalLM"), ("new", "NewForCausalLM")])\n'
        'MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES = OrderedDict([("gemma3", "Gemma3ForConditionalGeneration")])\n'
    )
    conversion = tmp_path / "llama.cpp" / "conversion"
    conversion.mkdir(parents=True)
    (conversion / "__init__.py").write_text(
        'TEXT_MODEL_MAP: dict[str, str] = {"LlamaForCausalLM": "llama", "Gemma3ForConditionalGeneration": "gemma"}\n'
    )
    return Toolchain(llamafactory_venv=str(tmp_path / "venv"), llama_cpp_dir=str(tmp_path / "llama.cpp"))


def chat_base(tmp_path: Path) -> Path:
    """Write the small files of a model that speaks ChatML."""
    root = tmp_path / "base"
    root.mkdir()
    (root / "config.json").write_text(json.dumps(CONFIG))
    (root / "vocab.json").write_text(json.dumps({"<|im_start|>": 0, "<|im_end|>": 1, "a": 2}))
    (root / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML, "eos_token": "<|im_end|>"}))
    return root
