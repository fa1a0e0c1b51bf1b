# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What LLaMA-Factory registers about a chat template, as a value. The one source of everything about chat formats.

The values come from ``llamafactory_templates.py``, which a program of this project reads out of LLaMA-Factory.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing as t

from ..errors import InputError
from ..messages.suggestions import did_you_mean

#: Where a slot takes the text of a message.
CONTENT = "{{content}}"
_EOS, _BOS = "eos_token", "bos_token"
#: The slots of a template that are written for a message or before the first one.
_FORMATS = ("prefix", "system", "user", "assistant", "function", "observation")


@dataclasses.dataclass(frozen=True)
class Slots:
    """What stands around the text of a message.

    :param parts: texts; ``{"set": "eos_token"}`` and ``{"set": "bos_token"}`` for tokens that the tokenizer names;
        ``{"token": TEXT}`` for a token by its text.
    """

    parts: tuple[t.Any, ...]

    def text(self, eos: str, bos: str) -> str:
        """Everything as one text, with ``{{content}}`` in it.

        :param eos: text of the tokenizer's EOS token; :param bos: text of its BOS token.
        """
        named = {_EOS: eos, _BOS: bos}
        # LLaMA-Factory writes nothing for a set that names neither token
        return "".join(
            part if isinstance(part, str) else part["token"] if "token" in part else named.get(part["set"], "")
            for part in self.parts
        )

    def around(self, eos: str, bos: str) -> tuple[str, str]:
        """The text before and after the content; parameters as for :meth:`text`."""
        before, _content, after = self.text(eos, bos).partition(CONTENT)
        return before, after

    def names(self, token: str) -> bool:
        """Whether a token that the tokenizer names (``eos_token``, ``bos_token``) is part of it."""
        return any(isinstance(part, dict) and part.get("set") == token for part in self.parts)


@dataclasses.dataclass(frozen=True)
class TemplateFacts:
    """A chat template as LLaMA-Factory registers it.

    :param name: its name.
    :param kind: name of its class; it decides where the system prompt stands, and what is done with thoughts.
    :param multimodal: whether it inserts images, videos or audio.
    :param prefix: slots before everything; :param system: slots around the system prompt and the tools.
    :param user: slots around a question; :param observation: slots around results of tools. Both hold the opening of
        the answer after it.
    :param assistant: slots around an answer; :param function: slots around calls of tools.
    :param tools: name of the class that writes the tools, or the slots around their JSON.
    :param calls: name of the class that writes calls.
    :param default_system: system prompt of conversations that have none.
    :param stop_words: texts at which an answer ends.
    :param thought_words: texts before and after a thought.
    :param tool_call_words: texts in rows that separate a call from the text beside it.
    :param efficient_eos: whether an EOS token is trained after the last answer although no slot holds one.
    :param replace_eos: whether training makes the first stop word the EOS token of the tokenizer.
    """

    name: str
    kind: str
    multimodal: bool
    prefix: Slots
    system: Slots
    user: Slots
    assistant: Slots
    function: Slots
    observation: Slots
    tools: str | tuple[str, ...]
    calls: str
    default_system: str
    stop_words: tuple[str, ...]
    thought_words: tuple[str, str]
    tool_call_words: tuple[str, str]
    efficient_eos: bool
    replace_eos: bool

    @property
    def fused(self) -> bool:
        """Whether the system prompt is part of the first question."""
        return self.kind == "Llama2Template"

    @property
    def reasoning(self) -> bool:
        """Whether answers begin with a thought; one without is trained with an empty thought."""
        return self.kind in ("ReasoningTemplate", "Glm47ReasoningTemplate")

    @property
    def empty_thought(self) -> str:
        """The text of an empty thought; empty if the template has no thoughts."""
        if not self.reasoning:
            return ""
        begin, end = self.thought_words
        return end if self.kind == "Glm47ReasoningTemplate" else begin + end

    @property
    def needs_eos(self) -> bool:
        """Whether the text contains the EOS token of the tokenizer (and not one that the template itself names)."""
        replaced = self.replace_eos and bool(self.stop_words)
        return not replaced and any(getattr(self, each).names(_EOS) for each in _FORMATS)

    @property
    def starts_with_bos(self) -> bool:
        """Whether training begins with the BOS token of the tokenizer."""
        return self.prefix.names(_BOS)

    @property
    def bos_inside(self) -> bool:
        """Whether messages contain the BOS token of the tokenizer, and not only the beginning."""
        return any(getattr(self, each).names(_BOS) for each in _FORMATS if each != "prefix")

    def eos_text(self, eos: str) -> str:
        """The text that stands for the EOS token in training.

        :param eos: text of the tokenizer's EOS token.
        """
        return self.stop_words[0] if self.replace_eos and self.stop_words else eos


@functools.cache
def _registry() -> tuple[dict[str, dict[str, t.Any]], dict[str, str], str]:
    # imported when it is needed: 75 KB that most programs of the core never read
    from . import llamafactory_templates

    return llamafactory_templates.TEMPLATES, llamafactory_templates.TOOL_PROMPTS, llamafactory_templates.VERSION


def names() -> tuple[str, ...]:
    """The names of all templates, sorted."""
    return tuple(sorted(_registry()[0]))


def version() -> str:
    """The version of LLaMA-Factory that the facts are from."""
    return _registry()[2]


def tool_prompt(name: str) -> str:
    """A text of LLaMA-Factory that describes tools to a model, as it stands in its source (for ``str.format``).

    :param name: its name, such as ``QWEN_TOOL_PROMPT``.
    """
    return _registry()[1][name]


def nearest(name: str, known: t.Iterable[str]) -> list[str]:
    """At most three names that resemble one."""
    return difflib.get_close_matches(name, list(known), 3, 0.5)


@functools.cache
def facts_of(name: str) -> TemplateFacts:
    """The facts of a template.

    :param name: LLaMA-Factory's name, such as ``qwen``.
    :raises InputError: if LLaMA-Factory has no template of that name.
    """
    raw = _registry()[0].get(name)
    if raw is None:
        details = {"template": name, "known": list(names())}
        suggestion = did_you_mean(nearest(name, names()))
        if suggestion is None:
            raise InputError("chat_formats.unknown", template=name, version=version(), known=names(), details=details)
        raise InputError(
            "chat_formats.unknown_suggested", template=name, version=version(), suggestion=suggestion, details=details
        )
    tools = raw.get("tools", "DefaultToolUtils")
    thought = raw.get("thought_words", ("<think>\n", "\n</think>\n\n"))
    call_words = raw.get("tool_call_words", ("<tool_call>", "</tool_call>"))
    return TemplateFacts(
        name=name,
        kind=raw.get("class", "Template"),
        multimodal=raw.get("mm_plugin", "BasePlugin") != "BasePlugin",
        prefix=Slots(tuple(raw.get("prefix", ()))),
        system=Slots(tuple(raw.get("system", (CONTENT,)))),
        user=Slots(tuple(raw["user"])),
        assistant=Slots(tuple(raw["assistant"])),
        function=Slots(tuple(raw["function"])),
        observation=Slots(tuple(raw["observation"])),
        tools=tools if isinstance(tools, str) else tuple(tools),
        calls=raw.get("calls", "DefaultToolUtils"),
        default_system=raw.get("default_system", ""),
        stop_words=tuple(raw.get("stop_words", ())),
        thought_words=(thought[0], thought[1]),
        tool_call_words=(call_words[0], call_words[1]),
        efficient_eos=raw.get("efficient_eos", False),
        replace_eos=raw.get("replace_eos", False),
    )
