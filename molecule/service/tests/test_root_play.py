# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays as root in the data directory of the job user, who has planted links and records there."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

USER, DATA, LIB = "llamafactory", "/data/llamafactory", "/opt/ia-homelab/training-service/lib"
PRECIOUS, SPY, BASE = "/root/precious", "/usr/local/bin/spy", "/srv/base"
ROOT = Path(__file__).resolve().parents[3]
ENV = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections")}
#: A server that stands in for Ollama: a unit that listens on its port.
OLLAMA = """[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 11434
"""

#: Writes the smallest base model.
_BASE = """
import json, os, struct, sys
os.chdir(sys.argv[1])
for name, value in {"config": {"model_type": "llama"}, "tokenizer": {}, "tokenizer_config": {}}.items():
    with open(name + ".json", "w") as stream:
        json.dump(value, stream)
header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
with open("model.safetensors", "wb") as stream:
    stream.write(struct.pack("<Q", len(header)) + header + bytes(4))
"""


def as_user(host: t.Any, program: Path, *arguments: str) -> str:
    """Run a program of the tests as the job user, with the core of the service."""
    text = program.read_text(encoding="utf-8")
    who = f"setpriv --reuid {USER} --regid {USER} --init-groups env PYTHONPATH={LIB} PYTHONDONTWRITEBYTECODE=1"
    return str(
        host.check_output(
            f"cat >/tmp/{program.name} <<'END'\n{text}END\n{who} python3 /tmp/{program.name} {' '.join(arguments)}"
        )
    ).strip()


def play(module: str, **arguments: t.Any) -> dict[str, t.Any]:
    """Run a module as root with Ansible; return its result."""
    done = subprocess.run(
        ["ansible", "all", "-i", os.environ["MOLECULE_INVENTORY_FILE"], "-m", f"ia_homelab.llamafactory.{module}",
         "-a", json.dumps({**arguments, "data_dir": DATA})],
        env={**ENV, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "1"},
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "=> {" in done.stdout, done.stdout + done.stderr
    result: dict[str, t.Any] = json.loads(done.stdout[done.stdout.index("=> {") + 3 :])
    return result


def provision() -> str:
    """Apply the role again; return the output."""
    done = subprocess.run(
        ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], "molecule/service/converge.yml"],
        env=ENV, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def of_root(host: t.Any) -> str:
    """Everything that root owns and a link could have led to: names, owners, modes, sizes, times and content."""
    listed = "%p %u %g %m %s %T@ %C@\\n"
    return str(
        host.check_output(
            f"find {PRECIOUS} /etc /usr/local /opt -xdev -printf '{listed}' | sort;"
            f" sha256sum {PRECIOUS}/*.* /etc/passwd"
        )
    )


@pytest.fixture(scope="module", autouse=True)
def _base(host: t.Any) -> None:
    """The smallest base model, a directory of root's, and a program that records who executes it."""
    host.check_output(
        f"mkdir -p {BASE} {PRECIOUS}/tmp /tmp/spied && chmod 1777 /tmp/spied && cat >/tmp/base.py <<'END'\n{_BASE}END\n"
        f"python3 /tmp/base.py {BASE}"
        f" && printf '#!/bin/sh\\nid -u >/tmp/spied/$$\\nexit 1\\n' >{SPY} && chmod 755 {SPY}"
    )
    for name in ("log.txt", "supervisor.log", "supervisor.lock", "command.json", "launch.json", "progress.json",
                 "places.json", "tokenizer.model"):  # fmt: skip
        host.check_output(f"echo of root >{PRECIOUS}/{name}; chmod 600 {PRECIOUS}/{name}")


def test_root_does_not_fall_for_what_the_user_planted(host: t.Any) -> None:
    run = as_user(host, Path(__file__).with_name("plant.py"), DATA, BASE, PRECIOUS, SPY)
    job = host.check_output(f"echo {DATA}/jobs/active/{run}/base-1")
    before = of_root(host)
    provision()
    play("job_info")
    refused = play("base", name=BASE)
    assert "Permission denied" in refused["msg"] or refused.get("failed"), refused
    assert of_root(host) == before
    # without the links the user is served as usual: the rewritten record has no effect
    host.check_output(
        f"rm -f {job}/*.log {job}/*.txt {job}/*.lock {job}/command.json {job}/launch.json {job}/progress.json;"
        f" rm {DATA}/service/tmp {DATA}/places.json; mv {DATA}/service/tmp.moved {DATA}/service/tmp"
    )
    again = play("base", name=BASE)
    assert [entry["state"] for entry in again["runs"]] == ["succeeded"], again
    assert of_root(host) == before
    spied = set(host.run("cat /tmp/spied/*").stdout.split())
    assert spied <= {host.check_output(f"id -u {USER}").strip()}, "the forged lease is executed at most as its author"
    assert host.run(f"find {DATA} ! -user {USER} | grep .").rc != 0
    assert host.run("pgrep -u 0 -f [d]ata/llamafactory/jobs").rc != 0
    assert not host.file(f"{DATA}/jobs/gpu_loan.json").exists


def test_user_stops_and_starts_the_unit_of_ollama(host: t.Any) -> None:
    host.check_output(
        f"printf '%s' '{OLLAMA}' >/run/systemd/system/ollama.service && systemctl daemon-reload"
        " && systemctl start ollama && until ss -ltn | grep -q 127.0.0.1:11434; do sleep 0.1; done"
    )
    program = Path(__file__).with_name("control_ollama.py")
    seen = as_user(host, program).splitlines()
    environment = "CUDA_VISIBLE_DEVICES=-1"
    assert seen == ["unit ollama.service", "inactive", f"active {environment}", "active", "again active"], seen
    assert host.run("ls /run/systemd/system/ollama.service.d").rc != 0
    # nothing but that: the user may not use systemd itself, and other users may not use the helper
    who = f"setpriv --reuid {USER} --regid {USER} --init-groups"
    assert host.run(f"{who} systemctl --no-ask-password stop ollama").rc != 0
    assert host.run("setpriv --reuid nobody --regid nogroup --clear-groups python3 -c \"import socket; "
                    "socket.socket(socket.AF_UNIX).connect('/run/ia-homelab/helper.sock')\"").rc != 0  # fmt: skip
    host.check_output("systemctl stop ollama && rm /run/systemd/system/ollama.service && systemctl daemon-reload")


def test_helper_is_of_root_alone(host: t.Any) -> None:
    for path in ("/opt/ia-homelab", "/opt/ia-homelab/helper", "/opt/ia-homelab/helper/helper.py",
                 "/opt/ia-homelab/helper/start_job.py", "/opt/ia-homelab/helper/settings.json",
                 "/etc/systemd/system/ia-homelab-job@.service"):  # fmt: skip
        found = host.file(path)
        assert (found.user, found.group, found.mode & 0o022) == ("root", "root", 0), path
    socket = host.file("/run/ia-homelab/helper.sock")
    assert (socket.user, socket.group, socket.mode) == ("root", USER, 0o660)
