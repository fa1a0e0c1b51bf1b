# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: play_hosts
short_description: Check the extra variables of a play, and return its hosts
version_added: 0.1.0
description:
  - For the keyword C(hosts) of the playbooks of this collection. A play templates it before it does anything, so a
    wrong extra variable (C(-e)) is refused before the first task.
  - Refused are extra variables that this collection does not know but that look like its own, those of another
    playbook, those that had another name in an earlier version, and a file that does not exist.
  - With O(detached=true), the process says at its end, if it is interrupted (Ctrl-C), that the submitted work
    continues.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  _terms:
    description: The pattern of hosts.
    type: list
    elements: str
    required: true
  takes:
    description: The extra variables that only some playbooks take, and this one does.
    type: list
    elements: str
    default: []
  needs:
    description: Of O(takes), those of which at least one must be given. None when empty.
    type: list
    elements: str
    default: []
  files:
    description: Of O(takes), those that name a file on the controller that must exist.
    type: list
    elements: str
    default: []
  detached:
    description: Whether the play submits work that continues without it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Stop a fine-tune
  hosts: "{{ lookup('ia_homelab.llamafactory.play_hosts', 'pc_ia', takes=['finetune_name'], needs=['finetune_name']) }}"
"""

RETURN = r"""
_raw:
  description: The pattern of hosts, as given.
  type: list
  elements: str
"""

import os
import typing as t

from ansible import context
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars

from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _extra_vars, _interrupt


class LookupModule(LookupBase):
    """The lookup."""

    def run(self, terms: t.Any, variables: t.Any = None, **kwargs: t.Any) -> list[str]:
        """Return the hosts.

        :raises AnsibleLookupError: for an extra variable that would be ignored, or that is missing.
        """
        self.set_options(var_options=variables, direct=kwargs)
        given = {str(name): value for name, value in load_extra_vars(self._loader).items()}
        takes = self.get_option("takes")
        # a syntax check has no extra variables, and ansible-lint makes one
        needs = [] if context.CLIARGS.get("syntax") else self.get_option("needs")
        problems = _extra_vars.problems(given, takes, needs)
        for name in self.get_option("files"):
            path = os.path.abspath(os.path.expanduser(str(given.get(name) or "")))
            if given.get(name) and not os.path.isfile(path):
                hint = f" playbooks/plan.yml -e {name}=FILE writes it." if name == "finetune_plan_file" else ""
                problems.append(f"{name}: there is no file {path}.{hint}")
        if problems:
            raise AnsibleLookupError(" ".join(problems))
        if self.get_option("detached"):
            _interrupt.announce()
        return [str(term) for term in terms]
