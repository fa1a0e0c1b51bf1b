# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of an imagined host that yield the GPU, and jobs that hold the lease."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.gpu_lease import GpuLease
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.local_services import LocalServer


class Host:
    """The servers of an imagined host.

    :ivar ollama: name of the server that Ollama's address leads to; empty if there is none.
    :ivar labelled: names of the containers with the label.
    :ivar calls: what was asked of them, in order.
    :ivar refuses: what they refuse.
    """

    def __init__(self) -> None:
        self.ollama, self.labelled = "ollama", ["webui"]
        self.calls: list[str] = []
        self.refuses: set[str] = set()
        self.unknown = ""

    def server(self, value: t.Mapping[str, t.Any]) -> Recorded:
        return Recorded(str(value["name"]), self)

    def find(self, _url: str, _docker_host: str) -> LocalServer | None:
        if self.unknown:
            raise NotReadyError(self.unknown)
        return Recorded(self.ollama, self) if self.ollama else None


class Recorded(LocalServer):
    """A server that only records what is asked of it. Its process has the number of letters of its name as id."""

    kind = "unit"

    def __init__(self, name: str, host: Host) -> None:
        super().__init__(name)
        self.host = host

    def _do(self, what: str) -> None:
        if f"{what} {self.name}" in self.host.refuses:
            raise NotReadyError("told to fail.")
        self.host.calls.append(f"{what} {self.name}")

    def contains_process(self, pid: int) -> bool:
        if "inspect" in self.host.refuses:
            raise NotReadyError("the engine is down")
        return pid == len(self.name)

    def stop(self) -> None:
        self._do("stop")

    def on_cpu(self) -> None:
        self._do("cpu")

    def restore(self) -> None:
        self._do("restore")


@dataclasses.dataclass
class Jobs:
    """Jobs of one data directory."""

    layout: Layout
    tools: Toolchain

    def lease(self, policy: str, job: str = "run-1/job-1") -> GpuLease:
        path = Path(self.layout.path("jobs", "active", job))
        path.mkdir(parents=True, exist_ok=True)
        tools = dataclasses.replace(self.tools, ollama_while_training=policy)
        lease = GpuLease(self.layout, str(path), tools)
        lease.find_users()
        return lease

    def end(self, job: str = "run-1/job-1") -> None:
        Path(self.layout.path("jobs", "active", job, "outcome.json")).write_text('{"state": "failed"}')

    @property
    def file(self) -> Path:
        return Path(self.layout.path("jobs", "gpu_loan.json"))

    def record(self) -> dict[str, t.Any]:
        return dict(json.loads(self.file.read_text()))
