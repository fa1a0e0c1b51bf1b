# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step gguf: llama.cpp's converter writes the 16-bit file of a model, ``llama-quantize`` the smaller ones from it.

After a merge on the way, the converter reads the base, and the adapter is added to each tensor as it passes.

The converter exits with status 0 even when it finds no weights or guesses the tokenizer. The step therefore counts the
tensors, and compares the token ids of the base's tokenizer with those of the GGUF file.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import typing as t
import unicodedata

from ..artifacts.integrity import artifact_path, is_without_weights
from ..artifacts.layout import GGUF_FILE, IMATRIX_FILE, Layout
from ..datasets.output_formats import DATA_FILE
from ..errors import CoreError, JobError, NotReadyError, StoreError
from ..estimates.memory import BITS, quantized_bytes
from ..formats.gguf import BPE_WITH_BOS, GgufInfo, read_header
from ..formats.safetensors import model_files, read_model
from ..json_text import parse_json
from ..messages.message import Message
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.names import LOG_FILE
from ..runs.progress import Progress
from ..runs.spec import StepSpec, Toolchain
from ..system.files import read_record, remove_tree, tail_lines, write_json
from ..training.known_names import DIRECT_QUANTIZATIONS
from .one_pass import source_of
from .step import Step
from .tool_environment import (
    PROGRAMS,
    compute_threads,
    container,
    converter_programs,
    remove_scratch,
    require_disk_space,
    tool_environment,
    weight_bytes,
)
from .tool_errors import explain
from .written_gguf import as_errors_of_job, read_complete

#: Texts compared in every conversion: accents, other scripts, digits, code, whitespace, and apparent escapes.
FIXED_TEXTS = (
    "Où est passé l'élève ? Ça coûte 12 345,67 €, n'est-ce pas… « voilà » !",
    "The quick brown fox can't jump over 1234567890 lazy dogs.",
    "def f(x):\n    return {'a': x ** 2}  # why?\n\n\n\treturn None\n",
    "Bonjour 👋🏽 les 👨‍👩‍👧 et le 🚀 !",
    "C:\\new\\temp\\x41 and \\n stays as it is; https://nas.home.arpa:8443/api?x=1&y=%20",
    "日本語のテキスト, русский текст, نص عربي, ελληνικά",
    "  two  blanks,   three,\tone tab ",
)
_MAX_TEXTS = 200
_MAX_TEXT_LENGTH = 2000

#: ``model_type`` of bases with layers that predict further tokens (MTP, NextN) beside the model. transformers neither
#: loads nor saves them, so merged weights lack them while their configuration still counts them, and the converter
#: would write a file that no server loads. They only speed up answers, and would be those of the base.
_DRAFT_LAYERS = frozenset(
    {"qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "glm4_moe", "glm4_moe_lite"}
)

_WRITING = re.compile(r"^Writing:\s+(\d+)%")
_QUANTIZING = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]")
#: Log line for each tensor whose rows are incompatible with the requested type (``src/llama-quant.cpp``).
_FALLBACK = re.compile(
    r"^warning: (\S+)\s+- ncols\s+\d+ not divisible by\s+\d+ \(required for type\s+(\S+)\) -> falling back to\s+(\S+)"
)


