# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MCP: the SDK's client over HTTP and stdio, and a client of SDK 1.x."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import socket
import subprocess
import time
import typing as t
from pathlib import Path

import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import options
from ansible_collections.ia_homelab.llamafactory.tests.support.probe_step import ProbeStep
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ia_homelab_service.mcp.tools import Tools

MCP1_CLIENT = Path(__file__).with_name("mcp1_client.py")
TOOLS = {
    "llamafactory_train": False,
    "llamafactory_status": True,
    "llamafactory_cancel": False,
    "llamafactory_export": False,
    "llamafactory_list": True,
    "llamafactory_estimate": True,
    "llamafactory_datasets": True,
    "llamafactory_evaluation": True,
}
T = t.TypeVar("T")
Work = t.Callable[[Client], t.Awaitable[T]]


def test_the_help_names_options_and_methods_of_the_table() -> None:
    for tool in (Tools.llamafactory_train, Tools.llamafactory_estimate):
        text = " ".join((tool.__doc__ or "").split())
        methods = re.search(r"method: ([\w, ]+?(?:, or| or) \w+)", text)
        assert methods
        assert re.findall(r"\w+", methods[1].replace(" or ", " ")) == list(options.BY_NAME["method"].choices)
    named = re.search(r"such as ([\w, ]+)\.", " ".join((Tools.llamafactory_train.__doc__ or "").split()))
    assert named
    assert set(named[1].split(", ")) <= set(options.BY_NAME)


def over_http(service: Service, work: Work[T]) -> T:
    """Call a function with a client over streamable HTTP."""

    async def main() -> T:
        async with Client(f"{service.url}/mcp") as client:
            return await work(client)

    return asyncio.run(main())


def over_stdio(service: Service, work: Work[T]) -> T:
    """Call a function with a client of a server over standard input and output."""
    argv, environment = stdio_command(service)

    async def main() -> T:
        parameters = StdioServerParameters(command=argv[0], args=argv[1:], env=environment, cwd=service.root)
        async with Client(stdio_client(parameters)) as client:
            return await work(client)

    return asyncio.run(main())


def stdio_command(service: Service) -> tuple[list[str], dict[str, str]]:
    """Return the command of a server for stdio."""
    argv, environment = service.command()
    return [*argv[:-1], "mcp", argv[-1]], environment


def asked(service: Service, **more: t.Any) -> dict[str, t.Any]:
    """Return arguments for a training of the lab's base."""
    return {"model": service.base(), "dataset": "homelab", "options": {"template": "qwen"}, **more}


async def call(client: Client, tool: str, **arguments: t.Any) -> dict[str, t.Any]:
    """Return the result of a tool."""
    found = await client.call_tool(tool, arguments)
    assert not found.is_error, found.content
    assert found.structured_content is not None
    return found.structured_content


async def refusal(client: Client, tool: str, **arguments: t.Any) -> str:
    """Return the error of a tool."""
    found = await client.call_tool(tool, arguments)
    assert found.is_error
    return str(t.cast(t.Any, found.content[0]).text)


@pytest.fixture
def busy(service: Service) -> Service:
    """A service with a dataset, whose machine is in use."""
    service.publish("homelab")
    service.occupy()
    return service


