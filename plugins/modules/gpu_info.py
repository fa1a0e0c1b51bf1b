#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Look at the GPUs of a host, and at who is on them
version_added: 0.1.0
description:
  - Tells which NVIDIA GPUs the driver knows, their memory, and the processes that compute on them, without changing
    anything.
  - A process is told apart by whether it belongs to a job of this collection. A stranger's (a training that was
    started in the WebUI, a model that a server keeps loaded) takes memory that a fine-tune may need.
  - On a host without a driver there are simply no GPUs.
options:
  accelerator:
    description:
      - What trainings are to run on. V(auto) looks for the NVIDIA driver.
    type: str
    choices: [auto, cuda, cpu]
    default: auto
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
notes:
  - A GPU that shares the machine's memory (GB10 of the DGX Spark) tells no size of its own and is left out.
seealso:
  - module: ia_homelab.llamafactory.plan_info
author:
  - ia_homelab contributors (@ia-homelab)
"""

EXAMPLES = r"""
- name: Look at the GPUs
  ia_homelab.llamafactory.gpu_info:
  register: gpus

- name: Tell who else is on them
  ansible.builtin.debug:
    msg: "{{ item.user }}: {{ item.name }} ({{ item.pid }})"
  loop: "{{ gpus.processes | selectattr('foreign') }}"
  loop_control:
    label: "{{ item.pid }}"
"""

RETURN = r"""
accelerator:
  description: What trainings run on here, V(cuda) or V(cpu).
  returned: success
  type: str
  sample: cuda
gpus:
  description: The GPUs, as the driver counts them.
  returned: success
  type: list
  elements: dict
  contains:
    index:
      description: Number of the GPU.
      type: int
      sample: 0
    name:
      description: Product name.
      type: str
      sample: NVIDIA GeForce RTX 4090
    total_bytes:
      description: All its memory.
      type: int
      sample: 25757220864
    free_bytes:
      description: Memory that nobody holds now.
      type: int
      sample: 25260195840
    uuid:
      description: The driver's id of it.
      type: str
      sample: GPU-a44622e3-2296-6285-0a86-84d0f6c67900
    driver:
      description: Version of the driver.
      type: str
      sample: 580.95.05
processes:
  description: The processes that compute on them now.
  returned: success
  type: list
  elements: dict
  contains:
    pid:
      description: Process id.
      type: int
      sample: 52114
    name:
      description: Its program.
      type: str
      sample: /usr/bin/python3
    used_bytes:
      description: Memory it holds on the GPU; nothing where the driver does not tell.
      type: int
      sample: 6599737344
    uuid:
      description: The GPU.
      type: str
      sample: GPU-a44622e3-2296-6285-0a86-84d0f6c67900
    user:
      description: Whose it is.
      type: str
      sample: ollama
    job:
      description: The job of this collection that it belongs to; empty for a stranger's.
      type: str
      sample: ""
    foreign:
      description: Whether it is a stranger's.
      type: bool
      sample: true
ram:
  description: The machine's memory, or that of the container.
  returned: success
  type: dict
  contains:
    total:
      description: All of it, in bytes.
      type: int
      sample: 33565515776
    available:
      description: What can be had without swapping.
      type: int
      sample: 27917287424
    swap:
      description: Room it can be swapped to.
      type: int
      sample: 2147479552
"""

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import gpus, memory


def look(module: AnsibleModule) -> dict[str, t.Any]:
    found = gpus.gpus()
    ram = memory.ram()
    return {
        "changed": False,
        "accelerator": gpus.accelerator(module.params["accelerator"]),
        "gpus": [dataclasses.asdict(gpu) for gpu in found],
        "processes": [
            {**dataclasses.asdict(process), "foreign": not process.job}
            for process in (gpus.processes() if found else [])
        ],
        "ram": dataclasses.asdict(ram) if ram else {},
    }


def main() -> None:
    run_module({"accelerator": {"type": "str", "choices": ["auto", "cuda", "cpu"], "default": "auto"}}, look)


if __name__ == "__main__":
    main()
