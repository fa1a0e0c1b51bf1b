# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first cause of a failure in a log."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.log_cause import first_cause

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
