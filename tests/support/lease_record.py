# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record that a job has stopped Ollama for its training, without an Ollama that is stopped."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab


class LeaseRecord:
    """The lease of a running job of a lab.

    :param lab: a run of it is submitted, whose job runs until the lab is closed.
    :param url: address of the server that yields.
    """

    def __init__(self, lab: Lab, url: str, policy: str = "stop", name: str = "other") -> None:
        self.path = Path(lab.layout.path("jobs", "gpu_loan.json"))
        run = lab.run(name, "sleep 600")
        lab.engine.submit(run)
        lab.wait(lambda: lab.identity(run, "command.json"))
        job = Path(lab.job(run).directory)
        server = {"is_ollama": True, "kind": "unit", "name": "ia-homelab-absent.service"}
        record = {
            "job": f"{job.parent.name}/{job.name}",
            "name": name,
            "policy": policy,
            "ollama_url": url,
            "servers": [server],
        }
        self.path.write_text(json.dumps(record))

    def remove(self) -> None:
        """End the lease without a server to start."""
        self.path.unlink()
