# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps imatrix and likelihood without the tools: their commands, and what they read of the programs' output.

The recorded output is that of llama.cpp in llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import json
import os
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.names import LOG_FILE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import measured_text
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.gguf import GgufStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.imatrix import ImatrixStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.likelihood import (
    LikelihoodStep,
    read_results,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp
from ansible_collections.ia_homelab.llamafactory.tests.support.recorded import STEPS, recorded
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import BASE, DATASET, StepLab

TRAIN, MERGE, HALF, SMALL, MATRIX = (digit * 64 for digit in "56789")
ROWS = [{"instruction": f"Question {n} ?", "input": "", "output": f"Réponse {n}.", "system": ""} for n in range(50)]


def write_gguf(path: str, kind: str = "model", tensors: int = 1, cut: int = 0, add_eos: bool = False) -> None:
    """A GGUF file with embeddings of 96 tokens.

    :param cut: bytes missing at the end.
    """

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    entries = [
        text("general.type") + struct.pack("<I", 8) + text(kind),
        text("tokenizer.ggml.add_eos_token") + struct.pack("<I?", 7, add_eos),
    ]
    infos = b"".join(text("token_embd.weight") + struct.pack("<IQQIQ", 2, 32, 96, 1, 0) for _number in range(tensors))
    raw = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(entries)) + b"".join(entries) + infos
    raw += bytes(-len(raw) % 32) + bytes(32 * 96 * 2 * tensors)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_bytes(raw[: len(raw) - cut])