@pytest.mark.parametrize("over", [over_http, over_stdio])
def test_tools_and_resources(service: Service, over: t.Callable[..., t.Any]) -> None:
    async def work(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        hints = {name: tool.annotations.read_only_hint for name, tool in tools.items() if tool.annotations}
        assert hints == TOOLS
        assert all(tool.output_schema and tool.title and tool.description for tool in tools.values())
        train = tools["llamafactory_train"].input_schema["properties"]
        # the signature in the specification
        assert {name: train[name]["default"] for name in ("model", "method", "dataset")} == {
            "model": "qwen2.5:7b", "method": "lora", "dataset": "homelab",
        }  # fmt: skip
        assert tools["llamafactory_cancel"].annotations.destructive_hint  # type: ignore[union-attr]
        templates = {one.uri_template for one in (await client.list_resource_templates()).resource_templates}
        assert templates == {
            "llamafactory://jobs/{job_id}", "llamafactory://jobs/{job_id}/log",
            "llamafactory://receipts/{kind}/{fingerprint}",
        }  # fmt: skip
        assert "llamafactory_train" in (client.instructions or "")

    over(service, work)


@pytest.mark.parametrize("over", [over_http, pytest.param(over_stdio, marks=pytest.mark.full)])
def test_a_training_from_listing_datasets_to_cancellation(busy: Service, over: t.Callable[..., t.Any]) -> None:
    async def work(client: Client) -> str:
        datasets = await call(client, "llamafactory_datasets")
        assert [(one["name"], one["rows"]) for one in datasets["datasets"]] == [("homelab", 50)]
        assert "homelab" in datasets["next"]
        before = sorted(busy.root.rglob("jobs/active/*"))
        estimate = await call(client, "llamafactory_estimate", **asked(busy))
        assert "train" in estimate["to_be_made"]
        assert "finetunes:" in estimate["inventory"]
        assert sorted(busy.root.rglob("jobs/active/*")) == before
        began = time.monotonic()
        job = await call(client, "llamafactory_train", **asked(busy))
        # generous for a busy machine: checks that the call does not wait
        assert time.monotonic() - began < 30
        assert (job["dataset"], job["method"]) == ("homelab", "lora")
        assert job["job_id"] in job["next"]
        again = await call(client, "llamafactory_train", **asked(busy))
        assert again["job_id"] == job["job_id"]
        # its base step runs beside the training that has the machine; then it waits for that training
        while (await call(client, "llamafactory_status", job_id=job["job_id"]))["status"] == "running":
            await asyncio.sleep(0.2)
        listed = await call(client, "llamafactory_list", status="queued")
        assert [one["job_id"] for one in listed["jobs"]] == [job["job_id"]]
        assert "has not been trained" in await refusal(client, "llamafactory_export", job_id=job["job_id"])
        stopped = await call(client, "llamafactory_cancel", job_id=job["job_id"])
        assert stopped["status"] == "cancelled" or "stop" in stopped["message"]
        return str(job["job_id"])

    job_id = over(busy, work)
    # the same store as for REST, which shows the submitter
    with busy.client() as client:
        assert client.get(f"/api/status/{job_id}").json()["submitted_by"] == "mcp"


@pytest.mark.parametrize("over", [over_http, pytest.param(over_stdio, marks=pytest.mark.full)])
def test_usual_options_are_arguments(busy: Service, over: t.Callable[..., t.Any]) -> None:
    async def work(client: Client) -> str:
        tools = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
        assert {name: schema["additionalProperties"] for name, schema in tools.items()} == dict.fromkeys(TOOLS, False)
        for name in ("llamafactory_train", "llamafactory_estimate"):
            properties = tools[name]["properties"]
            usual = {option.name for option in options.ALL if option.usual}
            assert set(properties) == {"model", "method", "dataset", "options", "goal", *usual}
            # a default that a client fills in would be an option without effect for some methods
            assert not [one for one in usual if "default" in properties[one]]
            assert properties["epochs"]["exclusiveMinimum"] == 0 and "Default: 3" in properties["epochs"]["description"]
        given = {
            "model": busy.base(),
            "dataset": "homelab",
            "epochs": 1,
            "lora_rank": 4,
            "name": "named",
            "template": "qwen",
        }
        more = {"lr_scheduler": "constant"}
        estimate = await call(client, "llamafactory_estimate", **given, options=more)
        assert "lora_rank: 4" in estimate["inventory"]
        job = await call(client, "llamafactory_train", **given, options=more, seed=None)
        assert job["name"] == "named"
        # the same spellings as for REST, and objects as text, which some clients send
        spelled = {**given, "num_epochs": 1, "options": json.dumps(more)}
        del spelled["epochs"]
        assert (await call(client, "llamafactory_train", **spelled))["job_id"] == job["job_id"]
        return str(job["job_id"])

    job_id = over(busy, work)
    with busy.client() as client:
        hyperparameters = client.get(f"/api/status/{job_id}").json()["hyperparameters"]
    assert [hyperparameters[one] for one in ("epochs", "lora_rank", "lr_scheduler")] == [1, 4, "constant"]


def test_unknown_arguments_are_refused(service: Service) -> None:
    service.publish("homelab")
    given = {"model": service.base(), "dataset": "homelab", "template": "qwen"}

    async def work(client: Client) -> None:
        told = await refusal(client, "llamafactory_train", **given, lora_rnak=4, epochs=-1, nonsense_word=1)
        assert "lora_rnak" in told and "lora_rank" in told and "epochs" in told and "nonsense_word" in told
        assert "lora_rank" in await refusal(client, "llamafactory_estimate", **given, lora_rnak=4)
        told = await refusal(client, "llamafactory_train", **given, epochs=1, options={"epochs": 2, "method": "full"})
        assert "options.epochs" in told and "twice" in told
        told = await refusal(client, "llamafactory_train", **given, options={"training_method": "full"})
        assert "twice" in told and "training_method" in told
        told = await refusal(client, "llamafactory_train", **given, options={"method": "full"})
        assert "twice" in told and "options.method" in told
        told = await refusal(client, "llamafactory_status", job_id="x", wait_second=3)
        assert "wait_seconds" in told
        assert "limit, status" in await refusal(client, "llamafactory_list", unlike_any=3)
        assert "'x'" in await refusal(client, "llamafactory_datasets", x=3)
        assert (await call(client, "llamafactory_list"))["jobs"] == []

    over_http(service, work)


def test_waiting_for_the_end(service: Service) -> None:
    run = service.lab.counting("waited", steps=1, count=4, pause=0.5)
    service.lab.engine.submit(run)

    async def work(client: Client) -> None:
        job = await call(client, "llamafactory_status", job_id=run.id, wait_seconds=25)
        while job["status"] not in ("succeeded", "failed"):
            job = await call(client, "llamafactory_status", job_id=run.id, wait_seconds=25)
        assert job["status"] == "succeeded"
        contents = (await client.read_resource(f"llamafactory://jobs/{run.id}/log")).contents
        assert contents[0].mime_type == "text/plain"
        whole = json.loads(
            t.cast(t.Any, (await client.read_resource(f"llamafactory://jobs/{run.id}")).contents[0]).text
        )
        assert whole["status"] == "succeeded"
        receipts = [uri for uri in job["resources"] if "/receipts/" in uri]
        receipt = json.loads(t.cast(t.Any, (await client.read_resource(receipts[0])).contents[0]).text)
        assert receipt["fingerprint"] == receipts[0].rpartition("/")[2]

    over_http(service, work)


def test_starting_does_not_wait_for_an_unresponsive_hub(
    start: t.Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hub:  # accepts connections and sends nothing
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.getsockname()[1]}")
        service = start()
        service.publish("homelab")

        async def work(client: Client) -> None:
            for _time in range(2):
                began = time.monotonic()
                job = await call(client, "llamafactory_train", model="qwen2.5:7b", dataset="homelab")
                # it takes 1.5 s; a hub that does not answer is given up after half a minute
                assert time.monotonic() - began < 25
                assert (job["status"], job["job_id"]) == ("starting", "")
                assert "llamafactory_train again" in job["next"]

        over_http(service, work)
        service.kill()


def test_waiting_is_limited(busy: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait is cut to the limit of the server, checked on its objects."""
    from ia_homelab_core.artifacts import layout
    from ia_homelab_core.steps import registry
    from ia_homelab_service.application.operations import Operations
    from ia_homelab_service.mcp import server, tools
    from ia_homelab_service.settings import load

    # the core of this process is the shipped one, without the steps of the tests
    monkeypatch.setitem(layout.PARENTS, "probe", "outputs/probes")
    monkeypatch.setitem(registry.STEPS, "probe", ProbeStep())
    monkeypatch.setattr(tools, "MAX_WAIT_SECONDS", 1.0)
    occupant = busy.lab.store.active()[0].id

    async def work() -> dict[str, t.Any]:
        async with Client(server.build(Operations(load(busy.file)), lambda _request: ("read",))) as client:
            return await call(client, "llamafactory_status", job_id=occupant, wait_seconds=3600)

    began = time.monotonic()
    assert asyncio.run(work())["status"] == "running"
    assert 1.0 <= time.monotonic() - began < 60


def test_errors_have_hints(service: Service) -> None:
    service.publish("homelab")

    async def work(client: Client) -> None:
        told = await refusal(client, "llamafactory_train", **asked(service, options={"lora_rnak": 4, "epochs": -1}))
        assert "lora_rnak" in told and "lora_rank" in told and "epochs" in told
        assert "homelab" in await refusal(client, "llamafactory_train", **asked(service, dataset="homelap"))
        assert "prompt" in await refusal(client, "llamafactory_train", **asked(service, method="prompt_tuning"))
        assert "no-such-job" in await refusal(client, "llamafactory_status", job_id="no-such-job")
        for uri in (
            "llamafactory://receipts/train/..%2F..%2Fetc",
            "llamafactory://receipts/passwd/" + "0" * 64,
            "llamafactory://receipts/train/" + "0" * 64,
            "llamafactory://jobs/no-such-job/log",
        ):
            with pytest.raises(Exception, match="(?i)no |not|unknown"):
                await client.read_resource(uri)

    over_http(service, work)


def test_scopes_hosts_and_origins(start: t.Callable[..., Service], tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    digest = hashlib.sha256(b"only-reads").hexdigest()
    tokens.write_text(json.dumps([{"name": "reader", "scopes": ["read"], "sha256": digest}]))
    service = start(tokens_file=str(tokens), allowed_hosts=["pc-ia.lan"])
    hello = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
    }  # fmt: skip
    accept = {"Accept": "application/json, text/event-stream"}
    with service.client("only-reads") as client:

        def status(**headers: str) -> int:
            return client.post("/mcp", json=hello, headers={**accept, **headers}).status_code

        assert status() == 200
        assert status(Host="pc-ia.lan:8000") == 200
        assert status(Host="evil.example") == 421
        assert status(Origin="http://evil.example") == 403
        assert status(Authorization="Bearer wrong") == 401

    async def main() -> None:
        headers = {"Authorization": "Bearer only-reads"}
        async with httpx_client(headers) as http:
            async with Client(streamable_http_client(f"{service.url}/mcp", http_client=http)) as session:
                assert (await call(session, "llamafactory_list"))["jobs"] == []
                told = await refusal(session, "llamafactory_train", model="/x", dataset="homelab")
                assert "scope" in told and "train" in told

    asyncio.run(main())


def stdio_with(service: Service, **variables: str) -> tuple[list[str], dict[str, str]]:
    """Return the command of a server for stdio, with variables in its environment."""
    argv, environment = stdio_command(service)
    return argv, {**environment, **variables}


def test_stdio_has_the_scopes_of_the_token(start: t.Callable[..., Service], tmp_path: Path) -> None:
    tokens, token_file = tmp_path / "tokens.json", tmp_path / "token"
    entries = [
        {"name": name, "scopes": scopes, "sha256": hashlib.sha256(name.encode()).hexdigest()}
        for name, scopes in (("only-reads", ["read"]), ("trains", ["read", "train"]))
    ]
    tokens.write_text(json.dumps(entries))
    token_file.write_text("trains\n")
    service = start(tokens_file=str(tokens))

    async def told(argv: list[str], environment: dict[str, str]) -> str:
        parameters = StdioServerParameters(command=argv[0], args=argv[1:], env=environment, cwd=service.root)
        async with Client(stdio_client(parameters)) as session:
            assert (await call(session, "llamafactory_list"))["jobs"] == []
            return await refusal(session, "llamafactory_train", model="/x", dataset="homelab")

    assert "scope train" in asyncio.run(told(*stdio_with(service, LLAMAFACTORY_TOKEN="only-reads")))
    assert "homelab" in asyncio.run(told(*stdio_with(service, LLAMAFACTORY_TOKEN_FILE=str(token_file))))
    for variables, message in (
        ({}, "needs a token"),
        ({"LLAMAFACTORY_TOKEN": "guessed"}, "needs a token"),
        ({"LLAMAFACTORY_TOKEN_FILE": str(tmp_path / "none")}, "cannot be read"),
    ):
        argv, environment = stdio_with(service, **variables)
        done = subprocess.run(
            argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert "guessed" not in done.stderr


def httpx_client(headers: dict[str, str]) -> t.Any:
    """Return an HTTP client as the SDK needs it."""
    from mcp.shared._httpx_utils import create_mcp_http_client

    return create_mcp_http_client(headers=headers)


def test_a_client_of_sdk_1(busy: Service) -> None:
    argv, environment = stdio_command(busy)
    environment = {**environment, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [os.environ["IA_MCP1_PYTHON"], str(MCP1_CLIENT), busy.url, busy.base(), "homelab", *argv],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    for seen in told.values():
        assert seen["server"] == "ia_homelab.llamafactory"
        assert seen["tools"] == TOOLS
        assert seen["schemas"] is True
        assert seen["status"] in ("queued", "running")
        assert seen["wrong"][0] is True and "no-such-job" in seen["wrong"][1]
        assert seen["log"] == "text/plain"
    assert told["http"]["job_id"] == told["stdio"]["job_id"]


def test_plain_get_is_refused(idle: Service) -> None:
    """A plain GET of ``/mcp`` is a client error, not a server error."""
    reply = httpx.get(f"{idle.url}/mcp", headers={"Accept": "text/html"}, trust_env=False)
    assert 400 <= reply.status_code < 500
