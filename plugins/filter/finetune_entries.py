# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: finetune_entries
short_description: Return declared fine-tunes as a list
version_added: 0.1.0
description:
  - Fine-tunes are declared as a list, or as a dictionary by name. This filter returns a list in both cases, in declared
    order, in which each entry has its C(name).
author:
  - ia_homelab contributors (@ia-homelab)
options:
  _input:
    description: The fine-tunes, as declared.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Show the names of the declared fine-tunes
  ansible.builtin.debug:
    msg: "{{ finetunes | ia_homelab.llamafactory.finetune_entries | map(attribute='name') }}"
"""

RETURN = r"""
_value:
  description: The fine-tunes.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.entries import entries


def finetune_entries(declared: t.Any) -> list[dict[str, t.Any]]:
    """Return declared fine-tunes as a list.

    :raises AnsibleFilterError: if they are neither a list nor a dictionary by name.
    """
    try:
        return entries(declared)
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By its name."""
        return {"finetune_entries": finetune_entries}
