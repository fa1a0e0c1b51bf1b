# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step likelihood: what a quantization costs, measured on text that was not trained on by ``llama-perplexity``.

The 16-bit file reads the text first, and the probabilities that it gives to every token are kept in a file. Each
quantized file reads the same tokens, and the program compares: perplexity, Kullback-Leibler divergence, and how often
the likeliest token is the same.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import typing as t

from ..artifacts.layout import GGUF_FILE, Layout
from ..datasets import sampled_rows
from ..errors import JobError
from ..formats.gguf import GgufInfo
from ..messages.message import Message
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.names import LOG_FILE
from ..runs.progress import Progress
from ..runs.spec import StepSpec, Toolchain
from ..system.files import remove_tree, write_json
from . import measured_text
from .imatrix import perplexity_in
from .measured_text import BATCH, Measurement
from .prompt_probes import Training
from .step import Step
from .tool_environment import compute_threads, remove_scratch, require_directory, require_disk_space, scratch
from .tool_errors import explain
from .written_gguf import read_complete

#: File of the artifact with all results.
REPORT_FILE = "likelihood.json"
#: Label of the file that the others are compared with.
HALF = "f16"
#: Which rows are read.
VALIDATION, HELD_OUT, OTHERS = "validation", "held_out", "others"

_NUMBER = r"(-?[\d.]+(?:e[-+]?\d+)?|-?nan|-?inf)"
_PAIR = rf"\s*{_NUMBER} ± +{_NUMBER}"
#: What ``llama-perplexity`` prints at the end, by name of the result, and what it is divided by (percentages).
_RESULTS: dict[str, tuple[re.Pattern[str], float]] = {
    "perplexity": (re.compile(rf"^Mean PPL\(Q\) +:{_PAIR}", re.MULTILINE), 1.0),
    "perplexity_of_f16": (re.compile(rf"^Mean PPL\(base\) +:{_PAIR}", re.MULTILINE), 1.0),
    "perplexity_ratio": (re.compile(rf"^Mean PPL\(Q\)/PPL\(base\) +:{_PAIR}", re.MULTILINE), 1.0),
    "divergence": (re.compile(rf"^Mean +KLD:{_PAIR}", re.MULTILINE), 1.0),
    "same_top": (re.compile(rf"^Same top p:{_PAIR} %", re.MULTILINE), 100.0),
}


