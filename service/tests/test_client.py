# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``LlamaFactoryService``: the client against the real service, with lost connections and crashes; installed alone."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.cut_proxy import CutProxy
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import ROOT, Service

CLIENT = ROOT / "client"
sys.path.insert(0, str(CLIENT / "src"))

from llamafactory_service import (  # noqa: E402  # it is outside of the collection's import path
    Event,
    LlamaFactoryError,
    LlamaFactoryService,
    Refused,
    TokenError,
    Unreachable,
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


def test_the_client_is_installed_alone(service: Service, tmp_path: Path) -> None:
    """Its only dependencies are httpx and those of httpx."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    source = tmp_path / "client"  # a build creates files beside the sources
    subprocess.run(["cp", "-r", str(CLIENT), str(source)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, str(source)], check=True, timeout=600)
    program = (
        "import asyncio, importlib.metadata as m, sys\n"
        "from llamafactory_service import LlamaFactoryService\n"
        "async def main():\n"
        "    async with LlamaFactoryService(sys.argv[1]) as service:\n"
        "        print(await service.list_jobs())\n"
        "asyncio.run(main())\n"
        "print(sorted(d.metadata['Name'].lower() for d in m.distributions()))\n"
        "print(any(f.name == 'py.typed' for f in m.files('ia-homelab-llamafactory-client')))\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [str(python), "-c", program, service.url], env=environment, cwd=tmp_path, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    jobs, there, typed = done.stdout.splitlines()
    assert (jobs, typed) == ("[]", "True")
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
