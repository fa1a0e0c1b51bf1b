# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step gguf without llama.cpp: what it would run, and what it makes of what the tools leave."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import typing as t
import unicodedata
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import (
    compare_tokenizers as program,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.command import Command
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import gguf, tool_environment
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.gguf import GgufStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.recorded import recorded
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import BASE, DATASET, StepLab
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

MERGE = "5" * 64
HALF = "6" * 64
ROWS = [{"instruction": f"Question {number} ?", "output": f"Réponse {number}.", "n": number} for number in range(9)]


@pytest.fixture
def lab(tmp_path: Path) -> StepLab:
    """A base with a tokenizer, a dataset, merged weights of 4096 elements, a 16-bit file."""
    made = StepLab(tmp_path)
    (tmp_path / "base" / "tokenizer.json").touch()
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    Path(made.dataset, "data.jsonl").write_text(rows, encoding="utf-8")
    merged = made.artifact("merge", MERGE, tokenizer="base")
    raw = ("BF16", [64, 64], bytes(8192))
    write_safetensors(os.path.join(merged, "model.safetensors"), {"w": raw})
    write_gguf(os.path.join(made.artifact("gguf", HALF), "model.gguf"))
    return made


def write_gguf(path: str, tensors: int = 2, file_type: int = 1, rows: int = 32) -> None:
    """A GGUF file, version 3, of 16-bit tensors with 64 columns."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    parts = [b"GGUF", struct.pack("<IQQ", 3, tensors, 1), text("general.file_type"), struct.pack("<II", 4, file_type)]
    size = rows * 64 * 2
    for number in range(tensors):
        parts += [text(f"blk.{number}.w"), struct.pack("<IQQIQ", 2, 64, rows, 1, number * size)]
    head = b"".join(parts)
    with open(path, "wb") as stream:
        stream.write(head + bytes(-len(head) % 32) + bytes(size * tensors))


def context(lab: StepLab, quantization: str = "f16", **options: t.Any) -> StepContext:
    """A job for a conversion, or for a quantization from the 16-bit file."""
    half = {} if quantization in gguf.DIRECT else {"f16": HALF}
    options = {"name": "essai", "base": BASE, "dataset": DATASET, **half, **options}
    return lab.context("gguf", {"merge": MERGE}, options, quantization=quantization)


def started(ctx: StepContext) -> Command:
    """The command, prepared."""
    return GgufStep().command(ctx)


def request_of(command: Command) -> dict[str, t.Any]:
    """What the program in the converter's environment is asked for."""
    found: dict[str, t.Any] = json.loads(Path(command.argv[2]).read_text(encoding="utf-8"))
    return found


def agreed(ctx: StepContext, **more: t.Any) -> None:
    """The report of a comparison."""
    write_json(os.path.join(ctx.job_dir, "tokens.json"), {"compared": 33, "wrong": [], "count": 0, **more})


def test_conversion(lab: StepLab) -> None:
    """One program in the converter's environment converts, then compares."""
    ctx = context(lab, "bf16")
    os.makedirs(ctx.work)
    Path(ctx.work, "model.gguf.part").touch()
    agreed(ctx)
    command = started(ctx)
    assert command.argv[0] == str(lab.root / "conv/bin/python")
    assert os.path.basename(command.argv[1]) == "compare_tokenizers.py"
    assert os.path.isfile(command.argv[1])
    assert os.listdir(ctx.work) == []
    assert not os.path.exists(os.path.join(ctx.job_dir, "tokens.json")), "a report of an earlier attempt"
    found = request_of(command)
    part = os.path.join(ctx.work, "model.gguf.part")
    assert found["convert"] == [
        str(lab.root / "llama.cpp/convert_hf_to_gguf.py"),
        lab.layout.artifact("merge", MERGE),
        *("--outtype", "bf16", "--outfile", part, "--model-name", "essai"),
    ]
    assert found["gguf"] == part
    assert found["tokenizer"] == str(lab.root / "base")
    assert found["alone"] == list(gguf.FIXED_TEXTS)
    assert "Question 3 ?" in found["together"] and "Réponse 8." in found["together"]


def test_quantization(lab: StepLab) -> None:
    """From the 16-bit file, which is all it needs."""
    ctx = context(lab, "q4_K_M")
    half = os.path.join(lab.layout.artifact("gguf", HALF), "model.gguf")
    part = os.path.join(ctx.work, "model.gguf.part")
    command = started(ctx)
    assert command.argv == [str(lab.root / "llama.cpp/bin/llama-quantize"), half, part, "Q4_K_M", "1"]


def test_tokenizer_of_the_training(lab: StepLab) -> None:
    """The base's; the merged model's own where the base is gone, or tokens were added to it."""
    merged = lab.layout.artifact("merge", MERGE)
    assert gguf.tokenizer_directory(context(lab)) == str(lab.root / "base")
    assert gguf.tokenizer_directory(context(lab, base="")) == merged
    (lab.root / "base" / "tokenizer.json").unlink()
    assert gguf.tokenizer_directory(context(lab)) == merged
    (lab.root / "base" / "tokenizer.json").touch()
    write_json(os.path.join(merged, "receipt.json"), {"results": {"tokenizer": "export"}})
    assert gguf.tokenizer_directory(context(lab)) == merged


def test_weights_are_looked_for_before(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The converter makes an empty file where there are none, and cuts off nothing where they are cut off."""
    path = Path(lab.layout.artifact("merge", MERGE), "model.safetensors")
    raw = path.read_bytes()
    with monkeypatch.context() as patched, pytest.raises(NotReadyError, match="room"):
        patched.setattr(tool_environment, "free_bytes", lambda _path: 100)
        started(context(lab))
    path.write_bytes(raw[:-1])
    with pytest.raises(NotReadyError, match="is incomplete"):
        started(context(lab))
    path.unlink()
    with pytest.raises(NotReadyError, match="no weights"):
        started(context(lab))


def test_converted(lab: StepLab) -> None:
    """Whole, of the right size, and its tokenizer agrees."""
    ctx = context(lab)
    started(ctx)
    write_gguf(os.path.join(ctx.work, "model.gguf.part"))
    agreed(ctx)
    results = GgufStep().finish(ctx)
    assert results == {
        "quantization": "f16",
        "bytes": os.path.getsize(os.path.join(ctx.work, "model.gguf")),
        "tensors": 2,
        "parameters": 4096,
        "file_type": "F16",
        "fallbacks": [],
        "texts_compared": 33,
    }
    assert os.listdir(ctx.work) == ["model.gguf"]
    assert GgufStep().finish(ctx) == results, "a supervisor killed here calls it again"


def test_tokenizers_differ(lab: StepLab) -> None:
    """Said with the text and the ids about the first difference; nothing is left."""
    ctx = context(lab)
    started(ctx)
    write_gguf(os.path.join(ctx.work, "model.gguf.part"))
    ids = list(range(30))
    wrong = {"text": "Comment redémarrer Sonarr ?", "trained": ids, "served": [*ids[:20], 7, 7]}
    agreed(ctx, wrong=[wrong], count=5)
    with pytest.raises(JobError) as caught:
        GgufStep().finish(ctx)
    assert "on 5 texts, such as 'Comment redémarrer Sonarr ?'" in caught.value.message
    assert "…[18, 19, 20, 21, 22, 23, 24, 25]… in training, …[18, 19, 7, 7]… when served" in caught.value.message
    assert caught.value.details["wrong"] == [wrong]
    assert os.listdir(ctx.work) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [({"tensors": 0}, "no tensors"), ({"tensors": 1, "rows": 8}, "512 parameters, the merged model 4096")],
)
def test_poor_conversion(lab: StepLab, options: dict[str, int], said: str) -> None:
    """The converter's exit status is no proof."""
    ctx = context(lab)
    started(ctx)
    write_gguf(os.path.join(ctx.work, "model.gguf.part"), **options)
    agreed(ctx)
    with pytest.raises(JobError, match=said):
        GgufStep().finish(ctx)
    assert os.listdir(ctx.work) == []


def test_not_compared(lab: StepLab) -> None:
    """Killed between conversion and comparison."""
    ctx = context(lab)
    started(ctx)
    write_gguf(os.path.join(ctx.work, "model.gguf.part"))
    with pytest.raises(JobError, match="not compared"):
        GgufStep().finish(ctx)


@pytest.mark.parametrize("damage", ["cut", "not gguf", "nothing"])
def test_partial_output(lab: StepLab, damage: str) -> None:
    """What a killed or failed tool leaves is removed and never taken for a result."""
    ctx = context(lab, "q8_0")
    started(ctx)
    part = os.path.join(ctx.work, "model.gguf.part")
    if damage != "nothing":
        write_gguf(part)
        os.truncate(part, os.path.getsize(part) - 40)
    if damage == "not gguf":
        Path(part).write_bytes(bytes(5000))
    with pytest.raises(JobError):
        GgufStep().finish(ctx)
    assert os.listdir(ctx.work) == []


def test_quantized_must_match_its_source(lab: StepLab) -> None:
    """As many tensors, and a size that can be."""
    ctx = context(lab, "q8_0")
    for options, said in (({"tensors": 1}, "1 tensors"), ({"rows": 1}, "bytes"), ({"rows": 64}, "bytes")):
        started(ctx)
        write_gguf(os.path.join(ctx.work, "model.gguf.part"), **options)
        with pytest.raises(JobError, match=said):
            GgufStep().finish(ctx)


def test_fallbacks(lab: StepLab) -> None:
    """A recorded quantization of rows that 256 does not divide; the tool exits with 0."""
    ctx = context(lab, "q4_K_M")
    started(ctx)
    write_gguf(os.path.join(ctx.work, "model.gguf.part"), file_type=15, rows=16)
    Path(ctx.job_dir, "log.txt").write_bytes(recorded("quantize-fallback.log") * 2)
    results = GgufStep().finish(ctx)
    assert results["file_type"] == "Q4_K_M"
    assert len(results["fallbacks"]) == 12
    assert results["fallbacks"][0] == {"tensor": "blk.0.attn_k.weight", "wanted": "q4_K", "used": "q5_0"}
    assert {"tensor": "blk.1.attn_v.weight", "wanted": "q6_K", "used": "q8_0"} in results["fallbacks"]


def test_progress(lab: StepLab) -> None:
    """From recorded output."""
    ctx = context(lab)
    log = Path(ctx.job_dir, "log.txt")
    assert GgufStep().progress(ctx) is None
    converted = recorded("convert.log")
    log.write_bytes(converted)
    found = GgufStep().progress(ctx)
    assert found is not None and (found.current, found.total, found.note) == (100, 100, "comparing tokens")
    log.write_bytes(converted.split(b"\rWriting: 100%")[0])
    found = GgufStep().progress(ctx)
    assert found is not None and (found.current, found.total, found.note) == (0, 100, "converting")
    quantized = recorded("quantize-fallback.log")
    log.write_bytes(quantized.split(b"[  13/  20]")[0])
    found = GgufStep().progress(ctx)
    assert found is not None and (found.current, found.total, found.unit) == (12, 20, "tensor")


def test_sample_of_rows(tmp_path: Path) -> None:
    """Spread over the whole file, each text once, composed, whatever else is in the rows."""
    path = tmp_path / "data.jsonl"
    rows = [{"messages": [{"role": "user", "content": f"Question {number} ?"}], "n": 1} for number in range(5000)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = gguf.sample_rows(str(path), limit=50)
    assert len(found) == len(set(found)) == 50
    numbers = [int(text.split()[1]) for text in found if text.startswith("Question")]
    assert min(numbers) == 0 and max(numbers) > 4700
    decomposed = unicodedata.normalize("NFD", "été")
    lines = [json.dumps({"a": decomposed}), "{torn", '{"a": "\\ud83d", "b": "", "c": "x\\u0000y"}', "17", ""]
    path.write_text("\n".join(lines))
    assert gguf.sample_rows(str(path)) == ["été", "xy"]


# -- the comparison itself; its real tokenizers are tried in tests/real ------------------------------------------------


def test_comparison() -> None:
    """Texts of their own are compared one by one, the rows in one go; the culprit is found."""
    calls: list[str] = []

    def trained(text: str) -> list[int]:
        return list(text.encode())

    def served(text: str) -> list[int]:
        calls.append(text)
        return list(text.replace("é", "e").encode())

    assert program.compare(trained, served, ["a", "b"], ["c", "d", "e"]) == []
    assert calls == ["a", "b", "c\nd\ne"]
    expected = {"text": "é", "trained": list("é".encode()), "served": [101]}
    assert program.compare(trained, served, ["é", "b"], []) == [expected]
    assert program.compare(trained, served, [], ["c", "é"]) == [expected]


def test_difference_only_where_texts_meet() -> None:
    """Then both are told as one text."""

    def served(text: str) -> list[int]:
        return [0] if "\n" in text else [len(text)]

    found = program.compare(lambda text: [len(text)], served, [], ["a", "b"])
    assert [entry["text"] for entry in found] == ["a\nb"]


def test_the_converter_runs_in_the_same_process(tmp_path: Path) -> None:
    """It finds its own modules and its arguments, and leaves nothing of either behind."""
    (tmp_path / "conversion.py").write_text("NAME = 'its own'\n")
    converter = tmp_path / "convert.py"
    converter.write_text(
        "import conversion, json, os, pathlib, sys\n"
        "if __name__ == '__main__':\n"
        "    told = [conversion.NAME, os.getpid(), __file__, sys.argv]\n"
        "    pathlib.Path(sys.argv[1]).write_text(json.dumps(told))\n"
        "    sys.exit(0)\n"
    )
    argv = [str(converter), str(tmp_path / "out")]
    before = list(sys.argv), list(sys.path)
    program.run_program(argv)
    assert json.loads((tmp_path / "out").read_text()) == ["its own", os.getpid(), str(converter), argv]
    assert (sys.argv, sys.path) == before


@pytest.mark.parametrize(
    ("body", "status"), [("import sys; sys.exit(3)", 3), ("raise ValueError", 1), ("import os; os.abort()", -6)]
)
def test_failing_converter(tmp_path: Path, body: str, status: int) -> None:
    """Its status is handed on, and nothing is compared."""
    converter, request = tmp_path / "convert.py", tmp_path / "request.json"
    converter.write_text(body)
    request.write_text(json.dumps({"convert": [str(converter)], "report": str(tmp_path / "report")}))
    done = subprocess.run([sys.executable, program.__file__, str(request)], capture_output=True, check=False)
    assert done.returncode == status
    assert not (tmp_path / "report").exists()


def test_failing_llama_tokenize(tmp_path: Path) -> None:
    """What it said is told."""
    tool = tmp_path / "llama-tokenize"
    tool.write_text("#!/bin/sh\necho broken model >&2\nexit 1\n")
    tool.chmod(0o755)
    with pytest.raises(RuntimeError, match="status 1: broken model"):
        program.served_ids(str(tool), "x.gguf", "text")
