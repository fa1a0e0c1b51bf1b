# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a conversation as LLaMA-Factory trains it, from the facts of a template; without tools and thoughts.

Source: ``_encode`` of the template classes in LLaMA-Factory's ``data/template.py``. A test compares with its rendering.
"""

from __future__ import annotations

import typing as t

from .facts import CONTENT, Slots, TemplateFacts, facts_of, tool_prompt

#: Name of the text that describes tools, by the class that writes them.
_TOOL_PROMPTS = {
    "DefaultToolUtils": "DEFAULT_TOOL_PROMPT",
    "GLM4ToolUtils": "GLM4_TOOL_PROMPT",
    "GLM4MOEToolUtils": "GLM4_MOE_TOOL_PROMPT",
    "LFM2ToolUtils": "LFM2_TOOL_PROMPT",
    "LingToolUtils": "LING_TOOL_PROMPT",
    "Llama3ToolUtils": "LLAMA3_TOOL_PROMPT",
    "MiniMaxM1ToolUtils": "MINIMAX_M1_TOOL_PROMPT",
    "MiniMaxM2ToolUtils": "MINIMAX_M2_TOOL_PROMPT",
    "Qwen35ToolUtils": "QWEN35_TOOL_PROMPT",
    "QwenToolUtils": "QWEN_TOOL_PROMPT",
    "SeedToolUtils": "SEED_TOOL_PROMPT",
}
#: Where a description of tools takes the tools, the day or their names.
_FIELDS = ("{tool_text}", "{date}", "{tool_names}")


def prompt_text(name: str, turns: t.Sequence[str], system: str = "", eos: str = "", bos: str = "") -> str:
    """Return the text of a conversation up to where the next answer begins, as it is trained.

    :param name: name of the template.
    :param turns: questions and answers in turn; the last one is a question.
    :param system: system prompt; empty for that of the template.
    :param eos: text of the tokenizer's EOS token; :param bos: text of its BOS token.
    :raises InputError: if LLaMA-Factory has no template of that name.
    """
    facts = facts_of(name)
    eos = facts.eos_text(eos)

    def written(slots: Slots, content: str) -> str:
        return slots.text(eos, bos).replace(CONTENT, content)

    system = system or facts.default_system
    head = written(facts.system, system) if system else ""
    text = facts.prefix.text(eos, bos)
    for number, content in enumerate(turns):
        if number % 2:
            text += facts.empty_thought + written(facts.assistant, content)
        elif number == 0 and facts.fused:
            text += written(facts.user, head + content)
        else:
            text += (head if number == 0 else "") + written(facts.user, content)
    return text


def tools_introduction(facts: TemplateFacts) -> str:
    """Return how the description of tools begins in training, up to the first part that depends on the tools.

    Empty if it begins with such a part, or the template describes tools by slots.
    """
    if not isinstance(facts.tools, str) or facts.tools not in _TOOL_PROMPTS:
        return ""
    prompt = tool_prompt(_TOOL_PROMPTS[facts.tools])
    end = min((position for field in _FIELDS if (position := prompt.find(field)) >= 0), default=len(prompt))
    return prompt[:end].replace("{{", "{").replace("}}", "}").strip()


def markers(facts: TemplateFacts) -> tuple[list[str], list[str]]:
    """Return the tokens by their text without which a training learns no end or no role, and the others it uses.

    :returns: tokens that have to be in the vocabulary (LLaMA-Factory writes an unknown token for them, or adds a new
        one that no adapter trains), and further stop words.
    """
    formats = (facts.prefix, facts.system, facts.user, facts.assistant, facts.function, facts.observation)
    needed = [part["token"] for slots in formats for part in slots.parts if isinstance(part, dict) and "token" in part]
    needed += facts.stop_words[:1]
    return list(dict.fromkeys(needed)), [word for word in facts.stop_words[1:] if word not in needed]
