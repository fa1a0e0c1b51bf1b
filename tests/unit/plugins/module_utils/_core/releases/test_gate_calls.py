# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of tools at the gate: declarations, conversations with results, and judging."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.asking import ask
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.gate_items import gate_items
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases import gate as releases_gate
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import (
    Answer,
    Gate,
    read_gate,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate_calls import calls_of
from ansible_collections.ia_homelab.llamafactory.tests.support.asked_gate import ask_gate
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import fake_ollama


def unmet(question: releases_gate.Question, answer: releases_gate.Answer) -> list[str]:
    """What an answer does not meet, in English."""
    return [str(failure) for failure in releases_gate.unmet(question, answer)]


def tool(name: str, **properties: str) -> dict[str, t.Any]:
    parameters = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


TOOLS = [
    tool("request_media", title="string", year="integer", tags="array", film="boolean"),
    tool("ping", host="string"),
]


def gate(prompt: dict[str, t.Any], **more: t.Any) -> Gate:
    declared = read_gate({"prompts": [{"prompt": "Demande Chihiro.", **prompt}], "tools": TOOLS, **more})
    assert declared is not None
    return declared


def call(name: str, **arguments: t.Any) -> dict[str, t.Any]:
    return {"name": name, "arguments": arguments}


def answer(*calls: dict[str, t.Any], text: str = "") -> Answer:
    return Answer(text, True, 5, calls=calls)


@pytest.mark.parametrize(
    ("calls", "good", "bad", "why"),
    [
        (
            [{"name": "request_media", "arguments": {"title": {"regex": "Chihiro"}}}],
            [call("request_media", title="Le Voyage de Chihiro", year=2001)],
            [call("request_media", title="Mononoké")],
            "calls request_media with title \"Mononoké\", which does not match 'Chihiro'",
        ),
        ("ping", [call("ping", host="nas")], [], "calls no tool and not ping"),
        ([{"name": "ping"}], [call("ping", host="nas")], [call("request_media")], "calls request_media and not ping"),
        ("ping", [call("ping")], [call("ping"), call("ping")], "calls ping, ping and not ping"),
        (
            [{"name": "ping", "arguments": {"host": "NAS"}}],
            [call("ping", host="NAS")],
            [call("ping", host="nas")],
            'calls ping with host "nas", which is not "NAS"',
        ),
        (
            [{"name": "ping", "arguments": {"host": "nas"}}],
            [call("ping", host="nas")],
            [call("ping")],
            "calls ping without host",
        ),
        (
            [{"name": "request_media", "arguments": {"year": 2001}}],
            [call("request_media", year=2001.0)],
            [call("request_media", year=True)],
            "calls request_media with year true, which is not 2001",
        ),
        (
            [{"name": "request_media", "arguments": {"film": True}}],
            [call("request_media", film=True)],
            [call("request_media", film=1)],
            "calls request_media with film 1, which is not true",
        ),
        (
            [{"name": "request_media", "arguments": {"tags": ["a", {"b": 1}]}}],
            [call("request_media", tags=["a", {"b": 1}])],
            [call("request_media", tags=["a", {"b": 2}])],
            'calls request_media with tags ["a", {"b": 2}], which is not ["a", {"b": 1}]',
        ),
        (
            [{"name": "request_media", "arguments": {"title": {"contains": "é", "not_contains": "x"}}}],
            [call("request_media", title="te\u0301")],
            [call("request_media", title="éx")],
            "calls request_media with title \"éx\", which contains 'x'",
        ),
        (
            [{"name": "request_media", "arguments": {"year": {"regex": "^20", "not_regex": "9$"}}}],
            [call("request_media", year=2001)],
            [call("request_media", year=2009)],
            "calls request_media with year 2009, which matches '9$'",
        ),
        (
            [{"name": "request_media", "arguments": {"tags": {"equals": {"regex": "x"}}}}],
            [call("request_media", tags={"regex": "x"})],
            [call("request_media", tags="x")],
            'calls request_media with tags "x", which is not {"regex": "x"}',
        ),
    ],
)
def test_expected_calls(calls: t.Any, good: list[t.Any], bad: list[t.Any], why: str) -> None:
    question = gate({"calls": calls}).questions[0]
    assert unmet(question, answer(*good)) == []
    assert unmet(question, answer(*bad, text="Voilà.")) == [why]


def test_several_calls_in_any_order() -> None:
    expected = [{"name": "ping", "arguments": {"host": {"regex": "."}}}, {"name": "ping", "arguments": {"host": "nas"}}]
    question = gate({"calls": expected}).questions[0]
    assert unmet(question, answer(call("ping", host="nas"), call("ping", host="routeur"))) == []
    assert unmet(question, answer(call("ping", host="routeur"), call("ping", host="nas"))) == []
    assert unmet(question, answer(call("ping", host="routeur"), call("ping", host="proxmox"))) == [
        'calls ping with host "proxmox", which is not "nas"'
    ]


def test_ignore_case_covers_arguments() -> None:
    expected = [{"name": "ping", "arguments": {"host": {"equals": "NAS", "regex": "N", "contains": "AS"}}}]
    assert unmet(gate({"calls": expected, "ignore_case": True}).questions[0], answer(call("ping", host="nas"))) == []
    assert len(unmet(gate({"calls": expected}).questions[0], answer(call("ping", host="nas")))) == 3


def test_no_calls() -> None:
    question = gate({"no_calls": True}).questions[0]
    assert unmet(question, answer(text="Bonjour.")) == []
    assert unmet(question, answer(call("ping", host="é"), text="Je regarde.")) == ['calls ping({"host": "é"})']
    assert unmet(question, answer()) == ["is empty"]


def test_a_call_is_no_empty_answer_and_its_text_is_judged_too() -> None:
    assert unmet(gate({}).questions[0], answer(call("ping"))) == []
    question = gate({"calls": "ping", "contains": "regarde"}).questions[0]
    assert unmet(question, answer(call("ping"))) == ["does not contain 'regarde'"]
    assert unmet(question, answer(call("ping"), text="Je regarde.")) == []


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"calls": []}, "calls of prompt 1 of the gate names no call"),
        ({"calls": "pong"}, "offers no tool 'pong'. Did you mean 'ping'"),
        ({"calls": 3}, "must be a list of calls"),
        ({"calls": [{"arguments": {}}]}, "must be a list of calls"),
        ({"calls": [{"name": "ping", "args": {}}]}, "unknown key 'args'. Did you mean arguments?"),
        ({"calls": [{"name": "ping", "id": "c1"}]}, "unknown key 'id'. There are: name, arguments."),
        ({"calls": [{"name": "ping", "arguments": ["nas"]}]}, "must be a dictionary"),
        (
            {"calls": [{"name": "ping", "arguments": {"hots": "nas"}}]},
            "ping has no argument 'hots'. Did you mean 'host'",
        ),
        (
            {"calls": [{"name": "ping", "arguments": {"host": {"regx": "n"}}}]},
            "unknown key 'regx'. Did you mean 'regex'",
        ),
        ({"calls": [{"name": "ping", "arguments": {"host": {"regex": "("}}}]}, "no regular expression"),
        ({"calls": [{"name": "ping", "arguments": {"host": {"regex": True}}}]}, "must be a text"),
        ({"calls": [{"name": "ping", "arguments": {"host": {}}}]}, "expects nothing"),
        ({"calls": "ping", "no_calls": True}, "calls and no_calls at once"),
        ({"calls": "ping", "tools": []}, "calls of prompt 1 of the gate has no effect: the prompt offers no tools"),
        ({"no_calls": True, "tools": []}, "no_calls of prompt 1 of the gate has no effect"),
        ({"tools": "homelab"}, "tools of prompt 1 of the gate: no tools are declared as 'homelab'"),
        ({"tools": 5}, "must be a list of tools or the name"),
        ({"tools": [{"name": ""}]}, "has no name of a function"),
        ({"tools": [tool("x") | {"function": {"name": "x", "parameters": {"required": True}}}]}, "not a list of texts"),
    ],
)
def test_invalid_expectations_are_refused(prompt: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        gate(prompt)
    assert message.lower() in str(caught.value).lower()


def messages(*turns: dict[str, t.Any]) -> tuple[dict[str, t.Any], ...]:
    declared = read_gate({"prompts": [{"messages": [{"role": "user", "content": "?"}, *turns]}], "tools": TOOLS})
    assert declared is not None
    return declared.questions[0].messages[1:]


def said(*calls: dict[str, t.Any], content: str | None = None) -> dict[str, t.Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(content: str, **more: str) -> dict[str, t.Any]:
    return {"role": "tool", "content": content, **more}


def test_results_are_paired_with_their_calls() -> None:
    """Ollama has no ids: it takes results in the order of the calls."""
    openai = [
        {"id": "a", "type": "function", "function": {"name": "ping", "arguments": '{"host": "nas"}'}},
        {"id": "b", "type": "function", "function": {"name": "ping", "arguments": {"host": "box"}}},
    ]
    calls = [{"function": call("ping", host="nas")}, {"function": call("ping", host="box")}]
    expected = (
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "1 ms", "tool_name": "ping"},
        {"role": "tool", "content": "rien", "tool_name": "ping"},
    )
    swapped = [result("rien", tool_call_id="b"), result("1 ms", tool_call_id="a")]
    assert messages(said(*openai), *swapped) == expected
    short = said(call("ping", host="nas"), call("ping", host="box"))
    assert messages(short, result("1 ms"), result("rien")) == expected
    by_name = said(call("ping", host="nas"), call("request_media", title="x"))
    got = messages(by_name, result("ok", name="request_media"), result("1 ms", tool_name="ping"))
    assert [each["content"] for each in got[1:]] == ["1 ms", "ok"]
    with_text = messages(said(call("ping", host="nas"), content="Je regarde."), result("1 ms"))
    assert with_text[0]["content"] == "Je regarde."


def test_messages_without_calls_are_as_before() -> None:
    """The fingerprints of existing gates stay."""
    assert messages(result("3 demandes")) == ({"role": "tool", "content": "3 demandes"},)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([said(call("ping")), result("x", tool_call_id="z")], "the result 'z' belongs to no call"),
        ([said(call("ping")), result("x", name="pong")], "the result 'pong' belongs to no call"),
        ([said(call("ping")), result("x"), result("y")], "the result 2 belongs to no call"),
        ([said({"name": 3})], "is no list of calls"),
        ([{"role": "assistant", "content": "", "tool_calls": "ping"}], "is no list of calls"),
        ([said({"name": "ping", "arguments": "{"})], "must be a dictionary"),
        ([{"role": "user", "content": "x", "tool_calls": []}], "have a key 'tool_calls'"),
        ([result("x", call_id="z")], "have a key 'call_id'"),
    ],
)
def test_invalid_conversations_are_refused(turns: list[dict[str, t.Any]], message: str) -> None:
    with pytest.raises(InputError) as caught:
        messages(*turns)
    assert message.lower() in str(caught.value).lower()


