# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A conversation with a model and tools. No tool is executed here: the user enters the results."""

from __future__ import annotations

import dataclasses
import json
import typing as t

import httpx

from ia_homelab_core.chat_formats.canonical import canonical_tools
from ia_homelab_core.errors import InputError
from ia_homelab_core.json_text import parse_json

#: Seconds for a model to load and to send its first token.
_READ_TIMEOUT_SECONDS = 300.0
#: Largest number of tokens of an answer: a badly trained model may never stop.
_MAX_TOKENS = 1024


class ChatError(Exception):
    """Ollama refused the request."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a tool.

    :param name: name of the tool; :param arguments: as values.
    """

    name: str
    arguments: dict[str, t.Any]

    def __str__(self) -> str:
        return f"{self.name}({json.dumps(self.arguments, ensure_ascii=False)})"


def read_tools(text: str) -> list[dict[str, t.Any]]:
    """The tools in a text, a JSON list as OpenAI's API has it; empty for an empty text.

    :raises InputError: if they are no tools.
    :raises ValueError: if the text is not JSON.
    """
    if not text.strip():
        return []
    tools = parse_json(text)
    made, _findings = canonical_tools(tools if isinstance(tools, list) else [tools])
    return made


class Conversation:
    """The messages so far.

    :param url: of Ollama.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._messages: list[dict[str, t.Any]] = []
        self._asked = 0
        #: Calls of the last answer, which wait for their results.
        self.calls: list[Call] = []

    def ask(self, text: str) -> None:
        """Add a question."""
        self._asked = len(self._messages)
        self._messages.append({"role": "user", "content": text})

    def give(self, results: t.Sequence[str]) -> None:
        """Add the results of :attr:`calls`, in their order."""
        self._asked = len(self._messages)
        for call, result in zip(self.calls, results):
            self._messages.append({"role": "tool", "content": result, "tool_name": call.name})
        self.calls = []

    def take_back(self, calls: t.Sequence[Call]) -> None:
        """Remove what was asked last: there is no answer to it.

        :param calls: calls that wait for their results again.
        """
        del self._messages[self._asked :]
        self.calls = list(calls)

    async def answer(self, model: str, tools: t.Sequence[dict[str, t.Any]]) -> t.AsyncIterator[str]:
        """Let the model answer; the text so far, piece by piece. Afterwards :attr:`calls` are those of the answer.

        :param model: its name in Ollama.
        :raises ChatError: if Ollama refuses; :raises httpx.HTTPError: if it does not answer.
        """
        body: dict[str, t.Any] = {"model": model, "messages": self._messages, "options": {"num_predict": _MAX_TOKENS}}
        if tools:
            body["tools"] = list(tools)
        message: dict[str, t.Any] = {"role": "assistant", "content": ""}
        async for part in self._parts(body):
            for name in ("content", "thinking"):
                if part.get(name):
                    message[name] = message.get(name, "") + str(part[name])
            if part.get("tool_calls"):
                message.setdefault("tool_calls", []).extend(part["tool_calls"])
            yield str(message["content"])
        self._messages.append(message)
        functions = [call["function"] for call in message.get("tool_calls", [])]
        self.calls = [Call(str(each["name"]), dict(each.get("arguments") or {})) for each in functions]

    async def _parts(self, body: t.Mapping[str, t.Any]) -> t.AsyncIterator[dict[str, t.Any]]:
        timeout = httpx.Timeout(10.0, read=_READ_TIMEOUT_SECONDS)
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
            async with client.stream("POST", f"{self._url}/api/chat", json=body) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise ChatError(_error_message(response.text))
                async for line in response.aiter_lines():
                    message = parse_json(line) if line.strip() else {}
                    if message.get("error"):  # Ollama reports errors within a stream that has started
                        raise ChatError(str(message["error"]))
                    if message.get("message"):
                        yield message["message"]


def _error_message(text: str) -> str:
    try:
        return str(parse_json(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:200]


def tools_problem(text: str) -> str:
    """Why a text holds no tools; empty if it does, or is empty."""
    try:
        read_tools(text)
    except (InputError, ValueError) as error:
        return str(error)
    return ""
