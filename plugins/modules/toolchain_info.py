#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: toolchain_info
short_description: Report which tools of a fine-tune are installed
version_added: 0.1.0
description:
  - Reports where LLaMA-Factory, llama.cpp and their environments belong on this host, which of them are missing, and
    what prevents installing them. Needs no root.
author:
  - ia_homelab contributors (@ia-homelab)
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.toolchain
seealso:
  - module: ia_homelab.llamafactory.toolchain
"""

EXAMPLES = r"""
- name: Look for the tools
  ia_homelab.llamafactory.toolchain_info:
    tools_dir: /data/llamafactory/tools
    pins: "{{ pins }}"
  register: tools

- name: Show what has to be installed
  ansible.builtin.debug:
    msg: "{{ tools.missing }}"
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
toolchain:
  description:
    - Where the tools are, or will be, and whether all of them are there. Without RV(toolchain.complete) it is a valid
      value of the option C(toolchain) of the modules that use them.
  returned: success
  type: dict
  contains:
    llamafactory_venv:
      description: Environment of LLaMA-Factory.
      type: str
      sample: /data/llamafactory/tools/llamafactory-a1752c9aca7e5c41
    converter_venv:
      description: Environment of llama.cpp's converter.
      type: str
      sample: /data/llamafactory/tools/converter-8d38bebc179ddc7e
    llama_cpp_dir:
      description: Directory of llama.cpp.
      type: str
      sample: /data/llamafactory/tools/llama.cpp-4461be6f4d210722
    complete:
      description: Whether all three are installed.
      type: bool
      sample: true
components:
  description: Every component by name, with C(path), C(key) (the end of its directory's name) and C(complete).
  returned: success
  type: dict
  sample:
    builder:
      path: /data/llamafactory/tools/builder-7fd64bd4e2655d9f
      key: 7fd64bd4e2655d9f
      complete: true
missing:
  description: The components to install, in this order, so that all of O(components) are there.
  returned: success
  type: list
  elements: str
  sample: [builder, llama_cpp]
problems:
  description: What prevents installing them.
  returned: success
  type: list
  elements: dict
  contains:
    subject:
      description: What is missing, V(python), V(venv) or V(c++).
      type: str
      sample: c++
    reason:
      description: One sentence.
      type: str
      sample: llama-quantize and llama-tokenize are compiled, which needs a C++ compiler.
    reason_message:
      description: The same as a message, with C(code), C(parameters) by name and C(text).
      type: dict
      sample:
        code: provisioning.no_compiler
        parameters: {programs: [llama-quantize, llama-tokenize]}
        text: llama-quantize and llama-tokenize are compiled, which needs a C++ compiler.
    packages:
      description: System packages that solve it, separated by blanks; empty if they are not known.
      type: str
      sample: g++
hint:
  description: What a user can do about the problems.
  returned: success
  type: str
  sample: "Run: sudo apt-get install g++"
python:
  description: Interpreter of the environments.
  returned: success
  type: dict
  contains:
    version:
      description: Its version.
      type: str
      sample: "3.11"
    path:
      description: Its path; empty if it is not needed or not installed yet.
      type: str
      sample: /usr/bin/python3.11
accelerator:
  description: What trainings run on, V(cuda) or V(cpu).
  returned: success
  type: str
  sample: cpu
versions:
  description: Pinned versions of the main packages.
  returned: success
  type: dict
  sample: {llamafactory: 0.9.5, torch: 2.9.1}
user_is_root:
  description: Whether the module runs as root.
  returned: success
  type: bool
  sample: false
has_apt:
  description: Whether the system installs packages with apt.
  returned: success
  type: bool
  sample: true
"""

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import STARTED_BY_ROOT
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import arguments, places
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.installation import install_command
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.system import has_apt


def inspect(module: AnsibleModule) -> dict[str, t.Any]:
    toolchain = arguments.toolchain(module.params)
    missing = toolchain.missing(module.params["components"])
    problems = toolchain.problems(missing)
    return {
        "changed": False,
        **arguments.report(toolchain, STARTED_BY_ROOT),
        "missing": missing,
        "problems": [problem.as_dict() for problem in problems],
        "hint": install_command(problem.packages for problem in problems),
        "python": dataclasses.asdict(toolchain.python),
        "accelerator": toolchain.accelerator,
        "versions": toolchain.versions(),
        "user_is_root": STARTED_BY_ROOT,
        "has_apt": has_apt(),
    }


def main() -> None:
    run_module(arguments.toolchain_spec(), inspect, provisions=places.works_in)


if __name__ == "__main__":
    main()