class GgufStep(Step):
    """Creates ``model.gguf`` from merged weights or those of a base, or from the 16-bit file.

    ``results``: ``quantization``, ``bytes``, ``tensors``, ``parameters``, ``file_type``, ``fallbacks``; of a conversion
    also ``recipe`` (``one_pass``, or ``merged_weights`` for weights that existed), ``peak_ram_bytes``,
    ``estimated_ram_bytes`` and ``texts_compared``.

    ``options``: ``quantization``; ``f16`` (fingerprint of the 16-bit file, for quantized types); ``name``; ``base`` and
    ``dataset`` (fingerprints, for the comparison of the tokenizers).
    """

    kind = "gguf"
    exclusive = True

    def image(self, toolchain: Toolchain) -> str:
        return toolchain.llama_cpp_image

    def inputs(self, layout: Layout, spec: StepSpec) -> list[tuple[str, str]]:
        """A quantized file is made from the f16 file, and an importance matrix if there is one, although its
        fingerprint is derived from the merged weights. A file that is merged on the way is made from base and training.
        """
        if spec.options.get("f16"):
            matrix = [("imatrix", spec.upstream["imatrix"])] if "imatrix" in spec.upstream else []
            return [("gguf", str(spec.options["f16"])), *matrix]
        required = dict(spec.upstream)
        merged = layout.receipt("merge", required["merge"]) if "merge" in required else None
        if merged is not None and is_without_weights(merged):
            required.update(merged.get("upstream") or {})
        return list(required.items())

    def command(self, ctx: StepContext) -> Command:
        if os.path.isdir(ctx.work):
            remove_tree(ctx.work)
        os.makedirs(ctx.work)
        _remove_file(_report_file(ctx))
        return self._convert(ctx) if _is_direct(ctx) else self._quantize(ctx)

    def _convert(self, ctx: StepContext) -> Command:
        tools, image = ctx.toolchain, self.image(ctx.toolchain)
        python, converter = converter_programs(tools, "convert_hf_to_gguf.py", image)
        source = source_of(ctx)
        merged = source.directory
        count = sum(tensor.elements for tensor in self._weights(merged).values())
        quantization = _quantization(ctx)
        converting = Message("steps.converting_to", quantization=quantization)
        require_disk_space(ctx.work, int(count * BITS[quantization] / 8), converting)
        request = os.path.join(ctx.job_dir, "convert.json")
        argv = [*source.converter(ctx, converter), merged, "--outtype", quantization, "--outfile", _partial_output(ctx)]
        argv += converter_options(merged)
        individual, batched = sample_texts(ctx)
        tokenizer = tokenizer_directory(ctx)
        write_json(
            request,
            {
                # the default is the directory name, which would make the file's bytes depend on the path
                "convert": [*argv, "--model-name", str(ctx.spec.options.get("name") or "model")],
                "gguf_package": os.path.join(os.path.dirname(converter), "gguf-py"),
                "bpe_with_bos": sorted(BPE_WITH_BOS),
                "tokenizer": tokenizer,
                "gguf": _partial_output(ctx),
                "llama_tokenize": tools.program(tools.llama_cpp_dir, "bin", "llama-tokenize", image=image),
                "alone": individual,
                "together": batched,
                "report": _report_file(ctx),
            },
        )
        program = os.path.join(PROGRAMS, "compare_tokenizers.py")
        env = tool_environment(ctx, tools.converter_venv, compute_threads(weight_bytes(merged), "cpu"), image)
        if image:
            env["PATH"] = search_path(tools)
        return Command([python, program, request], env, ctx.job_dir, container(ctx, image, [tokenizer, merged]))

    def _quantize(self, ctx: StepContext) -> Command:
        tools, image = ctx.toolchain, self.image(ctx.toolchain)
        program = tools.program(tools.llama_cpp_dir, "bin", "llama-quantize", image=image)
        source = _f16_file(ctx)
        info = read_complete(source)
        quantization = _quantization(ctx)
        quantizing = Message("steps.quantizing_to", quantization=quantization)
        require_disk_space(ctx.work, quantized_bytes(info.file_bytes, quantization), quantizing)
        threads = compute_threads(info.file_bytes, "cpu")
        env = tool_environment(ctx, os.path.dirname(os.path.dirname(program)), threads, image)
        if image:
            env["PATH"] = search_path(tools)
        # llama-quantize ignores the case of the type
        argv = [program, *_imatrix(ctx), source, _partial_output(ctx), _quantization(ctx).upper(), str(threads)]
        return Command(argv, env, ctx.job_dir, container(ctx, image))

    @staticmethod
    def _weights(merged: str) -> dict[str, t.Any]:
        """Tensors of the merged model.

        :raises NotReadyError: when there are none or a file is incomplete; the converter would write an empty file.
        """
        try:
            tensors = read_model(merged) if model_files(merged) else {}
        except StoreError as error:
            raise NotReadyError("steps.merged_incomplete_again", problem=error.content) from error
        if not tensors:
            raise NotReadyError("steps.no_merged_weights", merged=merged)
        return tensors

    def progress(self, ctx: StepContext) -> Progress | None:
        for line in reversed(tail_lines(os.path.join(ctx.job_dir, LOG_FILE), 40, 16 * 1024)):
            match = _QUANTIZING.match(line)
            if match:
                return Progress(
                    int(match.group(1)), int(match.group(2)), unit="tensor", note=Message("steps.quantizing")
                )
            match = _WRITING.match(line)
            if match:
                return Progress(int(match.group(1)), 100, unit="%", note=Message("steps.converting"))
            if line.startswith("INFO:hf-to-gguf:Model successfully exported"):
                return Progress(100, 100, unit="%", note=Message("steps.comparing_tokens"))
        return None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        output = _partial_output(ctx) if os.path.exists(_partial_output(ctx)) else os.path.join(ctx.work, GGUF_FILE)
        try:
            with as_errors_of_job("steps.no_gguf_written"):
                info = read_complete(output)
            direct = _is_direct(ctx)
            compared = _check_conversion(ctx, info) if direct else _check_quantization(ctx, info)
        except CoreError:
            # a wrong file must never be used as a result
            _remove_file(output)
            raise
        os.replace(output, os.path.join(ctx.work, GGUF_FILE))
        _remove_file(os.path.join(ctx.job_dir, IMATRIX_FILE))
        remove_scratch(ctx)
        results = {
            "quantization": _quantization(ctx),
            "bytes": info.file_bytes,
            "tensors": info.tensor_count,
            "parameters": info.parameters,
            "file_type": info.file_type,
            "fallbacks": [] if direct else fallbacks(os.path.join(ctx.job_dir, LOG_FILE)),
        }
        if not direct:
            return results
        return {**results, "recipe": source_of(ctx).recipe, **_memory(ctx), "texts_compared": compared}

    def explain(self, log_tail: t.Sequence[str]) -> Message:
        return explain(log_tail)


