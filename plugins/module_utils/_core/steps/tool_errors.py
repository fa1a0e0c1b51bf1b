# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explains the failure of a tool from the end of its log."""

from __future__ import annotations

import re
import typing as t

from ..messages.message import Message

#: Pattern, code, and the parameter of its text: ``name`` is the pattern's first non-empty group, ``line`` the entire
#: line. The first matching pattern is used.
_EXPLANATIONS: tuple[tuple[str, str, str], ...] = (
    (
        r"CUDA out of memory|torch\.OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED|CUDA error: out of memory",
        "steps.gpu_out_of_memory",
        "",
    ),
    (
        r"can't allocate memory|Cannot allocate memory|\bMemoryError\b|std::bad_alloc|^Killed\b|"
        r"failed to map segment from shared object$|can't start new thread|Unable to allocate [\d.]+ \w+ for an array",
        "steps.tool_out_of_memory",
        "",
    ),
    (
        r"No space left on device|Errno 28\b|Disk quota exceeded|basic_ios::clear: iostream error|"
        r"PytorchStreamWriter failed|inline_container\.cc:\d+\] \. unexpected pos",
        "steps.tool_disk_full",
        "",
    ),
    (
        r"GatedRepoError|gated repo|awaiting a review|401 Client Error|403 Client Error",
        "steps.weights_gated",
        "",
    ),
    (
        r"Please pass the argument `trust_remote_code=True`|requires you to execute custom code",
        "steps.repository_code_needed",
        "",
    ),
    (
        r"Target modules? (.+?) (?:was |were )?not found in the base model",
        "steps.modules_missing",
        "name",
    ),
    (
        r"requires an evaluation dataset|didn't pass an `?eval_dataset|eval_dataset be provided",
        "steps.validation_missing",
        "",
    ),
    (
        r"Unknown attention type: (\S+)",
        "steps.attention_unknown",
        "name",
    ),
    (
        r"Template (\S+) does not exist",
        "steps.template_unknown",
        "name",
    ),
    (
        r"Some keys are not used by the HfArgumentParser: (\[.*?\])",
        "steps.argument_unknown",
        "name",
    ),
    (
        r"PackageNotFoundError.*bitsandbytes|No module named 'bitsandbytes'|bitsandbytes>?=?[\d.]* .*required|"
        r"requires the latest version of bitsandbytes|pip install .*bitsandbytes",
        "steps.bitsandbytes_missing",
        "",
    ),
    (
        r"No package metadata was found for (?:The '([\w-]+)|([\w-]+))|ModuleNotFoundError: No module named '([\w.]+)'",
        "steps.package_missing",
        "name",
    ),
    (
        r"ValueError: The checkpoint .* has model type `(\S+)` but Transformers does not recognize this architecture",
        "steps.base_too_new",
        "name",
    ),
    (
        r"is not a valid JSON file",
        "steps.configuration_torn",
        "line",
    ),
    (
        r"You set `ignore_mismatched_sizes` to `False`",
        "steps.shapes_differ",
        "",
    ),
    (
        r"PermissionError: |Permission denied",
        "steps.no_permission",
        "line",
    ),
    (
        r"Your setup doesn't support bf16|bf16/gpu|does not support `?(?:pure_)?bf16",
        "steps.no_bf16",
        "",
    ),
    (
        r"Found no NVIDIA driver|CUDA driver version is insufficient|CUDA error: no kernel image is available",
        "steps.gpu_unusable",
        "line",
    ),
    (
        r"traceback : Signal (\d+) \(\w+\) received by PID",
        "steps.process_killed",
        "name",
    ),
    (
        r"Cannot find valid samples|Undefined dataset (\S+)|Cannot find `dataset_info\.json`|ArrowInvalid: JSON|"
        r"DatasetGenerationError",
        "steps.dataset_unusable",
        "line",
    ),
    (
        r"PytorchStreamReader failed|failed finding central directory|SafetensorError|HeaderTooLarge|"
        r"MetadataIncompleteBuffer|InvalidHeaderDeserialization",
        "steps.file_torn",
        "line",
    ),
    (
        r"BPE pre-tokenizer was not recognized|Tokenizer class (\S+) does not exist",
        "steps.tokenizer_unknown",
        "line",
    ),
    (
        r"Model (\S+) is not supported",
        "steps.architecture_unknown",
        "name",
    ),
    (
        r"Missing importance matrix for tensor (\S+) in",
        "steps.imatrix_incomplete",
        "name",
    ),
    (
        r"this quantization requires an im(?:portance )?matrix",
        "steps.imatrix_needed",
        "",
    ),
    (
        r"data is not within the file bounds|model is corrupted or incomplete|invalid magic characters",
        "steps.gguf_torn",
        "line",
    ),
    (
        r"No module named 'llamafactory' in this image",
        "steps.image_without_llamafactory",
        "",
    ),
    (
        r"The rows have (\d+) tokens, fewer than \d+\.",
        "steps.too_few_tokens",
        "name",
    ),
    (
        r"does not appear to have a file named|Error no file named|LocalEntryNotFoundError|OfflineModeIsEnabled|"
        r"Can't find 'adapter_config\.json' at|couldn't connect to|Repo id must be|is not a valid model identifier|"
        r"FileNotFoundError|No such file or directory",
        "steps.file_missing",
        "line",
    ),
)

_ERROR = re.compile(r"^(?:\[rank\d+\]: ?)?[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b(?::.*)?$")
_MAX_LINE_LENGTH = 400


def explain(log_tail: t.Sequence[str]) -> Message:
    """Return the message, with its hint, for a tool that failed.

    Later lines take precedence, because an earlier warning may contain the same text.

    :param log_tail: the last lines of its output.
    """
    lines = [line.strip() for line in log_tail if line.strip()]
    if not lines:
        return Message("steps.nothing_written")
    for line in (_last_error(lines), *reversed(lines)):
        for pattern, code, parameter in _EXPLANATIONS:
            match = re.search(pattern, line)
            if match:
                group = next((text for text in match.groups() if text), "")
                values = {"name": group.rstrip("."), "line": _shorten(line)}
                return Message(code, **({parameter: values[parameter]} if parameter else {}))
    return Message("steps.last_line", line=_shorten(_last_error(lines)))


def is_error_line(line: str) -> bool:
    """Whether a line, without the space around it, is the one with which a traceback ends."""
    return _ERROR.match(line) is not None


def _last_error(lines: t.Sequence[str]) -> str:
    """Return the last line that names an exception; the last line when there is none."""
    return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1])


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_LINE_LENGTH else text[: _MAX_LINE_LENGTH - 1] + "…"


#: Messages of gloo, NCCL and torchrun when the process at the other end of a connection has ended.
_PEER_FAILURE = re.compile(
    r"Connection closed by peer|Connection reset by peer|Broken pipe|remote process exited|ncclRemoteError|"
    r"recvValue failed|sendBytes failed|failed to recv|Timed out waiting \d+ms for (?:send|recv)|Read timeout"
)


def is_peer_failure(log_tail: t.Sequence[str]) -> bool:
    """Whether a command probably failed because a process of another node failed."""
    return any(_PEER_FAILURE.search(line) for line in log_tail)
