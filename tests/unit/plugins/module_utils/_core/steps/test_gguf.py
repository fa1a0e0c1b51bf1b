# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step gguf without llama.cpp: its commands, and its checks of the tools' output."""

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
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import (
    gguf,
    tool_environment,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.gguf import GgufStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.known_names import (
    DIRECT_QUANTIZATIONS,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.recorded import recorded
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import BASE, DATASET, StepLab
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

MERGE = "5" * 64
HALF = "6" * 64
ROWS = [{"instruction": f"Question {number} ?", "output": f"Réponse {number}.", "n": number} for number in range(9)]


@pytest.fixture
def lab(tmp_path: Path) -> StepLab:
    """A base with a tokenizer, a dataset, merged weights of 4096 elements, a 16-bit file."""
    step_lab = StepLab(tmp_path)
    (tmp_path / "base" / "tokenizer.json").touch()
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    Path(step_lab.dataset, "data.jsonl").write_text(rows, encoding="utf-8")
    merged = step_lab.artifact("merge", MERGE, tokenizer="base")
    raw = ("BF16", [64, 64], bytes(8192))
    write_safetensors(os.path.join(merged, "model.safetensors"), {"w": raw})
    write_gguf(os.path.join(step_lab.artifact("gguf", HALF), "model.gguf"))
    return step_lab


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
    """Context of a conversion, or of a quantization from the 16-bit file."""
    half = {} if quantization in DIRECT_QUANTIZATIONS else {"f16": HALF}
    options = {"name": "essai", "base": BASE, "dataset": DATASET, **half, **options}
    return lab.context("gguf", {"merge": MERGE}, options, quantization=quantization)


def prepare(ctx: StepContext) -> Command:
    """Prepare the step and return its command."""
    return GgufStep().command(ctx)


def request_of(command: Command) -> dict[str, t.Any]:
    """The request of the program in the converter's environment."""
    request: dict[str, t.Any] = json.loads(Path(command.argv[2]).read_text(encoding="utf-8"))
    return request


def write_matching_report(ctx: StepContext, **more: t.Any) -> None:
    """Write the report of a comparison without differences."""
    write_json(os.path.join(ctx.job_dir, "tokens.json"), {"compared": 33, "wrong": [], "count": 0, **more})


def test_conversion(lab: StepLab) -> None:
    """One program in the converter's environment converts and compares."""
    ctx = context(lab, "bf16")
    os.makedirs(ctx.work)
    Path(ctx.work, "model.gguf.part").touch()
    write_matching_report(ctx)
    command = prepare(ctx)
    assert command.argv[0] == str(lab.root / "conv/bin/python")
    assert os.path.basename(command.argv[1]) == "compare_tokenizers.py"
    assert os.path.isfile(command.argv[1])
    assert os.listdir(ctx.work) == []
    assert not os.path.exists(os.path.join(ctx.job_dir, "tokens.json")), "a report of an earlier attempt"
    request = request_of(command)
    part = os.path.join(ctx.work, "model.gguf.part")
    assert request["convert"] == [
        str(lab.root / "llama.cpp/convert_hf_to_gguf.py"),
        lab.layout.artifact("merge", MERGE),
        *("--outtype", "bf16", "--outfile", part, "--model-name", "essai"),
    ]
    assert request["gguf"] == part
    assert request["tokenizer"] == str(lab.root / "base")
    assert request["alone"] == list(gguf.FIXED_TEXTS)
    assert "Question 3 ?" in request["together"] and "Réponse 8." in request["together"]


@pytest.mark.parametrize(
    ("architecture", "options"), [("qwen3_5", ["--no-mtp"]), ("glm4_moe", ["--no-mtp"]), ("qwen2", [])]
)
def test_layers_that_predict_further_tokens_are_left_out(lab: StepLab, architecture: str, options: list[str]) -> None:
    """The converter ends with an error for the option where the architecture has none."""
    merged = Path(lab.layout.artifact("merge", MERGE))
    write_json(str(merged / "config.json"), {"model_type": architecture, "num_nextn_predict_layers": 1})
    assert [item for item in request_of(prepare(context(lab)))["convert"] if item == "--no-mtp"] == options


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("model.language_model.model.norm.weight", ["language_model.model."]),
        ("language_model.model.norm.weight", []),
        ("model.language_model.norm.weight", []),
    ],
)
def test_names_that_newer_transformers_write_are_those_of_the_hub(lab: StepLab, name: str, prefixes: list[str]) -> None:
    """The converter does not know the others."""
    merged = lab.layout.artifact("merge", MERGE)
    write_safetensors(os.path.join(merged, "model.safetensors"), {name: ("BF16", [64, 64], bytes(8192))})
    program, *arguments = request_of(prepare(context(lab)))["convert"]
    converter = str(lab.root / "llama.cpp/convert_hf_to_gguf.py")
    if prefixes:
        assert os.path.basename(program) == "convert_by_hub_names.py" and os.path.isfile(program)
        assert arguments[:3] == [converter, ",".join(prefixes), merged]
    else:
        assert [program, arguments[0]] == [converter, merged]