def _quantization(ctx: StepContext) -> str:
    return str(ctx.spec.settings.get("quantization") or ctx.spec.options["quantization"])


def converter_options(directory: str) -> list[str]:
    """Return the arguments of llama.cpp's converter that depend on the architecture.

    :param directory: with the weights and ``config.json``.
    """
    config = read_record(os.path.join(directory, "config.json")) or {}
    return ["--no-mtp"] if config.get("model_type") in _DRAFT_LAYERS else []


def search_path(tools: Toolchain) -> str:
    """Value of PATH inside the image, to find llama.cpp's programs."""
    places = [tools.image_path, os.path.join(tools.image_llama_cpp_dir, "bin"), tools.image_llama_cpp_dir]
    return os.pathsep.join(place for place in places if place)


def _is_direct(ctx: StepContext) -> bool:
    return _quantization(ctx).lower() in DIRECT_QUANTIZATIONS


def _partial_output(ctx: StepContext) -> str:
    """Output file of the tools; renamed to the final name after the checks."""
    return os.path.join(ctx.work, GGUF_FILE + ".part")


def _report_file(ctx: StepContext) -> str:
    return os.path.join(ctx.job_dir, "tokens.json")


def _f16_file(ctx: StepContext) -> str:
    return os.path.join(ctx.layout.artifact("gguf", str(ctx.spec.options["f16"])), GGUF_FILE)


def _imatrix(ctx: StepContext) -> list[str]:
    """Arguments of llama-quantize for the importance matrix, if the file is made with one.

    The program writes the path into the file, which would depend on the data directory: it gets a copy beside the log.
    """
    if "imatrix" not in ctx.spec.upstream:
        return []
    shutil.copyfile(os.path.join(ctx.upstream_path("imatrix"), IMATRIX_FILE), os.path.join(ctx.job_dir, IMATRIX_FILE))
    return ["--imatrix", IMATRIX_FILE]


