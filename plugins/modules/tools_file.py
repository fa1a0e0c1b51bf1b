#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: tools_file
short_description: Read declared tools from a file, or write the file from a live MCP server
version_added: 0.1.0
description:
  - Tools that rows of a dataset and gates name are kept in a file in git. This module reads the file on the control
    machine and checks every schema in it, or fetches the tools from an MCP server and writes the file.
  - Everything happens on the control machine. No tool is ever called.
options:
  name:
    description:
      - Name of the tools, which rows and gates give.
    type: str
    required: true
  src:
    description:
      - File with a JSON list of tools as OpenAI's API has them (C(type), C(function) with C(name), C(description) and
        C(parameters)), searched where M(ia_homelab.llamafactory.dataset) searches files of rows. It may be encrypted
        with Ansible Vault.
      - If you have none yet, O(state=fetched) writes a relative path below C(files/) beside the playbook that was
        started, or beside the inventory if that is a playbook of the installed collection.
    type: str
    required: true
  state:
    description:
      - V(present) reads the file. If the server O(mcp) answers and offers other tools, or answers incorrectly, there is
        a warning. If it does not answer within O(timeout), there is none.
      - V(fetched) writes the file as the server O(mcp) offers the tools, if they differ. Tools are sorted by name,
        references in schemas are replaced by what they refer to, and what servers of models do not receive is left out
        and named in a warning.
    type: str
    choices: [present, fetched]
    default: present
  mcp:
    description:
      - URL of an MCP server over streamable HTTP.
    type: str
  include:
    description:
      - Names of the tools to take from the server. All of them by default.
    type: list
    elements: str
    default: []
  token_file:
    description:
      - File on the control machine with the bearer token of the server. It may be encrypted with Ansible Vault.
    type: str
  timeout:
    description:
      - How long to wait for the server, in seconds. By default 60 with O(state=fetched), and otherwise 5.
    type: float
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.attributes.with_action
attributes:
  diff_mode:
    support: full
notes:
  - An error of the server, or in a schema, leaves the file as it was.
seealso:
  - module: ia_homelab.llamafactory.dataset
author:
  - ia_homelab contributors (@ia-homelab)
"""

EXAMPLES = r"""
- name: Read the tools of the homelab
  ia_homelab.llamafactory.tools_file:
    name: homelab
    src: tools/homelab.json
  register: homelab_tools

- name: Fetch them from the server that offers them
  ia_homelab.llamafactory.tools_file:
    name: homelab
    src: tools/homelab.json
    state: fetched
    mcp: http://pc-ia.home.arpa:9000/mcp
    include: [request_media, search_episodes]
"""

RETURN = r"""
name:
  description: Name of the tools.
  returned: success
  type: str
  sample: homelab
path:
  description: Path of the file on the control machine.
  returned: success
  type: str
  sample: /home/ops/homelab/playbooks/files/tools/homelab.json
tools:
  description: The tools.
  returned: success
  type: list
  elements: dict
names:
  description: Names of the functions.
  returned: success
  type: list
  elements: str
  sample: [backup_status, request_media]
sha256:
  description: Digest of the tools; white space in the file does not change it.
  returned: success
  type: str
  sample: b0aa10db3c481682bb847cb9d356cbe7b0dfdf5cd7d446e2c4f55345faf6c4af
live:
  description: Whether the live server offers the same tools, V(same) or V(different).
  returned: when O(state=present) and the server answers
  type: str
  sample: same
left_out:
  description: Parts of the schemas that are not in the file, with their paths and the reason.
  returned: when O(state=fetched)
  type: list
  elements: str
  sample: ["request_media.year.default: no server receives this key of a tool"]
"""
