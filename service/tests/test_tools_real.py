# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model that was trained on calls of tools calls them, on real LLaMA-Factory, llama.cpp and both Ollamas.

A tiny model learns six conversations by heart, in the tool format of its chat template (``qwen``) and in the house
format (``chatml``). The stock ``openai`` client gets its calls through the service, whole and streamed; an ``mcp``
client lists the tools of a server and executes the calls there; the results go back in. A few minutes on two cores.
"""

from __future__ import annotations

import json
import os
import re
import typing as t

import httpx
import openai
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from ansible_collections.ia_homelab.llamafactory.service.tests.calling_model import (
    CONVERSATIONS,
    MODELS,
    SYSTEM,
    execute,
    executed,
    register,
    tools,
)
from ansible_collections.ia_homelab.llamafactory.service.tests.test_page_browser import (
    DESK,
    FLAGS,
    PATIENCE,
    Visitor,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service

# trains several models until they call: minutes; what calls is rendered and read daily in tests/real and tests/e2e
pytestmark = pytest.mark.full


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


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("template", list(MODELS))
@pytest.mark.parametrize("number", range(len(CONVERSATIONS)))
def test_model_calls(
    calling_service: Service, calling_models: dict[str, str], template: str, number: int, stream: bool
) -> None:
    """One call, several, with a text before, without arguments, nested, none; each result is answered."""
    question, text, calls, results, answer = CONVERSATIONS[number]
    client = openai.OpenAI(base_url=f"{calling_service.url}/v1", api_key="unused", max_retries=0)
    messages: list[t.Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    said, called, reason = asked(client, calling_models[template], messages, stream)
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
    assert asked(client, calling_models[template], messages, stream) == (answer, [], "stop")


@pytest.mark.parametrize("template", list(MODELS))
def test_ollamas_own_interface(calling_service: Service, calling_models: dict[str, str], template: str) -> None:
    """``/api/chat``, whole and streamed; and a question without tools, as in the row that has none."""
    url = str(calling_service.settings["ollama_url"])
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Ajoute Heat et Ran."}]
    body = {"model": calling_models[template], "messages": messages, "tools": tools(), "options": {"temperature": 0}}
    whole = httpx.post(f"{url}/api/chat", json={**body, "stream": False}, timeout=120, trust_env=False).json()
    lines = httpx.post(f"{url}/api/chat", json=body, timeout=120, trust_env=False).text.splitlines()
    streamed = [each for line in lines for each in json.loads(line)["message"].get("tool_calls") or []]
    for calls in (whole["message"]["tool_calls"], streamed):
        assert [(each["function"]["name"], each["function"]["arguments"]) for each in calls] == [
            ("request_media", {"title": "Heat"}),
            ("request_media", {"title": "Ran"}),
        ]
    body = {
        "model": calling_models[template],
        "messages": [{"role": "user", "content": "Qui es-tu ?"}],
        "stream": False,
        "options": {"temperature": 0, "num_predict": 50},
    }
    reply = httpx.post(f"{url}/api/chat", json=body, timeout=120, trust_env=False)
    assert reply.json()["message"]["content"] == "L'assistant du homelab."


def test_base_that_calls_still_does_after_plain_rows(calling_service: Service, calling_models: dict[str, str]) -> None:
    """The base is a model that calls; it is trained a little on rows without tools."""
    layout = calling_service.lab.layout
    merged = next(
        layout.artifact("merge", each)
        for each in sorted(os.listdir(layout.parent("merge")))
        if ((layout.receipt("merge", each) or {}).get("options") or {}).get("name") == "calls-qwen"
    )
    plain = [{"instruction": "Bonne nuit.", "output": "Bonne nuit."}]
    model = register(calling_service, merged, "qwen", "plain", plain, epochs=1, learning_rate=1e-6)
    client = openai.OpenAI(base_url=f"{calling_service.url}/v1", api_key="unused", max_retries=0)
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
def test_chat_of_the_page(
    calling_service: Service, calling_models: dict[str, str], template: str, chromium: Browser
) -> None:
    """The page shows the call, takes its result as input, and shows the answer to it. Nothing is executed."""
    visitor = Visitor(chromium, calling_service, "fr", DESK)
    page, words = visitor.page, visitor.words
    question, text, calls, results, answer = CONVERSATIONS[1]
    executed.clear()
    try:
        visitor.open(f"/models/{calling_models[template].partition(':')[0]}")
        page.get_by_text(words("chat.tools"), exact=True).click()
        page.get_by_label(words("chat.tools_json")).fill('[{"name": 3}]')
        page.get_by_label(words("chat.message")).fill(question)
        visitor.press("chat.send")
        expect(page.get_by_text(words("chat.tools_invalid", error="").strip()).first).to_be_visible(timeout=PATIENCE)
        page.get_by_label(words("chat.tools_json")).fill(json.dumps(tools()))
        visitor.press("chat.send")
        last = page.get_by_role("log").locator("> div").last
        expect(last).to_contain_text('request_media({"title": "Ran"})', timeout=PATIENCE)
        assert text == ""
        for each, result in zip(calls, results):
            shown = f"{each['function']['name']}({each['function']['arguments']})"
            page.get_by_label(words("chat.result_of_call", call=shown)).fill(result)
        visitor.shoot(f"tool-calls-{template}")
        visitor.press("chat.give")
        expect(last).to_contain_text(answer, timeout=PATIENCE)
        page.get_by_label(words("chat.message")).fill("Merci.")
        visitor.press("chat.send")
        # question, calls, two results, answer; and again question and answer, of which no text was learnt
        expect(page.get_by_role("log").locator("> div")).to_have_count(7, timeout=PATIENCE)
        expect(last).not_to_have_attribute("aria-busy", "true", timeout=PATIENCE)
        expect(last).not_to_have_class(re.compile(r"\bbad\b"))
        assert visitor.errors == [] and executed == []
    finally:
        visitor.context.close()
