# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short conversations with which a server proves that it renders a prompt as it was trained.

Each exists in two forms: the messages of Ollama's and OpenAI's API, and the messages of LLaMA-Factory, which
``programs/render_probes.py`` renders in training. ``proof.py`` compares both results.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .canonical import (
    DEFAULT_TOOLS,
    as_plain_text,
    as_text,
    canonical_arguments,
    canonical_tools,
    join_of_results,
)
from .exactness import SINGLE_TURN, exactness_of
from .facts import TemplateFacts, facts_of
from .house_format import HOUSE, TEMPLATE, calls_text, system_with_tools

SYSTEM = "Tu es l'assistant du homelab."
#: Stands for an answer that is rendered, but is no part of the prompt.
_ANSWER = "-"

#: A tool of the probes.
WEATHER: dict[str, t.Any] = {
    "name": "get_weather",
    "description": "Météo d'une ville (°C & vent <10 km/h>)",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Ville"},
            "days": {"type": "integer", "description": "Nombre de jours"},
        },
        "required": ["city"],
    },
}
_FILM: dict[str, t.Any] = {
    "name": "add_film",
    "description": "Ajoute un film",
    "parameters": {
        "type": "object",
        "properties": {
            "genre": {"type": "string", "description": "Genre", "enum": ["action", "drame"]},
            "tags": {"type": "array", "description": "Étiquettes", "items": {"type": "string"}},
            "title": {"type": "string", "description": 'Titre "exact"'},
        },
        "required": ["title"],
    },
}


@dataclasses.dataclass(frozen=True)
class Probe:
    """A conversation for whose next answer a server renders the prompt.

    :param name: short name, unique.
    :param messages: as in Ollama's API: ``role``, ``content``, ``thinking``, ``tool_calls`` (arguments as values).
    :param tools: canonical tools; may be empty.
    """

    name: str
    messages: tuple[dict[str, t.Any], ...]
    tools: tuple[dict[str, t.Any], ...] = ()

    @property
    def turns(self) -> int:
        """How many answers and calls of tools the conversation holds, the next answer included."""
        said = [message for message in self.messages if message["role"] == "assistant"]
        return len(said) + (0 if self.continued else 1)

    @property
    def continued(self) -> bool:
        """Whether the last message is an answer that the model continues."""
        return bool(self.messages[-1]["role"] == "assistant")

    @property
    def has_thoughts(self) -> bool:
        """Whether a message holds a thought."""
        return any("thinking" in message for message in self.messages)

    @property
    def has_parallel_calls(self) -> bool:
        """Whether a message holds several calls."""
        return any(len(message.get("tool_calls") or ()) > 1 for message in self.messages)

    def request(self) -> dict[str, t.Any]:
        """The ``messages`` and ``tools`` of a request to Ollama's ``/api/chat``."""
        body: dict[str, t.Any] = {"messages": [dict(message) for message in self.messages]}
        if self.tools:
            body["tools"] = list(self.tools)
        return body

    def training_form(
        self,
        template: str,
        eos: str = "",
        bos: str = "",
        tool_format: str = TEMPLATE,
        default_system: str | None = None,
    ) -> dict[str, t.Any]:
        """The conversation as ``programs/render_probes.py`` takes it.

        :param template: name of the chat template.
        :param eos: text of the tokenizer's EOS token; :param bos: text of its BOS token. Both stand between two
            results in some templates (``needs_eos`` of the facts).
        :param tool_format: how the training writes tools and calls: :data:`TEMPLATE`, or :data:`HOUSE`.
        :param default_system: LLaMA-Factory's argument of that name; None keeps the template's own.
        :raises InputError: if there is no such template.
        """
        facts, house = facts_of(template), tool_format == HOUSE
        system = ""
        messages: list[dict[str, str]] = []
        for message in self.messages:
            role, content = message["role"], message["content"]
            if role == "system":
                system = content
            elif role == "tool" and messages and messages[-1]["role"] == "observation":
                messages[-1]["content"] += join_of_results(template, eos, bos) + content
            elif role == "tool":
                messages.append({"role": "observation", "content": content})
            elif role == "user":
                messages.append({"role": "user", "content": content})
            else:
                messages.append(_answer(message, facts, house))
        if not self.continued:
            messages.append({"role": "assistant", "content": _ANSWER})
        if house and self.tools:
            system = system or (facts.default_system if default_system is None else default_system)
            system = system_with_tools(system, self.tools)
        tools = [as_plain_text(tool) for tool in self.tools] if facts.tools == DEFAULT_TOOLS else list(self.tools)
        return {
            "name": self.name,
            "system": system,
            "messages": messages,
            "tools": as_text(tools) if tools and not house else "",
            "continued": self.continued,
        }


