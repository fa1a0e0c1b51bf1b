# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first cause of a failure in a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.log_cause import (
    first_cause,
    problem_in,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.tool_errors import explain
from ansible_collections.ia_homelab.llamafactory.tests.support.recorded import recorded

#: By recorded log, with what the line begins at which it is opened. What follows in these logs is other lines with
#: errors: of torchrun, of the launcher, of exceptions that followed from this one.
OPENED_AT = {
    "bf16": "ValueError: This device does not support",
    "config_torn": "OSError: It looks like the config file at",
    "convert_architecture": "ERROR:hf-to-gguf:Model FooForCausalLM is not supported",
    "dataset": "ValueError: Undefined dataset homelabb",
    "dataset_torn": "pyarrow.lib.ArrowInvalid: JSON parse error",
    "deepspeed": "importlib.metadata.PackageNotFoundError: No package metadata was found for deepspeed",
    "deepspeed_missing": "[rank0]: importlib.metadata.PackageNotFoundError: No package metadata was found for",
    "imatrix_short": "0.00.158.270 E compute_imatrix: you need at least 1024 tokens",
    "lora_target": "ValueError: Target modules {'q_prj'} not found",
    "lora_target_torchrun": "[rank1]: ValueError: Target modules {'q_prj'} not found",
    "output_a_file": "NotADirectoryError: [Errno 20] Not a directory",
    "qlora": "importlib.metadata.PackageNotFoundError: No package metadata was found for The 'bitsandbytes",
    "perplexity_torn": "0.00.003.943 E llama_model_load: error loading model: tensor 'blk.0.ffn_down.weight' data",
    "quantize_disk": "llama_model_quantize: failed to quantize: basic_ios::clear: iostream error",
    "quantize_iq": "ERROR: this quantization requires an importance matrix!",
    "quantize_not_gguf": "gguf_init_from_reader: invalid magic characters",
    "quantize_torn": "llama_model_quantize: failed to quantize: tensor 'blk.0.ffn_down.weight' data is not within",
    "shape_mismatch": "RuntimeError: You set `ignore_mismatched_sizes`",
    "template": "ValueError: Template qwenn does not exist.",
    "unknown_architecture": "ValueError: The checkpoint you are trying to load has model type `foo`",
    "unsloth": "importlib.metadata.PackageNotFoundError: No package metadata was found for unsloth",
}

TRACEBACKS = """\
Loading checkpoint shards: 100%
ValueError: a warning that names an error before anything failed
Traceback (most recent call last):
  File "train.py", line 3, in load
    read(path)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "train.py", line 9, in main
RuntimeError: the loader has ended
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
the last line
"""


def log(tmp_path: Path, text: str) -> str:
    path = tmp_path / "log.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_first_traceback_and_not_the_last_line(tmp_path: Path) -> None:
    found = first_cause(log(tmp_path, TRACEBACKS))
    assert found is not None
    assert found.line == 6 and found.text.startswith("torch.OutOfMemoryError")
    assert found.problem["code"] == "steps.gpu_out_of_memory"
    assert found.excerpt[found.line - found.first] == found.text
    assert found.as_dict()["excerpt"][-1] == "Traceback (most recent call last):"


@pytest.mark.parametrize("name", OPENED_AT)
def test_recorded_logs_are_opened_at_their_cause(tmp_path: Path, name: str) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(recorded(f"failed-{name}.log"))
    found = first_cause(str(path))
    assert found is not None and found.text.startswith(OPENED_AT[name])
    assert found.excerpt[found.line - found.first].strip().startswith(OPENED_AT[name])


def test_source_lines_of_a_traceback_are_no_errors(tmp_path: Path) -> None:
    """The line of the program that raises an error contains the text of the error, too."""
    text = 'Traceback (most recent call last):\n  File "a.py", line 1\n    raise OSError("No space left on device")\n'
    found = first_cause(log(tmp_path, text + "OSError: No space left on device\n"))
    assert found is not None and found.line == 4


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("During handling of the above exception, another exception occurred:", "ValueError: says more"),
        ("The above exception was the direct cause of the following exception:", "KeyError: 'first'"),
        ("training goes on", "KeyError: 'first'"),
    ],
)
def test_error_of_several_that_are_not_known(tmp_path: Path, link: str, expected: str) -> None:
    """Of errors that followed from each other the last one, unless it was raised from the first."""
    begin = 'Traceback (most recent call last):\n  File "a.py", line 1\n    call()\n'
    found = first_cause(log(tmp_path, f"{begin}KeyError: 'first'\n\n{link}\n\n{begin}ValueError: says more\n"))
    assert found is not None and found.text == expected


def test_message_of_a_failure_comes_from_its_first_cause(tmp_path: Path) -> None:
    cause = first_cause(log(tmp_path, TRACEBACKS))
    last = ["torch.distributed.elastic.multiprocessing.errors.ChildFailedError:"]
    assert problem_in(last, cause, explain(last)).code == "steps.gpu_out_of_memory"
    # a cause without an explanation says less than an explanation of the last lines
    unknown = first_cause(log(tmp_path, "ValueError: odd\n"))
    killed = Message("steps.process_killed", name="9")
    assert problem_in(last, unknown, killed) == killed
    assert problem_in(last, unknown, explain(last)).parameters == {"line": "ValueError: odd"}
    assert problem_in(last, None, explain(last)) == explain(last)


def test_line_of_a_program_without_tracebacks(tmp_path: Path) -> None:
    found = first_cause(log(tmp_path, "start\nwrite: No space left on device\nfailed\ncleaning up\n"))
    assert found is not None and (found.line, found.problem["code"]) == (2, "steps.tool_disk_full")


def test_number_of_the_line_in_a_long_log(tmp_path: Path) -> None:
    found = first_cause(log(tmp_path, "step\n" * 200_000 + TRACEBACKS))
    assert found is not None and found.line == 200_006


def test_progress_bar_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"start\r\n 10%|#   |\r 20%|##  |\r 30%|### |\nwrite: No space left on device\n")
    found = first_cause(str(path))
    assert found is not None and found.line == 3
    assert found.excerpt == ("start", " 30%|### |", "write: No space left on device")


def test_no_cause(tmp_path: Path) -> None:
    assert first_cause(log(tmp_path, "all is well\n")) is None
    assert first_cause(log(tmp_path, "")) is None
    assert first_cause(str(tmp_path / "missing")) is None
