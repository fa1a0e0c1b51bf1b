# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows as the text of a training, on which programs of llama.cpp measure a GGUF file.

``programs/render_rows.py`` renders them with LLaMA-Factory and then runs the programs.
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from ..artifacts.integrity import artifact_path
from ..base_models.model_files import special_tokens
from ..chat_formats.house_format import written_format
from ..chat_formats.thinking import FROM_ROWS
from ..datasets import sampled_rows, training_rows
from ..errors import JobError, NotReadyError
from ..messages.message import Message
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.progress import Progress
from ..system.files import read_record, remove_tree, tail_lines, write_json
from . import prompt_probes
from .gguf import search_path
from .prompt_probes import Training
from .tool_environment import PROGRAMS, container, llamafactory_python, scratch, tool_environment

#: Tokens of a piece of text, at most: llama.cpp's own default.
CONTEXT = 512
#: Tokens below which llama-perplexity prints no statistics.
MINIMUM_TOKENS = 256
#: Tokens that are computed at a time. It bounds the logits in memory.
BATCH = 512

_PROGRAM = os.path.join(PROGRAMS, "render_rows.py")
_PIECES = re.compile(r"over (\d+) chunks")
_PIECE = re.compile(r"\[(\d+)\]|^ *(\d+) +[\d.]+ ± ", re.MULTILINE)
_PROGRAM_LINE = re.compile(r"^Measuring (\S+) \((\d+) of (\d+)\)")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One run of a program of llama.cpp.

    :param label: what is measured: a quantization.
    :param argv: program and arguments; ``{context}`` and ``{chunks}`` stand for the tokens of a piece and the number of
        pieces.
    """

    label: str
    argv: t.Sequence[str]


def text_file(ctx: StepContext) -> str:
    """Path of the text. Programs get its name alone, because they write it into their results."""
    return os.path.join(ctx.job_dir, "text.txt")


def output_of(ctx: StepContext, label: str) -> str:
    """Path of the file with what a program has printed."""
    return os.path.join(ctx.job_dir, f"measured-{label}.log")


def training_behind(ctx: StepContext) -> Training:
    """Return the training that has made the measured file.

    :raises NotReadyError: when its receipt is missing.
    """
    training = prompt_probes.training_of(ctx)
    if training is None:
        raise NotReadyError("steps.no_training_receipt")
    return training


def report_of(ctx: StepContext) -> dict[str, int]:
    """Return the report of ``programs/render_rows.py``.

    :raises JobError: when there is none, or the text is too short.
    """
    report = read_record(_report_file(ctx))
    if report is None:
        raise JobError("steps.rows_not_rendered")
    if report["tokens"] < MINIMUM_TOKENS:
        raise JobError("steps.text_too_short", tokens=report["tokens"], minimum=MINIMUM_TOKENS)
    return {name: int(report[name]) for name in ("rows", "skipped", "tokens", "context")}


def measure(
    ctx: StepContext,
    training: Training,
    dataset: str,
    chosen: sampled_rows.Filter,
    wanted: sampled_rows.Filter,
    *,
    tokens: int,
    measurements: t.Sequence[Measurement],
    threads: int,
) -> Command:
    """Return the command that renders rows as the training behind a step does, and runs programs on their text.

    :param training: the training.
    :param dataset: directory of a published version.
    :param chosen: whether a row of it may be rendered; :param wanted: the same, for a row as the training spells it.
    :param tokens: number of tokens after which no further row is taken.
    """
    image = ctx.toolchain.llama_cpp_image
    base = artifact_path(ctx.layout, "base", training.base)
    eos, bos = special_tokens(base)
    resolved, extra = training.resolved, training.resolved.get("extra") or {}
    spelled = os.path.join(scratch(ctx), "spelled")
    if os.path.isdir(spelled):
        remove_tree(spelled)
    os.makedirs(scratch(ctx), exist_ok=True)
    if chosen is not sampled_rows.every:
        some = os.path.join(scratch(ctx), "chosen")
        sampled_rows.write_some(dataset, some, chosen)
        dataset = some
    rewritten = training_rows.write(
        dataset,
        spelled,
        str(resolved["template"]),
        eos,
        bos,
        tool_format=written_format(resolved.get("tool_format")),
        default_system=extra.get("default_system"),
        thinking=str(resolved.get("thinking") or FROM_ROWS),
    )
    rows = os.path.join(scratch(ctx), "rows.jsonl")
    # a row has at least one token
    sampled_rows.write(dataset if rewritten is None else spelled, rows, tokens, wanted)
    request = os.path.join(ctx.job_dir, "render_rows.json")
    asked = prompt_probes.request(resolved, base, eos, bos)
    write_json(
        request,
        {
            **{name: asked[name] for name in ("template", "tokenizer", "arguments")},
            "rows": rows,
            "cutoff_len": int(resolved["cutoff_len"]),
            "tokens": tokens,
            "minimum": MINIMUM_TOKENS,
            "context": CONTEXT,
            "text": text_file(ctx),
            "report": _report_file(ctx),
            "commands": [
                {"label": each.label, "argv": list(each.argv), "output": output_of(ctx, each.label)}
                for each in measurements
            ],
        },
    )
    env = tool_environment(ctx, ctx.toolchain.llamafactory_venv, threads, image)
    env["DISABLE_VERSION_CHECK"] = "1"
    if image:
        env["PATH"] = search_path(ctx.toolchain)
    argv = llamafactory_python(ctx, image, _PROGRAM, request)
    return Command(argv, env, ctx.job_dir, container(ctx, image, [base]))


def progress(ctx: StepContext, log: str, note: str) -> Progress | None:
    """Return how many pieces of text the running program has processed, those of all programs counted together.

    :param log: file name of the job's log.
    :param note: code of the message that says what is done.
    """
    lines = tail_lines(os.path.join(ctx.job_dir, log), 10, 4096)
    current = next((match for match in map(_PROGRAM_LINE.match, reversed(lines)) if match), None)
    if current is None:
        return None
    printed = "\n".join(tail_lines(output_of(ctx, current.group(1)), 400, 64 * 1024))
    pieces = _PIECES.search(printed)
    if pieces is None:
        return None
    done = [int(match.group(1) or match.group(2)) for match in _PIECE.finditer(printed)]
    total, number, count = int(pieces.group(1)), int(current.group(2)), int(current.group(3))
    return Progress((number - 1) * total + (done[-1] if done else 0), count * total, unit="chunk", note=Message(note))


def _report_file(ctx: StepContext) -> str:
    return os.path.join(ctx.job_dir, "rows.json")
