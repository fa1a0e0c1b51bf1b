# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Docker SDK's answers become: values, and errors that say what to do. The engine is a stand-in over HTTP."""

from __future__ import annotations

import json
import sys
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.docker import (
    DockerEngine,
    EngineRequestError,
    EngineUnavailableError,
    gpu_request,
    log_bounds,
    mount,
)


class FakeEngine(ThreadingHTTPServer):
    """Answers as the test defines, by method and path without the version; records the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, t.Any]] = {"GET /version": (200, {"ApiVersion": "1.45"})}
        self.requests: list[tuple[str, t.Any]] = []

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeEngine

    def log_message(self, *_arguments: object) -> None:
        pass

    def handle_any(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.removeprefix("/v1.45")
        self.server.requests.append((f"{self.command} {path}", json.loads(raw) if raw else None))
        status, body = self.server.answers.get(f"{self.command} {path.partition('?')[0]}", (404, {"message": "no"}))
        answer = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_DELETE = handle_any  # noqa: N815


@pytest.fixture
def server() -> t.Iterator[FakeEngine]:
    server = FakeEngine()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_does_not_exist_is_none_and_any_other_refusal_an_error(server: FakeEngine) -> None:
    engine = DockerEngine(server.url)
    assert engine.inspect("gone") is None and engine.image("gone") is None
    server.answers["GET /containers/there/json"] = (200, {"Id": "1"})
    assert engine.inspect("there") == {"Id": "1"}
    for path, call in (("containers/x", engine.inspect), ("images/x", engine.image)):
        server.answers[f"GET /{path}/json"] = (500, {"message": "the disk is full"})
        with pytest.raises(EngineRequestError, match="The Docker engine says: the disk is full") as caught:
            call("x")
        assert caught.value.status == 500


@pytest.mark.parametrize(
    ("status", "fails"), [(204, False), (404, False), (409, False), (500, True)], ids=["removed", "gone", "busy", "no"]
)
def test_removing_what_goes_anyway_is_no_error(server: FakeEngine, status: int, fails: bool) -> None:
    server.answers["DELETE /containers/c"] = (status, None if status == 204 else {"message": "no"})
    if fails:
        with pytest.raises(EngineRequestError):
            DockerEngine(server.url).remove("c")
    else:
        DockerEngine(server.url).remove("c")
    (request,) = [name for name, _body in server.requests if name.startswith("DELETE")]
    assert "force=True" in request and "v=True" in request, "its anonymous volumes go too"


def test_stopping_waits_and_a_missing_container_is_stopped(server: FakeEngine) -> None:
    DockerEngine(server.url).stop("gone")
    assert ("POST /containers/gone/stop?t=20", None) in server.requests
    server.answers["POST /containers/c/stop"] = (500, {"message": "no"})
    with pytest.raises(EngineRequestError):
        DockerEngine(server.url).stop("c")


def test_a_container_is_created_as_it_was_described(server: FakeEngine) -> None:
    server.answers["POST /containers/create"] = (201, {"Id": "abc"})
    engine = DockerEngine(server.url)
    assert engine.create("c", {"image": "i", "command": ["x"]}, {"network_mode": "none"}) == "abc"
    name, body = server.requests[-1]
    assert name == "POST /containers/create?name=c"
    assert (body["Image"], body["Cmd"], body["HostConfig"]["NetworkMode"]) == ("i", ["x"], "none")
    assert engine.create_from("d", {"Image": "j"}) == "abc"
    assert server.requests[-1] == ("POST /containers/create?name=d", {"Image": "j"})


def test_the_temporary_container_of_a_query_is_removed_whatever_happens(server: FakeEngine) -> None:
    server.answers["POST /containers/create"] = (201, {"Id": "abc"})
    server.answers["DELETE /containers/abc"] = (204, None)
    server.answers["POST /containers/abc/start"] = (500, {"message": "no such program"})
    with pytest.raises(EngineRequestError, match="no such program"):
        DockerEngine(server.url).output("i", ["sh", "-c", "true"], ["/srv:ro"])
    assert server.requests[-1][0].startswith("DELETE /containers/abc")
    body = next(body for name, body in server.requests if name.startswith("POST /containers/create"))
    assert (body["Entrypoint"], body["Cmd"], body["HostConfig"]["NetworkMode"]) == (["sh"], ["-c", "true"], "none")
    (mounted,) = body["HostConfig"]["Mounts"]
    assert (mounted["Source"], mounted["Target"], mounted["ReadOnly"]) == ("/srv", "/srv", True)


def test_an_engine_that_does_not_answer_says_how_to_start_it() -> None:
    with pytest.raises(EngineUnavailableError, match="does not answer at unix:///no/engine/here") as caught:
        DockerEngine("unix:///no/engine/here").running()
    assert "systemctl start docker" in caught.value.hint


def test_an_engine_that_comes_back_is_used_again(server: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    import docker

    real, broken = docker.APIClient.containers, [True]

    def containers(client: t.Any, *arguments: t.Any, **named: t.Any) -> t.Any:
        if broken:
            broken.clear()
            raise PermissionError(13, "Permission denied")
        return real(client, *arguments, **named)

    monkeypatch.setattr(docker.APIClient, "containers", containers)
    server.answers["GET /containers/json"] = (200, [{"Id": "1"}])
    engine = DockerEngine(server.url)
    with pytest.raises(EngineUnavailableError) as caught:
        engine.running()
    assert caught.value.hint == "The user of the jobs has to be in the group docker."
    assert engine.labelled("a=b") == [{"Id": "1"}]
    assert [name for name, _body in server.requests].count("GET /version") == 2, "a new connection"
    assert "label" in server.requests[-1][0] and "all=1" in server.requests[-1][0]


def test_a_missing_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(NotReadyError, match="cannot be imported by") as caught:
        DockerEngine().running()
    assert "python3-docker" in caught.value.hint


@pytest.mark.parametrize(
    ("gpus", "request_"),
    [
        ("all", {"Driver": "", "Count": -1, "DeviceIDs": [], "Capabilities": [["gpu"]]}),
        ("0, 1", {"Driver": "", "Count": 0, "DeviceIDs": ["0", "1"], "Capabilities": [["gpu"]]}),
        ("nvidia.com/gpu=0", {"Driver": "cdi", "Count": 0, "DeviceIDs": ["nvidia.com/gpu=0"], "Capabilities": []}),
    ],
)
def test_gpus_of_a_container(gpus: str, request_: dict[str, t.Any]) -> None:
    assert {**gpu_request(gpus), "Options": {}} == {**request_, "Options": {}}


def test_mounts_and_logs() -> None:
    assert (mount("/srv", False)["Type"], mount("/srv", False)["ReadOnly"]) == ("bind", False)
    assert log_bounds() == {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}}
