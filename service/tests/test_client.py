# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``LlamaFactoryService``: the client against the real service, with lost connections and crashes; installed alone."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.cut_proxy import CutProxy
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import ROOT, Service
from ia_homelab_service.http import problem_details

CLIENT = ROOT / "client"
sys.path.insert(0, str(CLIENT / "src"))

from llamafactory_service import (  # noqa: E402  # it is outside of the collection's import path
    Event,
    LlamaFactoryError,
    LlamaFactoryService,
    NotFound,
    NotReady,
    OtherServerFailed,
    Refused,
    Timeout,
    TokenError,
    Unreachable,
    WrongFields,
    _errors,
)
from llamafactory_service._events import Reader  # noqa: E402

T = t.TypeVar("T")


def use(url: str, what: t.Callable[[LlamaFactoryService], t.Awaitable[T]], **options: t.Any) -> T:
    """Call a function with a client."""

    async def main() -> T:
        async with LlamaFactoryService(url, **options) as service:
            return await what(service)

    return asyncio.run(main())


async def followed(client: LlamaFactoryService, job_id: str, **options: t.Any) -> list[Event]:
    """Return all events of a run until its end."""
    return [event async for event in client.follow(job_id, **options)]


def test_the_calls_of_the_specification(service: Service) -> None:
    service.publish("homelab")
    service.occupy()

    async def calls(client: LlamaFactoryService) -> None:
        job = await client.start_training(
            model_name=service.base(), dataset_path="/app/data/homelab.json", method="lora", epochs=3,
            learning_rate=2e-4, template="qwen",
        )  # fmt: skip
        assert job["dataset"] == "homelab"
        assert job["hyperparameters"]["learning_rate"] == 2e-4
        status = await client.get_status(job["job_id"])
        # its base step runs beside the training that has the machine; afterwards it waits for that training
        assert (status["job_id"], status["status"] in ("queued", "running")) == (job["job_id"], True)
        assert [one["job_id"] for one in await client.list_jobs()][1] == job["job_id"]
        with pytest.raises(Refused) as refused:
            await client.export_model(job["job_id"], format="gguf")
        assert refused.value.status == 409
        stopped = await client.cancel(job["job_id"])
        assert stopped["status"] == "cancelled" or stopped["cancelling"]
        while (await client.get_status(job["job_id"]))["status"] != "cancelled":
            await asyncio.sleep(0.1)
        assert (await client.dismiss(job["job_id"]))["status"] == "cancelled"
        assert job["job_id"] not in [one["job_id"] for one in await client.list_jobs()]

    use(service.url, calls)


def test_every_wrong_field_is_named(idle: Service) -> None:
    with pytest.raises(Refused) as found:
        use(idle.url, lambda client: client.start_training("qwen2.5:7b", "homelab", epochs=-1, lora_rnak=8))
    assert found.value.status == 422
    fields = {field.name: field.message for field in found.value.fields}
    assert set(fields) == {"num_epochs", "lora_rnak"}
    assert "lora_rnak" in str(found.value)
    assert "lora_rank" in found.value.hint or "lora_rank" in json.dumps(found.value.problem)


