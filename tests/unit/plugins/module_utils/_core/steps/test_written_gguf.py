# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import array
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.written_gguf import (
    as_errors_of_job,
    read_complete,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.tiny_llama import write_gguf


def write(path: Path) -> Path:
    write_gguf(path, {"general.architecture": "llama"}, {"w": (8, 8)}, {"w": array.array("f", [1.0] * 64)})
    return path


def test_complete_file(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf")
    assert read_complete(str(path)).file_bytes == path.stat().st_size


def test_a_file_that_ends_early_is_an_error_of_the_job(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(JobError) as caught, as_errors_of_job("unused"):
        read_complete(str(path))
    assert caught.value.content is not None and caught.value.content.code == "steps.gguf_incomplete"


def test_a_missing_file_is_the_error_that_the_step_names(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError):
        read_complete(str(tmp_path / "model.gguf"))
    with pytest.raises(JobError) as caught, as_errors_of_job("steps.no_gguf_written"):
        read_complete(str(tmp_path / "model.gguf"))
    assert caught.value.content is not None and caught.value.content.code == "steps.no_gguf_written"
