# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a tool failed, from the ends of recorded logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.tool_errors import explain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import tail_lines
from ansible_collections.ia_homelab.llamafactory.tests.support.recorded import STEPS, recorded

#: By recorded log: a part of the message, a part of the hint.
KNOWN = {
    "bf16": ("cannot compute in bf16", "precision"),
    "dataset": ("Undefined dataset homelabb", "Make the dataset again"),
    "disk": ("The disk is full", "Make room"),
    "no_base": ("A file is missing", "base model"),
    "no_state": ("trainer_state.json", "complete"),
    "no_weights": ("Error no file named model.safetensors", "base model"),
    "qlora": ("bitsandbytes", "lora"),
    "quantize_disk": ("The disk is full", "Make room"),
    "ram": ("ran out of memory (RAM)", "batch_size"),
    "template": ("knows no template qwenn.", "template"),
    "torn_base": ("is torn", "fetch it again"),
    "torn_optimizer": ("is torn", "broken checkpoints"),
    "unknown_argument": ("does not know ['lora_rnak']", "misspelling"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_recorded(name: str, tmp_path: Path) -> None:
    """Real ends of real failures."""
    (tmp_path / "log.txt").write_bytes(recorded(f"failed-{name}.log"))
    message, hint = explain(tail_lines(str(tmp_path / "log.txt"), 40))
    assert KNOWN[name][0] in message
    assert KNOWN[name][1] in hint


def test_every_recorded_failure_is_looked_at() -> None:
    """None lies in the corpus without a test."""
    assert {path.stem.partition("-")[2] for path in STEPS.glob("failed-*.log")} == set(KNOWN)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        # no GPU where these were written: the wording of PyTorch, the kernel's shell and huggingface_hub
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total",
            "The GPU ran out of memory.",
            "Lower batch_size",
        ),
        ("RuntimeError: CUDA error: out of memory", "The GPU ran out of memory.", "qlora"),
        ("Killed", "The machine ran out of memory (RAM).", "2 GB of RAM"),
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried",
            "The machine ran out of memory (RAM).",
            "swap",
        ),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error. Access is restricted", "gated", "licence"),
        ("OSError: [Errno 28] No space left on device", "The disk is full.", "Make room"),
        ("ERROR:hf-to-gguf:Model FooForCausalLM is not supported", "architecture FooForCausalLM", "newer llama.cpp"),
        ("ValueError: Tokenizer class TokenizersBackend does not exist", "tokenizer", "put back"),
        ("KeyError: 'weird'", "KeyError: 'weird'", "whole log"),
    ],
)
def test_wordings(line: str, message: str, hint: str) -> None:
    """Failures that could not be provoked here."""
    found = explain(["Traceback (most recent call last):", '  File "x.py", line 1', line])
    assert message in found[0]
    assert hint in found[1]


def test_the_last_error_counts() -> None:
    """A handled error further up, and what is printed after the last one, are not the reason."""
    lines = [
        "OSError: [Errno 28] No space left on device",
        "During handling of the above exception, another exception occurred:",
        "ValueError: Template foo does not exist.",
        "  0%|          | 0/10 [00:00<?, ?it/s]",
    ]
    assert explain(lines)[0] == "LLaMA-Factory knows no template foo."


def test_nothing_and_much() -> None:
    """An empty log, and a line that has no end."""
    assert explain([]) == ("It wrote nothing.", "The whole log lies in the job's directory.")
    assert len(explain(["x" * 5000])[0]) == 400