class MeasuredLab(StepLab):
    """A 16-bit file, a quantized one and an importance matrix of a training."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for name in ("llama-imatrix", "llama-perplexity"):
            (root / "llama.cpp/bin" / name).touch()
        (root / "base" / "tokenizer_config.json").write_text('{"eos_token": "</s>", "bos_token": "<s>"}')
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
        Path(self.dataset, "data.jsonl").write_text(lines, encoding="utf-8")
        columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "tools": None}
        entry = {"homelab": {"file_name": "data.jsonl", "columns": columns}}
        write_json(os.path.join(self.dataset, "dataset_info.json"), entry)
        self.train()
        self.receipt("merge", MERGE, {"base": BASE, "train": TRAIN})
        for fingerprint in (HALF, SMALL):
            self.receipt("gguf", fingerprint, {"merge": MERGE})
            write_gguf(os.path.join(self.layout.artifact("gguf", fingerprint), "model.gguf"))

    def receipt(self, kind: str, fingerprint: str, upstream: dict[str, str], **more: t.Any) -> None:
        path = self.layout.artifact(kind, fingerprint)
        os.makedirs(path, exist_ok=True)
        receipt = {"kind": kind, "fingerprint": fingerprint, "upstream": upstream, "results": {}, **more}
        write_json(os.path.join(path, "receipt.json"), receipt)

    def train(self, **declared: t.Any) -> None:
        """The receipt of the training."""
        resolved = hp.resolved(hp.normalise({"template": "qwen", **declared}))
        upstream = {"base": BASE, "dataset": DATASET}
        self.receipt("train", TRAIN, upstream, options={"resolved": resolved}, started_at="2026-01-01T00:00:00Z")

    def imatrix(self) -> StepContext:
        return self.context("imatrix", {"gguf": HALF, "dataset": DATASET}, {"name": "essai"}, tokens=4096)

    def likelihood(self, rows: str = "validation", dataset: str = DATASET) -> StepContext:
        settings = {"tokens": 1024, "rows": rows, "candidates": {"q2_K": SMALL}}
        return self.context("likelihood", {"gguf": HALF, "dataset": dataset}, {"name": "essai"}, **settings)


@pytest.fixture
def lab(tmp_path: Path) -> MeasuredLab:
    return MeasuredLab(tmp_path)


def request_of(ctx: StepContext) -> dict[str, t.Any]:
    return dict(json.loads(Path(ctx.job_dir, "render_rows.json").read_text(encoding="utf-8")))


def answers(request: t.Mapping[str, t.Any]) -> set[str]:
    lines = Path(request["rows"]).read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["messages"][-1]["content"] for line in lines}


def replay(ctx: StepContext, label: str, log: str) -> None:
    """What a program has left: its output, and the report of the rows."""
    Path(measured_text.output_of(ctx, label)).write_bytes(recorded(log))
    report = {"rows": 8, "skipped": 0, "tokens": 589, "context": 256}
    write_json(os.path.join(ctx.job_dir, "rows.json"), report)


# -- importance matrix -------------------------------------------------------------------------------------------------


def test_command_of_a_matrix(lab: MeasuredLab) -> None:
    lab.train(validation_share=0.2, cutoff_len=300)
    ctx = lab.imatrix()
    command = ImatrixStep().command(ctx)
    assert command.argv[0] == str(lab.root / "lf/bin/python") and command.cwd == ctx.job_dir
    assert os.path.basename(command.argv[1]) == "render_rows.py" and os.path.exists(command.argv[1])
    assert command.argv[2:] == [os.path.join(ctx.job_dir, "render_rows.json")]
    request = request_of(ctx)
    assert (request["template"], request["cutoff_len"], request["tokens"]) == ("qwen", 300, 4096)
    (program,) = request["commands"]
    assert program["label"] == "f16"
    assert program["argv"] == [
        *(str(lab.root / "llama.cpp/bin/llama-imatrix"), "-m", f"{lab.layout.artifact('gguf', HALF)}/model.gguf"),
        *("-f", "text.txt", "-o", f"{ctx.work}/part-imatrix.gguf", "--parse-special"),
        *("-c", "{context}", "--chunks", "{chunks}", "-b", "512", "-ub", "512", "-t", "1"),
    ]
    assert 25 < len(answers(request)) < 50, "rows of the validation are left out"


def test_matrix_is_made_of_rows_that_are_not_held_out(lab: MeasuredLab) -> None:
    lab.train(held_out=0.3, validation_share=0.2)
    ImatrixStep().command(matrix := lab.imatrix())
    trained = answers(request_of(matrix))
    LikelihoodStep().command(validated := lab.likelihood())
    validation = answers(request_of(validated))
    LikelihoodStep().command(held := lab.likelihood("held_out"))
    held_out = answers(request_of(held))
    assert trained and validation and held_out and len(trained | validation | held_out) == 50
    assert len(trained) + len(validation) + len(held_out) == 50


def test_matrix_is_checked_and_named(lab: MeasuredLab) -> None:
    ctx = lab.imatrix()
    ImatrixStep().command(ctx)
    write_gguf(os.path.join(ctx.work, "part-imatrix.gguf"), "imatrix")
    replay(ctx, "f16", "imatrix.log")
    Path(measured_text.text_file(ctx)).touch()
    progress = ImatrixStep().progress(ctx)
    assert progress is None, "the program has not been announced"
    Path(ctx.job_dir, LOG_FILE).write_text("Rendering the rows\nMeasuring f16 (1 of 1)\n")
    progress = ImatrixStep().progress(ctx)
    assert progress is not None and (progress.current, progress.total) == (4, 4)
    results = ImatrixStep().finish(ctx)
    assert results["rows"] == 8 and results["tokens"] == 589 and results["tensors"] == 1
    assert results["perplexity"]["value"] > 1 and results["perplexity"]["error"] > 0
    assert os.listdir(ctx.work) == ["imatrix.gguf"] and not os.path.exists(measured_text.text_file(ctx))
    assert ImatrixStep().finish(ctx) == results, "a supervisor that was killed finishes again"


@pytest.mark.parametrize("left", ["nothing", "no tensors", "another kind", "half"])
def test_incomplete_matrix_is_no_result(lab: MeasuredLab, left: str) -> None:
    ctx = lab.imatrix()
    ImatrixStep().command(ctx)
    replay(ctx, "f16", "imatrix.log")
    if left != "nothing":
        kind, tensors = "model" if left == "another kind" else "imatrix", 0 if left == "no tensors" else 1
        write_gguf(os.path.join(ctx.work, "part-imatrix.gguf"), kind, tensors, 64 if left == "half" else 0)
    with pytest.raises(JobError):
        ImatrixStep().finish(ctx)
    assert not os.path.exists(os.path.join(ctx.work, "imatrix.gguf"))


def test_matrix_without_the_receipt_of_its_training(lab: MeasuredLab) -> None:
    os.unlink(os.path.join(lab.layout.artifact("train", TRAIN), "receipt.json"))
    with pytest.raises(NotReadyError, match="The receipt of the training is missing"):
        ImatrixStep().command(lab.imatrix())


def test_quantization_with_a_matrix(lab: MeasuredLab) -> None:
    """The program gets a copy without a directory in its name, which it writes into the file."""
    lab.receipt("imatrix", MATRIX, {"gguf": HALF, "dataset": DATASET})
    write_gguf(os.path.join(lab.layout.artifact("imatrix", MATRIX), "imatrix.gguf"), "imatrix")
    options = {"quantization": "iq2_XXS", "f16": HALF, "name": "essai"}
    ctx = lab.context("gguf", {"merge": MERGE, "imatrix": MATRIX}, options, quantization="iq2_XXS")
    command = GgufStep().command(ctx)
    half = f"{lab.layout.artifact('gguf', HALF)}/model.gguf"
    assert command.argv[1:] == ["--imatrix", "imatrix.gguf", half, f"{ctx.work}/model.gguf.part", "IQ2_XXS", "1"]
    assert command.cwd == ctx.job_dir and os.path.exists(os.path.join(ctx.job_dir, "imatrix.gguf"))
    missing = ["Missing importance matrix for tensor blk.3.ffn_down_exps.weight in a very low-bit quantization"]
    said = GgufStep().explain(missing)
    assert "lacks blk.3.ffn_down_exps.weight" in said.text and "Add rows to the dataset" in str(said)


# -- likelihood --------------------------------------------------------------------------------------------------------


def test_commands_of_a_comparison(lab: MeasuredLab) -> None:
    """The 16-bit file reads the text, and the others read the tokens that it has left."""
    lab.train(validation_share=0.2)
    ctx = lab.likelihood()
    write_gguf(os.path.join(lab.layout.artifact("gguf", SMALL), "model.gguf"), add_eos=True)
    LikelihoodStep().command(ctx)
    half, small = request_of(ctx)["commands"]
    probabilities = os.path.join(ctx.job_dir, "tmp", "probabilities.bin")
    common = ["-c", "{context}", "-b", "512", "-ub", "512", "-t", "1", "--kl-divergence-base", probabilities]
    text = ["-f", f"{ctx.job_dir}/text.txt", "--chunks", "{chunks}"]
    assert half["argv"][3:] == [*common, *text] and half["label"] == "f16"
    override = ["--override-kv", "tokenizer.ggml.add_eos_token=bool:false"]
    assert small["argv"][3:] == [*common, *override, "--kl-divergence"] and small["label"] == "q2_K"


def test_rows_of_another_dataset(lab: MeasuredLab) -> None:
    other = "a" * 64
    lab.receipt("dataset", other, {})
    directory = Path(lab.layout.artifact("dataset", other))
    rows = [{**ROWS[3], "output": "trained"}, {**ROWS[3], "instruction": "Autre question ?", "output": "other"}]
    (directory / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_json(str(directory / "dataset_info.json"), {"others": {"file_name": "data.jsonl", "columns": {}}})
    ctx = lab.likelihood("others", other)
    LikelihoodStep().command(ctx)
    assert answers(request_of(ctx)) == {"other"}


def test_room_for_the_probabilities_is_checked(lab: MeasuredLab, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.tool_environment"
    monkeypatch.setattr(f"{module}.free_bytes", lambda _path: 1024 * 96 - 1)
    lab.train(validation_share=0.2)
    with pytest.raises(NotReadyError, match="Comparing the quantizations"):
        LikelihoodStep().command(lab.likelihood())


def test_results_of_a_comparison(lab: MeasuredLab) -> None:
    lab.train(validation_share=0.2)
    ctx = lab.likelihood()
    LikelihoodStep().command(ctx)
    replay(ctx, "f16", "perplexity.log")
    replay(ctx, "q2_K", "kl-divergence.log")
    results = LikelihoodStep().finish(ctx)
    assert json.loads(Path(ctx.work, "likelihood.json").read_text(encoding="utf-8")) == results
    assert results["tokens"] == 589 and set(results["quantizations"]) == {"f16", "q2_K"}
    found = results["quantizations"]["q2_K"]
    assert set(found) == {"perplexity", "perplexity_ratio", "divergence", "same_top"}
    assert found["divergence"]["value"] > 0 and found["divergence"]["error"] > 0
    assert 0 < found["same_top"]["value"] < 1
    half = results["quantizations"]["f16"]["perplexity"]
    assert found["perplexity_ratio"]["value"] == pytest.approx(found["perplexity"]["value"] / half["value"], rel=1e-4)
    Path(ctx.job_dir, LOG_FILE).write_text("Measuring f16 (1 of 2)\nMeasuring q2_K (2 of 2)\n")
    progress = LikelihoodStep().progress(ctx)
    assert progress is not None and (progress.current, progress.total) == (4, 4)


def test_figures_of_a_file_compared_with_itself() -> None:
    found = read_results((STEPS / "kl-divergence-same.log").read_text(encoding="utf-8"))
    assert abs(found["divergence"]["value"]) < 1e-4 and found["same_top"]["value"] == 1.0


@pytest.mark.parametrize("cut", ["====== KL divergence", "Same top p:", "Mean PPL(Q) "])
def test_output_that_ends_early_is_no_result(lab: MeasuredLab, cut: str) -> None:
    lab.train(validation_share=0.2)
    ctx = lab.likelihood()
    LikelihoodStep().command(ctx)
    replay(ctx, "f16", "perplexity.log")
    replay(ctx, "q2_K", "kl-divergence.log")
    path = Path(measured_text.output_of(ctx, "q2_K"))
    path.write_bytes(path.read_bytes().partition(cut.encode())[0])
    with pytest.raises(JobError, match="no figures of q2_K"):
        LikelihoodStep().finish(ctx)


def test_numbers_that_are_none_are_left_out() -> None:
    text = "Mean    KLD:       -nan ±       -nan\nSame top p: 100.000 ±   -nan %\nMean PPL(Q)     :   inf ± nan\n"
    assert read_results(text) == {"same_top": {"value": 1.0, "error": 0.0}}


@pytest.mark.parametrize("tokens", [0, 255])
def test_too_little_text(lab: MeasuredLab, tokens: int) -> None:
    ctx = lab.imatrix()
    write_json(os.path.join(ctx.job_dir, "rows.json"), {"rows": 1, "skipped": 0, "tokens": tokens, "context": 64})
    with pytest.raises(JobError, match=f"{tokens} tokens in all, and 256 are needed"):
        measured_text.report_of(ctx)
