# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml on three hosts: failures are reported and do not affect other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HEALTHY, FULL, CUT = "ia-homelab-healthy", "ia-homelab-full", "ia-homelab-cut"
RECAP = re.compile(r"^(ia-homelab-\w+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.M)


def on(host: str, *command: str) -> None:
    subprocess.run(["docker", "exec", host, *command], check=True)


def start(log: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start the play as a user does, with the repository's ansible.cfg."""
    command = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], "playbooks/site.yml", *options]
    settings = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOST_KEY_CHECKING": "False",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",  # molecule enables colours
    }
    with log.open("wb") as stream:
        return subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )


def recap(text: str) -> dict[str, tuple[int, int, int]]:
    """The figures of each host: changed, unreachable, failed."""
    return {name: (int(changed), int(gone), int(failed)) for name, changed, gone, failed in RECAP.findall(text)}


def test_failing_hosts_do_not_affect_others(tmp_path: Path) -> None:
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    play = start(first)
    # cut the network after the role has started its work on the host
    while subprocess.run(["docker", "exec", CUT, "test", "-e", "/opt/ia-homelab/tools"], check=False).returncode:
        assert play.poll() is None, first.read_text()
        time.sleep(1)
    on(CUT, "iptables", "--insert", "INPUT", "--protocol", "tcp", "--dport", "22", "--jump", "DROP")
    cut_at = time.monotonic()
    # 20 s without a response, and as long for each further item of a loop
    while "timed out" not in first.read_text() and "UNREACHABLE" not in first.read_text():
        assert time.monotonic() - cut_at < 90, first.read_text()
        time.sleep(1)
    assert play.wait(timeout=900) in (2, 4), first.read_text()
    said = first.read_text()
    results = recap(said)
    assert results[HEALTHY][0] > 0 and results[HEALTHY][1:] == (0, 0), said
    assert results[CUT][1:] == (1, 0), said
    assert results[FULL][1:] == (0, 1), said
    assert re.search(r"has 0\.0 GiB free and about \d+ GiB are needed\. +Make room", " ".join(said.split())), said

    on(CUT, "iptables", "--delete", "INPUT", "--protocol", "tcp", "--dport", "22", "--jump", "DROP")
    on(FULL, "mount", "-o", "remount,size=9g", "/opt/ia-homelab")
    assert start(second).wait(timeout=900) == 0, second.read_text()
    results = recap(second.read_text())
    assert results[HEALTHY] == (0, 0, 0), second.read_text()
    assert results[CUT][0] > 0 and results[FULL][0] > 0, second.read_text()
    for host in (HEALTHY, FULL, CUT):
        on(host, "curl", "--silent", "--fail", "http://127.0.0.1:11434/api/version")


def test_the_declared_variables_are_set() -> None:
    command = ["docker", "exec", HEALTHY, "systemctl", "show", "ollama", "--property=Environment", "--value"]
    variables = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert {"OLLAMA_KEEP_ALIVE=10m", "OLLAMA_CONTEXT_LENGTH=8192", "OLLAMA_HOST=127.0.0.1:11434"} <= set(variables)


def test_a_shell_finds_the_program() -> None:
    command = ["docker", "exec", HEALTHY, "bash", "-lc", "readlink $(command -v ollama) && ollama --version"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert re.match(r"/opt/ia-homelab/\S*ollama-[0-9a-f]{16}/bin/ollama\n", found), found


def test_a_drop_in_that_opens_the_port_is_named(tmp_path: Path) -> None:
    """It is left from a former Ollama, whose unit had the same name."""
    drop_in = "/etc/systemd/system/ollama.service.d/override.conf"
    text = r'[Service]\nEnvironment="OLLAMA_HOST=0.0.0.0"\n'
    on(HEALTHY, "sh", "-c", f"mkdir -p {os.path.dirname(drop_in)}; printf '{text}' >{drop_in}")
    log = tmp_path / "check.log"
    for options in (["--check"], []):
        assert start(log, "--limit", HEALTHY, *options).wait(timeout=600) == 2, log.read_text()
        said = " ".join(log.read_text().split())
        assert f"{drop_in} sets OLLAMA_HOST=0.0.0.0, in place of what this role sets" in said, said

    # The unit of somebody else, whose server is used as it is.
    on(HEALTHY, "sed", "-i", "1d", "/etc/systemd/system/ollama.service")
    options = ["--limit", HEALTHY, "--check", "-e", "ollama_install=auto"]
    assert start(log, *options).wait(timeout=600) == 0, log.read_text()
    said = " ".join(log.read_text().split())
    assert f"[WARNING]: {drop_in} sets OLLAMA_HOST=0.0.0.0 for the Ollama of this host" in said, said
    assert "ollama_environment is not applied" in said, said


def test_a_variable_that_the_role_sets_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "refused.log"
    declared = '{"ollama_environment": {"OLLAMA_HOST": "0.0.0.0"}}'
    assert start(log, "--limit", HEALTHY, "--check", "-e", declared).wait(timeout=600) == 2, log.read_text()
    said = " ".join(log.read_text().split())
    assert "sets OLLAMA_HOST, which is decided by ollama_host and ollama_port. Declare it there." in said, said