def test_a_gate_with_tools_is_restored_from_its_settings() -> None:
    declared = read_gate(
        {
            "tools": TOOLS,
            "prompts": [
                {"prompt": "a", "calls": [{"name": "ping", "arguments": {"host": {"regex": "n"}}}]},
                {"prompt": "b", "no_calls": True},
                {"prompt": "c", "tools": []},
                {"prompt": "d", "tools": [tool("ping")]},
                {"messages": [{"role": "user", "content": "e"}, said(call("ping", host="nas")), result("1 ms")]},
            ],
        }
    )
    assert declared is not None
    settings = declared.as_settings()
    assert Gate.from_settings(settings) == declared
    assert [prompt.get("tools") for prompt in settings["prompts"]] == [0, 0, None, 1, 0]
    assert settings["prompts"][0]["expect"]["calls"] == [{"name": "ping", "arguments": {"host": {"regex": ["n"]}}}]


def test_the_model_is_offered_the_tools_and_its_calls_are_reported(tmp_path: Path) -> None:
    asked = {
        "messages": [{"role": "user", "content": "?"}, said(call("ping", host="nas")), result("1 ms")],
        "contains": "1 ms",
    }
    prompts = [{"prompt": "Demande Chihiro.", "calls": "request_media"}, asked, {"prompt": "Bonjour", "tools": []}]
    declared = read_gate({"prompts": prompts, "tools": TOOLS})
    assert declared is not None
    with fake_ollama() as server:
        server.models = {"m:new": "1" * 64}
        server.reply = lambda _model, prompt: "Il répond en 1 ms." if prompt == "1 ms" else "Bonjour."
        asked_gate = ask_gate(Ollama(server.url), tmp_path, declared, "m:new")
        bodies = server.bodies("/api/chat")
    assert [len(body.get("tools", ())) for body in bodies] == [2, 2, 0]
    assert bodies[1]["messages"][1]["tool_calls"] == [{"function": call("ping", host="nas")}]
    assert asked_gate.met() == 2
    assert asked_gate.lines()[2] == "   it calls no tool and not request_media"
    message = {"content": "", "tool_calls": [{"function": {"name": "ping", "arguments": {"host": "nas"}}}]}
    assert calls_of(message) == (call("ping", host="nas"),)


