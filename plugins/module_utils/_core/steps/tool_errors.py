# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explains the failure of a tool from the end of its log: a message and a hint."""

from __future__ import annotations

import re
import typing as t

_LOG_HINT = "The complete log is in the job's directory."

#: Hint for a machine that runs out of memory (RAM).
RAM_HINT = (
    "Lower batch_size or cutoff_len, close what else runs, or add swap. Merging needs about 2 GB of RAM for each "
    "billion parameters."
)

#: Pattern, message and hint; the first matching pattern is used. ``{0}`` is the pattern's first non-empty group.
_EXPLANATIONS: tuple[tuple[str, str, str], ...] = (
    (
        r"CUDA out of memory|torch\.OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED|CUDA error: out of memory",
        "The GPU ran out of memory.",
        "Lower batch_size (and raise gradient_accumulation by as much), then cutoff_len, then lora_rank; or use the "
        "method qlora. Models that Ollama keeps loaded take GPU memory as well.",
    ),
    (
        r"can't allocate memory|Cannot allocate memory|\bMemoryError\b|std::bad_alloc|^Killed\b|"
        r"failed to map segment from shared object$|can't start new thread|Unable to allocate [\d.]+ \w+ for an array",
        "The machine ran out of memory (RAM).",
        RAM_HINT,
    ),
    (
        r"No space left on device|Errno 28\b|Disk quota exceeded|basic_ios::clear: iostream error|"
        r"PytorchStreamWriter failed|inline_container\.cc:\d+\] \. unexpected pos",
        "The disk is full.",
        "Make room under the data directory and run again: a training resumes from its last complete checkpoint.",
    ),
    (
        r"GatedRepoError|gated repo|awaiting a review|401 Client Error|403 Client Error",
        "The model's weights are gated: the hub wants a token whose owner accepted the licence.",
        "Accept the licence on the model's page and give its token to the step base.",
    ),
    (
        r"Please pass the argument `trust_remote_code=True`|requires you to execute custom code",
        "The model needs Python code of its own repository, which may not run here.",
        "If you trust that repository, declare it in the inventory: extra: {trust_remote_code: true}; its code is then "
        "fetched. Otherwise choose another base.",
    ),
    (
        r"Template (\S+) does not exist",
        "LLaMA-Factory knows no template {0}.",
        "Set template to one that this version of LLaMA-Factory has.",
    ),
    (
        r"Some keys are not used by the HfArgumentParser: (\[.*?\])",
        "LLaMA-Factory does not know {0}.",
        "Look for a misspelling in extra, or for an argument of another version.",
    ),
    (
        r"PackageNotFoundError.*bitsandbytes|No module named 'bitsandbytes'|bitsandbytes>?=?[\d.]* .*required|"
        r"requires the latest version of bitsandbytes|pip install .*bitsandbytes",
        "The method qlora needs the package bitsandbytes, which is not installed.",
        "Install it into LLaMA-Factory's virtual environment, or use the method lora.",
    ),
    (
        r"Your setup doesn't support bf16|bf16/gpu|does not support `?(?:pure_)?bf16",
        "This device cannot compute in bf16.",
        "Set precision to fp16 or fp32.",
    ),
    (
        r"Found no NVIDIA driver|CUDA driver version is insufficient|CUDA error: no kernel image is available",
        "PyTorch cannot use this GPU: {line}",
        "The driver, the GPU and the installed build of PyTorch do not fit together.",
    ),
    (
        r"traceback : Signal (\d+) \(\w+\) received by PID",
        "A process of the training was killed by signal {0}.",
        "The kernel does that when memory runs out; if it did not, another process did. Apply again.",
    ),
    (
        r"Cannot find valid samples|Undefined dataset (\S+)|Cannot find `dataset_info\.json`",
        "LLaMA-Factory could not use the dataset: {line}",
        "Make the dataset again with the module dataset.",
    ),
    (
        r"PytorchStreamReader failed|failed finding central directory|SafetensorError|HeaderTooLarge|"
        r"MetadataIncompleteBuffer|InvalidHeaderDeserialization",
        "A weight or checkpoint file is torn: {line}",
        "Apply again: broken checkpoints are put aside. If the base model is broken, fetch it again.",
    ),
    (
        r"BPE pre-tokenizer was not recognized|Tokenizer class (\S+) does not exist",
        "The converter does not know the model's tokenizer: {line}",
        "Is this base model supported by the installed llama.cpp? Were its tokenizer files put back after merging?",
    ),
    (
        r"Model (\S+) is not supported",
        "The converter of the installed llama.cpp does not know the architecture {0}.",
        "Install a newer llama.cpp, or choose another base model.",
    ),
    (
        r"does not appear to have a file named|Error no file named|LocalEntryNotFoundError|OfflineModeIsEnabled|"
        r"couldn't connect to|Repo id must be|is not a valid model identifier|FileNotFoundError|"
        r"No such file or directory",
        "A file is missing: {line}",
        "Is the base model's directory complete? Fetch it again.",
    ),
)

_ERROR = re.compile(r"^(?:\[rank\d+\]: ?)?[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b(?::.*)?$")
_MAX_LINE_LENGTH = 400


def explain(log_tail: t.Sequence[str]) -> tuple[str, str]:
    """Return the message and the hint for a tool that failed.

    Later lines take precedence, because an earlier warning may contain the same text.

    :param log_tail: the last lines of its output.
    """
    lines = [line.strip() for line in log_tail if line.strip()]
    if not lines:
        return "It wrote nothing.", _LOG_HINT
    for line in (_last_error(lines), *reversed(lines)):
        for pattern, message, hint in _EXPLANATIONS:
            match = re.search(pattern, line)
            if match:
                group = next((text for text in match.groups() if text), "")
                return message.format(group.rstrip("."), line=_shorten(line)), hint
    return _shorten(_last_error(lines)), _LOG_HINT


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
