# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job that wants the GPU waits for strangers on it, and says for whom.

No NVIDIA driver is there: ``nvidia-smi`` is a stand-in that prints what a file holds.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import gpu_users
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab

HEADER = "gpu_uuid, pid, used_gpu_memory [MiB], process_name"


@pytest.fixture
def guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says who is on the GPU."""
    told = tmp_path / "guests.csv"
    told.write_text(HEADER)
    tools = tmp_path / "bin"
    tools.mkdir()
    program = tools / "nvidia-smi"
    program.write_text(f'#!/bin/sh\ncat "{told}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return told


def test_a_training_of_the_webui_is_waited_for_and_named(lab: Lab, guests: Path) -> None:
    guests.write_text(f"{HEADER}\nGPU-1, 999999, 9000 MiB, /opt/webui/bin/python")
    run = lab.run("a", "true", accelerator="cuda")
    lab.engine.submit(run)
    words = lab.wait(lambda: lab.engine.observe(run.id).waiting_for, timeout=60)
    assert words == "the GPU, where /opt/webui/bin/python (pid 999999, 9.4 GB) computes"
    assert lab.engine.observe(run.id).state == "running"
    assert not Path(lab.job(run).directory, "command.json").exists(), "it has not begun"
    guests.write_text(HEADER)
    view = lab.engine.follow(run.id, timeout=60, poll=0.02)
    assert (view.state, view.waiting_for) == ("succeeded", "")
    assert lab.broken() == []


def test_waiting_can_be_cancelled(lab: Lab, guests: Path) -> None:
    guests.write_text(f"{HEADER}\nGPU-1, 999999, 9000 MiB, python")
    run = lab.run("a", "true", accelerator="cuda")
    lab.engine.submit(run)
    lab.wait(lambda: lab.engine.observe(run.id).waiting_for, timeout=60)
    lab.engine.cancel(run.id)
    assert lab.engine.follow(run.id, timeout=60, poll=0.02).state == "cancelled"
    assert lab.broken() == []


def test_who_does_not_want_the_gpu_does_not_wait(lab: Lab, guests: Path) -> None:
    guests.write_text(f"{HEADER}\nGPU-1, 999999, 9000 MiB, python")
    assert lab.apply(lab.run("a", "true")).state == "succeeded"


def test_ollama_and_jobs_of_ours_are_no_strangers(guests: Path) -> None:
    guests.write_text(f"{HEADER}\nGPU-1, 999999, 9000 MiB, /usr/local/bin/ollama\nGPU-1, 999998, 1 MiB, llama-server")
    assert gpu_users.foreign_processes() == ""


def test_an_ollama_that_does_not_answer_is_no_reason_to_fail() -> None:
    assert len(gpu_users.unload_models("http://127.0.0.1:1")) == 1
