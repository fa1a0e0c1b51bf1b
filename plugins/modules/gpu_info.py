#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Return the GPUs of a host and the processes that use them
version_added: 0.1.0
description:
  - Returns the NVIDIA GPUs known to the driver, their memory, and the processes that compute on them, without changing
    anything.
  - Each process is marked as belonging to a job of this collection or as foreign. A foreign process (a training that
    was started in the WebUI, a model that a server keeps loaded) uses memory that a fine-tune may need.
  - On a host without a driver the list of GPUs is empty.
options:
  accelerator:
    description:
      - Device that trainings run on. V(auto) selects V(cuda) if the NVIDIA driver is present.
    type: str
    choices: [auto, cuda, cpu]
    default: auto
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
notes:
  - A GPU that shares the machine's memory (GB10 of the DGX Spark) reports no memory size and is left out.
seealso:
  - module: ia_homelab.llamafactory.plan_info
author:
  - ia_homelab contributors (@ia-homelab)
"""

EXAMPLES = r"""
- name: Gather facts about the GPUs
  ia_homelab.llamafactory.gpu_info:
  register: gpus

- name: Show foreign processes on the GPUs
  ansible.builtin.debug:
    msg: "{{ item.user }}: {{ item.name }} ({{ item.pid }})"
  loop: "{{ gpus.processes | selectattr('foreign') }}"
  loop_control:
    label: "{{ item.pid }}"
"""

RETURN = r"""
accelerator:
  description: Device that trainings run on, V(cuda) or V(cpu).
  returned: success
  type: str
  sample: cuda
gpus:
  description: The GPUs, in the order of the driver.
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
      description: Total memory.
      type: int
      sample: 25757220864
    free_bytes:
      description: Memory that is not allocated now.
      type: int
      sample: 25260195840
    uuid:
      description: Identifier assigned by the driver.
      type: str
      sample: GPU-a44622e3-2296-6285-0a86-84d0f6c67900
    driver:
      description: Version of the driver.
      type: str
      sample: 580.95.05
processes:
  description: The processes that compute on the GPUs now.
  returned: success
  type: list
  elements: dict
  contains:
    pid:
      description: Process id.
      type: int
      sample: 52114
    name:
      description: Program of the process.
      type: str
      sample: /usr/bin/python3
    used_bytes:
      description: GPU memory it has allocated; null if the driver does not report it.
      type: int
      sample: 6599737344
    uuid:
      description: UUID of the GPU.
      type: str
      sample: GPU-a44622e3-2296-6285-0a86-84d0f6c67900
    user:
      description: Owner of the process; empty if it has ended or runs in another namespace.
      type: str
      sample: ollama
    job:
      description: Job of this collection that it belongs to; empty for a foreign process.
      type: str
      sample: ""
    foreign:
      description: Whether it is a foreign process.
      type: bool
      sample: true
ram:
  description: Memory of the machine, or of the container.
  returned: success
  type: dict
  contains:
    total:
      description: Total memory in bytes.
      type: int
      sample: 33565515776
    available:
      description: Bytes available without swapping.
      type: int
      sample: 27917287424
    swap:
      description: Size of the swap space in bytes.
      type: int
      sample: 2147479552
"""

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import gpus, memory


def collect(module: AnsibleModule) -> dict[str, t.Any]:
    devices = gpus.gpus()
    ram = memory.ram()
    return {
        "changed": False,
        "accelerator": gpus.accelerator(module.params["accelerator"]),
        "gpus": [dataclasses.asdict(gpu) for gpu in devices],
        "processes": [
            {**dataclasses.asdict(process), "foreign": not process.job}
            for process in (gpus.processes() if devices else [])
        ],
        "ram": dataclasses.asdict(ram) if ram else {},
    }


def main() -> None:
    run_module({"accelerator": {"type": "str", "choices": ["auto", "cuda", "cpu"], "default": "auto"}}, collect)


if __name__ == "__main__":
    main()