def _answer(message: t.Mapping[str, t.Any], facts: TemplateFacts, house: bool) -> dict[str, str]:
    begin, end = facts.thought_words
    thought = f"{begin}{message['thinking']}{end}" if message.get("thinking") else ""
    if not message.get("tool_calls"):
        return {"role": "assistant", "content": thought + message["content"]}
    calls = [
        {"name": call["function"]["name"], "arguments": call["function"]["arguments"]} for call in message["tool_calls"]
    ]
    if house:
        return {"role": "assistant", "content": thought + message["content"] + calls_text(calls)}
    text = as_text(calls if len(calls) > 1 else calls[0])
    if message["content"]:
        before, after = facts.tool_call_words
        text = f"{message['content']}{before}{text}{after}"
    return {"role": "function", "content": thought + text}


# ---------------------------------------------------------------------- conversations


def system(text: str = SYSTEM) -> dict[str, t.Any]:
    """A system prompt."""
    return {"role": "system", "content": text}


def user(text: str) -> dict[str, t.Any]:
    """A question."""
    return {"role": "user", "content": text}


def answer(text: str, thinking: str = "") -> dict[str, t.Any]:
    """An answer, with a thought or without."""
    return {"role": "assistant", "content": text, **({"thinking": thinking} if thinking else {})}


def calls(*each: tuple[str, dict[str, t.Any]], text: str = "", thinking: str = "") -> dict[str, t.Any]:
    """Calls of tools, names and arguments; with a text or a thought before them."""
    made = [
        {"type": "function", "function": {"name": name, "arguments": canonical_arguments(arguments)[0]}}
        for name, arguments in each
    ]
    return {**answer(text, thinking), "tool_calls": made}


def result(text: str, tool: str = "get_weather") -> dict[str, t.Any]:
    """The result of a tool."""
    return {"role": "tool", "content": text, "tool_name": tool}


#: Tools of the probes, canonical.
WEATHER, FILM = canonical_tools([WEATHER, _FILM])[0]
_PARIS = ("get_weather", {"city": "Paris"})

#: The probes of every template.
PROBES: tuple[Probe, ...] = (
    Probe("plain", (system(), user("Salut ?"))),
    Probe("no system prompt", (user("Salut ?"),)),
    Probe("several turns", (system(), user("Salut ?"), answer("Bonjour."), user("Et le NAS ?"))),
    Probe("tools", (system(), user("Salut ?")), (WEATHER, FILM)),
    Probe("tools, no system prompt", (user("Salut ?"),), (WEATHER,)),
    Probe(
        "call, result, answer",
        (system(), user("Météo à Paris ?"), calls(_PARIS), result("18 °C"), answer("Il fait 18 °C."), user("Merci")),
        (WEATHER,),
    ),
    Probe(
        "parallel calls",
        (
            system(),
            user("Météo ?"),
            calls(_PARIS, ("get_weather", {"city": "Brest", "days": 1})),
            result("18 °C"),
            result("12 °C"),
        ),
        (WEATHER,),
    ),
    Probe(
        "special characters",
        (
            system(),
            user("Ajoute"),
            calls(
                (
                    "add_film",
                    {
                        "genre": "action",
                        "tags": ["a&b", "<c>", 'é "q"\n'],
                        "title": "L'été à l'\u00a0ouest \\ tab\t",
                    },
                )
            ),
            result('{"ok": true}', "add_film"),
        ),
        (FILM,),
    ),
    Probe(
        "nested arguments",
        (
            system(),
            user("Ajoute"),
            calls(("add_film", {"a": {"x": 1.5, "y": [1, 2, {"z": None}]}, "b": True, "d": 0.1, "e": [], "f": {}})),
            result("ok", "add_film"),
        ),
        (FILM,),
    ),
    Probe("continued answer", (system(), user("Salut ?"), answer("Bonjour, je"))),
    Probe(
        "continued answer after a call",
        (system(), user("Météo à Paris ?"), calls(_PARIS), result("18 °C"), answer("Il fait")),
        (WEATHER,),
    ),
)
#: The probes of templates whose answers begin with a thought, where thinking is enabled.
THOUGHT_PROBES: tuple[Probe, ...] = (
    Probe("thought", (user("Salut ?"), answer("Oui.", "Je pense."), user("Et le NAS ?"))),
    Probe("thought before a call", (user("Météo ?"), calls(_PARIS, thinking="Je pense."), result("18 °C")), (WEATHER,)),
)


def probes_for(name: str, *, enable_thinking: bool = True, tool_format: str = TEMPLATE) -> tuple[Probe, ...]:
    """The probes of a template that LLaMA-Factory can render with it, and a server gives the same tokens for.

    :param name: name of the chat template; :param enable_thinking: LLaMA-Factory's argument of that name.
    :param tool_format: how the training writes tools and calls: :data:`TEMPLATE`, or :data:`HOUSE`.
    :raises InputError: if there is no such template.
    """
    facts = facts_of(name)
    # LLaMA-Factory refuses several calls in the format of GLM-4
    several = tool_format == HOUSE or facts.calls != "GLM4ToolUtils"
    chosen = tuple(probe for probe in PROBES if several or not probe.has_parallel_calls)
    if exactness_of(name).level == SINGLE_TURN:
        return tuple(probe for probe in chosen if probe.turns == 1 and not probe.continued)
    return chosen + (THOUGHT_PROBES if facts.reasoning and enable_thinking else ())
