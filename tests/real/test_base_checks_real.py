# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a base's small files with the real tools: their tables, a real tokenizer, and what a check takes.

Needs ``IA_LF_VENV``, ``IA_CONV_VENV`` and ``IA_LLAMA_CPP_DIR``; half a minute.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import (
    base_checks,
    names,
    resolution,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.catalogue import CATALOGUE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.installed_tools import (
    read_tools,
)
from ansible_collections.ia_homelab.llamafactory.tests.catalogue_docs import UNTRAINABLE
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base, toolchain


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("tiny") / "base")


def check(layout: Layout, root: Path, template: str) -> base_checks.Result:
    base = resolution.resolve_base(layout, names.resolve(str(root)))
    return base_checks.check(layout, base_checks.Subject(base, template, True, False), toolchain(), True)


def test_the_installed_tools_know_the_catalogue() -> None:
    known = read_tools(os.environ["IA_LF_VENV"], os.environ["IA_LLAMA_CPP_DIR"])
    assert known.trained and {entry.model_type for entry in CATALOGUE} <= known.trained
    assert known.converted and {"LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"} <= known.converted
    assert len(known.pre_tokenizers) > 50 and "3333" in known.text
    assert known.without_attention == UNTRAINABLE, "what docs/base-models.md calls untrainable"


def test_tiny_base_is_checked_in_seconds(tiny: Path, tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "data"))
    started = time.monotonic()
    result = check(layout, tiny, "qwen")
    first = time.monotonic() - started
    assert result.problem is None and result.unchecked is None
    started = time.monotonic()
    assert check(layout, tiny, "qwen") == result
    again = time.monotonic() - started
    print(f"check of the small files: {first:.2f} s, the next time {again:.3f} s")
    assert again < first / 3


def test_vocabulary_without_the_end_of_an_answer(tiny: Path, tmp_path: Path) -> None:
    result = check(Layout(str(tmp_path / "data")), tiny, "llama3")
    assert result.problem is not None and result.problem.code == "base_models.tokens_missing"


def test_base_without_its_tokenizer(tiny: Path, tmp_path: Path) -> None:
    root = shutil.copytree(tiny, tmp_path / "base")
    for name in ("tokenizer.json", "tokenizer.model"):
        (root / name).unlink(missing_ok=True)
    result = check(Layout(str(tmp_path / "data")), root, "qwen")
    assert result.problem is not None and result.problem.code == "base_models.no_tokenizer"


def test_pre_tokenizer_that_the_converter_does_not_recognize(tmp_path: Path, tiny: Path) -> None:
    """A byte-level vocabulary of another pre-tokenizer, for an architecture that needs it: the converter decides."""
    root = shutil.copytree(tiny, tmp_path / "base")
    for name in ("tokenizer.json", "tokenizer.model"):
        (root / name).unlink(missing_ok=True)
    letters = [chr(0x100 + n) for n in range(33)] + [chr(n) for n in range(33, 127)]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    markers = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    added = [
        {
            **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
            "id": len(vocabulary) + number,
            "content": marker,
            "special": True,
        }
        for number, marker in enumerate(markers)
    ]
    pre_tokenizer = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    content = {
        **dict.fromkeys(("truncation", "padding", "normalizer", "post_processor"), None),
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": pre_tokenizer,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {
            **dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"), None),
            "type": "BPE",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": [],
        },
    }
    (root / "tokenizer.json").write_text(json.dumps(content))
    tokenizer_config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (root / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    config = json.loads((root / "config.json").read_text())
    config.update(model_type="qwen2", architectures=["Qwen2ForCausalLM"])
    (root / "config.json").write_text(json.dumps(config))
    result = check(Layout(str(tmp_path / "data")), root, "qwen")
    assert result.problem is not None and result.problem.code == "base_models.pre_tokenizer_unknown"
