# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Ollama server that runs as a plain process yields to a training, and is restored afterwards.

There is no GPU; the tests check which processes run when, and with which environment.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import make_run, make_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import read_gate
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import ports
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.ollama_process import (
    OllamaProcess,
    Settings,
)
from ansible_collections.ia_homelab.llamafactory.tests.real.conftest import File
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab
from ansible_collections.ia_homelab.llamafactory.tests.support.guest_lab import YieldingServer
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port


@pytest.fixture
def server(tmp_path: Path) -> t.Iterator[Server]:
    root = tmp_path / "ollama"
    root.mkdir()
    server = Server(os.environ["IA_OLLAMA_BIN"], root, free_port())
    server.start()
    yield server
    server.stop(hard=True)
    for pid in ports.listeners(server.port):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def guest(lab: Lab, server: Server) -> YieldingServer:
    return YieldingServer(lab, server.port)


def test_stopped_and_restored(guest: YieldingServer, gguf: File) -> None:
    client = Ollama(guest.url)
    client.push_blob(gguf.path, gguf.digest)
    client.create("kept", files={"model.gguf": gguf.digest})
    before, program = guest.variables(), ports.program(guest.pid())
    run = guest.run("stop")
    guest.begin(run)
    assert not guest.answers() and ports.listeners(guest.port) == []
    told = json.loads(guest.record.read_text())
    assert told["servers"][0]["kind"] == "process" and stat.S_IMODE(guest.record.stat().st_mode) == 0o600
    guest.end(run)
    assert guest.answers() and not guest.record.exists()
    assert [model["name"] for model in client.tags()] == ["kept:latest"]
    after = guest.variables()
    assert {name: after.get(name) for name in before} == before and ports.program(guest.pid()) == program
    assert "is stopped" in guest.log(run)


def test_moved_to_the_cpu_and_restored(guest: YieldingServer) -> None:
    run = guest.run("cpu")
    guest.begin(run)
    assert guest.lab.wait(guest.answers, timeout=120)
    assert guest.variables()["CUDA_VISIBLE_DEVICES"] == "-1"
    during = guest.pid()
    guest.end(run)
    assert guest.answers() and guest.pid() != during
    assert "CUDA_VISIBLE_DEVICES" not in guest.variables()


@pytest.mark.parametrize("policy", ["share", "unload"])
def test_share_changes_nothing(guest: YieldingServer, policy: str) -> None:
    before = guest.pid()
    run = guest.run(policy)
    guest.begin(run)
    assert guest.answers() and guest.pid() == before
    guest.end(run)
    assert guest.pid() == before


def test_cpu_training_takes_no_lease(guest: YieldingServer) -> None:
    made = guest.run("stop")
    steps = [dataclasses.replace(step, spec=dataclasses.replace(step.spec, options={
        **step.spec.options, "accelerator": "cpu"})) for step in made.steps]  # fmt: skip
    run = dataclasses.replace(made, steps=steps)
    guest.begin(run)
    assert guest.answers()
    guest.end(run)


@pytest.mark.parametrize(
    ("whom", "policy"),
    [
        ("supervisor", "stop"),
        ("both", "cpu"),
        pytest.param("supervisor", "cpu", marks=pytest.mark.full),
        pytest.param("both", "stop", marks=pytest.mark.full),
    ],
)
def test_restored_after_the_supervisor_was_killed(guest: YieldingServer, policy: str, whom: str) -> None:
    before = guest.variables()
    run = guest.run(policy)
    guest.begin(run)
    lab = guest.lab
    command = lab.identity(run, "command.json")
    lab.kill(lab.identity(run, "supervisor.json"))
    if whom == "both":
        lab.kill(command)
    lab.engine.reconcile()
    time.sleep(1)
    assert guest.record.exists(), "the job continues and keeps the lease"
    if policy == "stop":
        assert not guest.answers()
    guest.end(run)
    assert guest.answers() and not guest.record.exists()
    after = guest.variables()
    assert {name: after.get(name) for name in before} == before and "CUDA_VISIBLE_DEVICES" not in after


