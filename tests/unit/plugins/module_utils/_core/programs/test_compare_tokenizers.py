# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that converts a model and compares tokenizers, with stand-ins for transformers and llama-tokenize.

Both stand-ins tokenize by bytes; tests/real compares real ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import (
    compare_tokenizers as program,
)

#: Marks a text whose ids differ in serving.
WRONG = "ß"

TRANSFORMERS = """
import os
class Tokenizer:
    unk_token, pad_token, eos_token, bos_token = "<unk>", "<eos>", "<eos>", None
    def __init__(self, name): self.name = name
    @property
    def all_special_tokens(self): return ["<unk>", "<eos>", "<turn>", "<turn>"]
    def encode(self, text, add_special_tokens):
        assert add_special_tokens is False
        return list(text.encode())
class AutoTokenizer:
    @staticmethod
    def from_pretrained(directory):
        if os.path.exists(os.path.join(directory, "newer")): raise ValueError("a newer version wrote it")
        return Tokenizer(directory)
def PreTrainedTokenizerFast(tokenizer_file): return Tokenizer(tokenizer_file)
AutoConfig = None
"""

LLAMA_TOKENIZE = """#!{python}
import sys
assert sys.argv[1:] == ["-m", "model.gguf", "--stdin", "--ids", "--no-bos", "--no-escape", "--log-disable"], sys.argv
text = sys.stdin.buffer.read()
if b"crash" in text: sys.exit("no such model")
if b"silent" in text: sys.exit(0)
sys.stdout.buffer.write(b"[not, ids]\\n" + str([*text.replace("{wrong}".encode(), b"ss")]).encode() + b"\\n")
"""


class Workshop:
    """A directory with the stand-ins."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "lib").mkdir()
        (root / "lib" / "torch.py").touch()
        (root / "lib" / "transformers.py").write_text(TRANSFORMERS)
        self.tokenize = root / "llama-tokenize"
        self.tokenize.write_text(LLAMA_TOKENIZE.format(python=sys.executable, wrong=WRONG))
        self.tokenize.chmod(0o755)
        (root / "tokenizer").mkdir()

    def run(self, **more: t.Any) -> subprocess.CompletedProcess[str]:
        """Run the program with a request."""
        request = {
            "tokenizer": str(self.root / "tokenizer"),
            "gguf": "model.gguf",
            "llama_tokenize": str(self.tokenize),
            "alone": ["one", "two"],
            "together": ["three", "four"],
            "report": str(self.root / "report"),
            **more,
        }
        (self.root / "request").write_text(json.dumps(request))
        return subprocess.run(
            [sys.executable, program.__file__, str(self.root / "request")],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(self.root / "lib"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def report(self, **more: t.Any) -> dict[str, t.Any]:
        process = self.run(**more)
        assert process.returncode == 0, process.stderr
        found: dict[str, t.Any] = json.loads((self.root / "report").read_text())
        assert process.stdout.endswith(f"compared on {found['compared']} texts: {found['count']} differ.\n")
        return found


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_equal_tokenizers(workshop: Workshop) -> None:
    """Padding and unknown do not count, unless padding is the token that ends answers; each token counts once."""
    report = workshop.report()
    assert report.pop("peak_bytes") > 1e6
    assert report == {"compared": 2 + 2 + 2, "wrong": [], "count": 0}


def test_each_differing_text_is_reported(workshop: Workshop) -> None:
    report = workshop.report(alone=["one", WRONG], together=["x", f"y{WRONG}"])
    assert report["count"] == 2
    assert report["wrong"] == [
        {"text": WRONG, "trained": list(WRONG.encode()), "served": list(b"ss")},
        {"text": f"y{WRONG}", "trained": list(f"y{WRONG}".encode()), "served": list(b"yss")},
    ]


def test_a_report_lists_a_limited_number(workshop: Workshop) -> None:
    report = workshop.report(alone=[WRONG] * 25, together=[])
    assert (report["count"], len(report["wrong"])) == (25, 20)


@pytest.mark.parametrize(("text", "message"), [("crash", "status 1: no such model"), ("silent", "status 0: ")])
def test_a_tokenizer_that_fails_is_no_difference(workshop: Workshop, text: str, message: str) -> None:
    process = workshop.run(alone=[text])
    assert process.returncode == 1
    assert f"RuntimeError: llama-tokenize ended with {message}" in process.stderr
    assert not (workshop.root / "report").exists()


def test_the_conversion_runs_first_in_the_same_process(workshop: Workshop) -> None:
    """With its own arguments, and modules beside it; PyTorch would take seconds to import again."""
    convert = workshop.root / "convert"
    convert.mkdir()
    (convert / "helper.py").write_text("NAME = 'tokenizer/made'\n")
    (convert / "convert.py").write_text(
        "import os, sys, helper\n"
        "assert __name__ == '__main__' and 'transformers' in sys.modules\n"
        "open(os.path.join(sys.argv[1], helper.NAME), 'w').close()\n"
        "sys.exit(int(sys.argv[2]))\n"
    )
    argv = [str(convert / "convert.py"), str(workshop.root)]
    assert workshop.report(convert=[*argv, "0"])["count"] == 0
    assert (workshop.root / "tokenizer" / "made").exists()
    (workshop.root / "report").unlink()
    assert workshop.run(convert=[*argv, "3"]).returncode == 3
    assert not (workshop.root / "report").exists()


GGUF_VOCAB = """
class Value:
    def __init__(self, value): self.value = value
