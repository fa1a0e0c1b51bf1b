# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model that was trained on calls of tools calls them, on real LLaMA-Factory, llama.cpp and both Ollamas.

A tiny model learns six conversations by heart, in the tool format of its chat template (``qwen``) and in the house
format (``chatml``). The stock ``openai`` client gets its calls through the service, whole and streamed; an ``mcp``
client lists the tools of a server and executes the calls there; the results go back in. A few minutes on two cores.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import time
import typing as t

import httpx
import openai
import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer
from playwright.sync_api import Browser, expect, sync_playwright

from ansible_collections.ia_homelab.llamafactory.service.tests.test_page_browser import (
    DESK,
    FLAGS,
    PATIENCE,
    TRAINING,
    Visitor,
)
from ansible_collections.ia_homelab.llamafactory.tests.real.conftest import Server, free_port
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import program_of
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service

# trains several models until they call: minutes; what calls is rendered and read daily in tests/real and tests/e2e
pytestmark = pytest.mark.full

WAIT_SECONDS = 900.0
SYSTEM = "Tu aides au homelab."
#: Model by chat template, and the tool format that auto takes for it.
MODELS = {"qwen": "template", "chatml": "house"}

server = MCPServer("homelab")
#: Calls that the MCP server has executed.
executed: list[tuple[str, dict[str, t.Any]]] = []


@server.tool()
def request_media(title: str, year: int = 0) -> str:
    """Demande un film ou une série."""
    executed.append(("request_media", {"title": title, "year": year}))
    return f"{title} : demandé"


@server.tool()
def backup_status() -> str:
    """État des sauvegardes."""
    executed.append(("backup_status", {}))
    return "ok"


@server.tool()
def set_quality(title: str, tags: list[str], limits: dict[str, t.Any]) -> str:
    """Règle la qualité."""
    executed.append(("set_quality", {"title": title, "tags": tags, "limits": limits}))
    return "réglé"


def over_mcp(work: t.Callable[[Client], t.Awaitable[t.Any]]) -> t.Any:
    """Call a function with a client of the MCP server."""

    async def main() -> t.Any:
        async with Client(server) as client:
            return await work(client)

    return asyncio.run(main())


@functools.cache
def tools() -> list[t.Any]:
    """The tools of the MCP server as OpenAI's API takes them; listed once, as no event loop starts inside another."""
    listed = over_mcp(lambda client: client.list_tools()).tools
    return [
        {
            "type": "function",
            "function": {"name": each.name, "description": each.description, "parameters": each.input_schema},
        }
        for each in listed
    ]


def call(name: str, arguments: dict[str, t.Any], identity: str = "") -> dict[str, t.Any]:
    """A call as OpenAI's API writes it."""
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"type": "function", "function": function, **({"id": identity} if identity else {})}


NESTED = {"limits": {"min": 720, "sizes": [0.5, 2], "strict": True}, "tags": ['a "b" <c>', "{d}"], "title": "Ran"}
#: Question; text and calls; their results; the answer.
CONVERSATIONS: tuple[tuple[str, str, list[dict[str, t.Any]], list[str], str], ...] = (
    (
        "Ajoute Chihiro.",
        "Je le demande.",
        [call("request_media", {"title": "Chihiro", "year": 2001}, "c1")],
        ["Chihiro : demandé"],
        "C'est demandé.",
    ),
    (
        "Ajoute Heat et Ran.",
        "",
        [call("request_media", {"title": "Heat"}, "c1"), call("request_media", {"title": "Ran"}, "c2")],
        ["Heat : demandé", "Ran : demandé"],
        "Heat et Ran sont demandés.",
    ),
    ("Et les sauvegardes ?", "", [call("backup_status", {}, "c1")], ["ok"], "Tout va bien."),
    ("Règle la qualité de Ran.", "", [call("set_quality", NESTED, "c1")], ["réglé"], "Ran est réglé."),
    ("Merci.", "", [], [], "De rien."),
)


