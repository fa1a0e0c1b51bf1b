# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that counts tokens, with stand-ins for tokenizers and transformers that count bytes and words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import count_tokens

TOKENIZERS = """
class Encoding:
    def __init__(self, ids): self.ids = ids
class Tokenizer:
    limit = 3
    @classmethod
    def from_file(cls, path):
        assert open(path).read() == "{}"
        return cls()
    def no_truncation(self): self.limit = None
    def encode(self, text, add_special_tokens):
        assert add_special_tokens is False
        return Encoding(list(text.encode())[: self.limit])
"""
TRANSFORMERS = """
class AutoTokenizer:
    @classmethod
    def from_pretrained(cls, base): return cls()
    def encode(self, text, add_special_tokens):
        assert add_special_tokens is False
        return text.split()
"""


def count(tmp_path: Path, rows: list[t.Any]) -> subprocess.CompletedProcess[str]:
    (tmp_path / "lib").mkdir(exist_ok=True)
    (tmp_path / "lib" / "tokenizers.py").write_text(TOKENIZERS)
    (tmp_path / "lib" / "transformers.py").write_text(TRANSFORMERS)
    return subprocess.run(
        [sys.executable, str(count_tokens.__file__), str(tmp_path)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "lib"), "PYTHONDONTWRITEBYTECODE": "1"},
        input="".join(f"{json.dumps(row)}\n" for row in rows),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(("fast", "expected"), [(True, [9, 7]), (False, [6, 3])])
def test_the_longest_text_of_each_row_counts(tmp_path: Path, fast: bool, expected: list[int]) -> None:
    """The fast tokenizer where the base has its file. Tokens of the template are added to each text."""
    if fast:
        (tmp_path / "tokenizer.json").write_text("{}")
    process = count(tmp_path, [[["a b c", 3], ["ab cdef", 2]], [["épée x", -1], ["", 3]]])
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == expected


def test_no_rows(tmp_path: Path) -> None:
    assert count(tmp_path, []).stdout == "[]"


@pytest.mark.parametrize("row", [[], "text"])
def test_a_row_without_texts_is_an_error(tmp_path: Path, row: t.Any) -> None:
    process = count(tmp_path, [row])
    assert (process.returncode, process.stdout) == (1, "")