class Writer:
    def __init__(self, **written):
        self.kv_data = [{f"tokenizer.ggml.{key}": Value(value) for key, value in written.items()}]
    def add_add_bos_token(self, value): self.kv_data[0]["tokenizer.ggml.add_bos_token"] = Value(value)
class SpecialVocab:
    def __init__(self, bos=None): self.bos = bos
    def add_to_gguf(self, gw, quiet=False):
        if self.bos is not None: gw.add_add_bos_token(self.bos)
"""
CONVERT = """
import json, sys
from gguf.vocab import SpecialVocab, Writer
bos, model, split = json.loads(sys.argv[1])
writer = Writer(model=model, pre=split)
SpecialVocab(bos).add_to_gguf(writer, quiet=True)
flag = writer.kv_data[0].get("tokenizer.ggml.add_bos_token")
print("written:", None if flag is None else flag.value)
"""


@pytest.mark.parametrize(
    ("bos", "model", "split", "written"),
    [
        (None, "gpt2", "qwen2", False),
        (True, "gpt2", "qwen2", True),
        (False, "gpt2", "qwen2", False),
        (None, "gpt2", "llama-bpe", None),  # llama.cpp adds one
        (None, "llama", "default", None),
    ],
)
def test_what_the_files_do_not_say_of_bos_is_written(
    workshop: Workshop, bos: bool | None, model: str, split: str, written: bool | None
) -> None:
    """Servers differ in what they do without it."""
    package = workshop.root / "gguf-py" / "gguf"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "vocab.py").write_text(GGUF_VOCAB)
    (workshop.root / "convert.py").write_text(f"import sys; sys.path.insert(0, {str(package.parent)!r})\n{CONVERT}")
    process = workshop.run(
        convert=[str(workshop.root / "convert.py"), json.dumps([bos, model, split])],
        gguf_package=str(package.parent),
        bpe_with_bos=["llama-bpe"],
    )
    assert process.returncode == 0, process.stderr
    assert f"written: {written}\n" in process.stdout


def test_a_configuration_of_another_version_is_ignored(workshop: Workshop) -> None:
    (workshop.root / "tokenizer" / "newer").touch()
    process = workshop.run()
    assert process.returncode == 1 and "a newer version wrote it" in process.stderr
    (workshop.root / "tokenizer" / "tokenizer.json").touch()
    assert workshop.report()["count"] == 0


def test_texts_are_compared_in_one_call_where_they_agree() -> None:
    """Each call loads the vocabulary again."""
    calls: list[str] = []

    def served(text: str) -> list[int]:
        calls.append(text)
        return [len(text)]

    assert program.compare(lambda text: [len(text)], served, ["a"], ["b", "c"]) == []
    assert calls == ["a", "b\nc"]


def test_a_difference_between_texts_alone_is_reported_as_a_whole() -> None:
    """At a line break that joins two texts, each of which is equal."""

    def served(text: str) -> list[int]:
        return [-1] if "\n" in text else [len(text)]

    (found,) = program.compare(lambda text: [len(text)], served, [], ["b", "c"])
    assert found == {"text": "b\nc", "trained": [3], "served": [-1]}
