# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LangChain, litellm and Open WebUI, as they are released, use a fine-tuned model over the service's ``/v1``.

They list, chat, stream and get calls of tools, on real LLaMA-Factory, llama.cpp and both Ollamas. The models are those
of test_tools_real.py, and the ``openai`` client is tested there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import time
import typing as t
from pathlib import Path

import httpx
import pytest

from ansible_collections.ia_homelab.llamafactory.service.tests.calling_model import (
    CONVERSATIONS,
    MODELS,
    SYSTEM,
    tools,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service, free_port

# trains models until they call, and Open WebUI is installed: minutes, and 1 GB
pytestmark = pytest.mark.full

CLIENTS = Path(__file__).with_name("stock_clients.py")
#: Of a call with a text before it, and of two calls.
CALLING = CONVERSATIONS[:2]
PLAIN = CONVERSATIONS[-1]


def messages_of(question: str) -> list[dict[str, t.Any]]:
    """Return a conversation that begins as those of the training."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def parsed(calls: t.Iterable[t.Mapping[str, t.Any]]) -> list[list[t.Any]]:
    """Return the names and arguments of calls as OpenAI's API writes them."""
    return [[each["function"]["name"], json.loads(each["function"]["arguments"])] for each in calls]


@pytest.mark.parametrize("number", range(len(CALLING)))
@pytest.mark.parametrize("template", list(MODELS))
@pytest.mark.parametrize("client", ["langchain", "litellm"])
def test_library(
    calling_service: Service, calling_models: dict[str, str], client: str, template: str, number: int
) -> None:
    question, _text, calls, results, answer = CALLING[number]
    request = {
        "url": f"{calling_service.url}/v1",
        "model": calling_models[template],
        "plain": messages_of("Qui es-tu ?")[1:],
        "question": messages_of(question),
        "tools": tools(),
        "results": [
            {"name": name, "arguments": arguments, "result": result}
            for (name, arguments), result in zip(parsed(calls), results)
        ],
    }
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(calling_service.root), "LC_ALL": "C.UTF-8",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it is fetched from elsewhere otherwise
    }  # fmt: skip
    ran = subprocess.run(
        [os.environ["IA_CLIENTS_PYTHON"], str(CLIENTS), client],
        input=json.dumps(request), capture_output=True, text=True, env=environment, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    said = json.loads(ran.stdout)
    listed = said.pop("models", None)
    assert client == "langchain" or calling_models[template] in [each.removeprefix("openai/") for each in listed]
    pieces = said.pop("stream")
    assert len([piece for piece in pieces if piece]) > 1
    assert said == {
        "chat": "".join(pieces),
        "calls": parsed(calls),
        "streamed_calls": parsed(calls),
        "answer": answer,
    }
    assert said["chat"] == "L'assistant du homelab."


@dataclasses.dataclass(frozen=True)
class OpenWebUI:
    """Open WebUI, with an account.

    :param http: a client that is signed in.
    :param log: the file with its output.
    """

    http: httpx.Client
    log: Path

    def chat(self, **body: t.Any) -> httpx.Response:
        """Ask the model over the interface of Open WebUI, which asks the service."""
        reply = self.http.post("/api/chat/completions", json=body)
        assert reply.status_code == 200, (reply.text, self.log.read_text(encoding="utf-8")[-3000:])
        return reply


@pytest.fixture(scope="module")
def open_webui(calling_service: Service, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[OpenWebUI]:
    """Open WebUI, told of the service by the variables that its documentation names, and signed up."""
    home = tmp_path_factory.mktemp("open-webui")
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(home), "DATA_DIR": str(home / "data"), "LC_ALL": "C.UTF-8",
        "OPENAI_API_BASE_URL": f"{calling_service.url}/v1", "OPENAI_API_KEY": "unused",
        "ENABLE_OLLAMA_API": "False", "WEBUI_SECRET_KEY": "of-this-test",
        # nothing of its own: no model, nothing from elsewhere
        "RAG_EMBEDDING_ENGINE": "openai", "OFFLINE_MODE": "True", "ANONYMIZED_TELEMETRY": "False",
    }  # fmt: skip
    (home / "data").mkdir()
    log = home / "open-webui.log"
    program = Path(os.environ["IA_OPEN_WEBUI_PYTHON"]).with_name("open-webui")
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            [str(program), "serve", "--host", "127.0.0.1", "--port", str(port)],
            env=environment, cwd=home, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120) as http:
            end = time.monotonic() + 300
            while not answers(http):
                assert process.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8")[-3000:]
                time.sleep(0.5)
            account = {"name": "Ada", "email": "ada@homelab.example", "password": "of-This-test-1"}
            signed_up = http.post("/api/v1/auths/signup", json=account)
            assert signed_up.status_code == 200, signed_up.text
            http.headers["Authorization"] = f"Bearer {signed_up.json()['token']}"
            yield OpenWebUI(http, log)
    finally:
        process.terminate()
        process.wait(timeout=60)


def answers(http: httpx.Client) -> bool:
    """Return whether Open WebUI has started."""
    try:
        return http.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def events(reply: httpx.Response) -> list[dict[str, t.Any]]:
    """Return the first choices of a streamed answer."""
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: {")]
    return [choice for line in lines for choice in json.loads(line).get("choices") or []]


@pytest.mark.open_webui
@pytest.mark.parametrize("template", list(MODELS))
def test_open_webui(calling_models: dict[str, str], open_webui: OpenWebUI, template: str) -> None:
    model = calling_models[template]
    listed = open_webui.http.get("/api/models", params={"refresh": "true"}).json()["data"]
    assert model in [each["id"] for each in listed]
    common: dict[str, t.Any] = {"model": model, "temperature": 0, "max_tokens": 200}
    plain = messages_of("Qui es-tu ?")[1:]
    whole = open_webui.chat(**common, messages=plain, stream=False).json()["choices"][0]
    assert (whole["message"]["content"], whole["finish_reason"]) == ("L'assistant du homelab.", "stop")
    pieces = [
        each["delta"].get("content") or "" for each in events(open_webui.chat(**common, messages=plain, stream=True))
    ]
    assert "".join(pieces) == "L'assistant du homelab." and len([piece for piece in pieces if piece]) > 1
    for question, text, calls, results, answer in CALLING:
        messages = messages_of(question)
        told: dict[str, t.Any] = {**common, "tools": tools()}
        message = open_webui.chat(**told, messages=messages, stream=False).json()["choices"][0]["message"]
        assert ((message["content"] or "").strip(), parsed(message["tool_calls"])) == (text, parsed(calls))
        streamed = events(open_webui.chat(**told, messages=messages, stream=True))
        assert parsed(call for each in streamed for call in each["delta"].get("tool_calls") or []) == parsed(calls)
        given = [
            {"role": "tool", "tool_call_id": call["id"], "content": result}
            for call, result in zip(message["tool_calls"], results)
        ]
        final = open_webui.chat(**told, messages=[*messages, message, *given], stream=False).json()["choices"][0]
        assert final["message"]["content"] == answer
