# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job that needs the GPU waits for foreign processes on it and names them.

There is no NVIDIA driver: ``nvidia-smi`` is a fake that prints the content of a file.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import gpu_users
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab

HEADER = "gpu_uuid, pid, used_gpu_memory [MiB], process_name"


@pytest.fixture
def gpu_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output file of the fake ``nvidia-smi``, with the processes on the GPU."""
    listing = tmp_path / "gpu_processes.csv"
    listing.write_text(HEADER)
    tools = tmp_path / "bin"
    tools.mkdir()
    program = tools / "nvidia-smi"
    program.write_text(f'#!/bin/sh\ncat "{listing}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return listing


def test_a_foreign_training_is_waited_for_and_named(lab: Lab, gpu_processes: Path) -> None:
    gpu_processes.write_text(f"{HEADER}\nGPU-1, 999999, 9000 MiB, /opt/webui/bin/python")
    run = lab.run("a", "true", accelerator="cuda")
    lab.engine.submit(run)
    waiting_for = lab.wait(lambda: lab.engine.observe(run.id).waiting_for)
    assert waiting_for == "the GPU, where /opt/webui/bin/python (pid 999999, 9.4 GB) computes"
    view = lab.engine.observe(run.id)
    message = Message.from_stored(view.waiting_for_message)
    assert (view.state, message.code) == ("running", "engine.gpu_in_use")
    assert message.render("fr").message == "le GPU, dont se sert /opt/webui/bin/python (pid 999999, 9,4 Go)"
    assert not Path(lab.job(run).directory, "command.json").exists(), "the command must not start"
    gpu_processes.write_text(HEADER)
    view = lab.engine.follow(run.id, timeout=120, poll=0.02)
    assert (view.state, view.waiting_for, view.waiting_for_message) == ("succeeded", "", {})
    assert lab.broken() == []


def test_waiting_can_be_cancelled(lab: Lab, gpu_processes: Path) -> None:
    gpu_processes.write_text(f"{HEADER}\nGPU-1, 999999, 9000 MiB, python")
    run = lab.run("a", "true", accelerator="cuda")
    lab.engine.submit(run)
    lab.wait(lambda: lab.engine.observe(run.id).waiting_for)
    lab.engine.cancel(run.id)
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "cancelled"
    assert lab.broken() == []


def test_a_job_without_gpu_does_not_wait(lab: Lab, gpu_processes: Path) -> None:
    gpu_processes.write_text(f"{HEADER}\nGPU-1, 999999, 9000 MiB, python")
    assert lab.apply(lab.run("a", "true")).state == "succeeded"


def test_ollama_is_not_a_foreign_process(gpu_processes: Path) -> None:
    gpu_processes.write_text(
        f"{HEADER}\nGPU-1, 999999, 9000 MiB, /usr/local/bin/ollama\nGPU-1, 999998, 1 MiB, llama-server"
    )
    assert gpu_users.foreign_processes() is None


def test_an_unreachable_ollama_is_reported_and_not_raised() -> None:
    assert len(gpu_users.unload_models("http://127.0.0.1:1")) == 1
