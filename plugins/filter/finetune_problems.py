# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: finetune_problems
short_description: Return what is wrong in declared fine-tunes
version_added: 0.1.0
description:
  - Checks the names, types, bounds and choices of all options of the declared fine-tunes.
  - Whether the base model and the dataset exist and the training fits the host is only known on the host, and not
    checked here.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  _input:
    description: The fine-tunes, as declared. A list, or a dictionary by name.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Refuse wrong declarations
  ansible.builtin.assert:
    that: finetunes | ia_homelab.llamafactory.finetune_problems | length == 0
    fail_msg: "{{ finetunes | ia_homelab.llamafactory.finetune_problems | join(' ') }}"
"""

RETURN = r"""
_value:
  description: One message for each fine-tune that is wrong; empty if all are valid.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import declared_problems


def finetune_problems(declared: t.Any) -> list[str]:
    """Return one message for each declared fine-tune that is wrong."""
    return declared_problems(declared)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By its name."""
        return {"finetune_problems": finetune_problems}