def test_the_token_is_read_from_the_environment_and_never_shown(
    start: t.Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a-token-that-nobody-guesses"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([{"name": "backend", "scopes": ["read"], "sha256": digest}]))
    service = start(tokens_file=str(tokens))
    monkeypatch.delenv("LLAMAFACTORY_TOKEN", raising=False)
    with pytest.raises(Refused) as found:
        use(service.url, lambda client: client.list_jobs())
    assert (found.value.status, "Authorization" in found.value.hint) == (401, True)
    monkeypatch.setenv("LLAMAFACTORY_TOKEN", secret)
    assert use(service.url, lambda client: client.list_jobs()) == []
    with pytest.raises(Refused) as forbidden:
        use(service.url, lambda client: client.cancel("some-run"))
    assert forbidden.value.status == 403
    assert secret not in repr(LlamaFactoryService(service.url)) + str(forbidden.value) + service.log
    with pytest.raises(Refused):
        use(service.url, lambda client: client.list_jobs(), token="another")


def test_the_token_is_read_from_a_file(
    start: t.Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {name: f"{name}-that-nobody-guesses" for name in ("first", "second")}
    entries = [
        {"name": name, "scopes": ["read"], "sha256": hashlib.sha256(secret.encode()).hexdigest()}
        for name, secret in secrets.items()
    ]
    (tmp_path / "tokens.json").write_text(json.dumps(entries))
    service = start(tokens_file=str(tmp_path / "tokens.json"))
    path = tmp_path / "token"
    path.write_text(f"{secrets['first']}\n")
    monkeypatch.delenv("LLAMAFACTORY_TOKEN", raising=False)
    monkeypatch.setenv("LLAMAFACTORY_TOKEN_FILE", str(path))
    assert use(service.url, lambda client: client.list_jobs()) == []
    monkeypatch.delenv("LLAMAFACTORY_TOKEN_FILE")
    assert use(service.url, lambda client: client.list_jobs(), token_file=path) == []

    async def replaced() -> None:
        async with LlamaFactoryService(service.url, token_file=path) as client:
            assert await client.list_jobs() == []
            path.write_text("replaced-by-one-that-is-unknown")
            with pytest.raises(Refused):
                await client.list_jobs()
            path.write_text(secrets["second"])
            assert await client.list_jobs() == []
            path.write_text(" \n")
            with pytest.raises(TokenError, match="is empty"):
                await client.list_jobs()
            path.unlink()
            with pytest.raises(TokenError, match="cannot be read"):
                await client.list_jobs()

    asyncio.run(replaced())
    # the token itself takes precedence in the environment, and both as arguments are a mistake
    monkeypatch.setenv("LLAMAFACTORY_TOKEN", secrets["first"])
    monkeypatch.setenv("LLAMAFACTORY_TOKEN_FILE", str(path))
    assert use(service.url, lambda client: client.list_jobs()) == []
    with pytest.raises(ValueError, match="both"):
        LlamaFactoryService(service.url, token="a", token_file=path)


def test_an_unreachable_service(service: Service) -> None:
    service.stop()
    with pytest.raises(Unreachable, match=str(service.port)):
        use(service.url, lambda client: client.list_jobs())
    with pytest.raises(Unreachable, match="unreachable for"):
        use(service.url, lambda client: followed(client, "some-run", give_up_after=0.2))


def test_following_survives_lost_connections_without_gap_or_duplicate(service: Service) -> None:
    run = service.lab.counting("follow", steps=3, count=2, pause=0.3)
    service.lab.engine.submit(run)
    # within the headers, within an event, and within a later one
    proxy = CutProxy(service.port, [40, 400, 700, 1200])
    try:
        events = use(proxy.url, lambda client: followed(client, run.id))
    finally:
        proxy.close()
    assert proxy.connections >= 4
    assert events[-1].name == "end"
    assert events[-1].data["status"] == "succeeded"
    assert [int(event.id) for event in events[:-1]] == list(range(1, len(events)))
    # following from any event yields the same remaining events
    later = use(service.url, lambda client: followed(client, run.id, last_event_id="3"))
    assert [event.id for event in later[:-1]] == [event.id for event in events[3:-1]]


def test_following_survives_a_killed_service(service: Service) -> None:
    run = service.lab.counting("killed", steps=2, count=6, pause=0.3)
    service.lab.engine.submit(run)

    async def follow(client: LlamaFactoryService) -> list[Event]:
        found: list[Event] = []
        async for event in client.follow(run.id):
            found.append(event)
            if len(found) == 2:
                await asyncio.to_thread(service.kill)
                await asyncio.to_thread(service.start)
        return found

    events = use(service.url, follow)
    assert events[-1].data["status"] == "succeeded"
    assert [int(event.id) for event in events[:-1]] == list(range(1, len(events)))


def test_following_an_unknown_job_fails(idle: Service) -> None:
    with pytest.raises(Refused) as found:
        use(idle.url, lambda client: followed(client, "no-such-run"))
    assert found.value.status == 404


@pytest.mark.parametrize(
    ("lines", "events"),
    [
        (["id: 7", "event: metrics", 'data: {"a":', "data: 1}", ""], [("7", "metrics", {"a": 1})]),
        ([": still here", "", 'data: {"a": 1}', "", "id: 9", "", 'data:{"b":2}', ""],
         [("", "message", {"a": 1}), ("9", "message", {"b": 2})]),
        (["data: no json", "", "retry: 500", "retry: soon", ""], [("", "message", {"data": "no json"})]),
        (["event: lost", "data: {}"], []),
    ],
)  # fmt: skip
def test_event_streams_are_parsed(lines: list[str], events: list[tuple[str, str, t.Any]]) -> None:
    reader = Reader()
    found = [event for event in map(reader.line, lines) if event is not None]
    assert [(event.id, event.name, event.data) for event in found] == events
    reader.begin()  # a partial line is not continued by data of a new connection
    assert reader.line("") is None


class Flaky:
    """A stand-in for a service that is temporarily unavailable.

    :param answers: the status of each answer; 0 ends the connection without one. The last is repeated.
    """

    def __init__(self, *answers: int, **headers: str) -> None:
        self.times: list[float] = []
        flaky = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                flaky.times.append(time.monotonic())
                status = answers[min(len(flaky.times), len(answers)) - 1]
                self.rfile.read(int(self.headers.get("content-length") or 0))
                if not status:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                kind = "application/json" if status == 200 else headers.get("kind", "application/problem+json")
                body = json.dumps({"job_id": "a", "jobs": [], "detail": "Not now."}).encode()
                self.send_response(status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, *_arguments: t.Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Flaky:
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_requests_are_repeated_until_the_service_is_ready() -> None:
    with Flaky(503, 0, 503, 200) as flaky:
        assert use(flaky.url, lambda client: client.start_training("m", "d")) == {
            "job_id": "a", "jobs": [], "detail": "Not now.",
        }  # fmt: skip
        pauses = [later - earlier for earlier, later in zip(flaky.times, flaky.times[1:])]
        assert len(pauses) == 3 and all(pause >= least for pause, least in zip(pauses, (0.5, 1.0, 2.0))), pauses
    with Flaky(429, 200, Retry_After="1") as flaky:
        assert use(flaky.url, lambda client: client.list_jobs()) == []
        assert flaky.times[1] - flaky.times[0] >= 1.0
    with Flaky(503) as flaky:
        with pytest.raises(NotReady, match="Not now"):
            use(flaky.url, lambda client: client.list_jobs(), retries=1)
        assert len(flaky.times) == 2
    # a proxy whose service restarts, and the service itself, about another server
    with Flaky(502, 200, kind="text/html") as flaky:
        assert use(flaky.url, lambda client: client.list_jobs()) == []
    with Flaky(502) as flaky:
        with pytest.raises(OtherServerFailed):
            use(flaky.url, lambda client: client.list_jobs())
        assert len(flaky.times) == 1


def test_a_silent_service_is_not_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and sends nothing
        with pytest.raises(Timeout, match=r"in 0\.5 s"):
            use(f"http://127.0.0.1:{silent.getsockname()[1]}", lambda client: client.list_jobs(), timeout=0.5)
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_each_problem_has_a_class(idle: Service) -> None:
    assert set(_errors.BY_STATUS) == set(problem_details._TITLES)
    assert len(set(_errors.BY_STATUS.values())) == len(_errors.BY_STATUS)
    for call, kind in (
        (lambda client: client.get_status("no-such-run"), NotFound),
        (lambda client: client.start_training("qwen2.5:7b", "homelab", epochs=-1), WrongFields),
    ):
        with pytest.raises(kind):
            use(idle.url, call)


def test_the_wheel_is_installed_alone(start: t.Callable[..., Service], tmp_path: Path) -> None:
    """Its only dependencies are httpx and those of httpx. It works with a token, and is refused without one."""
    secret = "a-token-that-nobody-guesses"
    entry = {"name": "backend", "scopes": ["read"], "sha256": hashlib.sha256(secret.encode()).hexdigest()}
    (tmp_path / "tokens.json").write_text(json.dumps([entry]))
    service = start(tokens_file=str(tmp_path / "tokens.json"))
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    source = tmp_path / "client"  # a build creates files beside the sources
    subprocess.run(["cp", "-r", str(CLIENT), str(source)], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheel = ["wheel", "--no-deps", "--wheel-dir", str(tmp_path / "wheels"), str(source)]
    subprocess.run([*pip, *wheel], check=True, timeout=600)
    (built,) = (tmp_path / "wheels").glob("*.whl")
    subprocess.run([*pip, "--python", str(python), "install", str(built)], check=True, timeout=600)
    program = (
        "import asyncio, importlib.metadata as m, sys\n"
        "from llamafactory_service import LlamaFactoryService, TokenNeeded\n"
        "async def main():\n"
        "    async with LlamaFactoryService(sys.argv[1], token=sys.argv[2]) as service:\n"
        "        print(await service.list_jobs())\n"
        "    async with LlamaFactoryService(sys.argv[1]) as service:\n"
        "        try:\n"
        "            await service.list_jobs()\n"
        "        except TokenNeeded as error:\n"
        "            print(error.status)\n"
        "asyncio.run(main())\n"
        "print(sorted(d.metadata['Name'].lower() for d in m.distributions()))\n"
        "print(any(f.name == 'py.typed' for f in m.files('ia-homelab-llamafactory-client')))\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [str(python), "-c", program, service.url, secret], env=environment, cwd=tmp_path, capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    jobs, refused, there, typed = done.stdout.splitlines()
    assert (jobs, refused, typed) == ("[]", "401", "True")
    needed = {"anyio", "certifi", "h11", "httpcore", "httpx", "idna", "sniffio", "typing_extensions", "exceptiongroup"}
    alone = set(ast.literal_eval(there)) - {"ia-homelab-llamafactory-client"}
    assert alone <= {name.replace("_", "-") for name in needed} | needed
    assert issubclass(Refused, LlamaFactoryError)


def test_types() -> None:
    """mypy --strict, for the oldest Python that mypy supports."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10", "-p", "llamafactory_service",
         "--cache-dir", os.devnull],
        cwd=CLIENT / "src", capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
