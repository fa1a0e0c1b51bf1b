# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``tool_format`` of a training stands for: the tool format of its chat template, or the house format."""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import InputError
from ..messages.message import Message
from .facts import TemplateFacts, facts_of, names
from .house_format import HOUSE, TEMPLATE
from .tool_formats import unread_calls

#: Templates whose answers Ollama reads with a parser that it takes by itself, which knows neither format.
_OWN_PARSER = ("gpt_oss",)


@dataclasses.dataclass(frozen=True)
class ToolUse:
    """What the rows of a dataset do with tools.

    :param rows: number of rows with tools or calls.
    :param calls: number of rows with calls; :param several: with several calls at once; :param beside: with a text
        beside a call.
    """

    rows: int = 0
    calls: int = 0
    several: int = 0
    beside: int = 0

    @classmethod
    def from_results(cls, results: t.Mapping[str, t.Any]) -> ToolUse:
        """Read the statistics of a dataset; without them, no row has tools."""
        found = results.get("tools") or {}
        return cls(*(int(found.get(field.name) or 0) for field in dataclasses.fields(cls)))

    def as_results(self) -> dict[str, int]:
        """Plain values for a receipt."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class ToolChoice:
    """A tool format.

    :param format: :data:`TEMPLATE` or :data:`HOUSE`.
    :param reason: why; None if rows have no tools and none was declared, so that nothing depends on it.
    :param warning: what of the calls a server will not read; None if there is nothing.
    """

    format: str
    reason: Message | None = None
    warning: Message | None = None


def choose(declared: str, template: str, use: ToolUse) -> ToolChoice:
    """Choose the tool format of a training.

    :param declared: :data:`AUTO`, :data:`TEMPLATE` or :data:`HOUSE`.
    :param template: name of the chat template.
    :param use: what the rows do with tools.
    :raises InputError: if the rows cannot be trained in the declared format.
    """
    if template not in names():
        return ToolChoice(TEMPLATE)
    facts = facts_of(template)
    unread, refusal = unread_calls(facts), _refusal(facts, use)
    if template in _OWN_PARSER:
        own = Message("chat_formats.tools_own_parser", template=template)
        if declared == HOUSE:
            raise InputError("chat_formats.house_not_read", template=template, reason=own)
        reason = own if use.rows or declared == TEMPLATE else None
        return _template(template, reason, own if use.calls else None, refusal)
    if declared == HOUSE:
        return ToolChoice(HOUSE, Message("chat_formats.tools_declared"))
    if declared == TEMPLATE:
        return _template(template, Message("chat_formats.tools_declared"), unread if use.calls else None, refusal)
    if not use.rows:
        return ToolChoice(TEMPLATE)
    if unread is not None:
        return ToolChoice(HOUSE, Message("chat_formats.tools_unread", template=template, unread=unread))
    if refusal is not None:
        return ToolChoice(HOUSE, refusal)
    return ToolChoice(TEMPLATE, Message("chat_formats.tools_read", template=template))


def _template(template: str, reason: Message | None, unread: Message | None, refusal: Message | None) -> ToolChoice:
    if refusal is not None:
        raise InputError("chat_formats.calls_not_trainable", reason=refusal)
    warning = Message("chat_formats.calls_unread", template=template, unread=unread) if unread else None
    return ToolChoice(TEMPLATE, reason, warning)


def _refusal(facts: TemplateFacts, use: ToolUse) -> Message | None:
    """Why LLaMA-Factory cannot render the calls of these rows in the format of the template; None if it can."""
    if use.beside and facts.fused:
        return Message("chat_formats.text_beside_not_written", template=facts.name, count=use.beside)
    if use.several and facts.calls == "GLM4ToolUtils":
        return Message("chat_formats.several_not_written", template=facts.name, count=use.several)
    return None
