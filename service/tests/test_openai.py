# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenAI's interface: fields of requests, clients that hang up, files, jobs and models; the stock client."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import openai
import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import (
    Server,
    both_servers,
    free_port,
    program_of,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ia_homelab_service.application.errors import FieldErrors
from ia_homelab_service.openai.fields import CHAT, COMPLETIONS, EMBEDDINGS, Fields, translate

HELLO = {"messages": [{"role": "user", "content": "Bonjour"}]}


@dataclasses.dataclass
class Upstream:
    """A stand-in for a server of models: keeps what it was sent, and answers when it is told to."""

    port: int
    bodies: list[dict[str, t.Any]]
    hung_up: threading.Event
    answers: threading.Event


@pytest.fixture
def upstream() -> t.Iterator[Upstream]:
    state = Upstream(0, [], threading.Event(), threading.Event())
    state.answers.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.bodies.append(body)
            self.connection.settimeout(0.05)
            while not state.answers.wait(0.05):
                with contextlib.suppress(TimeoutError):
                    if not self.connection.recv(1, socket.MSG_PEEK):
                        state.hung_up.set()
                        return
            choice = {"index": 0, "message": {"role": "assistant", "content": "Oui"}, "finish_reason": "stop"}
            answer = json.dumps(
                {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            )
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_arguments: t.Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    state.answers.set()
    server.shutdown()
    server.server_close()


def client_of(service: Service) -> openai.OpenAI:
    """Return the stock client."""
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key="unused", max_retries=0, timeout=120)


def test_fields_are_passed_and_translated(start: t.Callable[..., Service], upstream: Upstream) -> None:
    service = start(ollama_url=f"127.0.0.1:{upstream.port}")  # an address without a scheme works as in the core
    client = client_of(service)
    client.chat.completions.create(
        model="m", max_completion_tokens=2, n=1, tool_choice="none", user="somebody", logit_bias=None, seed=3,
        messages=[{"role": "developer", "content": "Réponds."}, {"role": "user", "content": "Bonjour"}],
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    )  # fmt: skip
    (body,) = upstream.bodies
    assert body == {
        "model": "m", "max_tokens": 2, "seed": 3,
        "messages": [{"role": "system", "content": "Réponds."}, {"role": "user", "content": "Bonjour"}],
    }  # fmt: skip
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(model="m", n=2, tool_choice="required", **HELLO)  # type: ignore[call-overload]
    assert {"n:", "tool_choice:"} <= set(str(refused.value).split())
    with pytest.raises(openai.UnprocessableEntityError, match="max_completion_tokens"):
        client.chat.completions.create(model="m", **HELLO, extra_body={"max_completion_token": 2})  # type: ignore[call-overload]
    assert len(upstream.bodies) == 1


@pytest.mark.parametrize(
    ("fields", "body", "wrong"),
    [
        (CHAT, {"max_tokens": 2, "max_completion_tokens": 3}, {"max_completion_tokens"}),
        (CHAT, {"max_tokens": 3, "max_completion_tokens": 3, "n": None, "store": False, "metadata": {"a": "b"}}, set()),
        (CHAT, {"n": True}, {"n"}),
        (CHAT, {"logit_bias": {"1": 5}, "prediction": {}}, {"logit_bias", "prediction"}),
        (CHAT, {"service_tier": "flex"}, {"service_tier"}),
        (CHAT, {"options": {"num_ctx": 5}, "top_k": 3, "nonsense": 1}, {"options", "top_k", "nonsense"}),
        (CHAT, {"messages": [{"role": "assistant", "content": "x", "refusal": None, "annotations": []}]}, set()),
        (CHAT, {"messages": [{"role": "assistant", "content": "x", "refusal": "no"}]}, {"messages.0.refusal"}),
        (CHAT, {"messages": [{"role": "user", "contents": "x"}]}, {"messages.0.contents"}),
        (CHAT, {"messages": "x"}, set()),
        (COMPLETIONS, {"prompt": "x", "best_of": 2, "echo": True, "suffix": "y"}, {"best_of", "echo"}),
        (COMPLETIONS, {"prompt": "x", "tool_choice": "auto"}, {"tool_choice"}),
        (COMPLETIONS, {"prompt": "x", "tool_choice": "none"}, {"tool_choice"}),
        (EMBEDDINGS, {"input": "x", "dimensions": 3, "encoding_format": "float", "user": "x"}, set()),
        (EMBEDDINGS, {"input": "x", "seed": 3}, {"seed"}),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_refused_by_name(fields: Fields, body: dict[str, t.Any], wrong: set[str]) -> None:
    try:
        translate(fields, body)
    except FieldErrors as error:
        assert {one.field for one in error.errors} == wrong
    else:
        assert not wrong


def test_reasoning_of_an_answer_goes_back() -> None:
    message = {"role": "assistant", "content": "x", "reasoning_content": "because"}
    (translated,) = translate(CHAT, {"messages": [message]})["messages"]
    assert translated == {"role": "assistant", "content": "x", "reasoning": "because"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_ends_the_answer(
    start: t.Callable[..., Service], upstream: Upstream, stream: bool
) -> None:
    service = start(ollama_url=f"http://127.0.0.1:{upstream.port}")
    upstream.answers.clear()
    with service.client() as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json={"model": "m", "stream": stream, **HELLO}, timeout=0.5)
    assert upstream.hung_up.wait(10)
    # the service is as before
    upstream.answers.set()
    assert client_of(service).chat.completions.create(model="m", **HELLO).choices  # type: ignore[call-overload]


def test_chats_have_a_limit_of_their_own(start: t.Callable[..., Service], upstream: Upstream) -> None:
    service = start(ollama_url=f"http://127.0.0.1:{upstream.port}", max_chat_bytes=3_000_000)
    with service.client() as client:

        def status(path: str, size: int) -> httpx.Response:
            return client.post(path, json={"model": "m", "messages": [{"role": "user", "content": "x" * size}]})

        assert status("/v1/chat/completions", 2_000_000).status_code == 200
        refused = status("/v1/chat/completions", 3_000_001)
        assert refused.status_code == 413
        assert "training_service_max_chat_bytes" in refused.json()["error"]["message"]
        assert status("/api/train", 2_000_000).status_code == 413


def test_an_address_without_v1(idle: Service) -> None:
    client = openai.OpenAI(base_url=idle.url, api_key="unused", max_retries=0)
    for call in (client.models.list, lambda: client.chat.completions.create(model="m", **HELLO)):  # type: ignore[call-overload]
        with pytest.raises(openai.NotFoundError) as told:
            call()
        assert f"{idle.url}/v1" in str(told.value)
    with idle.client() as browser:
        page = browser.get("/models", headers={"Accept": "text/html,application/json;q=0.5,*/*;q=0.1"})
        assert page.headers["content-type"].startswith("text/html")
        told = browser.get("/", headers={"Accept": "application/json"})
        assert (told.status_code, told.headers["content-type"]) == (404, "application/problem+json")
        assert "/v1" not in browser.get("/no/such/path").text


def test_jobs_files_and_methods(service: Service) -> None:
    service.occupy()
    client = client_of(service)
    rows = "".join(
        json.dumps({"instruction": f"Question {number}", "chosen": "Oui", "rejected": "Non"}) + "\n"
        for number in range(4)
    )
    file = client.files.create(file=("pairs.jsonl", rows.encode()), purpose="fine-tune")
    extra = {"template": "qwen", "preflight_check": "warn"}  # there is no Ollama server
    common: dict[str, t.Any] = {"model": service.base(), "training_file": file.id, "extra_body": extra}
    job = client.fine_tuning.jobs.create(
        **common, method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "n_epochs": 2}}}
    )
    assert job.method is not None and job.method.dpo is not None and job.method.dpo.hyperparameters is not None
    assert (job.method.type, job.method.dpo.hyperparameters.beta, job.hyperparameters.n_epochs) == ("dpo", 0.3, 2)
    with service.client() as plain:
        assert plain.get(f"/api/status/{job.id}").json()["stage"] == "dpo"
    for method, field in (
        ({"type": "reinforcement"}, "method.type"),
        ({"type": "supervised", "supervised": {"hyperparameters": {"beta": 0.3}}}, "hyperparameters.beta"),
        ({"type": "supervised", "dpo": {}}, "method.dpo"),
    ):
        with pytest.raises(openai.UnprocessableEntityError, match=field):
            client.fine_tuning.jobs.create(**common, method=method)
    # the file of a result exists once there is one
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(f"result-{job.id}")


