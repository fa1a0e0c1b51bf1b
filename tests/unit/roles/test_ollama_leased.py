# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role ollama leaves a server alone that yields to a training, and refuses to stop or remove it."""

from __future__ import annotations

import json
import os
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab, install_core
from ansible_collections.ia_homelab.llamafactory.tests.support.lease_record import LeaseRecord
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port
from ansible_collections.ia_homelab.llamafactory.tests.support.role_play import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]

#: Creates a file when it is started as a server, which never answers.
PROGRAM = '#!/bin/sh\n[ "$1" != serve ] || {{ touch {started}; sleep 5; }}\n'


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[Lab]:
    made = Lab(tmp_path, install_core(tmp_path))
    yield made
    made.close()


def play(lab: Lab, *arguments: str, **variables: t.Any) -> tuple[int, str]:
    """Run the role on this machine; its exit status and output."""
    root = lab.root
    playbook = [{
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"include_role": {"name": "ia_homelab.llamafactory.ollama"}},
            {"debug": {"msg": "url {{ ollama_server.url }}, {{ ollama_server.managed_by }}"}},
        ],
    }]  # fmt: skip
    (root / "play.yml").write_text(json.dumps(playbook))
    declared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "llamafactory_data_dir": str(lab.data),
        "ollama_service": "process",
        "ollama_start_seconds": 2,
        **variables,
    }
    (root / "variables.json").write_text(json.dumps(declared))
    return ansible_playbook(root, "-i", "localhost,", "play.yml", "-e", "@variables.json", *arguments)


@pytest.mark.slow
def test_a_server_that_yields_to_a_training_is_left_alone(lab: Lab) -> None:
    port, started = free_port(), lab.root / "started"
    programs = lab.root / "bin"
    programs.mkdir()
    (programs / "ollama").write_text(PROGRAM.format(started=started))
    (programs / "ollama").chmod(0o755)
    declared = {"ollama_port": port, "ollama_install": "existing", "ollama_state": "started"}
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path["PATH"])
        lease = LeaseRecord(lab, f"http://127.0.0.1:{port}", name="homelab-model")
        for arguments in ((), ("--check",)):
            status, output = play(lab, *arguments, **declared)
            assert status == 0, output
            assert f"Ollama at http://127.0.0.1:{port} is stopped for the training homelab-model" in " ".join(
                output.split()
            )
            assert f"url http://127.0.0.1:{port}, systemd" in output and "changed=0" in output
        status, output = play(lab, **{**declared, "ollama_state": "stopped"})
        assert status != 0 and "yields to the training homelab-model" in " ".join(output.split())
        assert not started.exists()
        lease.remove()
        status, output = play(lab, **declared)
        assert status != 0 and "server" in output and started.exists(), "without the lease it is started"
