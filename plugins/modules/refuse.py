#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: refuse
short_description: Fail with the problems that were found
version_added: 0.1.0
description:
  - Fails if one of O(problems) is not empty. One task checks several conditions, none of which is printed as skipped,
    and all that is wrong is one message.
options:
  problems:
    description:
      - The texts of the failure, one for each condition. An expression gives an empty text where its condition is met.
    type: list
    elements: str
    default: []
  warnings:
    description:
      - Texts that are printed as warnings. Empty ones are left out.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.attributes.with_action
author:
  - ia_homelab contributors (@ia-homelab)
"""

EXAMPLES = r"""
- name: Check the declaration
  ia_homelab.llamafactory.refuse:
    problems:
      - "{{ '' if port | int > 1023 else 'The port is ' ~ port ~ '. Choose one above 1023.' }}"
    warnings:
      - "{{ 'The server has no password.' if password == '' else '' }}"
"""

RETURN = r"""
msg:
  description: The problems, one on each line.
  returned: failure
  type: str
  sample: The port is 80. Choose one above 1023.
"""
