# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine whose jobs run in containers, and a tiny image for them, built from this machine's programs."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import typing as t
from pathlib import Path

import docker

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners import docker as runners_docker
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import processes
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.docker import DockerEngine
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab
from ansible_collections.ia_homelab.llamafactory.tests.support.runner_kit import DockerKit

REPOSITORY = "ia-homelab-test-tiny"
_PROGRAMS = (
    "sh", "cat", "chmod", "date", "dd", "env", "head", "id", "ls", "mkdir", "mv", "rm", "setsid", "sleep", "tail",
    "touch", "true",
)  # fmt: skip


def _files() -> dict[str, str]:
    """Paths in the image, and their sources: the programs, their libraries and their loader."""
    found: dict[str, str] = {}
    for program in _PROGRAMS:
        path = shutil.which(program, path="/usr/bin:/bin")
        assert path is not None, f"{program} is not on this machine"
        needed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout.split()
        for name in [path, *(word for word in needed if word.startswith("/"))]:
            for place in (name, name if name.startswith("/usr/") else "/usr" + name):
                found[place] = os.path.realpath(name)
        found["/bin/" + program] = os.path.realpath(path)
    return found


def tiny_image() -> str:
    """Name of an image with a shell and a few tools; built if missing, without a registry."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for place, content in sorted(_files().items()):
            entry = tarfile.TarInfo(place.lstrip("/"))
            entry.mode, entry.size = 0o755, os.path.getsize(content)
            with open(content, "rb") as stream:
                tar.addfile(entry, stream)
        shared = tarfile.TarInfo("tmp")
        shared.type, shared.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(shared)
    tag = hashlib.sha256(raw.getvalue()).hexdigest()[:12]
    client = docker.APIClient(version="auto")
    try:
        client.inspect_image(f"{REPOSITORY}:{tag}")
    except docker.errors.ImageNotFound:
        client.import_image_from_data(raw.getvalue(), repository=REPOSITORY, tag=tag)
    return f"{REPOSITORY}:{tag}"


class DockerLab(Lab):
    """One data directory, with jobs in containers.

    :param url: address of the engine; its default one when empty.
    """

    def __init__(self, root: Path, core: Path | None = None, image: str = "", url: str = "") -> None:
        super().__init__(root, core)
        self.image, self.url = image, url
        self.kit = DockerKit(image, root)
        self.kit.engine = DockerEngine(url)

    def run(self, name: str, *scripts: str, **options: t.Any) -> Run:
        run = super().run(name, *scripts, **options)
        tools = dataclasses.replace(
            run.toolchain, llamafactory_image=self.image, docker_host=self.url, mounts=(str(self.root),), shm_size=""
        )
        return dataclasses.replace(run, toolchain=tools, runner=tools.runner)

    def identity(self, run: Run, name: str) -> processes.Identity | None:
        """As for processes; the command is the first process of its container."""
        record = self.store.record(run.id)
        if name != "command.json" or record is None or not record.jobs:
            return super().identity(run, name)
        return self.kit.leader_of(runners_docker.container_name(record.jobs[-1].directory))

    def containers(self) -> list[str]:
        """Ids of the containers of this data directory, running or not."""
        store = os.path.realpath(self.data / "jobs")
        return [found["Id"] for found in self.kit.engine.labelled(f"{runners_docker.LABEL_STORE}={store}")]

    def broken(self, damaged: t.Collection[str] = ()) -> list[str]:
        return [*super().broken(damaged), *(f"container {name}" for name in self.containers())]

    def close(self) -> None:
        super().close()
        for name in self.containers():
            self.kit.engine.remove(name)
