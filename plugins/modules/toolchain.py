#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: toolchain
short_description: Install the tools of a fine-tune
version_added: 0.1.0
description:
  - Installs LLaMA-Factory and llama.cpp's converter into environments of their own, and builds C(llama-quantize),
    C(llama-tokenize), C(llama-imatrix) and C(llama-perplexity) from source. Every package is pinned.
  - A component is complete once its file C(.complete) is written, last of all. What an interrupted installation left is
    removed and built again. A lock keeps two plays from building the same component.
  - Needs no root. System packages that are missing (a C++ compiler, C(python3-venv)) are reported with the command that
    installs them.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  requirements_dir:
    description:
      - Directory on the host with the lock files, C(requirements-builder.txt) and so on.
      - It has to be readable, and writable only by the user of the module.
    type: path
    required: true
  index_url:
    description:
      - Package index. Empty for the one that the host's pip is configured for.
    type: str
    default: ""
  build_jobs:
    description:
      - Number of compilers that run at a time. V(0) derives it from the processors and the free memory.
    type: int
    default: 0
  keep_cache:
    description:
      - Keep the downloads. For a task that is followed by another one, which installs more components and links to the
        same files.
    type: bool
    default: false
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.toolchain
attributes:
  diff_mode:
    support: none
seealso:
  - module: ia_homelab.llamafactory.toolchain_info
notes:
  - The log of each component is C(.logs/<directory>.log) below O(tools_dir). To have a component built again, remove
    its directory.
"""

EXAMPLES = r"""
- name: Install LLaMA-Factory and llama.cpp
  ia_homelab.llamafactory.toolchain:
    tools_dir: /data/llamafactory/tools
    requirements_dir: /data/llamafactory/tools/.requirements
    pins: "{{ pins }}"
"""

RETURN = r"""
tools_dir:
  description: Directory in which the tools are, or will be.
  returned: success
  type: str
  sample: /opt/ia-homelab/tools
requirements_dir:
  description: Directory to which the lock files have to be copied before the components are installed.
  returned: success
  type: str
  sample: /opt/ia-homelab/tools/.requirements
installed:
  description: The components that were installed now, or that check mode predicts, in this order.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the component.
      type: str
      sample: llama_cpp
    path:
      description: Its directory.
      type: str
      sample: /data/llamafactory/tools/llama.cpp-4461be6f4d210722
    seconds:
      description: How long it took; V(0) in check mode.
      type: float
      sample: 342.5
toolchain:
  description: Where the tools are, as RV(ia_homelab.llamafactory.toolchain_info#module:toolchain).
  returned: success
  type: dict
components:
  description: Every component by name, as RV(ia_homelab.llamafactory.toolchain_info#module:components).
  returned: success
  type: dict
"""

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import STARTED_BY_ROOT
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import (
    arguments,
    installation,
    places,
)


def ensure(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    toolchain = arguments.toolchain(params)
    if module.check_mode:
        installed = [
            installation.Installed(name, toolchain.components[name].path, 0.0)
            for name in toolchain.missing(params["components"])
        ]
    else:
        installed = installation.install(
            toolchain,
            params["components"],
            params["requirements_dir"],
            index_url=params["index_url"],
            jobs=params["build_jobs"],
            keep_cache=params["keep_cache"],
        )
    return {
        "changed": bool(installed),
        "installed": [dataclasses.asdict(component) for component in installed],
        **arguments.report(toolchain, STARTED_BY_ROOT),
    }


def give_tools(module: AnsibleModule) -> None:
    """Give the owner of the directory around it a tools directory that root made there."""
    if not module.check_mode:
        places.give_tools(module.params["tools_dir"])


def main() -> None:
    run_module(
        {
            **arguments.toolchain_spec(),
            "requirements_dir": {"type": "path", "required": True},
            # It may contain a password.
            "index_url": {"type": "str", "default": "", "no_log": True},
            "build_jobs": {"type": "int", "default": 0},
            "keep_cache": {"type": "bool", "default": False},
        },
        ensure,
        provisions=places.works_in,
        prepare=give_tools,
    )


if __name__ == "__main__":
    main()
