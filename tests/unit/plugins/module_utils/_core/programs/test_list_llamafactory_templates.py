# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of a template, from objects like those of LLaMA-Factory; tests/real reads the real ones."""

from __future__ import annotations

import types
import typing as t

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import list_llamafactory_templates


class BasePlugin:
    """Inserts nothing."""


class DefaultToolUtils:
    """The default tool format."""


class Template:
    """A template with the defaults of LLaMA-Factory."""

    def __init__(self, **fields: t.Any) -> None:
        def formatter(*slots: t.Any, tools: t.Any = None) -> t.Any:
            more = {} if tools is None else {"tool_utils": tools}
            return types.SimpleNamespace(slots=list(slots), **more)

        content = "{{content}}"
        self.mm_plugin: t.Any = BasePlugin()
        self.format_prefix = formatter()
        self.format_system = formatter(content)
        self.format_user = formatter("U", content, {"token": "<a>"})
        self.format_assistant = formatter(content, {"eos_token"})
        self.format_function = formatter(content, {"eos_token"}, tools=DefaultToolUtils())
        self.format_observation = formatter(content)
        self.format_tools = formatter(tools=DefaultToolUtils())
        self.default_system = ""
        self.stop_words: list[str] = []
        self.thought_words = ("<think>\n", "\n</think>\n\n")
        self.tool_call_words = ("<tool_call>", "</tool_call>")
        self.efficient_eos = self.replace_eos = self.preserve_thinking = False
        self.enable_thinking = True
        for name, value in fields.items():
            setattr(self, name, value)


def test_defaults_are_left_out() -> None:
    assert list_llamafactory_templates.facts_of(Template()) == {
        "user": ["U", "{{content}}", {"token": "<a>"}],
        "assistant": ["{{content}}", {"set": "eos_token"}],
        "function": ["{{content}}", {"set": "eos_token"}],
        "observation": ["{{content}}"],
    }


def test_what_differs_is_named() -> None:
    class ReasoningTemplate(Template):
        """Another class."""

    plain_tools = types.SimpleNamespace(slots=["<t>{{content}}</t>"])
    facts = list_llamafactory_templates.facts_of(
        ReasoningTemplate(stop_words=["<e>"], replace_eos=True, thought_words=("<a>", "</a>"), format_tools=plain_tools)
    )
    assert {name: facts[name] for name in ("class", "stop_words", "replace_eos", "thought_words", "tools")} == {
        "class": "ReasoningTemplate",
        "stop_words": ["<e>"],
        "replace_eos": True,
        "thought_words": ["<a>", "</a>"],
        "tools": ["<t>{{content}}</t>"],
    }
