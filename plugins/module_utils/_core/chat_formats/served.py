# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Ollama renders a conversation as LLaMA-Factory does in training, for every chat template that allows it.

The Go TEMPLATE is generated from the facts of the template: system prompt, tools, calls, results, thoughts. A message
writes the text before its content; the text after it comes with the next message, so that a conversation whose last
message is the assistant's stays open and is continued.

TEMPLATE has to stay in force. Since Ollama 0.30 the chat template in a GGUF file replaces it where that has more
capabilities (tools, thinking), unless a PARSER is named. The templates here have tools with the round trip of calls and
results; templates with thoughts have thinking. What remains is a base whose chat template knows thoughts under a
training template that does not: a PARSER keeps TEMPLATE in force there, or, where no parser reads the tool format, the
delimiters of a thought in a branch that is never rendered (``base_thinks``).
"""

from __future__ import annotations

import dataclasses

from ..errors import InputError
from . import exactness
from .canonical import join_of_results
from .facts import TemplateFacts, facts_of
from .go_text import literal, quoted
from .house_format import HOUSE, TEMPLATE, in_house_format
from .tool_formats import ToolFormat, uses_date, with_date
from .tool_formats import tool_format as format_of

#: Delimiters of a thought that show Ollama the capability where the template of training has no thoughts.
_UNUSED_THOUGHT = ("<think>", "</think>")
#: Ollama's parser for calls in the house format after a thought whose beginning is not in the answer.
_THOUGHT_PARSER = "qwen3-thinking"


@dataclasses.dataclass(frozen=True)
class ServedFormat:
    """What a model is registered with.

    :param name: LLaMA-Factory's name of the chat template.
    :param template: TEMPLATE, in Go's ``text/template``.
    :param parser: PARSER; empty for Ollama's generic reading of calls and thoughts.
    :param stops: texts at which an answer ends, for the parameter ``stop``.
    :param default_system: system prompt of conversations that have none.
    """

    name: str
    template: str
    parser: str
    stops: tuple[str, ...]
    default_system: str


def served_format(
    name: str,
    *,
    enable_thinking: bool = True,
    default_system: str | None = None,
    eos: str = "",
    bos: str = "",
    server_bos: str = "",
    date: str = "",
    base_thinks: bool = False,
    tool_format: str = TEMPLATE,
) -> ServedFormat:
    """Return what a model trained with a chat template is registered with.

    :param name: LLaMA-Factory's name, such as ``qwen``.
    :param enable_thinking: its argument of that name in training; without effect for templates without thoughts.
    :param default_system: its argument of that name in training; None keeps the template's own.
    :param eos: text of the tokenizer's EOS token; only used if :func:`needs_eos`.
    :param bos: text of the BOS token, if training begins with it (:func:`starts_with_bos`) and the server adds none, or
        if messages contain it (:func:`contains_bos`).
    :param server_bos: text of the BOS token that the server puts before every prompt; empty if it adds none. A template
        that writes the same text itself leaves it out then.
    :param date: day of the training as in ``05 Mar 2026``; only used if :func:`needs_date`.
    :param base_thinks: whether the chat template in the GGUF file knows thoughts (contains ``</think>``).
    :param tool_format: how the training wrote tools and calls: :data:`TEMPLATE`, or :data:`HOUSE`.
    :raises InputError: if there is no such template, or it cannot be served as it was trained.
    """
    facts = facts_of(name)
    exactness.check(name, several_turns=False)  # what the rows hold is checked when a run is planned
    if tool_format == HOUSE:
        facts = in_house_format(facts)
    calls = format_of(facts)
    if calls is None:
        raise InputError("chat_formats.tools_not_writable", template=name)
    if default_system is not None:
        facts = dataclasses.replace(facts, default_system=default_system)
    thinking = facts.reasoning and bool(enable_thinking)
    parser = calls.thinking_parser if thinking else calls.parser
    if thinking and tool_format == HOUSE and facts.empty_thought == facts.thought_words[1]:
        # the generic parser would leave the delimiter of an empty thought in every answer
        parser = _THOUGHT_PARSER
    eos = facts.eos_text(eos)
    stops = [*facts.stop_words, *([eos] if facts.needs_eos and eos else [])]
    return ServedFormat(
        name=name,
        template=_Writer(facts, calls, eos, bos, server_bos, date, thinking, base_thinks and not parser).source(),
        parser=parser,
        stops=tuple(dict.fromkeys(stops)),
        default_system=facts.default_system,
    )


def needs_eos(name: str) -> bool:
    """Whether the text of a template contains the EOS token of the base's tokenizer."""
    return facts_of(name).needs_eos