def test_quantization(lab: StepLab) -> None:
    """Quantizes the 16-bit file, without any other input."""
    ctx = context(lab, "q4_K_M")
    half = os.path.join(lab.layout.artifact("gguf", HALF), "model.gguf")
    part = os.path.join(ctx.work, "model.gguf.part")
    command = prepare(ctx)
    assert command.argv == [str(lab.root / "llama.cpp/bin/llama-quantize"), half, part, "Q4_K_M", "1"]


def test_quantization_uses_all_processors_of_the_job(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_environment, "cpus", lambda: 12)
    monkeypatch.setattr(tool_environment, "_TINY_BYTES", 0)
    assert prepare(context(lab, "q4_K_M")).argv[-1] == "12"


def test_tokenizer_of_the_training(lab: StepLab) -> None:
    """Uses the base's tokenizer, or the merged model's when the base no longer exists or tokens were added."""
    merged = lab.layout.artifact("merge", MERGE)
    assert gguf.tokenizer_directory(context(lab)) == str(lab.root / "base")
    assert gguf.tokenizer_directory(context(lab, base="")) == merged
    (lab.root / "base" / "tokenizer.json").unlink()
    assert gguf.tokenizer_directory(context(lab)) == merged
    (lab.root / "base" / "tokenizer.json").touch()
    write_json(os.path.join(merged, "receipt.json"), {"results": {"tokenizer": "export"}})
    assert gguf.tokenizer_directory(context(lab)) == merged


