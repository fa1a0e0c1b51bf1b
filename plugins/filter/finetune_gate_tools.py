# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: finetune_gate_tools
short_description: Return declared fine-tunes with the tools that their gates name
version_added: 0.1.0
description:
  - A gate, and each of its prompts, may name declared tools (C(tools=homelab)). This filter puts the tools in the place
    of the name. A name that is not declared stays, and is refused when the gate is checked.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  _input:
    description: The fine-tunes, as declared. A list, or a dictionary by name.
    type: raw
    required: true
  sets:
    description: Lists of tools by name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Put the tools into the gates
  ansible.builtin.set_fact:
    with_tools: "{{ finetunes | ia_homelab.llamafactory.finetune_gate_tools({'homelab': homelab_tools}) }}"
"""

RETURN = r"""
_value:
  description: The fine-tunes, in the same form as declared.
  type: raw
"""

import typing as t


def finetune_gate_tools(declared: t.Any, sets: t.Mapping[str, t.Any]) -> t.Any:
    """Return the fine-tunes with tools in place of their names; whatever is not as declared is left for the checks."""
    if isinstance(declared, t.Mapping):
        return {name: _entry(entry, sets) for name, entry in declared.items()}
    if isinstance(declared, (list, tuple)):
        return [_entry(entry, sets) for entry in declared]
    return declared


def _entry(entry: t.Any, sets: t.Mapping[str, t.Any]) -> t.Any:
    if not isinstance(entry, t.Mapping) or not entry.get("gate"):
        return entry
    return {**entry, "gate": gate_with_tools(entry["gate"], sets)}


def gate_with_tools(gate: t.Any, sets: t.Mapping[str, t.Any]) -> t.Any:
    """Return a gate, or a list of its prompts, with tools in place of their names."""
    if isinstance(gate, (list, tuple)):
        return [_named(prompt, sets) for prompt in gate]
    gate = _named(gate, sets)
    if isinstance(gate, t.Mapping) and isinstance(gate.get("prompts"), (list, tuple)):
        return {**gate, "prompts": [_named(prompt, sets) for prompt in gate["prompts"]]}
    return gate


def _named(value: t.Any, sets: t.Mapping[str, t.Any]) -> t.Any:
    if isinstance(value, t.Mapping) and isinstance(value.get("tools"), str) and value["tools"] in sets:
        return {**value, "tools": sets[value["tools"]]}
    return value


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By its name."""
        return {"finetune_gate_tools": finetune_gate_tools}
