# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Ollama in a container, and other containers that may be stopped, yield to a training and are restored."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import gpu_lease
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.docker import DockerEngine
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab
from ansible_collections.ia_homelab.llamafactory.tests.support.guest_lab import YieldingServer
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port, volumes


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


class ContainerServer(YieldingServer):
    """An Ollama server in a container."""

    def __init__(self, lab: Lab, network: str) -> None:
        super().__init__(lab, free_port())
        self.name = f"ia-homelab-test-ollama-{self.port}"
        self.engine = DockerEngine()
        ours = {
            "bridge": ["--publish", f"127.0.0.1:{self.port}:11434", "--env", "OLLAMA_HOST=0.0.0.0:11434"],
            "host": ["--network", "host", "--env", f"OLLAMA_HOST=127.0.0.1:{self.port}"],
        }[network]
        self.id = docker(
            "run", "--detach", "--init", "--name", self.name, *ours, "--env", "HOME=/tmp", "--volume", "/tmp/models",
            "--env", "OLLAMA_MODELS=/tmp/models", "--env", "NVIDIA_VISIBLE_DEVICES=all", "--restart", "on-failure:5",
            *volumes("/usr"), os.environ["IA_BASE_IMAGE"], "ollama", "serve",
        )  # fmt: skip
        lab.wait(self.answers, timeout=60)

    def state(self, name: str = "") -> dict[str, t.Any]:
        found: dict[str, t.Any] = json.loads(docker("inspect", name or self.name))[0]
        return found

    def others(self) -> list[str]:
        return docker("ps", "--all", "--quiet", "--filter", f"name={self.name}-").split()

    def close(self) -> None:
        docker("rm", "--force", "--volumes", self.name, *self.others())


@pytest.fixture
def lab(tmp_path: Path, installed_core: Path) -> t.Iterator[Lab]:
    """Jobs are plain processes; the other users of the GPU are in containers."""
    made = Lab(tmp_path, installed_core)
    yield made
    made.close()


@pytest.fixture(params=["bridge", "host"])
def contained(lab: Lab, request: pytest.FixtureRequest) -> t.Iterator[ContainerServer]:
    made = ContainerServer(lab, request.param)
    yield made
    made.close()


@pytest.mark.parametrize("contained", ["bridge", pytest.param("host", marks=pytest.mark.full)], indirect=True)
def test_stopped_and_restored(contained: ContainerServer) -> None:
    run = contained.run("stop")
    contained.begin(run)
    assert not contained.answers() and not contained.state()["State"]["Running"]
    assert json.loads(contained.record.read_text())["servers"][0]["name"] == contained.name
    contained.end(run)
    assert contained.answers() and contained.state()["Id"] == contained.id


def test_moved_to_the_cpu_and_restored(contained: ContainerServer) -> None:
    """A container with the same image, files, network and ports replaces it."""
    docker("exec", contained.name, "touch", "/tmp/models/mine")
    run = contained.run("cpu")
    contained.begin(run)
    assert contained.lab.wait(contained.answers, timeout=120)
    assert not contained.state()["State"]["Running"]
    (other,) = contained.others()
    environment = contained.state(other)["Config"]["Env"]
    assert "CUDA_VISIBLE_DEVICES=-1" in environment and environment.count("NVIDIA_VISIBLE_DEVICES=void") == 1
    assert "NVIDIA_VISIBLE_DEVICES=all" not in environment
    assert "mine" in docker("exec", other, "ls", "/tmp/models").split()
    contained.end(run)
    assert contained.answers() and contained.others() == []
    assert contained.state()["Id"] == contained.id and contained.state()["State"]["Running"]


@pytest.mark.parametrize("contained", ["bridge"], indirect=True)
def test_restored_after_supervisor_and_command_were_killed(contained: ContainerServer) -> None:
    run = contained.run("cpu")
    contained.begin(run)
    lab = contained.lab
    command = lab.identity(run, "command.json")
    lab.kill(lab.identity(run, "supervisor.json"))
    lab.kill(command)
    (other,) = contained.others()
    lab.engine.reconcile()
    lab.wait(lambda: lab.identity(run, "command.json") != command, timeout=60)
    assert contained.others() == [other], "it is unchanged"
    contained.end(run)
    assert contained.answers() and contained.others() == []


@pytest.mark.parametrize("contained", ["bridge"], indirect=True)
@pytest.mark.parametrize("policy", ["stop", "cpu"])
def test_labelled_container_is_stopped(contained: ContainerServer, policy: str) -> None:
    """As the API of the Compose stack is."""
    name = f"{contained.name}-api"
    docker(
        "run", "--detach", "--init", "--name", name, "--label", f"{gpu_lease.LABEL}=true", os.environ["IA_BASE_IMAGE"],
        "python3", "-m", "http.server",
    )  # fmt: skip
    run = contained.run(policy)
    contained.begin(run)
    assert not contained.state(name)["State"]["Running"]
    contained.end(run)
    assert contained.state(name)["State"]["Running"] and contained.answers()