def test_weights_are_checked_before_the_conversion(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The converter would write an empty file without weights, and would not notice truncated ones."""
    path = Path(lab.layout.artifact("merge", MERGE), "model.safetensors")
    raw = path.read_bytes()
    with monkeypatch.context() as patched, pytest.raises(NotReadyError, match="room"):
        patched.setattr(tool_environment, "free_bytes", lambda _path: 100)
        prepare(context(lab))
    path.write_bytes(raw[:-1])
    with pytest.raises(NotReadyError, match="is incomplete"):
        prepare(context(lab))
    path.unlink()
    with pytest.raises(NotReadyError, match="no weights"):
        prepare(context(lab))


def test_converted_file(lab: StepLab) -> None:
    """A complete file of the right size with a matching tokenizer."""
    ctx = context(lab)
    prepare(ctx)
    write_gguf(os.path.join(ctx.work, "model.gguf.part"))
    write_matching_report(ctx)
    results = GgufStep().finish(ctx)
    assert results == {
        "quantization": "f16",
        "bytes": os.path.getsize(os.path.join(ctx.work, "model.gguf")),
        "tensors": 2,
        "parameters": 4096,
        "file_type": "F16",
        "fallbacks": [],
        "recipe": "merged_weights",
        "texts_compared": 33,
    }
    assert os.listdir(ctx.work) == ["model.gguf"]
    assert GgufStep().finish(ctx) == results, "a supervisor killed here calls it again"


def test_differing_tokenizers(lab: StepLab) -> None:
    """The error has the text and the ids around the first difference; the file is deleted."""
    ctx = context(lab)
    prepare(ctx)
    write_gguf(os.path.join(ctx.work, "model.gguf.part"))
    ids = list(range(30))
    wrong = {"text": "Comment redémarrer Sonarr ?", "trained": ids, "served": [*ids[:20], 7, 7]}
    write_matching_report(ctx, wrong=[wrong], count=5)
    with pytest.raises(JobError) as caught:
        GgufStep().finish(ctx)
    assert "on 5 texts, such as 'Comment redémarrer Sonarr ?'" in caught.value.message
    assert "…[18, 19, 20, 21, 22, 23, 24, 25]… in training, …[18, 19, 7, 7]… when served" in caught.value.message
    assert caught.value.details["wrong"] == [wrong]
    assert os.listdir(ctx.work) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tensors": 0}, "no tensors"), ({"tensors": 1, "rows": 8}, "512 parameters, the merged model 4096")],
)
def test_incomplete_conversion(lab: StepLab, options: dict[str, int], message: str) -> None:
    """The output is checked despite exit status 0."""
    ctx = context(lab)
    prepare(ctx)
    write_gguf(os.path.join(ctx.work, "model.gguf.part"), **options)
    write_matching_report(ctx)
    with pytest.raises(JobError, match=message):
        GgufStep().finish(ctx)
    assert os.listdir(ctx.work) == []


def test_missing_comparison(lab: StepLab) -> None:
    """The program was killed between conversion and comparison."""
    ctx = context(lab)
    prepare(ctx)
    write_gguf(os.path.join(ctx.work, "model.gguf.part"))
    with pytest.raises(JobError, match="not compared"):
        GgufStep().finish(ctx)


@pytest.mark.parametrize("damage", ["cut", "not gguf", "nothing"])
def test_partial_output(lab: StepLab, damage: str) -> None:
    """Output of a killed or failed tool is deleted and never used as a result."""
    ctx = context(lab, "q8_0")
    prepare(ctx)
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
    """The number of tensors must be the same, and the size plausible."""
    ctx = context(lab, "q8_0")
    for options, message in (({"tensors": 1}, "1 tensors"), ({"rows": 1}, "bytes"), ({"rows": 64}, "bytes")):
        prepare(ctx)
        write_gguf(os.path.join(ctx.work, "model.gguf.part"), **options)
        with pytest.raises(JobError, match=message):
            GgufStep().finish(ctx)


def test_fallbacks(lab: StepLab) -> None:
    """A recorded quantization of rows whose length is not a multiple of 256; the tool exits with status 0."""
    ctx = context(lab, "q4_K_M")
    prepare(ctx)
    write_gguf(os.path.join(ctx.work, "model.gguf.part"), file_type=15, rows=16)
    Path(ctx.job_dir, "log.txt").write_bytes(recorded("quantize-fallback.log") * 2)
    results = GgufStep().finish(ctx)
    assert results["file_type"] == "Q4_K_M"
    assert len(results["fallbacks"]) == 12
    assert results["fallbacks"][0] == {"tensor": "blk.0.attn_k.weight", "wanted": "q4_K", "used": "q5_0"}
    assert {"tensor": "blk.1.attn_v.weight", "wanted": "q6_K", "used": "q8_0"} in results["fallbacks"]


def test_progress(lab: StepLab) -> None:
    """Progress is parsed from recorded output."""
    ctx = context(lab)
    log = Path(ctx.job_dir, "log.txt")
    assert GgufStep().progress(ctx) is None
    converted = recorded("convert.log")
    log.write_bytes(converted)
    progress = GgufStep().progress(ctx)
    assert progress is not None and (progress.current, progress.total, str(progress.note)) == (
        100,
        100,
        "comparing tokens",
    )
    log.write_bytes(converted.split(b"\rWriting: 100%")[0])
    progress = GgufStep().progress(ctx)
    assert progress is not None and (progress.current, progress.total, str(progress.note)) == (0, 100, "converting")
    quantized = recorded("quantize-fallback.log")
    log.write_bytes(quantized.split(b"[  13/  20]")[0])
    progress = GgufStep().progress(ctx)
    assert progress is not None and (progress.current, progress.total, progress.unit) == (12, 20, "tensor")


def test_sample_of_rows(tmp_path: Path) -> None:
    """Texts are spread over the whole file, distinct and normalised, whatever else the rows contain."""
    path = tmp_path / "data.jsonl"
    rows = [{"messages": [{"role": "user", "content": f"Question {number} ?"}], "n": 1} for number in range(5000)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = gguf.sample_rows(str(path), limit=50)
    assert len(texts) == len(set(texts)) == 50
    numbers = [int(text.split()[1]) for text in texts if text.startswith("Question")]
    assert min(numbers) == 0 and max(numbers) > 4700
    decomposed = unicodedata.normalize("NFD", "été")
    lines = [json.dumps({"a": decomposed}), "{torn", '{"a": "\\ud83d", "b": "", "c": "x\\u0000y"}', "17", ""]
    path.write_text("\n".join(lines))
    assert gguf.sample_rows(str(path)) == ["été", "xy"]


# -- the comparison itself; real tokenizers are tested in tests/real ---------------------------------------------------


def test_comparison() -> None:
    """Individual texts are compared one by one, rows in one call; the differing text is identified."""
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


def test_difference_only_in_the_combination() -> None:
    """When texts differ only in combination, the combination is reported."""

    def served(text: str) -> list[int]:
        return [0] if "\n" in text else [len(text)]

    differences = program.compare(lambda text: [len(text)], served, [], ["a", "b"])
    assert [entry["text"] for entry in differences] == ["a\nb"]


def test_converter_runs_in_the_same_process(tmp_path: Path) -> None:
    """It can import its own modules and read its arguments; sys.path and sys.argv are restored."""
    (tmp_path / "conversion.py").write_text("NAME = 'its own'\n")
    converter = tmp_path / "convert.py"
    converter.write_text(
        "import conversion, json, os, pathlib, sys\n"
        "if __name__ == '__main__':\n"
        "    values = [conversion.NAME, os.getpid(), __file__, sys.argv]\n"
        "    pathlib.Path(sys.argv[1]).write_text(json.dumps(values))\n"
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
    """Its exit status is returned, and nothing is compared."""
    converter, request = tmp_path / "convert.py", tmp_path / "request.json"
    converter.write_text(body)
    request.write_text(json.dumps({"convert": [str(converter)], "report": str(tmp_path / "report")}))
    process = subprocess.run([sys.executable, program.__file__, str(request)], capture_output=True, check=False)
    assert process.returncode == status
    assert not (tmp_path / "report").exists()


def test_failing_llama_tokenize(tmp_path: Path) -> None:
    """The error includes its standard error."""
    tool = tmp_path / "llama-tokenize"
    tool.write_text("#!/bin/sh\necho broken model >&2\nexit 1\n")
    tool.chmod(0o755)
    with pytest.raises(RuntimeError, match="status 1: broken model"):
        program.served_ids(str(tool), "x.gguf", "text")
