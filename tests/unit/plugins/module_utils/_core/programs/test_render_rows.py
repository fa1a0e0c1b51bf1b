# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that renders rows and runs programs on their text, with stand-ins for LLaMA-Factory and llama.cpp.

``tests/real/test_measured_gguf_real.py`` uses the real ones.
"""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import render_rows

#: Stands for ``render_probes``, beside a copy of the program: a token is a character.
_STAND_IN = """
class Tokenizer:
    eos_token_id = ord("$")
    def encode(self, text, add_special_tokens):
        return [ord(character) for character in text]
class Template:
    efficient_eos = True
    def encode_multiturn(self, tokenizer, messages, system, tools):
        if tools == "bad":
            raise ValueError(tools)
        texts = [message["content"] for message in messages]
        pairs = zip(texts[::2], texts[1::2])
        return [(tokenizer.encode(f"<{q}>", False), tokenizer.encode(a, False)) for q, a in pairs]
def load_tokenizer(directory, arguments):
    return Tokenizer()
def load_template(name, tokenizer, arguments):
    return Template()
def text_of(tokenizer, ids):
    return "".join(map(chr, ids))
"""


class Lab:
    """A copy of the program in a directory, and requests for it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "render_probes.py").write_text(_STAND_IN)
        (root / "render_rows.py").write_text(Path(render_rows.__file__).read_text(encoding="utf-8"))

    def run(self, rows: t.Sequence[t.Any], *scripts: str, **changed: t.Any) -> tuple[int, str, dict[str, t.Any]]:
        """Run it; return its status, what it prints, and its report.

        :param scripts: shell scripts that stand for the programs; ``$1`` and ``$2`` are the tokens and the pieces.
        """
        (self.root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        commands = [
            {
                "label": f"p{number}",
                "argv": ["/bin/sh", "-c", script, "sh", "{context}", "{chunks}"],
                "output": str(self.root / f"p{number}.log"),
            }
            for number, script in enumerate(scripts)
        ]
        files = {"rows": "rows.jsonl", "text": "text.txt", "report": "report.json"}
        request = {
            "template": "x",
            "tokenizer": "",
            "arguments": {},
            "cutoff_len": 1000,
            "tokens": 1000,
            "minimum": 10,
            "context": 512,
            "commands": commands,
            **{name: str(self.root / file) for name, file in files.items()},
            **changed,
        }
        (self.root / "request.json").write_text(json.dumps(request))
        argv = [sys.executable, str(self.root / "render_rows.py"), str(self.root / "request.json")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        report = json.loads((self.root / "report.json").read_text()) if (self.root / "report.json").exists() else {}
        return done.returncode, done.stdout + done.stderr, report

    def text(self) -> str:
        return (self.root / "text.txt").read_text(encoding="utf-8")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def row(question: str, answer: str, tools: str = "") -> dict[str, t.Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"system": "", "tools": tools, "messages": messages}


def test_text_of_the_rows_up_to_the_number_of_tokens(lab: Lab) -> None:
    rows = [row("a" * 8, "b" * 9), {"text": "c" * 19}, row("d", "e", "bad"), row("é" * 8, "f" * 9), row("g", "h")]
    status, _said, report = lab.run(rows, tokens=60)
    assert status == 0
    assert lab.text() == f"<{'a' * 8}>{'b' * 9}${'c' * 19}$<{'é' * 8}>{'f' * 9}$"
    assert report == {"rows": 3, "skipped": 1, "tokens": 60, "context": 64}


def test_long_rows_are_truncated_as_in_the_training(lab: Lab) -> None:
    _status, _said, report = lab.run([row("a" * 50, "b"), row("c" * 50, "d")], cutoff_len=12)
    assert lab.text() == f"<{'a' * 11}<{'c' * 11}" and report["tokens"] == 24


def test_programs_get_the_size_of_the_pieces(lab: Lab) -> None:
    status, said, _report = lab.run([row("a" * 500, "b" * 497)], "echo one $1 $2", "echo two >&2", tokens=600)
    assert status == 0 and (lab.root / "p0.log").read_text() == "one 256 2\n"
    assert (lab.root / "p1.log").read_text() == "two\n"
    assert said.splitlines() == ["Rendering the rows", "Measuring p0 (1 of 2)", "Measuring p1 (2 of 2)"]


def test_a_program_that_fails_ends_it_with_what_it_said(lab: Lab) -> None:
    status, said, _report = lab.run([row("a" * 500, "b")], "echo bad model; exit 3", "touch second")
    assert status == 3 and said.endswith("bad model\n") and "second" not in said
    status, _said, _report = lab.run([row("a" * 500, "b")], "kill -9 $$")
    assert status == 1


def test_too_little_text_is_not_measured(lab: Lab) -> None:
    status, said, report = lab.run([row("a", "b")], "echo measured")
    assert status == 1 and "The rows have 5 tokens, fewer than 10." in said and report["tokens"] == 5
    assert not (lab.root / "p0.log").exists()


@pytest.mark.parametrize(
    ("tokens", "context"), [(40000, 512), (1024, 512), (1023, 256), (300, 128), (255, 64), (10, 64)]
)
def test_pieces_are_such_that_there_are_two(tokens: int, context: int) -> None:
    assert render_rows.context_for(tokens, 512) == context