def _remove_file(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _check_conversion(ctx: StepContext, info: GgufInfo) -> int:
    """Check that a converted file contains the complete model and tokenizes like the base.

    :returns: number of texts whose token ids were compared.
    :raises JobError: when the check fails.
    """
    merged = read_model(source_of(ctx).directory)
    expected = sum(tensor.elements for tensor in merged.values())
    # an output layer tied to the embeddings is written once or twice, so only the order of magnitude is certain
    if not 0.5 * expected <= info.parameters <= 1.6 * expected:
        raise JobError(
            "steps.gguf_parameters",
            parameters=info.parameters,
            expected=expected,
            details={"gguf": info.parameters, "merged": expected},
        )
    report = read_record(_report_file(ctx))
    if report is None:
        raise JobError("steps.tokenizers_not_compared")
    if report["wrong"]:
        first = report["wrong"][0]
        text = first["text"] if len(first["text"]) <= 80 else first["text"][:79] + "…"
        raise JobError(
            "steps.tokenizer_differs",
            count=report["count"],
            text=text,
            trained=_excerpt(first["trained"], first["served"]),
            served=_excerpt(first["served"], first["trained"]),
            details={"wrong": report["wrong"][:5], "count": report["count"]},
        )
    return int(report["compared"])


def _memory(ctx: StepContext) -> dict[str, t.Any]:
    """Peak RAM of a conversion in bytes, as measured and as estimated for the plan; without what is unknown.

    Pages of the mapped weight files count as measured, although the kernel may take them back.
    """
    merged = ctx.layout.receipt("merge", ctx.spec.upstream["merge"]) if "merge" in ctx.spec.upstream else None
    estimate = ((merged or {}).get("options") or {}).get("estimate") or {}
    measured = (read_record(_report_file(ctx)) or {}).get("peak_bytes")
    estimated = (estimate.get("ram") or {}).get("gguf")
    return {
        **({"peak_ram_bytes": measured} if measured else {}),
        **({"estimated_ram_bytes": estimated} if estimated else {}),
    }


def _excerpt(ids: t.Sequence[int], other: t.Sequence[int]) -> str:
    """Text of the ids around the first difference of two lists."""
    position = next(
        (index for index, pair in enumerate(zip(ids, other)) if pair[0] != pair[1]), min(len(ids), len(other))
    )
    excerpt = list(ids[max(0, position - 2) : position + 6])
    return str(excerpt) if len(excerpt) == len(ids) else f"…{excerpt}…"


def _check_quantization(ctx: StepContext, info: GgufInfo) -> int:
    source = read_header(_f16_file(ctx))
    if info.tensor_count != source.tensor_count:
        raise JobError("steps.quantized_tensors", count=info.tensor_count, expected=source.tensor_count)
    # no type has less than 1.5 bits per weight; some types keep a few tensors in 32 bits
    if not source.file_bytes / 16 <= info.file_bytes <= source.file_bytes * 1.1:
        raise JobError("steps.quantized_size", bytes=info.file_bytes, source_bytes=source.file_bytes)
    return 0


def fallbacks(log: str) -> list[dict[str, str]]:
    """Tensors that could not be quantized to the requested type, with the type used instead, from the tool's log."""
    try:
        with open(log, encoding="utf-8", errors="replace") as stream:
            # without duplicates: a restarted command logs the same lines again
            entries = dict.fromkeys(match.groups() for match in map(_FALLBACK.match, stream) if match)
    except FileNotFoundError:
        return []
    return [{"tensor": name, "wanted": wanted, "used": used} for name, wanted, used in entries]


# -- texts for the comparison ------------------------------------------------------------------------------------------


def tokenizer_directory(ctx: StepContext) -> str:
    """Directory of the training's tokenizer: the base, if it still exists and the training added no tokens."""
    base = ctx.spec.options.get("base")
    if base and ("merge" not in ctx.spec.upstream or ctx.upstream_results("merge").get("tokenizer") != "export"):
        path = artifact_path(ctx.layout, "base", str(base))
        if any(os.path.exists(os.path.join(path, name)) for name in ("tokenizer.json", "tokenizer.model")):
            return path
    return source_of(ctx).directory


def sample_texts(ctx: StepContext) -> tuple[list[str], list[str]]:
    """Texts to compare one by one, and texts of the dataset to compare in one call."""
    dataset = ctx.spec.options.get("dataset")
    path = os.path.join(ctx.layout.artifact("dataset", str(dataset)), DATA_FILE) if dataset else ""
    rows = sample_rows(path) if path and os.path.exists(path) else []
    return list(FIXED_TEXTS), rows


def sample_rows(path: str, limit: int = _MAX_TEXTS) -> list[str]:
    """Distinct texts from rows spread evenly over a JSONL file of any size.

    Normalised to Unicode NFC, because some tokenizers do that themselves while llama.cpp does not.

    :param limit: maximum number of texts.
    """
    texts: dict[str, None] = {}
    size = os.path.getsize(path)
    with open(path, "rb") as stream:
        for index in range(limit):
            start = size * index // limit
            stream.seek(max(0, start - 1))
            if start:
                stream.readline()
            with contextlib.suppress(ValueError, RecursionError):
                for text in _iterate_texts(parse_json(stream.readline() or b"null")):
                    clean = unicodedata.normalize("NFC", text).encode("utf-8", "ignore").decode("utf-8")
                    texts.setdefault(clean.replace("\0", "")[:_MAX_TEXT_LENGTH])
            if len(texts) >= limit:
                break
    return [text for text in texts if text.strip()][:limit]


def _iterate_texts(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _iterate_texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _iterate_texts(item)
