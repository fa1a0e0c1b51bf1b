# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model gives raw is what arrives as ``tool_calls``, for each tool format that is served, on both Ollamas.

A model that knows one text answers with the calls as training writes them: that text is what the server renders for
the same calls in a conversation, which ``test_chat_formats_real.py`` compares with LLaMA-Factory's. About two minutes
on two idle cores.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
import urllib.request
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats import facts, tool_choice
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.house_format import (
    AUTO,
    HOUSE,
    TEMPLATE,
    in_house_format,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.probes import (
    FILM,
    WEATHER,
    calls,
    result,
    system,
    user,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import served_format
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.tests.real.test_chat_formats_real import DOZEN
from ansible_collections.ia_homelab.llamafactory.tests.support.conversations import BOS, EOS
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import PROGRAMS, both_servers
from ansible_collections.ia_homelab.llamafactory.tests.support.parrot import write_parrot

_RESULT = "RÉSULTAT"
_NAMED = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Cherche",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}, "place": {"type": "object"}}},
    },
}
_STATUS = {
    "type": "function",
    "function": {"name": "status", "description": "État", "parameters": {"type": "object", "properties": {}}},
}
TOOLS = [WEATHER, FILM, _NAMED, _STATUS]
ONE = (("get_weather", {"city": "Brest", "days": 2}),)
#: Braces and quotes, an argument that is called name, nested ones, no arguments; the last one decides how it ends.
SEVERAL = (
    *ONE,
    ("add_film", {"genre": "action", "tags": ["a {b}", '"c"', "<d>"], "title": 'Le "Chat" } & <Cie>\n'}),
    ("find", {"name": "Heat", "place": {"shelf": {"row": 1.5, "tags": ["x", None, True]}}}),
    ("status", {}),
)
#: Name, text before the calls, calls.
CASES: tuple[tuple[str, str, tuple[t.Any, ...]], ...] = (
    ("one", "", ONE),
    ("one after a text", "Je regarde.", ONE),
    ("several", "", SEVERAL),
    ("several after a text", "Je regarde.", SEVERAL),
    ("without arguments", "", (("status", {}),)),
)


_QUESTION = [system(), user("Et maintenant ?")]
_OPTIONS = {"temperature": 0, "num_predict": 1500}


def prepare(ollama: Ollama, folder: Path, name: str, tool_format: str, text: str, called: t.Any) -> None:
    """Create the model ``calls``, which answers with these calls as training writes them."""
    template = facts.facts_of(name)
    shape = in_house_format(template) if tool_format == HOUSE else template
    served = served_format(name, eos=EOS, bos=BOS, date="05 Mar 2026", tool_format=tool_format)

    def create(model: str, answer: str) -> None:
        path = folder / f"{model}.gguf"
        write_parrot(path, answer)
        digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
        ollama.push_blob(str(path), digest)
        ollama.create(
            model,
            files={"model.gguf": digest},
            template=served.template,
            parser=served.parser,
            # several threads of 0.24 wait seconds for each other on a busy machine
            parameters={"stop": list(served.stops), "num_ctx": 8192, "num_thread": 1},
        )
        path.unlink()

    create("renders", "x")
    before = ollama.render("renders", _QUESTION, tools=TOOLS)
    whole = ollama.render("renders", [*_QUESTION, calls(*called, text=text), result(_RESULT)], tools=TOOLS)
    assert whole.startswith(before)
    eos = template.eos_text(EOS)
    ending = shape.function.around(eos, BOS)[1] + shape.observation.around(eos, BOS)[0] + _RESULT
    raw = whole[len(before) :].partition(ending)[0]
    assert all(each[0] in raw for each in called)
    create("calls", raw)


def asked(ollama: Ollama, folder: Path, name: str, tool_format: str, text: str, called: t.Any) -> t.Any:
    """What the server makes of an answer with these calls, as its message."""
    prepare(ollama, folder, name, tool_format, text, called)
    return ollama.chat("calls", _QUESTION, _OPTIONS, tools=TOOLS)["message"]


def read(message: t.Mapping[str, t.Any]) -> tuple[str, list[tuple[str, t.Any]]]:
    """Text and calls of a message."""
    found = [(each["function"]["name"], each["function"]["arguments"]) for each in message.get("tool_calls") or []]
    return str(message.get("content") or "").strip(), found


