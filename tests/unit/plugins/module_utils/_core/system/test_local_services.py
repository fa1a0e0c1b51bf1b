# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of this host are detected, stopped, put on the CPU and restored.

Processes are real; systemctl and Docker's engine are stand-ins (tests/docker has the real ones).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import local_services, ports
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json, write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.local_services import (
    NO_GPU,
    Container,
    Process,
    Unit,
    find,
    from_dict,
    labelled,
    without_gpu,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.processes import SERVER_RECORD
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import until
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port

NO_ENGINE = "unix:///no/engine/here"

#: Listens on a port and writes its lines to standard error; run as the program "ollama" with the argument "serve".
SERVE = """
import os, socket, sys, time
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(os.environ["OLLAMA_PORT"])))
server.listen()
print("serving", file=sys.stderr, flush=True)
time.sleep(600)
"""


class PlainServer:
    """A program called ollama that serves a port."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        self.program = root / "ollama"
        shutil.copy(os.path.realpath(sys.executable), self.program)
        (root / "serve").write_text(SERVE)
        self.record = root / "record.json"
        write_json(str(self.record), {"pid": 1, "start_time": "0", "boot_id": "x", "arguments": ["kept"]})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **more: str) -> None:
        environment = {"OLLAMA_PORT": str(self.port), SERVER_RECORD: str(self.record), **more}
        with open(self.root / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(self.program), "serve"], cwd=self.root, env=environment, stdout=log, stderr=log
            )
        until(lambda: ports.listeners(self.port), 20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def find(self) -> Process:
        found = find(self.url, NO_ENGINE)
        assert isinstance(found, Process)
        return found

    def pid(self) -> int:
        (pid,) = until(lambda: ports.listeners(self.port), 20)
        return int(pid)

    def reap(self) -> None:
        """Wait for a process of ours that was stopped: as a zombie it would still be there."""
        assert self.process is not None
        self.process.wait(20)

    def close(self) -> None:
        for pid in ports.listeners(self.port):
            os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(20)


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[PlainServer]:
    # whoever runs the tests may do it within a service of their own
    monkeypatch.setattr(ports, "cgroups", lambda _pid: "0::/\n")
    server = PlainServer(tmp_path)
    yield server
    server.close()


# -- detection ---------------------------------------------------------------------------------------------------------


def test_nothing_is_found_where_nothing_listens_or_elsewhere(plain: PlainServer) -> None:
    assert find(plain.url, NO_ENGINE) is None
    assert find("http://192.0.2.1:11434", NO_ENGINE) is None, "an address of another machine"
    assert find("http://", NO_ENGINE) is None


def test_a_server_that_cannot_be_started_again_is_refused() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(NotReadyError, match=f"What serves 127.0.0.1:{port} cannot be stopped and started again"):
            find(f"http://127.0.0.1:{port}", NO_ENGINE)


def test_a_plain_ollama_is_found_with_how_it_was_started(plain: PlainServer) -> None:
    plain.start(OLLAMA_MODELS="/srv/models", OLLAMA_API_KEY="secret", HTTPS_PROXY="http://me:pw@proxy", OTHER="1")
    launch = plain.find().launch
    assert launch["argv"] == [str(plain.program), "serve"]
    assert (launch["cwd"], launch["port"], launch["log"]) == (str(plain.root), plain.port, str(plain.root / "log"))
    assert (launch["uid"], launch["gid"], launch["record"]) == (os.getuid(), os.getgid(), str(plain.record))
    assert launch["env"] == {
        "OLLAMA_PORT": str(plain.port),
        "OLLAMA_MODELS": "/srv/models",
        SERVER_RECORD: str(plain.record),
    }, "secrets are not stored"


def test_a_process_of_a_user_service_is_left_to_its_manager(
    plain: PlainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain.start()
    groups = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service\n"
    monkeypatch.setattr(ports, "cgroups", lambda _pid: groups)
    with pytest.raises(NotReadyError, match="cannot be stopped"):
        find(plain.url, NO_ENGINE)


# -- plain processes ---------------------------------------------------------------------------------------------------


def test_a_stopped_process_is_restored_as_it_was(plain: PlainServer) -> None:
    plain.start(OLLAMA_MODELS="/srv/models")
    server, before = plain.find(), plain.pid()
    assert server.contains_process(before) and not server.contains_process(os.getpid())
    process = plain.process
    assert process is not None
    os.kill(before, signal.SIGTERM)
    plain.reap()
    server.stop()  # it has ended already
    assert ports.listeners(plain.port) == []
    server.restore()
    after = plain.pid()
    assert after != before and ports.variables(after)["OLLAMA_MODELS"] == "/srv/models"
    assert os.readlink(f"/proc/{after}/cwd") == str(plain.root)
    assert (plain.root / "log").read_text().count("serving") == 2, "to the same log"
    record = read_json(str(plain.record))
    assert (record["pid"], record["arguments"]) == (after, ["kept"]), "the role that started it still knows it"
    server.restore()
    assert plain.pid() == after, "what runs is left alone"
    server.stop()
    assert until(lambda: not ports.listeners(plain.port), 20)


def test_a_process_is_put_on_the_cpu_once_and_back(plain: PlainServer) -> None:
    plain.start()
    os.kill(plain.pid(), signal.SIGTERM)
    server = Process("x", {**_launch(plain), "env": {"OLLAMA_PORT": str(plain.port)}})
    plain.reap()
    server.on_cpu()
    hidden = plain.pid()
    assert NO_GPU.items() <= ports.variables(hidden).items()
    server.on_cpu()
    assert plain.pid() == hidden, "it already runs so"
    found = plain.find()
    assert not set(NO_GPU) & set(found.launch["env"]), "the values of a lease are no settings of the server"
    from_dict(found.as_dict()).restore()
    restored = plain.pid()
    assert restored != hidden and not set(NO_GPU) & set(ports.variables(restored))


def _launch(plain: PlainServer) -> dict[str, t.Any]:
    return {
        "argv": [str(plain.program), "serve"], "env": {}, "cwd": str(plain.root), "uid": os.getuid(),
        "gid": os.getgid(), "log": str(plain.root / "log"), "record": "", "port": plain.port,
    }  # fmt: skip


def test_a_program_that_is_gone_is_reported(plain: PlainServer) -> None:
    server = Process("ollama (pid 7)", {**_launch(plain), "cwd": str(plain.root / "gone")})
    with pytest.raises(NotReadyError, match=r"ollama \(pid 7\) could not be started again: "):
        server.restore()


def test_another_program_on_the_port_is_neither_stopped_nor_replaced(plain: PlainServer) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", plain.port))
        other.listen()
        server = Process("x", _launch(plain))
        server.stop()
        server.restore()
        assert ports.listeners(plain.port) == [os.getpid()]


# -- units -------------------------------------------------------------------------------------------------------------

SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
*"show --property=MainPID"*) cat "$MAIN_PID" ;;
*" $REFUSED "*) echo "told to fail" >&2; exit 5 ;;
esac
"""


class Systemd:
    """Stand-in for systemctl that records what it is asked."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls_file, self.main_pid = root / "calls", root / "main-pid"
        self.drop_in = root / "ollama.service.d" / "ia-homelab-training.conf"
        (root / "systemctl").write_text(SYSTEMCTL)
        (root / "systemctl").chmod(0o755)
        self.main_pid.write_text("0\n")
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("PATH", f"{root}:{os.environ['PATH']}")
        monkeypatch.setenv("CALLS", str(self.calls_file))
        monkeypatch.setenv("MAIN_PID", str(self.main_pid))
        monkeypatch.setenv("REFUSED", "nothing")
        monkeypatch.setattr(Unit, "_drop_in", lambda _unit: str(self.drop_in))

    def refuse(self, verb: str) -> None:
        self._monkeypatch.setenv("REFUSED", verb)

    def changes(self) -> list[str]:
        """The commands since the last call, without queries."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.write_text("")
        return [line.removeprefix("--no-ask-password ") for line in lines if " show " not in line]


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    return Systemd(tmp_path, monkeypatch)


def test_a_unit_is_stopped_and_started(systemd: Systemd) -> None:
    unit = from_dict({"kind": "unit", "name": "ollama.service"})
    unit.stop()
    assert systemd.changes() == ["stop ollama.service"]
    unit.restore()
    assert systemd.changes() == ["reset-failed ollama.service", "start ollama.service"]


def test_a_unit_is_put_on_the_cpu_by_a_drop_in(systemd: Systemd) -> None:
    unit = Unit("ollama.service")
    unit.on_cpu()
    assert systemd.changes() == ["daemon-reload", "reset-failed ollama.service", "restart ollama.service"]
    lines = systemd.drop_in.read_text().splitlines()
    assert lines[1:] == ["[Service]", *(f"Environment={name}={value}" for name, value in NO_GPU.items())]
    with subprocess.Popen(["sleep", "60"], env=NO_GPU) as main:
        systemd.main_pid.write_text(f"{main.pid}\n")
        until(lambda: ports.variables(main.pid).get("CUDA_VISIBLE_DEVICES"), 10)
        unit.on_cpu()
        assert systemd.changes() == [], "its process already runs without a GPU"
        unit.restore()
        main.kill()
    assert systemd.changes() == ["daemon-reload", "reset-failed ollama.service", "restart ollama.service"]
    assert not systemd.drop_in.parent.exists()


def test_a_drop_in_that_is_not_in_effect_is_applied_again(systemd: Systemd) -> None:
    """The process was killed between writing it and the restart."""
    systemd.drop_in.parent.mkdir()
    systemd.drop_in.write_text("half")
    Unit("ollama.service").on_cpu()
    assert systemd.changes()[-1] == "restart ollama.service"
    assert "CUDA_VISIBLE_DEVICES=-1" in systemd.drop_in.read_text()


def test_other_drop_ins_are_left(systemd: Systemd) -> None:
    systemd.drop_in.parent.mkdir()
    systemd.drop_in.write_text("ours")
    (systemd.drop_in.parent / "theirs.conf").write_text("theirs")
    Unit("ollama.service").restore()
    assert os.listdir(systemd.drop_in.parent) == ["theirs.conf"]


def test_what_systemctl_refuses_is_reported(systemd: Systemd) -> None:
    systemd.refuse("reset-failed")
    Unit("ollama.service").restore()
    assert systemd.changes()[-1] == "start ollama.service", "a unit that never failed has nothing to reset"
    systemd.refuse("stop")
    with pytest.raises(NotReadyError, match=r"systemctl stop ollama\.service: told to fail"):
        Unit("ollama.service").stop()


# -- containers --------------------------------------------------------------------------------------------------------


class Engine:
    """Stand-in for the Docker engine: containers by name."""

    def __init__(self, **running: bool) -> None:
        self.containers = {name.replace("_", "-"): {"running": state} for name, state in running.items()}
        self.calls: list[str] = []

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        container = self.containers.get(name)
        if container is None:
            return None
        described = {"Id": name * 8, "Name": f"/{name}", "State": {"Running": container["running"]}}
        return {**described, "Config": {"Image": "i"}, "HostConfig": {}}

    def stop(self, name: str) -> None:
        self.calls.append(f"stop {name}")
        self.containers[name]["running"] = False

    def start(self, name: str) -> None:
        self.calls.append(f"start {name}")
        self.containers[name]["running"] = True

    def remove(self, name: str) -> None:
        self.calls.append(f"remove {name}")
        self.containers.pop(name, None)

    def create_from(self, name: str, body: t.Mapping[str, t.Any]) -> str:
        self.calls.append(f"create {name} from {body['Labels']['ia-homelab.stand-in-for']}")
        self.containers[name] = {"running": False}
        return name


def container_with(engine: Engine) -> Container:
    server = Container("ollama", NO_ENGINE)
    server.engine = t.cast(t.Any, engine)
    return server


def test_a_container_is_replaced_by_a_copy_on_the_cpu_and_comes_back() -> None:
    engine = Engine(ollama=True)
    server = container_with(engine)
    server.on_cpu()
    assert engine.calls == [
        "stop ollama",
        "remove ollama-on-cpu",
        "create ollama-on-cpu from ollama",
        "start ollama-on-cpu",
    ]
    engine.calls = []
    server.on_cpu()
    assert engine.calls == [], "the copy already runs"
    server.restore()
    assert engine.calls == ["remove ollama-on-cpu", "start ollama"]


def test_a_copy_that_never_started_is_made_again() -> None:
    engine = Engine(ollama=False, ollama_on_cpu=False)
    container_with(engine).on_cpu()
    assert engine.calls[1:] == ["remove ollama-on-cpu", "create ollama-on-cpu from ollama", "start ollama-on-cpu"]


def test_a_container_that_its_owner_removed_is_not_started() -> None:
    engine = Engine()
    container_with(engine).restore()
    assert engine.calls == []
    with pytest.raises(NotReadyError, match="The container ollama no longer exists"):
        container_with(engine).on_cpu()


def test_processes_of_a_container_and_of_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    server = container_with(Engine(ollama=True))
    monkeypatch.setattr(ports, "container_ids", lambda pid: {"ollama" * 8} if pid == 7 else set())
    assert server.contains_process(7) and not server.contains_process(8)


def test_containers_without_an_engine() -> None:
    assert labelled("ia-homelab.gives-way-to-training", NO_ENGINE) == []
    assert from_dict(Container("ollama", NO_ENGINE).as_dict()).as_dict() == {
        "kind": "container",
        "name": "ollama",
        "url": NO_ENGINE,
    }


def test_the_container_behind_a_port_is_found_and_a_copy_under_the_name_of_the_original(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def running(_engine: t.Any) -> list[dict[str, t.Any]]:
        copy = {"ia-homelab.stand-in-for": "ollama", "yields": ""}
        return [
            {"Id": "1", "Names": ["/other"], "Labels": None, "Ports": [{"PublicPort": 80}]},
            {"Id": "2", "Names": ["/ollama-on-cpu"], "Labels": copy, "Ports": [{"PublicPort": 11434}]},
        ]

    monkeypatch.setattr(local_services.DockerEngine, "running", running)
    found = find("localhost:11434", NO_ENGINE)
    assert found is not None and found.as_dict() == {"kind": "container", "name": "ollama", "url": NO_ENGINE}
    assert found.description == "container ollama"
    assert [each.name for each in labelled("yields", NO_ENGINE)] == ["ollama"]


def test_a_copy_without_a_gpu() -> None:
    original = {
        "Id": "abcdef" + "0" * 58,
        "Name": "/ollama",
        "Config": {
            "Image": "ollama:1", "Cmd": ["serve"], "Entrypoint": None, "Hostname": "abcdef",
            "Env": ["OLLAMA_HOST=0.0.0.0", "NVIDIA_VISIBLE_DEVICES=all", "CUDA_VISIBLE_DEVICES=0"],
            "Labels": {"com.docker.compose.project": "stack"},
        },
        "HostConfig": {
            "DeviceRequests": [{"Count": -1}], "Runtime": "nvidia", "RestartPolicy": {"Name": "always"},
            "Devices": [{"PathOnHost": "/dev/nvidia0"}, {"PathOnHost": "/dev/kvm"}], "NetworkMode": "stack_default",
            "Mounts": [{"Type": "volume", "Source": "v"}, {"Type": "bind", "Source": "/srv"}],
        },
        "Mounts": [{"Type": "volume", "Name": "v"}],
        "NetworkSettings": {"Networks": {"stack_default": {"Aliases": ["ollama", "abcdef000000"]}}},
    }  # fmt: skip
    body = without_gpu(original)
    assert (body["Image"], body["Cmd"]) == ("ollama:1", ["serve"]) and "Hostname" not in body
    assert body["Env"] == [
        "OLLAMA_HOST=0.0.0.0", *(f"{name}={value}" for name, value in NO_GPU.items()), "NVIDIA_VISIBLE_DEVICES=void"
    ]  # fmt: skip
    assert body["Labels"] == {"ia-homelab.stand-in-for": "ollama"}, "Compose must not take it for its own"
    host = body["HostConfig"]
    assert (host["DeviceRequests"], host["Runtime"]) == (None, "")
    assert host["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert host["Devices"] == [{"PathOnHost": "/dev/kvm"}]
    assert host["VolumesFrom"] == [original["Id"]] and host["Mounts"] == [{"Type": "bind", "Source": "/srv"}]
    assert body["NetworkingConfig"] == {"EndpointsConfig": {"stack_default": {"Aliases": ["ollama"]}}}
    assert original["HostConfig"]["Runtime"] == "nvidia", "the description of the original is not changed"  # type: ignore[index]
