# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows longer than cutoff_len: an estimate while planning, and an exact count of the text that training uses."""

from __future__ import annotations

import json
import os
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.facts import facts_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import truncation
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import Declaration, apply
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source

QWEN = facts_of("qwen")
#: A fake tokenizers package in which a token is a character: the tests cover only the calls of the program.
FAKE = """
class Tokenizer:
    @staticmethod
    def from_file(path):
        return Tokenizer()
    def no_truncation(self):
        pass
    def encode(self, text, add_special_tokens=True):
        assert add_special_tokens is False
        return type("Encoding", (), {"ids": list(text)})
"""


def values(**more: t.Any) -> dict[str, t.Any]:
    """Hyperparameters."""
    return {"stage": "sft", "cutoff_len": 100, "template": "qwen", **more}


def lengths(*sizes: int) -> dict[str, t.Any]:
    """Statistics of a dataset with rows of these sizes."""
    histogram = _truncation_lengths()
    histogram.add([b"x" * size for size in sizes])
    return {"rows": len(sizes), "lengths": histogram.result()}


def _truncation_lengths() -> t.Any:
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.statistics import Lengths

    return Lengths()


def test_the_estimate_is_labelled() -> None:
    assert truncation.warning(values(), lengths(50, 200, 380)) is None
    message = str(truncation.warning(values(), lengths(50, 200, 2000, 900)))
    assert "2 of 4 rows are probably longer than cutoff_len 100" in message
    assert "estimated at 4 bytes a token; the training counts before it starts" in message
    assert truncation.warning(values(), {}) is None  # published by a version that did not record sizes


def test_text_is_not_truncated() -> None:
    """It is split into consecutive pieces, unless that is switched off."""
    long = lengths(5000)
    assert truncation.warning(values(stage="pt"), long) is None
    assert "1 row is" in str(truncation.warning(values(stage="pt", extra={"packing": False}), long))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"instruction": "a", "input": "b", "output": "c", "system": "s"},
            ["<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na\nb<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n"],
        ),
        (
            {
                "conversations": [{"from": "human", "value": "a"}],
                "chosen": {"from": "gpt", "value": "b"},
                "rejected": {"from": "gpt", "value": "c"},
                "system": "s",
                "tools": "",
            },
            [
                f"<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n{x}<|im_end|>\n"
                for x in "bc"
            ],
        ),
        ({"text": "Il était"}, ["Il était"]),
    ],
)
def test_counted_texts(row: dict[str, t.Any], expected: list[str]) -> None:
    assert [text for text, _more in truncation.texts(row, QWEN)] == expected


def test_tokens_beside_the_text() -> None:
    """An end of sequence without a text, and a BOS, are added as numbers."""
    row = {"instruction": "a", "input": "", "output": "b", "system": ""}
    texts = truncation.texts(row, facts_of("mistral"))
    assert texts == [("[INST] a[/INST] b", 2)]
    # an EOS that no slot holds, and the empty thought of an answer without one
    assert truncation.texts(row, facts_of("bailing")) == [("<role>HUMAN</role>a<role>ASSISTANT</role>b", 1)]
    assert "<think>\n\n</think>\n\nb" in truncation.texts(row, facts_of("qwen3"))[0][0]
    assert QWEN.default_system in truncation.texts(row, QWEN)[0][0]
    assert truncation.texts(row, None)[0][1] > 0


@pytest.fixture
def python(tmp_path: Path) -> str:
    """A Python that finds the fake tokenizers, although it is started without the user's paths."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "tokenizers.py").write_text(FAKE)
    script = tmp_path / "python"
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'lib')!r})\n"
    script.write_text(
        f"#!{sys.executable}\n{code}sys.argv = ['-c', *sys.argv[4:]] if sys.argv[1:3] == ['-I', '-c'] else 1 / 0\n"
        f"import os\nexec(open({str(tmp_path / 'program')!r}).read())\n"
    )
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import count_tokens

    (tmp_path / "program").write_text(Path(str(count_tokens.__file__)).read_text())
    script.chmod(0o755)
    (tmp_path / "tokenizer.json").write_text("{}")
    return str(script)


def publish(folder: Path, *rows: t.Any) -> str:
    """Directory of a published version."""
    done = apply(Layout(str(folder / "data")), Declaration("rows"), [Source("records", records=list(rows))])
    assert done.dataset is not None
    return done.dataset.path


def test_counting(tmp_path: Path, python: str) -> None:
    short, long = ({"instruction": "a", "output": "b" * size, "system": "s"} for size in (5, 300))
    dataset = publish(tmp_path, short, long, short, {**long, "output": "c" * 400})
    ((text, extra_tokens),) = truncation.texts({**long, "input": "", "output": "c" * 400}, QWEN)
    result = truncation.count(python, str(tmp_path), dataset, values(cutoff_len=350), dict(os.environ))
    assert result == {
        "cutoff_len": 350,
        "rows": 2,
        "longest": len(text) + extra_tokens,
        "longest_row": 4,
        "counted": 2,
        "candidates": 2,
        "exact": True,
    }
    assert truncation.describe_count(result).startswith(
        "2 rows are longer than cutoff_len 350 and will be cut off; the longest, row 4"
    )


def test_the_system_prompt_of_the_training_is_counted(tmp_path: Path, python: str) -> None:
    dataset = publish(tmp_path, {"instruction": "a", "output": "b" * 300})
    counts = [
        truncation.count(python, str(tmp_path), dataset, values(extra={"default_system": system}), dict(os.environ))
        for system in ("s" * 10, "s" * 25)
    ]
    assert counts[0] is not None and counts[1] is not None
    assert counts[1]["longest"] - counts[0]["longest"] == 15


def test_no_program_starts_if_no_row_can_be_too_long(tmp_path: Path) -> None:
    """A token is at least a byte."""
    dataset = publish(tmp_path, {"instruction": "a", "output": "b"})
    assert truncation.count("/nowhere/python", str(tmp_path), dataset, values(cutoff_len=2048), {}) is None
    assert truncation.count("/nowhere/python", str(tmp_path), dataset, values(stage="pt"), {}) is None
    with pytest.raises(OSError, match="nowhere"):
        truncation.count("/nowhere/python", str(tmp_path), dataset, values(cutoff_len=16), {})


def test_counting_is_bounded(tmp_path: Path, python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truncation, "_MAX_BYTES", 1000)
    row = {"instruction": "a", "output": "b" * 400, "system": "s"}
    dataset = publish(tmp_path, *[{**row, "instruction": str(number)} for number in range(20)])
    result = truncation.count(python, str(tmp_path), dataset, values(), dict(os.environ))
    assert result is not None
    assert (result["counted"], result["candidates"], result["exact"]) == (2, 20, False)
    assert "(of 2 that were counted, of 20 that may be)" in truncation.describe_count(result)


def test_a_failing_tokenizer_is_reported(tmp_path: Path, python: str) -> None:
    (tmp_path / "lib" / "tokenizers.py").write_text("raise RuntimeError('broken vocabulary')")
    dataset = publish(tmp_path, {"instruction": "a", "output": "b" * 400})
    with pytest.raises(ValueError, match="broken vocabulary"):
        truncation.count(python, str(tmp_path), dataset, values(), dict(os.environ))


def test_no_message_without_truncated_rows() -> None:
    result = {"rows": 0, "exact": True, "counted": 3, "candidates": 3, "cutoff_len": 9, "longest": 8, "longest_row": 1}
    assert truncation.describe_count(result) == ""
    assert json.dumps(result)
