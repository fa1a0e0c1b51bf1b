# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``status.yml`` with a name that nothing is known of, and ``chat.yml`` without rights, with the real ansible-playbook.

Ollama is a stand-in; tests/real has these plays with a real one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def ollama() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        yield server


def play(root: Path, playbook: str, hosts: dict[str, dict[str, t.Any]], **values: str) -> tuple[int, str]:
    """Run a playbook on hosts that are directories of this machine; return its status, and its output in one line."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    for name in hosts:
        (root / name).mkdir(exist_ok=True)
    inventory = root / "hosts.json"
    inventory.write_text(
        json.dumps(
            {
                "pc_ia": {
                    "hosts": {
                        name: {**local, "llamafactory_data_dir": str(root / name), **own} for name, own in hosts.items()
                    }
                }
            }
        )
    )
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), f"playbooks/{playbook}.yml",
            "-e", json.dumps(values),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )  # fmt: skip
    return done.returncode, " ".join(f"{done.stdout}{done.stderr}".split())


def test_a_name_that_no_host_knows_is_refused(tmp_path: Path, ollama: FakeOllama) -> None:
    known = {"ollama_url": ollama.url, "ansible_become": False}
    status, output = play(tmp_path, "status", {"one": known, "two": known}, finetune_name="homelab-modle")
    assert status == 2 and "homelab-modle has no run and no model here. Without a name, all are shown." in output


def test_a_name_is_not_refused_where_a_server_is_silent(tmp_path: Path, ollama: FakeOllama) -> None:
    """It may have the model."""
    silent = {"ollama_url": f"http://127.0.0.1:{free_port()}", "ansible_become": False}
    hosts = {"one": {"ollama_url": ollama.url, "ansible_become": False}, "two": silent}
    status, output = play(tmp_path, "status", hosts, finetune_name="homelab-model")
    assert status == 0 and "No Ollama server answers" in output


def test_a_model_is_asked_without_rights(tmp_path: Path, ollama: FakeOllama) -> None:
    ollama.models["homelab-model"] = "sha256:1"
    ollama.reply = lambda _model, prompt: f"asked: {prompt}"
    host = {"ollama_url": ollama.url, "ansible_become": True, "ansible_become_exe": "/no/such/sudo"}
    status, output = play(tmp_path, "chat", {"one": host}, finetune_name="homelab-model", finetune_question="Who?")
    assert (status, "asked: Who?" in output) == (0, True), output[-1500:]
    status, output = play(tmp_path, "chat", {"one": host}, finetune_name="homelab-modle", finetune_question="Who?")
    assert status == 2 and "model 'homelab-modle' not found. playbooks/status.yml shows the models." in output
