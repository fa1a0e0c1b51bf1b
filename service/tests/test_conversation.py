# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conversation of the page: calls wait for their results, which are given in their order."""

from __future__ import annotations

import asyncio
import json
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama
from ia_homelab_service.web.conversation import ChatError, Conversation, read_tools, tools_problem

TOOLS = [{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}]
CALLS = [{"function": {"name": "f", "arguments": {"a": number}}} for number in (1, 2)]


@pytest.fixture
def ollama() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models["m"] = "sha256:0"
        yield server


def answered(conversation: Conversation, model: str = "m") -> str:
    """Let the model answer; its text."""

    async def main() -> str:
        pieces = [text async for text in conversation.answer(model, read_tools(json.dumps(TOOLS)))]
        return pieces[-1]

    return asyncio.run(main())


def test_calls_and_results(ollama: FakeOllama) -> None:
    replies: list[t.Any] = [{"content": "Je cherche.", "tool_calls": CALLS}, "Voilà."]
    ollama.reply = lambda _model, _text: replies.pop(0)
    conversation = Conversation(ollama.url)
    conversation.ask("Cherche.")
    assert answered(conversation) == "Je cherche."
    assert [str(call) for call in conversation.calls] == ['f({"a": 1})', 'f({"a": 2})']
    conversation.give(["un", "deux"])
    assert answered(conversation) == "Voilà." and conversation.calls == []
    first, second = ollama.bodies("/api/chat")
    assert first["tools"][0]["function"]["name"] == "f"
    assert second["messages"] == [
        {"role": "user", "content": "Cherche."},
        {"role": "assistant", "content": "Je cherche.", "tool_calls": CALLS},
        {"role": "tool", "content": "un", "tool_name": "f"},
        {"role": "tool", "content": "deux", "tool_name": "f"},
    ]


def test_question_without_an_answer_is_taken_back(ollama: FakeOllama) -> None:
    """And so are results: the calls wait for them again."""
    replies: list[t.Any] = [500, {"content": "", "tool_calls": CALLS}, 500, "Voilà."]
    ollama.reply = lambda _model, _text: replies.pop(0)
    conversation = Conversation(ollama.url)
    for text in ("Perdu.", "Cherche."):
        conversation.ask(text)
        if text == "Perdu.":
            with pytest.raises(ChatError, match="told to fail"):
                answered(conversation)
            conversation.take_back([])
    answered(conversation)
    calls = conversation.calls
    conversation.give(["un", "deux"])
    with pytest.raises(ChatError):
        answered(conversation)
    conversation.take_back(calls)
    assert conversation.calls == calls
    conversation.give(["1", "2"])
    assert answered(conversation) == "Voilà."
    roles = [message["role"] for message in ollama.bodies("/api/chat")[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "tool"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", ""), (json.dumps(TOOLS), ""), (json.dumps(TOOLS[0]), ""), ("[", "Expecting value"), ("[1]", "tools[0] is 1")],
)
def test_tools(text: str, problem: str) -> None:
    assert tools_problem(text).startswith(problem) and bool(tools_problem(text)) is bool(problem)
