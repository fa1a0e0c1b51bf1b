# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Ollama under a real systemd, in a container that acts as a host: stopped, on the CPU, restored."""

from __future__ import annotations

import json
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import volumes

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "plugins" / "module_utils" / "_core"
HOST_IMAGE = ROOT / "molecule" / "shared" / "host_image.sh"
NAME = "ia-homelab-test-systemd"
UNIT = """
[Service]
ExecStart=/usr/local/bin/ollama serve
Environment=HOME=/tmp OLLAMA_HOST=127.0.0.1:11434
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""
#: Runs on that host: executes a command and reports the state.
PROGRAM = """
import json, os, sys, time
sys.dont_write_bytecode = True
sys.path.insert(0, "/opt/lib")
from core.errors import CoreError
from core.ollama.client import Ollama
from core.system import local_services, ports

known = {"kind": "unit", "name": "ollama.service"}
for what in sys.argv[1:]:
    getattr(local_services.from_dict(known), what)()
deadline = time.monotonic() + (4 if sys.argv[-1] == "stop" else 60)
answers = False
while not answers and time.monotonic() < deadline:
    try:
        answers = bool(Ollama("http://127.0.0.1:11434", timeout=30).version())
    except CoreError:
        time.sleep(0.2)
found = local_services.find("http://127.0.0.1:11434")
pids = ports.listeners(11434)
print(json.dumps({
    "answers": answers,
    "known": found and found.as_dict() == known and found.contains_process(pids[0]) and not found.contains_process(1),
    "hidden": bool(pids) and ports.variables(pids[0]).get("CUDA_VISIBLE_DEVICES") == "-1",
    "drop_in": os.path.exists("/run/systemd/system/ollama.service.d"),
    "pids": pids,
}))
"""


def docker(*arguments: str, text: str | None = None) -> str:
    done = subprocess.run(["docker", *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Host:
    """That host."""

    def after(self, *doing: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = json.loads(
            docker("exec", "--interactive", NAME, "python3", "-", *doing, text=PROGRAM)
        )
        return found

    def boot(self, how: str = "restart") -> None:
        docker(how, NAME)
        self.wait()

    def wait(self) -> None:
        end = time.monotonic() + 90
        while subprocess.run(["docker", "exec", NAME, "systemctl", "is-active", "ollama"], check=False).returncode:
            assert time.monotonic() < end, docker("exec", NAME, "journalctl", "--no-pager", "--lines", "50")
            time.sleep(0.5)


@pytest.fixture(scope="module")
def host() -> t.Iterator[Host]:
    # as the scenarios of molecule have it
    made = subprocess.run([HOST_IMAGE, "debian13"], stdout=subprocess.PIPE, text=True, check=True)
    image = made.stdout.strip()
    subprocess.run(["docker", "rm", "--force", "--volumes", NAME], capture_output=True, check=False)
    docker(
        "run", "--detach", "--name", NAME, "--privileged", "--cgroupns", "private", "--tmpfs", "/run",
        "--tmpfs", "/run/lock", "--volume", f"{CORE}:/opt/lib/core:ro",
        *volumes("/usr/local"), image,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while subprocess.run(
            ["docker", "exec", NAME, "systemctl", "list-units"], capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < end, docker("logs", NAME)
            time.sleep(0.2)
        docker("exec", "--interactive", NAME, "sh", "-c", "cat >/etc/systemd/system/ollama.service", text=UNIT)
        docker("exec", NAME, "systemctl", "enable", "--now", "ollama")
        yield Host()
    finally:
        docker("rm", "--force", "--volumes", NAME)


def test_unit_is_found_stopped_and_restored(host: Host) -> None:
    here = host.after()
    assert here["answers"] and here["known"] and not here["hidden"]
    gone = host.after("stop", "stop")
    assert not gone["answers"] and gone["known"] is None and gone["pids"] == [], "it is not started again"
    back = host.after("restore", "restore")
    assert back["answers"] and back["known"] and not back["hidden"]


def test_moved_to_the_cpu_and_restored(host: Host) -> None:
    before = host.after()
    hidden = host.after("on_cpu")
    assert hidden["answers"] and hidden["known"] and hidden["hidden"] and hidden["pids"] != before["pids"]
    assert host.after("on_cpu")["pids"] == hidden["pids"], "it is already in this state"
    back = host.after("restore")
    assert back["answers"] and not back["hidden"] and not back["drop_in"]
    assert host.after("restore")["pids"] == back["pids"]


@pytest.mark.parametrize("killed_after", ["the drop-in was written", "the drop-in was removed"])
def test_restored_after_a_kill_in_between(host: Host, killed_after: str) -> None:
    """Killed before the server was restarted: the actual state counts, not the record."""
    drop_in = "/run/systemd/system/ollama.service.d/ia-homelab-training.conf"
    if killed_after == "the drop-in was written":
        docker("exec", NAME, "sh", "-c", f"mkdir -p $(dirname {drop_in}); echo '[Service]' > {drop_in}")
        assert host.after("on_cpu")["hidden"]
    else:
        host.after("on_cpu")
        docker("exec", NAME, "rm", drop_in)
    back = host.after("restore")
    assert back["answers"] and not back["hidden"] and not back["drop_in"]


def test_reboot_restores_the_server(host: Host) -> None:
    assert host.after("on_cpu")["hidden"]
    host.boot()
    here = host.after()
    assert here["answers"] and not here["hidden"] and not here["drop_in"]
