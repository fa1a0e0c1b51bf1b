# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step projector: llama.cpp's converter writes the image encoder of a base into a GGUF file of its own.

It is made once for each base, and all its fine-tunes are registered with it.
"""

from __future__ import annotations

import os
import typing as t

from ..artifacts.layout import PROJECTOR_FILE
from ..base_models.vision import ENCODERS, Encoder, encoder_elements
from ..errors import JobError, NotReadyError
from ..formats.gguf import GgufInfo
from ..messages.message import Message
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.spec import Toolchain
from ..system.files import read_json, remove_tree
from .gguf import search_path
from .step import Step
from .tool_environment import (
    PROGRAMS,
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

#: Number type of the output: an encoder is small beside its language model, and is not quantized.
OUTTYPE = "f16"
#: Bytes of one element of it at most: the converter keeps some tensors in 32 bits.
_BYTES = 2.2


class ProjectorStep(Step):
    """Creates ``mmproj.gguf`` from ``upstream["base"]``.

    ``options``: ``model_type`` of the base, ``name``, ``bytes`` (estimate).

    ``results``: ``bytes``, ``tensors``, ``parameters``, ``projector`` (type of the encoder in llama.cpp's terms).
    """

    kind = "projector"
    exclusive = True

    def image(self, toolchain: Toolchain) -> str:
        return toolchain.llama_cpp_image

    def command(self, ctx: StepContext) -> Command:
        tools, image = ctx.toolchain, self.image(ctx.toolchain)
        python, converter = converter_programs(tools, "convert_hf_to_gguf.py", image)
        base = require_directory(ctx.upstream_path("base"), Message("steps.the_base"))
        encoder = _encoder(ctx, base)
        elements = encoder_elements(base, encoder)
        if not elements:
            raise NotReadyError("steps.no_encoder", directory=base, prefixes=list(encoder.prefixes))
        if os.path.isdir(ctx.work):
            remove_tree(ctx.work)
        os.makedirs(ctx.work)
        size = int(elements * _BYTES)
        require_disk_space(ctx.work, size, Message("steps.converting_encoder"))
        program = os.path.join(PROGRAMS, "convert_by_hub_names.py")
        # the default name is that of the directory, which would make the file's bytes depend on the path
        name = ["--model-name", str(ctx.spec.options.get("name") or "base")]
        output = ["--mmproj", "--outtype", OUTTYPE, "--outfile", _partial_output(ctx)]
        argv = [python, program, converter, ",".join(encoder.prefixes), base, *output, *name]
        env = tool_environment(ctx, tools.converter_venv, compute_threads(size, "cpu"), image)
        if image:
            env["PATH"] = search_path(tools)
        return Command(argv, env, ctx.job_dir, container(ctx, image, [base]))

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        output = _partial_output(ctx) if os.path.exists(_partial_output(ctx)) else _output(ctx)
        base = ctx.upstream_path("base")
        with as_errors_of_job("steps.no_projector_written"):
            info = read_complete(output)
            expected = encoder_elements(base, _encoder(ctx, base))
        _check(info, expected)
        os.replace(output, _output(ctx))
        remove_scratch(ctx)
        return {
            "bytes": info.file_bytes,
            "tensors": info.tensor_count,
            "parameters": info.parameters,
            "projector": str(info.metadata.get("clip.projector_type") or ""),
        }

    def explain(self, log_tail: t.Sequence[str]) -> Message:
        return explain(log_tail)


def _check(info: GgufInfo, expected: int) -> None:
    """Check that a file is an encoder and complete: the converter ends with status 0 when it has found no tensor.

    :param expected: elements of the encoder in the base. A head that no picture passes through may be left out.
    :raises JobError: when it is not.
    """
    if info.metadata.get("general.type") != "mmproj" or not 0.7 * expected <= info.parameters <= 1.05 * expected:
        raise JobError(
            "steps.projector_parameters",
            parameters=info.parameters,
            expected=expected,
            details={"gguf": info.parameters, "base": expected},
        )


def _encoder(ctx: StepContext, base: str) -> Encoder:
    model_type = str(ctx.spec.options.get("model_type") or "")
    if not model_type:
        model_type = str((read_json(os.path.join(base, "config.json")) or {}).get("model_type") or "")
    if model_type not in ENCODERS:
        raise NotReadyError("steps.encoder_unknown", architecture=model_type, known=sorted(ENCODERS))
    return ENCODERS[model_type]


def _output(ctx: StepContext) -> str:
    return os.path.join(ctx.work, PROJECTOR_FILE)


def _partial_output(ctx: StepContext) -> str:
    """Output file of the converter; renamed to the final name after the checks."""
    return _output(ctx) + ".part"