class LikelihoodStep(Step):
    """Compares ``settings["candidates"]`` (fingerprints of GGUF files by quantization) with ``upstream["gguf"]``.

    ``settings``: ``tokens``, number of tokens that are read; ``rows``, which rows of ``upstream["dataset"]``: those
    that the training validates on, those that are held out from it, or all whose question is not trained on.
    ``results``: ``rows``, ``tokens``, ``context`` (tokens of a piece) and ``quantizations``: for each, ``perplexity``,
    ``divergence`` (mean Kullback-Leibler divergence from the 16-bit file, in nats), ``same_top`` (share of tokens) and
    ``perplexity_ratio``, each with ``value`` and ``error`` (standard error, as the program reports it). The 16-bit file
    has a ``perplexity`` alone.
    """

    kind = "likelihood"
    exclusive = True

    def image(self, toolchain: Toolchain) -> str:
        return toolchain.llama_cpp_image

    def inputs(self, layout: Layout, spec: StepSpec) -> list[tuple[str, str]]:
        """Several files are compared with one."""
        compared = [("gguf", str(each)) for each in spec.settings["candidates"].values()]
        return [*super().inputs(layout, spec), *compared]

    def command(self, ctx: StepContext) -> Command:
        tools = ctx.toolchain
        program = tools.program(tools.llama_cpp_dir, "bin", "llama-perplexity", image=self.image(tools))
        files = {HALF: os.path.join(ctx.upstream_path("gguf"), GGUF_FILE)}
        for name, fingerprint in sorted(ctx.spec.settings["candidates"].items()):
            files[name] = os.path.join(ctx.layout.artifact("gguf", str(fingerprint)), GGUF_FILE)
        infos = {name: read_complete(path) for name, path in files.items()}
        if os.path.isdir(ctx.work):
            remove_tree(ctx.work)
        os.makedirs(ctx.work)
        training = measured_text.training_behind(ctx)
        dataset = require_directory(ctx.upstream_path("dataset"), Message("steps.the_dataset"))
        tokens = int(ctx.spec.settings["tokens"])
        require_disk_space(ctx.job_dir, tokens * vocabulary(infos[HALF]), Message("steps.comparing_files"))
        os.makedirs(scratch(ctx), exist_ok=True)
        threads = compute_threads(infos[HALF].file_bytes, "cpu")
        common = ["-c", "{context}", "-b", str(BATCH), "-ub", str(BATCH), "-t", str(threads)]
        common += ["--kl-divergence-base", _logits_file(ctx)]
        measurements = []
        for name, path in files.items():
            # the program refuses text where the tokenizer adds a token at the end
            eos = ["--override-kv", "tokenizer.ggml.add_eos_token=bool:false"]
            argv = [program, "-m", path, *common, *(eos if infos[name].metadata.get(_ADDS_EOS) else [])]
            text = ["-f", measured_text.text_file(ctx), "--chunks", "{chunks}"]
            measurements.append(Measurement(name, [*argv, *(text if name == HALF else ["--kl-divergence"])]))
        return measured_text.measure(
            ctx,
            training,
            dataset,
            *_rows(ctx, training, dataset),
            tokens=tokens,
            measurements=measurements,
            threads=threads,
        )

    def progress(self, ctx: StepContext) -> Progress | None:
        return measured_text.progress(ctx, LOG_FILE, "steps.comparing_quantizations")

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        for path in (_logits_file(ctx), measured_text.text_file(ctx)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        report = measured_text.report_of(ctx)
        found: dict[str, dict[str, t.Any]] = {}
        half = perplexity_in(measured_text.output_of(ctx, HALF))
        for name in sorted(ctx.spec.settings["candidates"]):
            found[name] = _results_of(ctx, name)
            half = {"perplexity": found[name].pop("perplexity_of_f16")}
        if not half:
            raise JobError("steps.not_compared", name=HALF)
        results = {
            **{name: report[name] for name in ("rows", "tokens", "context")},
            **({"skipped": report["skipped"]} if report["skipped"] else {}),
            "quantizations": {HALF: half, **found},
        }
        write_json(os.path.join(ctx.work, REPORT_FILE), results)
        remove_scratch(ctx)
        return results

    def explain(self, log_tail: t.Sequence[str]) -> Message:
        return explain(log_tail)


#: Key of a header: whether the tokenizer adds a token at the end of a text.
_ADDS_EOS = "tokenizer.ggml.add_eos_token"


def vocabulary(info: GgufInfo) -> int:
    """Return the number of tokens of a model: rows of its embeddings; 0 if it has none."""
    return next((tensor.shape[-1] for tensor in info.tensors if tensor.name == "token_embd.weight"), 0)


def read_results(printed: str) -> dict[str, dict[str, float]]:
    """Return what ``llama-perplexity`` has printed of a comparison, by name, with ``value`` and ``error``.

    :returns: without what is missing, or no number: the program prints no statistics of fewer than 100 tokens.
    """
    found = {}
    for name, (pattern, unit) in _RESULTS.items():
        match = pattern.search(printed)
        if match is None:
            continue
        value, error = (float(number) / unit for number in match.groups())
        if math.isfinite(value):
            # the errors of values that are all the same are no numbers
            found[name] = {"value": value, "error": 0.0 if math.isnan(error) else error}
    return found


def _results_of(ctx: StepContext, name: str) -> dict[str, t.Any]:
    """Results of one quantization.

    :raises JobError: when the program has not printed all of them.
    """
    try:
        with open(measured_text.output_of(ctx, name), encoding="utf-8", errors="replace") as stream:
            found = read_results(stream.read())
    except FileNotFoundError:
        found = {}
    if set(found) != set(_RESULTS):
        raise JobError("steps.not_compared", name=name)
    return dict(found)


def _rows(ctx: StepContext, training: Training, dataset: str) -> tuple[sampled_rows.Filter, sampled_rows.Filter]:
    """Which rows are read, before and after they are spelled for the training."""
    which = ctx.spec.settings["rows"]
    if which == VALIDATION:
        chosen = sampled_rows.not_held_out(dataset, float(training.resolved.get("held_out") or 0))
        return chosen, sampled_rows.in_validation(float(training.resolved["validation_share"]))
    if which == HELD_OUT:
        return sampled_rows.held_out(dataset, float(training.resolved["held_out"])), sampled_rows.every
    trained_on = (ctx.layout.receipt("train", training.fingerprint) or {})["upstream"]["dataset"]
    directory = require_directory(ctx.layout.artifact("dataset", str(trained_on)), Message("steps.the_dataset"))
    return sampled_rows.not_trained_on(directory), sampled_rows.every


def _logits_file(ctx: StepContext) -> str:
    """File with the probabilities of the 16-bit file; removed at the end."""
    return os.path.join(scratch(ctx), "probabilities.bin")
