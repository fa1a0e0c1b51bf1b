# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The house format: tools and calls in one spelling for every chat template, which every Ollama reads back.

Most tool formats of LLaMA-Factory are not read back by Ollama, or not in every case (``tool_formats.py``). In the house
format the rows of a training hold the text about the tools in the system prompt, and calls as plain answers, so
LLaMA-Factory renders both without its tool formats. The spelling is that of Qwen and Hermes:
``<tool_call>``, a line with the JSON of the call, ``</tool_call>``.
"""

from __future__ import annotations

import dataclasses
import json
import typing as t

from .facts import TemplateFacts, tool_prompt

#: Values of the option ``tool_format``: chosen for each training, the format of the chat template, the house format.
AUTO, TEMPLATE, HOUSE = "auto", "template", "house"
#: Name of the house format among the classes of LLaMA-Factory that write tools and calls.
HOUSE_CLASS = "HouseToolUtils"
#: Text between a system prompt and the text about the tools.
SYSTEM_SEPARATOR = "\n\n"
#: Texts around a call.
CALL_WORDS = ("<tool_call>", "</tool_call>")


def written_format(declared: t.Any) -> str:
    """The format in which a training writes tools: that of the template unless it says otherwise.

    :param declared: ``tool_format`` of the training; ``auto`` that nothing has resolved, and none, mean the template.
    """
    return HOUSE if declared == HOUSE else TEMPLATE


def in_house_format(facts: TemplateFacts) -> TemplateFacts:
    """The facts of a template whose calls are written in the house format, as answers."""
    return dataclasses.replace(
        facts, tools=HOUSE_CLASS, calls=HOUSE_CLASS, function=facts.assistant, tool_call_words=CALL_WORDS
    )


def about_tools(each: str) -> str:
    """The text about the tools, without what separates it from a system prompt before it.

    :param each: the JSON of each tool, with a line break before each.
    """
    return tool_prompt("QWEN_TOOL_PROMPT").format(tool_text=each).lstrip("\n")


def system_with_tools(system: str, tools: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The system prompt of a row with tools.

    :param system: the system prompt, that of the template where the row has none; may be empty.
    :param tools: canonical tools.
    """
    each = "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in tools)
    return f"{system}{SYSTEM_SEPARATOR if system else ''}{about_tools(each)}"


def calls_text(calls: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    """Calls as the text of an answer.

    :param calls: ``name`` and canonical ``arguments`` of each.
    """
    begin, end = CALL_WORDS
    return "\n".join(f"{begin}\n{json.dumps(dict(call), ensure_ascii=False)}\n{end}" for call in calls)
