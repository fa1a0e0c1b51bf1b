# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step imatrix: llama.cpp's ``llama-imatrix`` reads training rows with the 16-bit file and records which inputs of its
weights are large. ``llama-quantize`` keeps those weights more exact.
"""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from ..artifacts.layout import GGUF_FILE, IMATRIX_FILE
from ..datasets import sampled_rows
from ..errors import JobError
from ..messages.message import Message
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.names import LOG_FILE
from ..runs.progress import Progress
from ..runs.spec import Toolchain
from ..system.files import remove_tree
from . import measured_text
from .measured_text import BATCH, Measurement
from .step import Step
from .tool_environment import compute_threads, remove_scratch, require_directory
from .tool_errors import explain
from .written_gguf import as_errors_of_job, read_complete

#: Type of the file in its header.
_TYPE = "imatrix"
_LABEL = "f16"
_PERPLEXITY = re.compile(r"\bFinal estimate: PPL = ([\d.]+) \+/- ([\d.]+)")


class ImatrixStep(Step):
    """Makes ``imatrix.gguf`` from the 16-bit file (``upstream["gguf"]``) and the rows of ``upstream["dataset"]``.

    ``settings``: ``tokens``, the number of tokens that are read.
    ``results``: ``rows``, ``tokens``, ``context`` (tokens of a piece), ``tensors``, ``bytes``, and ``perplexity`` of
    the 16-bit file on these rows (``value`` and ``error``).
    """

    kind = "imatrix"
    exclusive = True

    def image(self, toolchain: Toolchain) -> str:
        return toolchain.llama_cpp_image

    def command(self, ctx: StepContext) -> Command:
        tools = ctx.toolchain
        program = tools.program(tools.llama_cpp_dir, "bin", "llama-imatrix", image=self.image(tools))
        model = os.path.join(ctx.upstream_path("gguf"), GGUF_FILE)
        info = read_complete(model)
        if os.path.isdir(ctx.work):
            remove_tree(ctx.work)
        os.makedirs(ctx.work)
        training = measured_text.training_behind(ctx)
        dataset = require_directory(ctx.upstream_path("dataset"), Message("steps.the_dataset"))
        threads = compute_threads(info.file_bytes, "cpu")
        # names without their directory, because the program writes them into the matrix
        argv = [program, "-m", model, "-f", os.path.basename(measured_text.text_file(ctx)), "-o", _partial_output(ctx)]
        argv += ["--parse-special", "-c", "{context}", "--chunks", "{chunks}", "-b", str(BATCH), "-ub", str(BATCH)]
        return measured_text.measure(
            ctx,
            training,
            dataset,
            sampled_rows.not_held_out(dataset, float(training.resolved.get("held_out") or 0)),
            sampled_rows.in_training(float(training.resolved.get("validation_share") or 0)),
            tokens=int(ctx.spec.settings["tokens"]),
            measurements=[Measurement(_LABEL, [*argv, "-t", str(threads)])],
            threads=threads,
        )

    def progress(self, ctx: StepContext) -> Progress | None:
        return measured_text.progress(ctx, LOG_FILE, "steps.weighing")

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        report = measured_text.report_of(ctx)
        output = _partial_output(ctx) if os.path.exists(_partial_output(ctx)) else _output(ctx)
        with as_errors_of_job("steps.no_imatrix_written"):
            info = read_complete(output)
        if info.metadata.get("general.type") != _TYPE or not info.tensor_count:
            raise JobError("steps.no_imatrix_written")
        os.replace(output, _output(ctx))
        remove_scratch(ctx)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(measured_text.text_file(ctx))
        return {
            **{name: report[name] for name in ("rows", "tokens", "context")},
            **({"skipped": report["skipped"]} if report["skipped"] else {}),
            "tensors": info.tensor_count,
            "bytes": info.file_bytes,
            **perplexity_in(measured_text.output_of(ctx, _LABEL)),
        }

    def explain(self, log_tail: t.Sequence[str]) -> Message:
        return explain(log_tail)


def perplexity_in(path: str) -> dict[str, t.Any]:
    """Return the perplexity that llama.cpp has printed at the end: ``{"perplexity": {"value", "error"}}``; or nothing.

    :param path: file with what the program has printed.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            match = _PERPLEXITY.search(stream.read())
    except FileNotFoundError:
        return {}
    return {"perplexity": {"value": float(match.group(1)), "error": float(match.group(2))}} if match else {}


def _output(ctx: StepContext) -> str:
    return os.path.join(ctx.work, IMATRIX_FILE)


def _partial_output(ctx: StepContext) -> str:
    """Output file of the program; renamed to the final name after the checks. Its ending tells the format."""
    return os.path.join(ctx.work, "part-" + IMATRIX_FILE)