def test_restored_after_cancellation(guest: YieldingServer) -> None:
    run = guest.run("stop")
    guest.begin(run)
    guest.lab.engine.cancel(run.id)
    assert guest.lab.engine.follow(run.id, timeout=60, poll=0.05).state == "cancelled"
    assert guest.answers() and not guest.record.exists()


def test_restored_by_next_reconcile_after_a_reboot(guest: YieldingServer) -> None:
    """All processes have ended, and the record of the job was removed."""
    run = guest.run("stop")
    guest.begin(run)
    lab = guest.lab
    directory = Path(lab.job(run).directory)
    command, supervisor = lab.identity(run, "command.json"), lab.identity(run, "supervisor.json")
    lab.kill(supervisor)
    lab.kill(command)
    write_json(str(directory / "outcome.json"), {"state": "cancelled"})
    assert not guest.answers()
    lab.engine.reconcile()
    assert lab.wait(guest.answers, timeout=120) and not guest.record.exists()


def test_server_that_cannot_be_stopped_is_reported_and_unloaded(guest: YieldingServer, server: Server) -> None:
    """A proxy listens on its port, so it is unknown how to restart the server."""
    port = free_port()
    program = (
        "import http.server, sys, urllib.request\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        answer = urllib.request.urlopen(sys.argv[2] + self.path).read()\n"
        "        self.send_response(200)\n"
        "        self.end_headers()\n"
        "        self.wfile.write(answer)\n"
        "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()\n"
    )
    before = subprocess.Popen([sys.executable, "-c", program, str(port), guest.url])
    try:
        assert guest.lab.wait(lambda: ports.accepts("127.0.0.1", port))
        made = guest.run("stop")
        tools = dataclasses.replace(made.toolchain, ollama_url=f"http://127.0.0.1:{port}")
        run = dataclasses.replace(made, toolchain=tools)
        guest.begin(run)
        assert f"What serves 127.0.0.1:{port} cannot be stopped" in guest.log(run)
        assert guest.answers() and server.requests("GET", "/api/ps"), "the server was asked for its loaded models"
        assert not guest.record.exists()
        guest.end(run)
        assert before.poll() is None
    finally:
        before.kill()
        before.wait()


def test_role_recognizes_its_restarted_server(guest: YieldingServer, tmp_path: Path) -> None:
    """A server that the role ollama started without systemd: its record names the current process."""
    place = tmp_path / "role"
    place.mkdir()
    port = free_port()
    server = OllamaProcess(Settings(os.environ["IA_OLLAMA_BIN"], str(place), str(place / "models"), port=port))
    started, _version = server.start()
    assert started
    try:
        made = guest.run("stop")
        tools = dataclasses.replace(made.toolchain, ollama_url=server.settings.url)
        run = dataclasses.replace(made, toolchain=tools)
        guest.begin(run)
        assert ports.listeners(port) == []
        guest.end(run)
        assert not server.start()[0], "the role accepts the server"
    finally:
        assert server.stop()
    assert ports.listeners(port) == []


# -- two models, one Ollama --------------------------------------------------------------------------------------------


def model_run(guest: YieldingServer, name: str, file: File, seconds: float, policy: str = "stop") -> Run:
    """A run that uses the GPU for some seconds, registers a model, and promotes it behind a gate."""
    lab = guest.lab
    made_of = fingerprint("gguf", {"quantization": "f32"}, {"merge": file.digest})
    folder = Path(lab.layout.artifact("gguf", made_of))
    if not folder.is_dir():
        folder.mkdir(parents=True)
        shutil.copy(file.path, folder / "model.gguf")
        stat = os.stat(folder / "model.gguf")
        facts = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": file.digest[7:]}
        write_json(str(folder / "receipt.json"), {"fingerprint": made_of, "files": {"model.gguf": facts}})
    script = f"echo > begun; sleep {seconds}; echo > ended"
    options = {"argv": ["/bin/sh", "-c", script], "expects": ["ended"], "accelerator": "cuda"}
    train = make_step("probe", {"run": name}, {}, options, "train")
    serving = {"name": name, "quantization": "f32", "aliases": ["latest"]}
    settings = {"name": name, "template": "qwen", "system": "Tu aides.", "parameters": {}}
    register = make_step("register", settings, {"gguf": made_of}, {**serving, "promote": False}, "register")
    gate = read_gate([{"prompt": f"Question {number} ?", "not_empty": False} for number in range(4)])
    assert gate is not None
    upstream = {"register": register.spec.fingerprint}
    promote = make_step("promote", {"gate": gate.as_settings()}, upstream, serving, "promote")
    tools = Toolchain(ollama_url=guest.url, ollama_while_training=policy)
    return make_run(name, [train, register, promote], ["train", "promote"], tools)