def rows() -> list[dict[str, t.Any]]:
    """The conversations as rows, the results of two calls in the other order; and one without tools."""
    made = []
    for question, text, calls, results, answer in CONVERSATIONS:
        opening = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        messages: list[dict[str, t.Any]] = [*opening]
        if calls:
            messages.append({"role": "assistant", "content": text, "tool_calls": calls})
            pairs = list(zip(calls, results))
            messages += [
                {"role": "tool", "tool_call_id": each["id"], "content": result} for each, result in reversed(pairs)
            ]
        made.append({"messages": [*messages, {"role": "assistant", "content": answer}], "tools": tools()})
    plain = [("system", SYSTEM), ("user", "Qui es-tu ?"), ("assistant", "L'assistant du homelab.")]
    return [*made, {"messages": [{"role": role, "content": text} for role, text in plain]}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model with random weights, and a vocabulary in which these conversations are short."""
    folder = tmp_path_factory.mktemp("base")
    texts = [json.dumps(row, ensure_ascii=False) for row in rows()]
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps([{"instruction": text, "output": text} for text in texts]), encoding="utf-8")
    return str(make_tiny_base(folder / "base", "--prompts", str(prompts), "--layers", "2"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Service]:
    """A service with the real tools, not started."""
    made = Service(
        tmp_path_factory.mktemp("tools") / "service",
        {
            "llamafactory_venv": os.environ["IA_LF_VENV"],
            "converter_venv": os.environ["IA_CONV_VENV"],
            "llama_cpp_dir": os.environ["IA_LLAMA_CPP_DIR"],
            "accelerator": "cpu",
        },
    )
    yield made
    made.close()


@pytest.fixture(scope="module", params=["current", "old"])
def serving(
    request: pytest.FixtureRequest, service: Service, base: str, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[dict[str, str]]:
    """The service with an Ollama; the model in it by chat template. What was trained for the first is not repeated."""
    ollama = Server(program_of(request.param), tmp_path_factory.mktemp("ollama"), free_port())
    ollama.start()
    service.settings["ollama_url"] = ollama.url
    service.start()
    try:
        yield {template: register(service, base, template) for template in MODELS}
    finally:
        service.stop()
        ollama.stop()


def register(service: Service, base: str, template: str, name: str = "calls", data: t.Any = None, **more: t.Any) -> str:
    """Train, convert and register a model, or only what of it is missing.

    :param name: of the dataset; :param data: its rows, those with calls if None.
    :param more: options of the training.
    """
    with service.client() as client:
        raw = json.dumps(data or rows(), ensure_ascii=False).encode()
        uploaded = client.post(f"/api/datasets/{name}", files={"file": (f"{name}.json", raw)})
        assert uploaded.status_code in (200, 201), uploaded.text
        body = {
            "name": f"{name}-{template}",
            "base_model": base,
            "dataset": name,
            "template": template,
            "method": "full",
            "epochs": 36,
            "batch_size": 6,
            "gradient_accumulation": 1,
            "learning_rate": 2e-3,
            "cutoff_len": 2048,
            "lr_scheduler": "constant",
            "quantizations": ["f16"],
            "goal": "model",
            **more,
        }
        submitted = client.post("/api/train", json=body)
        assert submitted.status_code in (200, 201, 202), submitted.text
        job = submitted.json()
        end = time.monotonic() + WAIT_SECONDS
        while job["status"] not in ("succeeded", "failed", "cancelled"):
            assert time.monotonic() < end, job
            time.sleep(0.5)
            job = client.get(f"/api/status/{job['job_id']}").json()
        assert job["status"] == "succeeded", job
    return str(job["model"])


def asked(client: openai.OpenAI, model: str, messages: list[t.Any], stream: bool) -> t.Any:
    """The answer of a model as a message: text and calls, whichever way it was sent."""
    request: dict[str, t.Any] = {"model": model, "messages": messages, "tools": tools(), "temperature": 0}
    if not stream:
        choice = client.chat.completions.create(**request).choices[0]
        calls = [(each.id, each.function.name, each.function.arguments) for each in choice.message.tool_calls or []]
        return choice.message.content or "", calls, choice.finish_reason
    text, parts, reason = "", {}, ""
    for chunk in client.chat.completions.create(**request, stream=True):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for each in choice.delta.tool_calls or []:
                before = parts.get(each.index, ("", "", ""))
                news = (each.id, each.function.name, each.function.arguments)
                parts[each.index] = tuple(old + (new or "") for old, new in zip(before, news))
    return text, [parts[index] for index in sorted(parts)], reason


def execute(calls: list[tuple[str, str, str]]) -> list[str]:
    """Execute calls with the MCP client, as an application does; the texts of their results."""

    async def work(client: Client) -> list[str]:
        return [(await client.call_tool(name, json.loads(arguments))).content[0].text for _id, name, arguments in calls]

    return t.cast("list[str]", over_mcp(work))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("template", list(MODELS))
@pytest.mark.parametrize("number", range(len(CONVERSATIONS)))
def test_model_calls(service: Service, serving: dict[str, str], template: str, number: int, stream: bool) -> None:
    """One call, several, with a text before, without arguments, nested, none; each result is answered."""
    question, text, calls, results, answer = CONVERSATIONS[number]
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="unused", max_retries=0)
    messages: list[t.Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    said, called, reason = asked(client, serving[template], messages, stream)
    if not calls:
        assert (said, called, reason) == (answer, [], "stop")
        return
    wanted = [(each["function"]["name"], json.loads(each["function"]["arguments"])) for each in calls]
    assert [(name, json.loads(arguments)) for _id, name, arguments in called] == wanted
    assert said.strip() == text and reason == "tool_calls"
    executed.clear()
    answers = execute(called)
    assert answers == results and [name for name, _arguments in executed] == [name for name, _arguments in wanted]
    messages.append(
        {
            "role": "assistant",
            "content": said,
            "tool_calls": [
                {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
                for identity, name, arguments in called
            ],
        }
    )
    messages += [
        {"role": "tool", "tool_call_id": identity, "content": result}
        for (identity, _name, _arguments), result in zip(called, answers)
    ]
    assert asked(client, serving[template], messages, stream) == (answer, [], "stop")


@pytest.mark.parametrize("template", list(MODELS))
def test_ollamas_own_interface(service: Service, serving: dict[str, str], template: str) -> None:
    """``/api/chat``, whole and streamed; and a question without tools, as in the row that has none."""
    url = str(service.settings["ollama_url"])
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Ajoute Heat et Ran."}]
    body = {"model": serving[template], "messages": messages, "tools": tools(), "options": {"temperature": 0}}
    whole = httpx.post(f"{url}/api/chat", json={**body, "stream": False}, timeout=120, trust_env=False).json()
    lines = httpx.post(f"{url}/api/chat", json=body, timeout=120, trust_env=False).text.splitlines()
    streamed = [each for line in lines for each in json.loads(line)["message"].get("tool_calls") or []]
    for calls in (whole["message"]["tool_calls"], streamed):
        assert [(each["function"]["name"], each["function"]["arguments"]) for each in calls] == [
            ("request_media", {"title": "Heat"}),
            ("request_media", {"title": "Ran"}),
        ]
    body = {
        "model": serving[template],
        "messages": [{"role": "user", "content": "Qui es-tu ?"}],
        "stream": False,
        "options": {"temperature": 0, "num_predict": 50},
    }
    reply = httpx.post(f"{url}/api/chat", json=body, timeout=120, trust_env=False)
    assert reply.json()["message"]["content"] == "L'assistant du homelab."


def test_base_that_calls_still_does_after_plain_rows(service: Service, serving: dict[str, str]) -> None:
    """The base is a model that calls; it is trained a little on rows without tools."""
    layout = service.lab.layout
    merged = next(
        layout.artifact("merge", each)
        for each in sorted(os.listdir(layout.parent("merge")))
        if ((layout.receipt("merge", each) or {}).get("options") or {}).get("name") == "calls-qwen"
    )
    plain = [{"instruction": "Bonne nuit.", "output": "Bonne nuit."}]
    model = register(service, merged, "qwen", "plain", plain, epochs=1, learning_rate=1e-6)
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="unused", max_retries=0)
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": CONVERSATIONS[2][0]}]
    _text, called, reason = asked(client, model, messages, False)
    assert [(name, json.loads(arguments)) for _id, name, arguments in called] == [("backup_status", {})]
    assert reason == "tool_calls"


@pytest.fixture(scope="module")
def chromium() -> t.Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.mark.parametrize("template", list(MODELS))
def test_chat_of_the_page(service: Service, serving: dict[str, str], template: str, chromium: Browser) -> None:
    """The page shows the call, takes its result as input, and shows the answer to it. Nothing is executed."""
    visitor = Visitor(chromium, service, "fr", DESK)
    page, words = visitor.page, visitor.words
    question, text, calls, results, answer = CONVERSATIONS[1]
    executed.clear()
    try:
        visitor.open(f"/models/{serving[template].partition(':')[0]}")
        page.get_by_text(words("chat.tools"), exact=True).click()
        page.get_by_label(words("chat.tools_json")).fill('[{"name": 3}]')
        page.get_by_label(words("chat.message")).fill(question)
        visitor.press("chat.send")
        expect(page.get_by_text(words("chat.tools_invalid", error="").strip()).first).to_be_visible(timeout=PATIENCE)
        page.get_by_label(words("chat.tools_json")).fill(json.dumps(tools()))
        visitor.press("chat.send")
        last = page.get_by_role("log").locator("> div").last
        expect(last).to_contain_text('request_media({"title": "Ran"})', timeout=TRAINING)
        assert text == ""
        for each, result in zip(calls, results):
            shown = f"{each['function']['name']}({each['function']['arguments']})"
            page.get_by_label(words("chat.result_of_call", call=shown)).fill(result)
        visitor.shoot(f"tool-calls-{template}")
        visitor.press("chat.give")
        expect(last).to_contain_text(answer, timeout=TRAINING)
        page.get_by_label(words("chat.message")).fill("Merci.")
        visitor.press("chat.send")
        expect(page.get_by_role("log").locator("> div")).to_have_count(6, timeout=TRAINING)
        assert visitor.errors == [] and executed == []
    finally:
        visitor.context.close()
