# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unchanged tests of the process runner for containers, and tests of containers only."""

from __future__ import annotations

import dataclasses
import inspect
import os
import signal
import time
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners import docker
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.runner import Probe
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import processes
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.docker import DockerEngine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.runner_kit import DockerKit
from ansible_collections.ia_homelab.llamafactory.tests.unit.plugins.module_utils._core.runners import test_process

#: Tests for processes only, and the tests here that replace them.
ONLY_PROCESSES = {
    "test_commands_that_cannot_be_started": "test_missing_program_in_the_image",
    "test_lack_of_memory_is_reported_after_an_oom_kill": "test_engine_reports_out_of_memory",
}

job_dir = test_process.job_dir


def shared(module: types.ModuleType, left_out: t.Container[str]) -> dict[str, t.Any]:
    """The tests of another module, to run with the fixtures of this directory."""
    return {
        name: function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("test_") and name not in left_out
    }


globals().update(shared(test_process, ONLY_PROCESSES))


def test_excluded_tests_have_replacements() -> None:
    for name, instead in ONLY_PROCESSES.items():
        assert hasattr(test_process, name) and instead in globals()


@pytest.mark.parametrize(("program", "code"), [("/nowhere/x", 127), ("nothing-of-the-sort", 127), ("/tmp", 126)])
def test_missing_program_in_the_image(kit: DockerKit, job_dir: str, program: str, code: int) -> None:
    runner = kit.runner()
    runner.start(kit.command([program]), job_dir)
    assert kit.until_it_ends(runner, job_dir) == Probe("ended", code)
    assert program in Path(job_dir, "log.txt").read_text()


@pytest.mark.parametrize(
    ("more", "words", "hint"),
    [
        ({"image": "not-there:1"}, "has no image 'not-there:1'", "docker pull not-there:1"),
        ({"gpus": "all"}, "could not select device driver", "llamafactory_accelerator: cpu"),
        ({"gpus": "nvidia.com/gpu=7"}, "could not select device driver .cdi.", "llamafactory_accelerator: cpu"),
        ({"memory_limit": "much"}, "memory_limit is 'much', which is no size", "24g"),
        ({"readable": ("/nowhere/at/all",)}, "bind source path does not exist: /nowhere/at/all", "moved or removed"),
    ],
)
def test_container_cannot_start(kit: DockerKit, job_dir: str, more: dict[str, t.Any], words: str, hint: str) -> None:
    kit.image, kit.more = more.pop("image", kit.image), more
    runner = kit.runner()
    with pytest.raises(NotReadyError, match=words) as caught:
        runner.start(kit.command(["/bin/true"]), job_dir)
    assert hint in caught.value.hint
    assert runner.probe(job_dir) == Probe("absent")
    assert kit.engine.inspect(docker.container_name(job_dir)) is None


def test_engine_reports_out_of_memory(kit: DockerKit, job_dir: str) -> None:
    kit.more = {"memory_limit": "32m"}
    runner = kit.runner()
    runner.start(kit.shell("dd if=/dev/zero of=/dev/null bs=200M count=1; exit $?"), job_dir)
    assert kit.until_it_ends(runner, job_dir) == Probe("ended", -signal.SIGKILL, out_of_memory=True)
    assert kit.runner().probe(job_dir).out_of_memory