@pytest.mark.parametrize("policy", ["stop", pytest.param("cpu", marks=pytest.mark.full)])
def test_two_models_are_both_served_at_the_end(guest: YieldingServer, gguf: File, policy: str) -> None:
    """The training of the second one begins when that of the first one has ended, which is registered then."""
    runs = [model_run(guest, name, gguf, 3, policy) for name in ("first", "second")]
    for run in runs:
        guest.lab.engine.submit(run)
    for run in runs:
        view = guest.lab.engine.follow(run.id, timeout=180, poll=0.1)
        assert view.state == "succeeded", view.error
    served = {str(model["name"]): model["digest"] for model in Ollama(guest.url).tags()}
    assert served["first:latest"] and served["second:latest"]
    logs = [Path(guest.lab.job(run).directory).parent.glob("train-*/supervisor.log") for run in runs]
    assert all("is stopped" in text or "without a GPU" in text for log in logs for text in map(Path.read_text, log))
    assert not guest.record.exists() and guest.lab.broken() == []


def test_two_models_with_a_killed_supervisor(guest: YieldingServer, gguf: File) -> None:
    """The supervisor of the second training is killed while Ollama is stopped: the first model still waits for it."""
    lab = guest.lab
    training = guest.run("stop", "second")
    guest.begin(training)
    first = model_run(guest, "first", gguf, 0)
    skip = make_run("first", first.steps[1:], ["promote"], first.toolchain)
    lab.engine.submit(skip)
    lab.wait(lambda: lab.engine.observe(skip.id).waiting_for)
    assert lab.engine.observe(skip.id).waiting_for == "Ollama, which is stopped for the training second"
    lab.kill(lab.identity(training, "supervisor.json"))
    time.sleep(1.5)
    view = lab.engine.observe(skip.id)
    assert (view.state, view.waiting_for) == ("running", "Ollama, which is stopped for the training second")
    lab.engine.reconcile()
    guest.gate.touch()
    for run in (training, skip):
        view = lab.engine.follow(run.id, timeout=120, poll=0.05)
        assert view.state == "succeeded", view.error
    assert Ollama(guest.url).digest("first:latest") and lab.broken() == []


def test_worker_of_a_killed_supervisor_keeps_ollama_running(guest: YieldingServer, gguf: File) -> None:
    """A gate is asked while its supervisor is killed: the training that waits does not stop Ollama under it."""
    lab = guest.lab
    made = model_run(guest, "first", gguf, 0)
    first = make_run("first", made.steps[1:], ["promote"], made.toolchain)
    lab.engine.submit(first)
    lab.wait(lambda: lab.engine.observe(first.id).current == "promote" and lab.identity(first, "command.json"), 60)
    lab.kill(lab.identity(first, "supervisor.json"))
    training = model_run(guest, "second", gguf, 1)
    lab.engine.submit(training)
    for run in (first, training):
        view = lab.engine.follow(run.id, timeout=180, poll=0.05)
        assert view.state == "succeeded", view.error
    assert [job.name for job in lab.record(first).jobs] == ["register-1", "promote-1"]
    served = {str(model["name"]) for model in Ollama(guest.url).tags()}
    assert {"first:latest", "second:latest"} <= served and lab.broken() == []