def test_a_call_that_the_server_cannot_read_is_an_answer_that_fails() -> None:
    """Ollama ends such a request with an error; a gate without tools, or another error, is an outage as before."""

    class Server(Ollama):
        reason = "failed to parse JSON: invalid character '{' after top-level value"

        def chat(self, *_arguments: t.Any, **_fields: t.Any) -> dict[str, t.Any]:
            raise RemoteError("ollama.connection_ended", url=self.url, action=self.reason)

    server = Server("http://127.0.0.1:9")
    (item,) = gate_items(gate({"calls": "ping"}))
    answer = ask(server, "m:new", item)
    assert unmet(gate({"calls": "ping"}).questions[0], answer) == ["makes a call that the server cannot read"]
    with pytest.raises(RemoteError):
        ask(server, "m:new", gate_items(gate({"tools": []}))[0])
    server.reason = "the model was not found"
    with pytest.raises(RemoteError):
        ask(server, "m:new", item)


def test_arguments_nested_too_deeply_are_refused() -> None:
    said = {"role": "assistant", "tool_calls": [{"name": "ping", "arguments": "[" * 100_000}]}
    messages = [{"role": "user", "content": "a"}, said, {"role": "tool", "content": "b"}]
    with pytest.raises(InputError, match="ping"):
        gate({"prompt": None, "messages": messages})
