# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of the runner under test, so that the same tests run with each runner."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import types
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners import docker as runners_docker
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners import process
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.command import Command, Container
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.runner import Probe, Runner
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import docker, processes


class ProcessKit:
    """Plain processes."""

    module: types.ModuleType = process
    #: Names of additional variables that a command gets.
    given: tuple[str, ...] = ()

    def runner(self) -> Runner:
        return process.ProcessRunner()

    def command(self, argv: t.Sequence[str], env: t.Mapping[str, str] | None = None, cwd: str = "/") -> Command:
        return Command(list(argv), {"PATH": os.environ["PATH"]} if env is None else dict(env), cwd)

    def shell(self, script: str) -> Command:
        return self.command(["/bin/sh", "-c", script])

    def leader(self, job_dir: str) -> processes.Identity | None:
        """The first process of a command."""
        return processes.Identity.from_dict(json.loads(Path(job_dir, "command.json").read_text()))

    def was_written_down(self, told: t.Mapping[str, t.Any], pid: int) -> bool:
        """Whether a record names the command with this pid, in the command's own numbering."""
        return bool(told["pid"] == pid)

    def until_it_ends(self, runner: Runner, job_dir: str) -> Probe:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            probe = runner.refresh(job_dir)
            if probe.state != "running":
                return probe
            time.sleep(0.01)
        raise AssertionError("it does not end")


class DockerKit(ProcessKit):
    """Containers of an image."""

    module = runners_docker
    given = ("HOME", "HOSTNAME", "PATH", "PWD")

    def __init__(self, image: str, root: Path, **more: t.Any) -> None:
        self.image, self.root, self.more = image, root, more
        self.engine = docker.DockerEngine()

    def runner(self) -> Runner:
        return runners_docker.DockerRunner()

    def command(self, argv: t.Sequence[str], env: t.Mapping[str, str] | None = None, cwd: str = "/") -> Command:
        place = Container(self.image, writable=(str(self.root),), **self.more)
        return dataclasses.replace(super().command(argv, {} if env is None else env, cwd), container=place)

    def leader(self, job_dir: str) -> processes.Identity | None:
        return self.leader_of(runners_docker.container_name(job_dir))

    def leader_of(self, name: str) -> processes.Identity | None:
        """The first process of a container, in this machine's numbering."""
        found = self.engine.inspect(name)
        return processes.identify(found["State"]["Pid"]) if found and found["State"]["Pid"] else None

    def was_written_down(self, told: t.Mapping[str, t.Any], pid: int) -> bool:
        found = self.engine.inspect(told["container"])
        return found is not None and found["State"]["Running"]
