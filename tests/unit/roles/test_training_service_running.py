# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that runs something else than what is installed is restarted, even if this play has changed nothing.

``systemctl`` is a stand-in: a process of the test is the main process of the unit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.role_play import ROOT, ansible_playbook

pytestmark = pytest.mark.slow

ROLE = ROOT / "roles" / "training_service"
VARS = {
    "training_service_data_dir": "/data",
    "training_service_toolchain": {},
    "training_service_containers": {},
    "ansible_facts": {},
    "ansible_python_interpreter": sys.executable,
}


class Host:
    """A host whose unit has a process of the test as its main process, or none."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.process: subprocess.Popen[bytes] | None = None
        self.tokens = root / "tokens.json"
        tools = root / "bin"
        tools.mkdir()
        (tools / "systemctl").write_text(f'#!/bin/sh\ncat "{root}/pid" 2>/dev/null || echo 0\n')
        (tools / "systemctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")

    def start(self, digest: str) -> None:
        self.stop()
        self.process = subprocess.Popen(["sleep", "600"], env={"PATH": "/bin:/usr/bin", "IA_HOMELAB_DIGEST": digest})
        (self.root / "pid").write_text(str(self.process.pid))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        (self.root / "pid").unlink(missing_ok=True)

    def play(self, **variables: t.Any) -> dict[str, t.Any]:
        """Run the comparison; return the digest, the unit, and whether the process has to be restarted."""
        (self.root / "vars.json").write_text(json.dumps({**VARS, "training_service_etc": str(self.root), **variables}))
        (self.root / "play.yml").write_text(
            f"""
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [{ROLE}/defaults/main.yml, {ROLE}/vars/main.yml, vars.json]
  vars:
    role_path: {ROLE}
  tasks:
    - ansible.builtin.include_tasks: {ROLE}/tasks/running.yml
    - ansible.builtin.copy:
        dest: {self.root}/result.json
        content: "{{{{ dict(digest=training_service_digest, restart=training_service_running is changed,
          unit=lookup('ansible.builtin.template', role_path ~ '/templates/training-service.service.j2')) | to_json }}}}"
  handlers:
    - name: Restart the training service
      ansible.builtin.copy:
        dest: {self.root}/restarted
        content: "yes"
"""
        )
        status, output = ansible_playbook(self.root, "-i", "localhost,", "play.yml")
        assert status == 0, output
        return dict(json.loads((self.root / "result.json").read_text()))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Host]:
    host = Host(tmp_path, monkeypatch)
    yield host
    host.stop()


def test_a_process_with_another_digest_is_restarted(host: Host) -> None:
    found = host.play()
    assert found["restart"] and (host.root / "restarted").exists(), "nothing runs"
    assert f"Environment=IA_HOMELAB_DIGEST={found['digest']}" in found["unit"]
    host.start("0123456789abcdef")
    assert host.play()["restart"], "a play has ended before its handlers"
    host.start(found["digest"])
    time.sleep(1.1)
    assert host.play() == {**found, "restart": False}
    changed = host.play(training_service_port=8001)
    assert changed["restart"] and changed["digest"] != found["digest"], "its settings have changed"
    unit = host.play(training_service_groups=["render"])
    assert unit["restart"] and unit["digest"] != found["digest"], "its unit has changed"


def test_a_process_that_is_older_than_its_tokens_is_restarted(host: Host) -> None:
    host.start(host.play()["digest"])
    os.utime(host.root / "pid")
    host.tokens.write_text("[]")
    os.utime(host.tokens, (time.time() - 100, time.time() - 100))
    assert not host.play()["restart"]
    os.utime(host.tokens, (time.time() + 100, time.time() + 100))
    assert host.play()["restart"]
