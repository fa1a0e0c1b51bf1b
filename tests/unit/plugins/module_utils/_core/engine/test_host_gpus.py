# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two data directories on one host do not train on the same GPU at once.

There is no NVIDIA driver: ``nvidia-smi`` is a stand-in that prints the content of files.
"""

from __future__ import annotations

import os
import typing as t
import uuid
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.host_gpus import HostGpus, selected
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.runner import job_marker
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import gpus
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.processes import JOB_MARKER
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab, until

GPUS = "index, name, memory.total [MiB], memory.free [MiB], uuid, driver_version"
PROCESSES = "gpu_uuid, pid, used_gpu_memory [MiB], process_name"


class Driver:
    """A stand-in for the driver of two GPUs, which no other test has."""

    def __init__(self, root: Path) -> None:
        self.uuids = sorted(f"GPU-{uuid.uuid4()}" for _number in range(2))
        self.processes = root / "processes.csv"
        self.processes.write_text(PROCESSES)
        listed = [f"{index}, Stand-in, 24564 MiB, 24000 MiB, {name}, 1.0" for index, name in enumerate(self.uuids)]
        (root / "gpus.csv").write_text("\n".join([GPUS, *listed]))
        program = root / "nvidia-smi"
        program.write_text(
            f'#!/bin/sh\ncase $1 in --query-gpu=*) cat "{root}/gpus.csv";; *) cat "{self.processes}";; esac\n'
        )
        program.chmod(0o755)

    def uses(self, pid: int, gpu: int = 0) -> None:
        self.processes.write_text(f"{PROCESSES}\n{self.uuids[gpu]}, {pid}, 100 MiB, python")


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return Driver(tools)


@pytest.fixture
def labs(tmp_path: Path, installed_core: Path) -> t.Iterator[tuple[Lab, Lab]]:
    both = Lab(tmp_path / "first", installed_core), Lab(tmp_path / "second", installed_core)
    yield both
    for each in both:
        each.close()


def start(lab: Lab, name: str, gpu: str = "all", script: str = "sleep 600") -> t.Any:
    environment = {"CUDA_VISIBLE_DEVICES": gpu} if gpu != "all" else {}
    run = lab.run(name, script, accelerator="cuda", environment=environment)
    lab.engine.submit(run)
    return run


def test_the_second_data_directory_waits_and_says_for_whom(labs: tuple[Lab, Lab], driver: Driver) -> None:
    first, second = labs
    training = start(first, "a")
    first.wait(lambda: first.identity(training, "command.json"))
    waiting = start(second, "b", script="true")
    text = second.wait(lambda: second.engine.observe(waiting.id).waiting_for)
    assert "another data directory" in text and f"pid {first.identity(training, 'supervisor.json').pid}" in text
    assert not Path(second.job(waiting).directory, "command.json").exists(), "it must not start"
    first.engine.cancel(training.id)
    assert second.engine.follow(waiting.id, timeout=120, poll=0.02).state == "succeeded"


def test_a_training_whose_supervisor_is_lost_still_has_its_gpu(labs: tuple[Lab, Lab], driver: Driver) -> None:
    first, second = labs
    training = start(first, "a")
    command = first.wait(lambda: first.identity(training, "command.json"))
    driver.uses(command.pid)
    first.kill(first.identity(training, "supervisor.json"))
    waiting = start(second, "b", script="true")
    assert f"pid {command.pid}" in second.wait(lambda: second.engine.observe(waiting.id).waiting_for)
    driver.processes.write_text(PROCESSES)
    first.kill(command)
    assert second.engine.follow(waiting.id, timeout=120, poll=0.02).state == "succeeded"


def test_a_supervisor_that_follows_a_command_takes_its_gpu_again(labs: tuple[Lab, Lab], driver: Driver) -> None:
    first, _second = labs
    training = start(first, "a")
    first.wait(lambda: first.identity(training, "command.json"))
    lost = first.identity(training, "supervisor.json")
    first.kill(lost)
    first.engine.reconcile()
    until(lambda: first.identity(training, "supervisor.json") != lost, 15)
    until(lambda: HostGpus(Toolchain(), False).request(), 15)


def test_trainings_on_different_gpus_do_not_wait(labs: tuple[Lab, Lab], driver: Driver) -> None:
    first, second = labs
    training = start(first, "a", "0")
    command = first.wait(lambda: first.identity(training, "command.json"))
    driver.uses(command.pid, 0)
    other = start(second, "b", "1", "true")
    assert second.engine.follow(other.id, timeout=120, poll=0.02).state == "succeeded"
    assert first.engine.observe(training.id).state == "running"


def test_all_gpus_or_none(driver: Driver) -> None:
    one = HostGpus(Toolchain(environment={"CUDA_VISIBLE_DEVICES": "1"}), False)
    every = HostGpus(Toolchain(), False)
    assert one.request() is None and every.request()
    zero = HostGpus(Toolchain(environment={"CUDA_VISIBLE_DEVICES": "0"}), False)
    assert zero.request() is None, "an attempt that failed keeps nothing"
    one.release(), zero.release()
    assert every.request() is None and zero.request()
    every.release()


def test_selected_gpus(driver: Driver) -> None:
    first, second = driver.uuids
    assert selected("1") == [second] and selected(" 0, 1 ") == [first, second]
    assert selected(second) == [second] and selected(first[:12]) == [first]
    for unknown in ("all", "", "7", "nvidia.com/gpu=0", "MIG-1", "0,MIG-1", "GPU-"):
        assert selected(unknown) == [first, second], unknown


def test_a_training_locks_the_gpus_that_it_uses(driver: Driver) -> None:
    """Those with the most memory, or the first ones that are named; all of them if the names are not understood."""
    first, second = driver.uuids
    listed = Path(driver.processes.parent, "gpus.csv")
    listed.write_text(listed.read_text().replace(f"24564 MiB, 24000 MiB, {first}", f"8192 MiB, 8000 MiB, {first}"))
    for everything in ("all", "", "nvidia.com/gpu=all"):
        assert selected(everything, 1) == [second] and selected(everything, 2) == [first, second]
    assert selected("0,1", 1) == [first] and selected("1,0", 1) == [second] and selected("1,0", 2) == [first, second]
    assert selected("nvidia.com/gpu=0", 1) == selected("MIG-1", 1) == [first, second]
    one, other = HostGpus(Toolchain(), False, 1), HostGpus(Toolchain(gpus="0"), True, 1)
    assert one.request() is None and other.request() is None
    one.release(), other.release()


def test_a_program_on_another_gpu_does_not_keep_a_training_waiting(labs: tuple[Lab, Lab], driver: Driver) -> None:
    driver.uses(os.getpid(), 1)
    run = start(labs[0], "a", "0", "true")
    assert labs[0].engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"


def test_without_a_list_of_gpus_there_is_one_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert selected("0") == []
    one, other = HostGpus(Toolchain(), False), HostGpus(Toolchain(), False)
    assert one.request() is None and other.request()
    one.release()


def test_jobs_of_another_data_directory_are_foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = job_marker(str(tmp_path / "data" / "jobs" / "active" / "run" / "train-1"))
    monkeypatch.setenv(JOB_MARKER, marker)
    process = gpus.GpuProcess(1, "python", None, "GPU-1", "u", marker)
    assert gpus.foreign([process]) == [] == gpus.foreign([process], str(tmp_path / "data" / "jobs"))
    assert gpus.foreign([process], str(tmp_path / "dat" / "jobs")) == [process]
    assert gpus.foreign([process], str(tmp_path / "dat" / "jobs"), ["GPU-2"]) == []