def starts_with_bos(name: str) -> bool:
    """Whether training with a template begins with the BOS token of the base's tokenizer."""
    return facts_of(name).starts_with_bos


def contains_bos(name: str) -> bool:
    """Whether each message contains the BOS token of the base's tokenizer (seed_oss)."""
    return facts_of(name).bos_inside


def begins_with(name: str, bos: str) -> bool:
    """Whether training with a template begins with this text, or with whatever the tokenizer has as BOS token.

    :param bos: text of the BOS token of the base's tokenizer.
    """
    facts = facts_of(name)
    return facts.starts_with_bos or (bool(bos) and facts.prefix.text("", "").startswith(bos))


def needs_date(name: str) -> bool:
    """Whether the description of tools contains the day of the training (llama3)."""
    return uses_date(facts_of(name))


def has_thoughts(name: str) -> bool:
    """Whether answers of a template begin with a thought, so that ``enable_thinking`` has an effect."""
    return facts_of(name).reasoning


class _Writer:
    """Writes the TEMPLATE of one chat template.

    Variables of the template: ``$sys``, the system prompt; ``$tail``, the text that ends the message before; ``$was``,
    the role of the last message if an answer follows it; ``$first``, whether the system prompt is still to be written
    (fused templates); ``$thought``, the thought of a message.
    """

    def __init__(
        self,
        facts: TemplateFacts,
        calls: ToolFormat,
        eos: str,
        bos: str,
        server_bos: str,
        date: str,
        thinking: bool,
        show_thinking: bool,
    ) -> None:
        self._facts = facts
        self._calls = calls
        self._tools = with_date(calls.tools, date)
        self._prefix = facts.prefix.text(eos, bos)
        if server_bos and not facts.starts_with_bos and self._prefix.startswith(server_bos):
            self._prefix = self._prefix[len(server_bos) :]
        self._system = facts.system.around(eos, bos)
        self._user = facts.user.around(eos, bos)
        self._assistant = facts.assistant.around(eos, bos)
        self._function = facts.function.around(eos, bos)
        self._observation = facts.observation.around(eos, bos)
        self._join = join_of_results(facts.name, eos, bos)
        self._thinking = thinking
        self._show_thinking = show_thinking

    def source(self) -> str:
        """The TEMPLATE."""
        head = self._calls.definitions()
        system = self._choose_system() + self._system_text()
        if self._facts.fused:
            # a definition of its own: the dot is a message where the system prompt is written
            head += f'{{{{ define "S" }}}}{system}{{{{ end }}}}'
            system = "{{ $first := true }}"
        return (
            f"{head}{self._call_tag()}{literal(self._prefix)}{system}"
            '{{ $tail := "" }}{{ $was := "" }}{{ range .Messages }}'
            f"{self._thought_tags()}{self._messages()}{{{{ end }}}}{self._opening()}"
        )

    def _call_tag(self) -> str:
        """Ollama's generic parser takes the first text under a condition on ToolCalls as the beginning of a call."""
        return f"{{{{ if and false .ToolCalls }}}}{literal(self._calls.tag)}{{{{ end }}}}"

    def _thought_tags(self) -> str:
        """Ollama takes the texts around ``.Thinking`` in the loop over the messages as the delimiters of a thought."""
        if self._thinking:
            begin, end = self._facts.thought_words
        elif self._show_thinking:
            begin, end = _UNUSED_THOUGHT
        else:
            return ""
        return f"{{{{ if and false .Thinking }}}}{literal(begin)}{{{{ .Thinking }}}}{literal(end)}{{{{ end }}}}"

    def _choose_system(self) -> str:
        default = self._facts.default_system
        otherwise = f"{{{{ if not $sys }}}}{{{{ $sys = {quoted(default)} }}}}{{{{ end }}}}" if default else ""
        return "{{ $sys := .System }}" + otherwise

    def _system_text(self) -> str:
        before, after = self._system
        return (
            f"{{{{ if or $sys .Tools }}}}{literal(before)}{{{{ $sys }}}}{{{{ if .Tools }}}}{self._tools}{{{{ end }}}}"
            f"{literal(after)}{{{{ end }}}}"
        )

    def _messages(self) -> str:
        first = '{{ if $first }}{{ template "S" $ }}{{ $first = false }}{{ end }}' if self._facts.fused else ""
        result = (
            f'{{{{ if eq .Role "tool" }}}}{{{{ if eq $was "tool" }}}}{literal(self._join)}{{{{ else }}}}{{{{ $tail }}}}'
            f'{literal(self._observation[0])}{{{{ end }}}}{{{{ .Content }}}}{{{{ $was = "tool" }}}}'
            f"{{{{ $tail = {quoted(self._observation[1])} }}}}"
        )
        question = (
            f'{{{{ else if eq .Role "user" }}}}{{{{ $tail }}}}{literal(self._user[0])}{first}{{{{ .Content }}}}'
            f'{{{{ $was = "user" }}}}{{{{ $tail = {quoted(self._user[1])} }}}}'
        )
        answer = (
            '{{ else if eq .Role "assistant" }}{{ $tail }}{{ $was = "" }}'
            f"{self._thought()}{{{{ if .ToolCalls }}}}"
            f"{self._said(self._function[0], '{{ .Content }}' + self._calls.calls)}"
            f"{{{{ $tail = {quoted(self._function[1])} }}}}{{{{ else }}}}"
            f"{self._said(self._assistant[0], '{{ .Content }}')}{{{{ $tail = {quoted(self._assistant[1])} }}}}"
            "{{ end }}"
        )
        return f"{result}{question}{answer}{{{{ end }}}}"

    def _thought(self) -> str:
        """The thought of a message in ``$thought``.

        Ollama's generic parser leaves the line break before the closing delimiter in a thought that it reads, and a
        client sends it back: one line break at its end is left out where the delimiter begins with one.
        """
        if not self._thinking:
            return ""
        source = "{{ $thought := .Thinking }}"
        if self._facts.thought_words[1].startswith("\n"):
            source += (
                '{{ if $thought }}{{ if eq (slice $thought (len (slice $thought 1))) "\\n" }}'
                "{{ $thought = slice $thought 0 (len (slice $thought 1)) }}{{ end }}{{ end }}"
            )
        return source

    def _said(self, before: str, text: str) -> str:
        """An answer or calls: training writes an empty thought before everything where there is none."""
        empty = literal(self._facts.empty_thought)
        if not self._thinking:
            return f"{empty}{literal(before)}{text}"
        begin, end = self._facts.thought_words
        return (
            f"{{{{ if $thought }}}}{literal(before)}{literal(begin)}{{{{ $thought }}}}{literal(end)}"
            f"{{{{ else }}}}{empty}{literal(before)}{{{{ end }}}}{text}"
        )

    def _opening(self) -> str:
        """The opening of the answer, unless the last message is one; with an empty thought where none is wanted."""
        empty = literal(self._facts.empty_thought)
        if empty and self._thinking:
            empty = f"{{{{ if and .IsThinkSet (not .Think) }}}}{empty}{{{{ end }}}}"
        return f"{{{{ if $was }}}}{{{{ $tail }}}}{empty}{{{{ end }}}}"