def test_kernel_tells_of_a_lack_of_memory_that_the_engine_missed(
    kit: DockerKit, job_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect_container = DockerEngine.inspect

    def without_oom_event(engine: DockerEngine, name: str) -> dict[str, t.Any] | None:
        container = inspect_container(engine, name)
        if container is not None:
            container["State"]["OOMKilled"] = False
        return container

    monkeypatch.setattr(DockerEngine, "inspect", without_oom_event)
    for script, kills, out_of_memory in (("exit 1", 0, False), ("exit 1", 1, True), ("exit 0", 1, False)):
        monkeypatch.setattr(processes, "oom_kills", lambda: 7)
        runner = kit.runner()
        runner.start(kit.shell(script), job_dir)
        monkeypatch.setattr(processes, "oom_kills", lambda kills=kills: 7 + kills)
        assert kit.until_it_ends(runner, job_dir).out_of_memory is out_of_memory
        assert kit.runner().probe(job_dir).out_of_memory is out_of_memory
        runner.forget(job_dir)


def test_declared_limits_apply(kit: DockerKit, job_dir: str) -> None:
    kit.more = {"memory_limit": "64m", "cpus": 0.5, "shm_size": "96m"}
    runner = kit.runner()
    runner.start(kit.shell("sleep 60"), job_dir)
    found = kit.engine.inspect(docker.container_name(job_dir))
    assert found is not None
    host = found["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["ShmSize"]) == (
        64 << 20,
        64 << 20,
        500_000_000,
        96 << 20,
    )
    assert host["Init"] and host["NetworkMode"] == "none" and not host["AutoRemove"]
    assert host["LogConfig"]["Config"] == {"max-size": "1m", "max-file": "1"}
    assert found["Config"]["Labels"][docker.LABEL_JOB].endswith(":run-1/step-1")


def test_root_does_not_work_for_the_user_of_a_container(kit: DockerKit, job_dir: str) -> None:
    assert os.geteuid() == 0, "only root is refused"
    command = kit.shell("id -u")
    assert command.container is not None
    other = dataclasses.replace(command, container=dataclasses.replace(command.container, user="4711:4712"))
    with pytest.raises(InputError, match="container_user is 4711:4712, and root owns the data directory"):
        kit.runner().start(other, job_dir)
    assert kit.engine.inspect(docker.container_name(job_dir)) is None


def test_container_is_adopted_without_records(kit: DockerKit, job_dir: str) -> None:
    kit.runner().start(kit.shell("sleep 0.5; exit 3"), job_dir)
    os.unlink(os.path.join(job_dir, "command.json"))
    other = kit.runner()
    assert other.refresh(job_dir) == Probe("running"), "the engine is the authority"
    assert kit.until_it_ends(other, job_dir) == Probe("ended", 3)
    assert kit.engine.inspect(docker.container_name(job_dir)) is None


@pytest.mark.parametrize(("script", "code"), [("exit 0", None), ("kill -9 $$", None), ("exit 3", 3)])
def test_container_ended_unsupervised(kit: DockerKit, job_dir: str, script: str, code: int | None) -> None:
    """Ended by a signal or with 0: the machine may have gone down. With another status: the command failed."""
    kit.runner().start(kit.shell(script), job_dir)
    end = time.monotonic() + 60
    while kit.runner().probe(job_dir).state == "running" and time.monotonic() < end:
        time.sleep(0.02)
    assert kit.runner().refresh(job_dir) == Probe("ended", code)
    assert kit.engine.inspect(docker.container_name(job_dir)) is None
    assert kit.runner().refresh(job_dir) == Probe("ended", code)


def test_container_created_but_not_started(kit: DockerKit, job_dir: str) -> None:
    """Killed between both: it counts as not started, and is no obstacle."""
    kit.engine.create(docker.container_name(job_dir), {"image": kit.image, "command": ["true"]}, {})
    write_json(os.path.join(job_dir, "command.json"), {"argv": ["true"]})
    runner = kit.runner()
    assert runner.refresh(job_dir) == Probe("absent")
    runner.start(kit.shell("exit 4"), job_dir)
    assert kit.until_it_ends(runner, job_dir) == Probe("ended", 4)


def test_containers_of_ended_jobs_are_removed(kit: DockerKit, job_dir: str) -> None:
    """The engine was down when they should have been removed."""
    forgotten = os.path.join(os.path.dirname(job_dir), "step-0")
    os.mkdir(forgotten)
    kit.runner().start(kit.shell("sleep 60"), forgotten)
    runner = kit.runner()
    runner.start(kit.shell("true"), job_dir)
    assert kit.runner().probe(forgotten) == Probe("running"), "it has not ended"
    kit.until_it_ends(runner, job_dir)
    write_json(os.path.join(forgotten, "outcome.json"), {"state": "failed"})
    runner.forget(job_dir)
    runner.start(kit.shell("true"), job_dir)
    assert kit.engine.inspect(docker.container_name(forgotten)) is None


def test_engine_is_missing(kit: DockerKit, job_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_ENGINE_SECONDS", 0.0)
    write_json(
        os.path.join(os.path.dirname(job_dir), "run.json"), {"toolchain": {"docker_host": "unix:///nowhere/x.sock"}}
    )
    runner = kit.runner()
    assert runner.probe(job_dir) == Probe("absent")
    with pytest.raises(NotReadyError, match="does not answer at unix:///nowhere/x.sock") as caught:
        runner.start(kit.shell("true"), job_dir)
    assert "systemctl start docker" in caught.value.hint
    write_json(os.path.join(job_dir, "command.json"), {"argv": ["true"]})
    assert runner.refresh(job_dir) == Probe("running"), "the state is unknown, so the runner waits"
    os.unlink(os.path.join(job_dir, "command.json"))


def test_host_without_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "docker", None)
    with pytest.raises(NotReadyError, match="Docker SDK") as caught:
        DockerEngine().inspect("x")
    assert "python3-docker" in caught.value.hint