def test_the_result_of_a_job_is_a_file(service: Service) -> None:
    run = service.lab.counting("counted", steps=1, count=1)
    service.lab.engine.submit(run)
    client = client_of(service)
    end = time.monotonic() + 60
    while (job := client.fine_tuning.jobs.retrieve(run.id)).status != "succeeded":
        assert time.monotonic() < end and job.status != "failed", job
        time.sleep(0.1)
    (result,) = job.result_files
    found = client.files.retrieve(result)
    content = client.files.content(result).text
    assert content.startswith("step,train_loss")
    assert (found.purpose, found.bytes, found.created_at) == ("fine-tune-results", len(content), job.finished_at)
    with pytest.raises(openai.NotFoundError):
        client.files.delete(result)
    with pytest.raises(openai.UnprocessableEntityError):
        client.fine_tuning.jobs.create(model=service.base(), training_file=result)


#: Values of other types than those of the fields: a server reports a field that it knows, and ignores all others.
_OF_WRONG_TYPES: tuple[t.Any, ...] = ({"a": 1}, 5, "x")
#: Of any type as far as the servers are concerned, so they report nothing.
_OF_ANY_TYPE = {"stop", "input"}


@pytest.fixture(scope="module")
def ollama_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    """A server without models."""
    server = Server(program_of(request.param), tmp_path_factory.mktemp(f"ollama-{request.param}"), free_port())
    server.start()
    yield server
    server.stop()


@both_servers
@pytest.mark.parametrize(
    ("path", "fields"),
    [("chat/completions", CHAT), ("completions", COMPLETIONS), ("embeddings", EMBEDDINGS)],
    ids=["chat", "completions", "embeddings"],
)
def test_the_table_is_that_of_the_servers(ollama_server: Server, path: str, fields: Fields) -> None:
    with httpx.Client(base_url=f"{ollama_server.url}/v1/", trust_env=False) as client:

        def knows(field: str) -> bool:
            replies = [client.post(path, json={"model": "m", field: value}) for value in _OF_WRONG_TYPES]
            return any("cannot unmarshal" in reply.text for reply in replies)

        assert {field for field in fields.passed if not knows(field)} <= _OF_ANY_TYPE
        others = {*fields.renamed, *fields.neutral, "user", "metadata", "options", "keep_alive", "top_k", "num_ctx"}
        assert not {field for field in others if knows(field)}
