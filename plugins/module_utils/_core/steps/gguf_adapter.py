# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step gguf_adapter: converts a LoRA adapter to GGUF with ``convert_lora_to_gguf.py``.

Ollama applies it to the base's GGUF file when it loads the model. No merged weights are written, and the base is
converted only once for all of its fine-tunes.
"""

from __future__ import annotations

import os
import typing as t

from ..artifacts.layout import GGUF_ADAPTER_FILE
from ..errors import JobError, NotReadyError
from ..formats.safetensors import ADAPTER, read_tensors
from ..messages.message import Message
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.spec import Toolchain
from ..system.files import remove_tree
from .gguf import search_path
from .step import Step
from .tool_environment import (
    compute_threads,
    container,
    converter_programs,
    remove_scratch,
    require_directory,
    require_disk_space,
    tool_environment,
)
from .tool_errors import explain
from .written_gguf import as_errors_of_job, read_complete

#: Number type of the output: an adapter is small, and is trained in at most 16 bits.
OUTTYPE = "f16"


class GgufAdapterStep(Step):
    """Creates ``adapter.gguf`` from ``upstream["train"]``, for ``upstream["base"]``.

    ``options``: ``name``, ``resolved`` (hyperparameters of the training).

    ``results``: ``bytes``, ``tensors``, ``scale`` (alpha of the adapter).
    """

    kind = "gguf_adapter"
    exclusive = True

    def image(self, toolchain: Toolchain) -> str:
        return toolchain.llama_cpp_image

    def command(self, ctx: StepContext) -> Command:
        tools, image = ctx.toolchain, self.image(ctx.toolchain)
        python, converter = converter_programs(tools, "convert_lora_to_gguf.py", image)
        base = require_directory(ctx.upstream_path("base"), Message("steps.the_base"))
        trained = require_directory(ctx.upstream_path("train"), Message("steps.the_training"))
        weights = os.path.join(trained, ADAPTER)
        if not os.path.exists(weights):
            raise NotReadyError("steps.no_adapter", directory=trained)
        if os.path.isdir(ctx.work):
            remove_tree(ctx.work)
        size = os.path.getsize(weights)
        require_disk_space(ctx.work, size, Message("steps.converting_adapter"))
        os.makedirs(ctx.work)
        argv = [python, converter, "--base", base, "--outtype", OUTTYPE, "--outfile", _partial_output(ctx), trained]
        env = tool_environment(ctx, tools.converter_venv, compute_threads(size, "cpu"), image)
        if image:
            env["PATH"] = search_path(tools)
        return Command(argv, env, ctx.job_dir, container(ctx, image, [base]))

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        output = (
            _partial_output(ctx) if os.path.exists(_partial_output(ctx)) else os.path.join(ctx.work, GGUF_ADAPTER_FILE)
        )
        with as_errors_of_job("steps.no_adapter_written"):
            info = read_complete(output)
            tensors = len(read_tensors(os.path.join(ctx.upstream_path("train"), ADAPTER)))
        if info.metadata.get("general.type") != "adapter" or info.tensor_count != tensors:
            raise JobError(
                "steps.adapter_tensors",
                count=info.tensor_count,
                expected=tensors,
                details={"gguf": info.tensor_count, "adapter": tensors},
            )
        os.replace(output, os.path.join(ctx.work, GGUF_ADAPTER_FILE))
        remove_scratch(ctx)
        return {
            "bytes": info.file_bytes,
            "tensors": info.tensor_count,
            "scale": info.metadata.get("adapter.lora.alpha"),
        }

    def explain(self, log_tail: t.Sequence[str]) -> Message:
        return explain(log_tail)


def _partial_output(ctx: StepContext) -> str:
    """Output file of the converter; renamed to the final name after the checks."""
    return os.path.join(ctx.work, GGUF_ADAPTER_FILE + ".part")
