# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the chat templates that the installed LLaMA-Factory registers, as JSON.

Run by the interpreter of LLaMA-Factory's environment; takes about ten seconds, all of it LLaMA-Factory's imports.
Prints ``{"version", "templates": {name: facts}, "tool_prompts": {name: text}}``. The facts of a template:

* ``class``: name of its Python class; ``mm_plugin``: name of the class that inserts images and audio.
* ``prefix``, ``system``, ``user``, ``assistant``, ``function``, ``observation``: slots, a list of texts (with
  ``{{content}}``), ``{"set": "eos_token"}`` or ``{"set": "bos_token"}``, and ``{"token": "<|user|>"}``.
* ``tools``: class that writes the tools, or the slots if it is no tool formatter; ``calls``: class that writes calls.
* ``default_system``, ``stop_words``, ``thought_words``, ``tool_call_words``, ``efficient_eos``, ``replace_eos``,
  ``enable_thinking``, ``preserve_thinking``: as registered.

A value that equals its default (:data:`DEFAULTS`) is left out.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import typing as t

#: Values that are left out of the facts of a template.
DEFAULTS: dict[str, t.Any] = {
    "class": "Template",
    "mm_plugin": "BasePlugin",
    "prefix": [],
    "system": ["{{content}}"],
    "tools": "DefaultToolUtils",
    "calls": "DefaultToolUtils",
    "default_system": "",
    "stop_words": [],
    "thought_words": ["<think>\n", "\n</think>\n\n"],
    "tool_call_words": ["<tool_call>", "</tool_call>"],
    "efficient_eos": False,
    "replace_eos": False,
    "enable_thinking": True,
    "preserve_thinking": False,
}


def slots_of(formatter: t.Any) -> list[t.Any]:
    """The slots of a formatter, in a form that JSON can hold."""
    slots: list[t.Any] = []
    for slot in formatter.slots:
        if isinstance(slot, str):
            slots.append(slot)
        elif isinstance(slot, set):
            (name,) = slot
            slots.append({"set": name})
        else:
            slots.append({"token": slot["token"]})
    return slots


def facts_of(template: t.Any) -> dict[str, t.Any]:
    """The facts of one registered template."""
    tools = getattr(template.format_tools, "tool_utils", None)
    facts = {
        "class": type(template).__name__,
        "mm_plugin": type(template.mm_plugin).__name__,
        "prefix": slots_of(template.format_prefix),
        "system": slots_of(template.format_system),
        "user": slots_of(template.format_user),
        "assistant": slots_of(template.format_assistant),
        "function": slots_of(template.format_function),
        "observation": slots_of(template.format_observation),
        "tools": slots_of(template.format_tools) if tools is None else type(tools).__name__,
        "calls": type(template.format_function.tool_utils).__name__,
        "default_system": template.default_system,
        "stop_words": list(template.stop_words),
        "thought_words": list(template.thought_words),
        "tool_call_words": list(template.tool_call_words),
        "efficient_eos": template.efficient_eos,
        "replace_eos": template.replace_eos,
        "enable_thinking": template.enable_thinking,
        "preserve_thinking": template.preserve_thinking,
    }
    missing = object()
    return {name: value for name, value in facts.items() if value != DEFAULTS.get(name, missing)}


def registry() -> dict[str, t.Any]:
    """The templates of the LLaMA-Factory of this environment."""
    from llamafactory.data import template, tool_utils

    prompts = {name: getattr(tool_utils, name) for name in sorted(dir(tool_utils)) if name.endswith("_TOOL_PROMPT")}
    return {
        "version": importlib.metadata.version("llamafactory"),
        "templates": {name: facts_of(template.TEMPLATES[name]) for name in sorted(template.TEMPLATES)},
        "tool_prompts": prompts,
    }


def main() -> None:
    """Print the registry."""
    output, sys.stdout = sys.stdout, sys.stderr  # messages of the imports must not get into the JSON
    os.environ.setdefault("DISABLE_VERSION_CHECK", "1")
    json.dump(registry(), output, ensure_ascii=True)


if __name__ == "__main__":
    main()
