# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ollama_server starts a server, recognises it, restarts and stops it; the server is a stand-in."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.processes import boot_id, identify
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import ollama_process
from ansible_collections.ia_homelab.llamafactory.tests.support import modules
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port

#: Answers as Ollama does, and prints how it was started.
SERVER = f"""#!{sys.executable}
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({{"version": "0.24.0"}}).encode())
print("started", sys.argv[1:], os.getcwd(), os.getsid(0) == os.getpid(), os.environ["OLLAMA_MODELS"], flush=True)
host, _, port = os.environ["OLLAMA_HOST"].rpartition(":")
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""


class Lab:
    """A data directory, and calls of the module for it."""

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        self.binary = self.program(root / "ollama", SERVER)
        self.port = free_port()

    @staticmethod
    def program(path: Path, text: str) -> Path:
        path.write_text(text)
        path.chmod(0o755)
        return path

    def call(self, state: str = "started", check: bool = False, **more: t.Any) -> dict[str, t.Any]:
        arguments = {
            "state": state,
            "binary": str(self.binary),
            "data_dir": str(self.data),
            "models_dir": str(self.data / "models"),
            "port": self.port,
            "start_seconds": 30,
        }
        return modules.call("ollama_server", {**arguments, **more}, check=check, diff=True)

    @property
    def record_file(self) -> Path:
        return self.data / "ollama.pid"

    def record(self) -> dict[str, t.Any]:
        return dict(json.loads(self.record_file.read_text()))

    def log(self) -> str:
        return (self.data / "ollama.log").read_text()


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.call("stopped")


def test_started_check_run_check_run(lab: Lab) -> None:
    predicted = lab.call(check=True)
    assert predicted["changed"] and predicted["started"] and not lab.data.exists()
    first = lab.call()
    assert (first["changed"], first["started"], first["version"]) == (True, True, "0.24.0")
    assert first["url"] == f"http://127.0.0.1:{lab.port}"
    assert predicted["diff"] == first["diff"] and first["diff"]["before"] == ""
    pid = lab.record()["pid"]
    for check in (True, False):
        again = lab.call(check=check)
        assert (again["changed"], again["started"]) == (False, False)
        assert again["diff"]["before"] == again["diff"]["after"] != ""
    assert lab.record()["pid"] == pid, "the same server"
    assert lab.log().splitlines()[0] == f"started ['serve'] / True {lab.data}/models"


def test_stopped_check_run_check_run(lab: Lab) -> None:
    assert not lab.call("stopped", check=True)["changed"]
    assert not lab.call("stopped")["changed"] and not lab.data.exists()
    lab.call()
    pid = lab.record()["pid"]
    assert lab.call("stopped", check=True)["changed"]
    assert identify(pid), "check mode does not stop it"
    stopped = lab.call("stopped")
    assert stopped["changed"] and not stopped["started"] and stopped["diff"]["after"] == ""
    assert not identify(pid) and not lab.record_file.exists()
    for check in (True, False):
        assert not lab.call("stopped", check=check)["changed"]


def test_a_server_with_other_settings_is_restarted(lab: Lab, tmp_path: Path) -> None:
    lab.call()
    pid = lab.record()["pid"]
    other = str(tmp_path / "other-models")
    predicted = lab.call(check=True, models_dir=other)
    assert predicted["changed"] and identify(pid)
    assert other not in predicted["diff"]["before"] and other in predicted["diff"]["after"]
    assert lab.call(models_dir=other)["changed"]
    assert not identify(pid) and lab.record()["environment"]["OLLAMA_MODELS"] == other
    lab.port = free_port()
    assert lab.call(models_dir=other)["changed"]
    assert lab.record()["environment"]["OLLAMA_HOST"] == f"127.0.0.1:{lab.port}"


def test_declared_variables_reach_the_server_and_restart_it(lab: Lab) -> None:
    lab.call()
    declared = {"OLLAMA_KEEP_ALIVE": "10m", "OLLAMA_CONTEXT_LENGTH": 8192}
    assert lab.call(environment=declared, check=True)["changed"]
    assert lab.call(environment=declared)["changed"] and not lab.call(environment=declared)["changed"]
    variables = Path(f"/proc/{lab.record()['pid']}/environ").read_bytes().split(b"\0")
    assert {b"OLLAMA_KEEP_ALIVE=10m", b"OLLAMA_CONTEXT_LENGTH=8192"} <= set(variables)


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"OLLAMA_HOST": "0.0.0.0"}, "OLLAMA_HOST, which the other options decide"),
        ({"HOME": "/root"}, "HOME, which the other options decide"),
        ({"A B": "1"}, "no usable variable"),
        ({"A": True}, "no usable variable"),
        ({"A": ["x"]}, "no usable variable"),
        ({"A": "x\ny"}, "no usable variable"),
    ],
)
def test_variables_that_cannot_be_set_are_refused(lab: Lab, environment: dict[str, t.Any], code: str) -> None:
    refused = lab.call(environment=environment, check=True)
    assert refused["failed"] and code in refused["msg"]


def test_a_record_of_the_former_programs_is_recognised(lab: Lab) -> None:
    """A server that was started before the module existed is left running: its record has these keys."""
    lab.call()
    record = lab.record()
    assert sorted(record) == ["binary", "boot_id", "environment", "pid", "start_time", "started_at"]
    process = identify(record["pid"])
    assert process and record["start_time"] == str(process.started) and record["boot_id"] == boot_id()
    assert record["environment"] == {
        "OLLAMA_HOST": f"127.0.0.1:{lab.port}", "OLLAMA_MODELS": f"{lab.data}/models", "HOME": str(lab.data),
    }  # fmt: skip
    environment = Path(f"/proc/{record['pid']}/environ").read_text()
    assert f"IA_HOMELAB_RECORD={lab.record_file}\0" in environment


@pytest.mark.parametrize("change", [{"boot_id": "another boot"}, {"start_time": "1"}, {"pid": 4194301}])
def test_another_process_with_the_same_id_is_not_the_server(lab: Lab, change: dict[str, t.Any]) -> None:
    lab.call()
    record = lab.record()
    try:
        lab.record_file.write_text(json.dumps({**record, **change}))
        assert ollama_process.running_server(str(lab.data)) == {}
        assert not lab.call("stopped")["changed"]
        assert identify(record["pid"]), "it is not ended for a record that does not name it"
        refused = lab.call()
        assert refused["failed"] and f"Another program listens at port {lab.port}" in refused["msg"]
    finally:
        lab.record_file.write_text(json.dumps(record))


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}"])
def test_a_damaged_record_is_no_server(tmp_path: Path, text: str) -> None:
    (tmp_path / "ollama.pid").write_text(text)
    assert ollama_process.running_server(str(tmp_path)) == {}


def test_a_port_of_another_program_is_refused(lab: Lab) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        refused = lab.call(port=other.getsockname()[1])
    assert refused["failed"] and "choose another port" in refused["hint"]
    assert not lab.record_file.exists()


def test_a_program_that_is_missing_is_refused_but_predicted(lab: Lab, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert lab.call(check=True, binary=missing)["changed"], "check mode runs before the installation"
    refused = lab.call(binary=missing)
    assert refused["msg"].startswith(f"{missing} is not a program.")
    lab.call()
    assert lab.call(binary=missing)["failed"]
    assert ollama_process.running_server(str(lab.data)), "the server that runs is not ended for it"


def test_a_server_that_ends_at_its_start_is_reported_with_its_log(lab: Lab, tmp_path: Path) -> None:
    broken = Lab.program(tmp_path / "broken", "#!/bin/sh\nseq 30\necho no libcuda >&2\nexit 1\n")
    failed = lab.call(binary=str(broken))
    assert "The server ended at its start" in failed["msg"]
    assert failed["msg"].endswith("29\n30\nno libcuda\n") and "\n10\n" not in failed["msg"]
    no_program = Lab.program(tmp_path / "no-program", "")
    assert "ollama does not start: OSError" in lab.call(binary=str(no_program))["msg"]


def test_a_server_that_does_not_answer_is_reported(lab: Lab, tmp_path: Path) -> None:
    silent = Lab.program(tmp_path / "silent", "#!/bin/sh\necho loading\nexec sleep 60\n")
    failed = lab.call(binary=str(silent), start_seconds=1)
    assert "did not answer at http://127.0.0.1" in failed["msg"] and "within 1 s" in failed["msg"]
    assert failed["msg"].endswith("loading\n")
    assert ollama_process.running_server(str(lab.data)), "it may still start, and can be stopped"


def test_a_server_that_ignores_sigterm_is_killed(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama_process, "_STOP_SECONDS", 0.3)
    stubborn = Lab.program(tmp_path / "stubborn", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n")
    lab.call(binary=str(stubborn), start_seconds=1)
    pid = lab.record()["pid"]
    assert lab.call("stopped")["changed"]
    os.waitpid(pid, 0)
    assert not identify(pid)


def test_two_plays_start_one_server(lab: Lab) -> None:
    children = []
    for _each in range(2):
        child = os.fork()
        if child == 0:
            os._exit(0 if lab.call().get("version") == "0.24.0" else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert lab.log().count("started") == 1


def test_a_large_log_is_rotated(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.data.mkdir()
    (lab.data / "ollama.log").write_text("old\n")
    lab.call()
    assert lab.log().startswith("old\nstarted")
    lab.call("stopped")
    monkeypatch.setattr(ollama_process, "_LOG_LIMIT", 3)
    lab.call()
    assert lab.log().startswith("started") and (lab.data / "ollama.log.1").read_text().startswith("old\n")


def test_others_can_read_the_record_and_the_log(lab: Lab) -> None:
    before = os.umask(0o077)
    try:
        lab.call()
    finally:
        os.umask(before)
    assert stat.S_IMODE(lab.data.stat().st_mode) == 0o755
    for path in (lab.record_file, lab.data / "ollama.log"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_directory_that_cannot_be_made_is_reported(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = lab.call(data_dir=str(tmp_path / "file" / "data"))
    assert "cannot be written: Not a directory" in failed["msg"]


@pytest.mark.parametrize(
    ("host", "url", "listens"),
    [
        ("0.0.0.0", "http://127.0.0.1:7", "0.0.0.0:7"),
        ("::1", "http://[::1]:7", "[::1]:7"),
        ("::", "http://[::1]:7", "[::]:7"),
        ("192.0.2.1", "http://192.0.2.1:7", "192.0.2.1:7"),
    ],
)
def test_addresses(host: str, url: str, listens: str) -> None:
    settings = ollama_process.Settings("/ollama", "/data", "/models", host, 7)
    assert settings.url == url and settings.recorded()["environment"]["OLLAMA_HOST"] == listens


def test_no_answer_and_nonsense_are_no_version(lab: Lab, tmp_path: Path) -> None:
    assert ollama_process.server_version(f"http://127.0.0.1:{lab.port}") == ""
    nonsense = Lab.program(tmp_path / "nonsense", SERVER.replace('{"version": "0.24.0"}', '["0.24.0"]'))
    assert lab.call(binary=str(nonsense), start_seconds=1)["failed"]
    pid = lab.record()["pid"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
