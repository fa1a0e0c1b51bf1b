# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama server that yields to jobs on the GPU, and such jobs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import CoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import ports
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab

#: Reports its start, and ends on request.
HELD = "echo > begun; while [ ! -e '{gate}' ]; do sleep 0.05; done; echo > ended"


class YieldingServer:
    """An Ollama server on a port of this machine, and jobs on the GPU."""

    def __init__(self, lab: Lab, port: int) -> None:
        self.lab, self.port = lab, port
        self.url = f"http://127.0.0.1:{port}"
        self.gate = lab.root / "gate"

    def run(self, policy: str, name: str = "a") -> Run:
        """A run whose job uses the GPU until :meth:`end`."""
        made = self.lab.run(name, HELD.format(gate=self.gate), accelerator="cuda", expects=["ended"])
        tools = dataclasses.replace(made.toolchain, ollama_url=self.url, ollama_while_training=policy)
        return dataclasses.replace(made, toolchain=tools)

    def begin(self, run: Run) -> None:
        """Submit a run and wait until its job uses the GPU."""
        self.lab.engine.submit(run)
        spec = run.steps[-1].spec
        self.lab.wait(Path(self.lab.layout.work(spec.kind, spec.fingerprint), "begun").exists, timeout=90)

    def end(self, run: Run) -> None:
        """End the job, and check that nothing is left of it."""
        self.gate.touch()
        view = self.lab.engine.follow(run.id, timeout=90, poll=0.05)
        assert view.state == "succeeded", view.error
        assert self.lab.broken() == []

    def answers(self) -> bool:
        """Whether the server answers."""
        try:
            return bool(Ollama(self.url, timeout=30).version())
        except CoreError:
            return False

    def pid(self) -> int:
        """The one process that listens on its port."""
        (found,) = ports.listeners(self.port)
        return found

    def variables(self) -> dict[str, str]:
        """The environment of that process."""
        return ports.variables(self.pid())

    def log(self, run: Run) -> str:
        """Output of the job's supervisor."""
        return Path(self.lab.job(run).directory, "supervisor.log").read_text()

    @property
    def record(self) -> Path:
        """Path of the record of the lease."""
        return self.lab.data / "jobs" / "gpu_loan.json"
