# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The explanation of a tool's failure, from the ends of recorded logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.log_cause import (
    first_cause,
    problem_in,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.tool_errors import explain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import tail_lines
from ansible_collections.ia_homelab.llamafactory.tests.support.recorded import STEPS, recorded

#: By recorded log: a part of the message and a part of the hint.
EXPECTED = {
    "bf16": ("cannot compute in bf16", "precision"),
    "config_torn": ("config.json' is not a valid JSON file", "fetch it again"),
    "convert_architecture": ("does not know the architecture FooForCausalLM", "newer llama.cpp"),
    "dataset": ("Undefined dataset homelabb", "Make the dataset again"),
    "dataset_torn": ("JSON parse error: Column(/instruction) changed", "Make the dataset again"),
    "deepspeed": ("package deepspeed is not installed", "Leave out the option"),
    "deepspeed_missing": ("package deepspeed is not installed", "Leave out the option"),
    "disk": ("The disk is full", "Make room"),
    "imatrix_short": ("you need at least 1024 tokens", "complete log"),
    "lora_target": ("no modules {'q_prj'}", "lora_target"),
    "lora_target_torchrun": ("no modules {'q_prj'}", "lora_target"),
    "no_base": ("A file is missing", "base model"),
    "no_state": ("trainer_state.json", "complete"),
    "no_weights": ("Error no file named model.safetensors", "base model"),
    "output_a_file": ("Not a directory: '/data/work/ro/x'", "complete log"),
    "perplexity_torn": ("A GGUF file is damaged", "Remove its directory"),
    "qlora": ("bitsandbytes", "lora"),
    "quantize_disk": ("The disk is full", "Make room"),
    "quantize_iq": ("needs an importance matrix", "imatrix: dataset"),
    "quantize_not_gguf": ("A GGUF file is damaged", "Remove its directory"),
    "quantize_torn": ("A GGUF file is damaged", "Remove its directory"),
    "ram": ("ran out of memory (RAM)", "batch_size"),
    "shape_mismatch": ("other shapes than its config.json says", "Fetch the base model again"),
    "template": ("knows no template qwenn.", "template"),
    "torn_base": ("is torn", "fetch it again"),
    "torn_optimizer": ("is torn", "broken checkpoints"),
    "unknown_architecture": ("models of the type foo", "another base model"),
    "unknown_argument": ("does not know ['lora_rnak']", "misspelling"),
    "unsloth": ("package unsloth is not installed", "Leave out the option"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_recorded_failures(name: str, tmp_path: Path) -> None:
    """Real logs of real failures, or their ends: what is said of the failure of the command."""
    path = tmp_path / "log.txt"
    path.write_bytes(recorded(f"failed-{name}.log"))
    tail = tail_lines(str(path), 40)
    message, hint = problem_in(tail, first_cause(str(path)), explain(tail)).render()
    assert EXPECTED[name][0] in message
    assert EXPECTED[name][1] in hint


def test_every_recorded_failure_is_tested() -> None:
    """The corpus contains no recorded log without a test."""
    assert {path.stem.partition("-")[2] for path in STEPS.glob("failed-*.log")} == set(EXPECTED)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (
            "ValueError: Target modules {'q_prj'} not found in the base model. Please",
            "no modules {'q_prj'}",
            "lora_target",
        ),
        ("ValueError: Please make sure eval_dataset be provided or val_size >1e-6", "evaluate", "validation_share"),
        ("NotImplementedError: Unknown attention type: flash2", "no attention flash2", "fa2"),
        # written without a GPU: the wordings of PyTorch, the shell and huggingface_hub
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
        (
            "Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
            "Python code of its own repository",
            "extra: {trust_remote_code: true}",
        ),
        ("PermissionError: [Errno 13] Permission denied: '/data/x'", "may not be read or written", "owner of the data"),
        ("ModuleNotFoundError: No module named 'hqq'", "package hqq is not installed", "Leave out the option"),
        ("OSError: [Errno 28] No space left on device", "The disk is full.", "Make room"),
        ("ERROR:hf-to-gguf:Model FooForCausalLM is not supported", "architecture FooForCausalLM", "newer llama.cpp"),
        ("ValueError: Tokenizer class TokenizersBackend does not exist", "tokenizer", "put back"),
        ("KeyError: 'weird'", "KeyError: 'weird'", "complete log"),
    ],
)
def test_other_failures(line: str, message: str, hint: str) -> None:
    """Failures that cannot be provoked in the test environment."""
    explanation = explain(["Traceback (most recent call last):", '  File "x.py", line 1', line]).render()
    assert message in explanation[0]
    assert hint in explanation[1]


def test_the_last_error_is_explained() -> None:
    """An earlier, handled error and the output after the last error are not the cause."""
    lines = [
        "OSError: [Errno 28] No space left on device",
        "During handling of the above exception, another exception occurred:",
        "ValueError: Template foo does not exist.",
        "  0%|          | 0/10 [00:00<?, ?it/s]",
    ]
    assert explain(lines).text == "LLaMA-Factory knows no template foo."


def test_an_empty_log_and_a_long_line() -> None:
    """An empty log gets a fixed message, a very long line is shortened."""
    assert explain([]).render() == ("It wrote nothing.", "The complete log is in the job's directory.")
    assert len(explain(["x" * 5000]).text) == 400
