#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: show
short_description: Print lines of text as they are
version_added: 0.1.0
description:
  - Prints lines for people to read, such as a table. M(ansible.builtin.debug) prints them as JSON unless another format
    is configured.
  - With a callback whose standard output is for a program, the lines are printed on standard error.
options:
  lines:
    description:
      - The lines.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.attributes.with_action
author:
  - ia_homelab contributors (@ia-homelab)
"""

EXAMPLES = r"""
- name: Show the runs
  ia_homelab.llamafactory.show:
    lines: "{{ jobs.runs | ia_homelab.llamafactory.job_table }}"
"""

RETURN = r"""
lines:
  description: The lines.
  returned: always
  type: list
  elements: str
  sample: ["RUN                   STATE", "model-3fa9c1d2e4b5    succeeded"]
"""