#: One template for each way in which Ollama reads calls; the others of the dozen, and all cases, with ``full``. On the
#: old server, that takes ten times as long for several calls, one of them.
EACH_WAY = ("qwen", "qwen3", "qwen3_5", "qwen3_5_nothink", "mistral", "minimax1", "gemma2", "deepseekr1")
OFTEN = {
    *((server, name, "one") for server in PROGRAMS for name in EACH_WAY),
    *(("current", name, "several after a text") for name in EACH_WAY),
    ("old", "qwen3", "several after a text"),
}
COMBINATIONS = [
    pytest.param(
        *(server, name, *case),
        id=f"{name}, {case[0]}-{server}",
        marks=() if (server, name, case[0]) in OFTEN else pytest.mark.full,
    )
    for server in PROGRAMS
    for name in dict.fromkeys((*EACH_WAY, *DOZEN))
    for case in CASES
]


@pytest.mark.parametrize(
    ("ollama_server", "name", "title", "text", "called"), COMBINATIONS, indirect=["ollama_server"], scope="module"
)
def test_every_call_is_read_in_the_format_that_auto_takes(
    ollama: Ollama, tmp_path: Path, name: str, title: str, text: str, called: t.Any
) -> None:
    del title
    use = tool_choice.ToolUse(1, 1, int(len(called) > 1), int(bool(text)))
    tool_format = tool_choice.choose(AUTO, name, use).format
    message = asked(ollama, tmp_path, name, tool_format, text, called)
    assert read(message) == (text, [(each, json.loads(json.dumps(arguments))) for each, arguments in called])
    assert not (message.get("thinking") or "").strip()


def streamed(ollama: Ollama) -> tuple[str, list[tuple[str, t.Any]]]:
    """Text and calls of ``/api/chat`` as a stream."""
    messages = [chunk["message"] for chunk in ollama.chat_stream("calls", _QUESTION, _OPTIONS, tools=TOOLS)]
    text = "".join(each.get("content") or "" for each in messages)
    return read({"content": text, "tool_calls": [one for each in messages for one in each.get("tool_calls") or []]})


def by_openai(ollama: Ollama, stream: bool) -> tuple[str, list[tuple[str, t.Any]], str]:
    """Text, calls and reason of the end of ``/v1/chat/completions``."""
    body = {"model": "calls", "messages": _QUESTION, "tools": TOOLS, "temperature": 0, "max_tokens": 1500}
    request = urllib.request.Request(
        f"{ollama.url}/v1/chat/completions",
        json.dumps({**body, "stream": stream}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as reply:
        lines = reply.read().decode().splitlines() if stream else [f"data: {reply.read().decode()}"]
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ") and line != "data: [DONE]"]
    choices = [choice for each in data for choice in json.loads(each)["choices"]]
    parts = [choice["delta" if stream else "message"] for choice in choices]
    found: dict[int, tuple[str, str, str]] = {}
    for number, each in enumerate(one for part in parts for one in part.get("tool_calls") or []):
        identity, name, arguments = found.get(each.get("index", number), ("", "", ""))
        function = each["function"]
        found[each.get("index", number)] = (
            identity + (each.get("id") or ""),
            name + (function.get("name") or ""),
            arguments + (function.get("arguments") or ""),
        )
    assert len({identity for identity, _name, _arguments in found.values()}) == len(found)
    called = [(found[index][1], json.loads(found[index][2])) for index in sorted(found)]
    reasons = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    return "".join(part.get("content") or "" for part in parts).strip(), called, reasons[-1]


@pytest.mark.parametrize(
    ("ollama_server", "name"),
    [
        pytest.param(server, name, marks=() if (server, name) == ("current", "qwen") else pytest.mark.full)
        for server in PROGRAMS
        for name in EACH_WAY
    ],
    indirect=["ollama_server"],
    scope="module",
)
def test_calls_arrive_whole_and_streamed(ollama: Ollama, tmp_path: Path, name: str) -> None:
    """A text and several calls, nested ones and one without arguments, over both interfaces."""
    _title, text, called = CASES[3]
    prepare(
        ollama, tmp_path, name, tool_choice.choose(AUTO, name, tool_choice.ToolUse(1, 1, 1, 1)).format, text, called
    )
    expected = (text, [(each, json.loads(json.dumps(arguments))) for each, arguments in called])
    assert streamed(ollama) == expected
    assert by_openai(ollama, False) == (*expected, "tool_calls")
    assert by_openai(ollama, True) == (*expected, "tool_calls")


@both_servers
@pytest.mark.parametrize(("name", "read_back"), [("llama3", {"one"}), ("zephyr", {"one", "one after a text"})])
def test_what_is_read_in_the_format_of_a_template(
    ollama: Ollama, tmp_path: Path, name: str, read_back: set[str]
) -> None:
    """The exceptions that the table of the documentation names."""
    found = set()
    for title, text, called in CASES[:3]:
        message = asked(ollama, tmp_path, name, TEMPLATE, text, called)
        if read(message) == (text, [*called]):
            found.add(title)
    assert found == read_back
