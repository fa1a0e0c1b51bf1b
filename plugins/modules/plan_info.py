#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: plan_info
short_description: Tell what fine-tuning would do on a host, why, and what it takes
version_added: 0.1.0
description:
  - For each declared fine-tune, tells which steps would run and which of their inputs changed since its last result,
    from what to what; and what each takes of GPU memory, RAM, disk and time. Nothing is changed.
  - What it returns can be kept in a file and given to the module M(ia_homelab.llamafactory.job) later, which refuses
    it when something else would be done by then. The playbook C(plan.yml) does that.
  - A fine-tune that cannot fit the GPU or the machine is refused, with the nearest setting that fits.
options:
  finetunes:
    description:
      - What is wanted, as declared in C(finetunes) of the inventory. See the role
        P(ia_homelab.llamafactory.finetune#role) for its keys.
    type: list
    elements: dict
    required: true
  saved:
    description:
      - Plans that were made before. When something else would be done now, the task fails and says what changed.
    type: list
    elements: dict
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.follow.host
  - ia_homelab.llamafactory.follow.accelerator
  - ia_homelab.llamafactory.follow.datasets
seealso:
  - module: ia_homelab.llamafactory.job
  - module: ia_homelab.llamafactory.gpu_info
author:
  - ia_homelab contributors (@ia-homelab)
"""

EXAMPLES = r"""
- name: Look what a change of the learning rate would do
  ia_homelab.llamafactory.plan_info:
    data_dir: /data/llamafactory
    finetunes:
      - name: homelab-model
        base_model: qwen2.5:7b
        dataset: homelab_prompts
        learning_rate: 1e-4
  register: planned

- name: Show it
  ansible.builtin.debug:
    msg: "{{ planned.text.splitlines() }}"
"""

RETURN = r"""
plans:
  description: One plan for each fine-tune, in declared order.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the fine-tune.
      type: str
      sample: homelab-model
    run:
      description: Id the run will have.
      type: str
      sample: homelab-model-3fa9c1d2e4b5
    changed:
      description: Whether anything would be done.
      type: bool
      sample: true
    pending:
      description: Labels of the steps that would run, in order.
      type: list
      elements: str
      sample: [train, merge, gguf-f16, gguf-q4_K_M, register-q4_K_M]
    previous:
      description: When the last result of that name was finished, which this is compared with; empty for none.
      type: str
      sample: "2026-01-01T10:00:00Z"
    method:
      description: How the weights are changed; what V(auto) comes to on this host.
      type: str
      sample: qlora
    method_reason:
      description: Why, where V(auto) is declared.
      type: str
      sample: 12.9 GB of GPU memory, 515 MB in reserve; lora would take about 20.5 GB, qlora takes about 10.3 GB
    steps:
      description: All steps in order, with fingerprint, state, and of those that would run what follows.
      type: list
      elements: dict
      contains:
        label:
          description: Name of the step.
          type: str
          sample: train
        runs:
          description: Whether it would run.
          type: bool
          sample: true
        why:
          description: Why, in words.
          type: list
          elements: str
          sample: [learning_rate 0.0001 → 0.0002]
        changes:
          description: The inputs that changed, each with C(input), C(before), C(after) and C(detail).
          type: list
          elements: dict
          sample: [{input: learning_rate, before: "0.0001", after: "0.0002", detail: ""}]
        takes:
          description: C(vram_bytes), C(ram_bytes), C(disk_bytes) and C(seconds), as far as they can be told.
          type: dict
          sample: {vram_bytes: 10300000000, ram_bytes: 4700000000, disk_bytes: 900000000, seconds: 840.0}
    host:
      description: What the host has of them, all and free.
      type: dict
      sample: {vram_bytes: 12884901888, vram_free_bytes: 12465471488, disk_free_bytes: 210000000000}
    warnings:
      description: What is short.
      type: list
      elements: str
text:
  description: The plans for people to read.
  returned: success
  type: str
  sample: "homelab-model: nothing to do\n"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._edge import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._finetune import plan_run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._module import HOST_SPEC, toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._plans import plans_of, text_of


def look(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    engine = Engine(params["data_dir"])
    runs = [
        plan_run(
            engine.layout,
            declared,
            toolchain(params),
            datasets=params["datasets"],
            accelerator=params["accelerator"],
            write=False,
        )
        for declared in params["finetunes"]
    ]
    seen = [(run, engine.preview(run)) for run in runs]
    plans = plans_of(engine.layout, seen, params["accelerator"], params["datasets"], params["saved"])
    for warning in [warning for plan in plans for warning in plan["warnings"]]:
        module.warn(warning)
    return {"changed": False, "plans": plans, "text": text_of(plans)}


def main() -> None:
    run_module(
        {
            **HOST_SPEC,
            "finetunes": {"type": "list", "elements": "dict", "required": True},
            "datasets": {"type": "dict", "default": {}},
            "saved": {"type": "list", "elements": "dict"},
            "accelerator": {"type": "str", "choices": ["auto", "cuda", "cpu"], "default": "auto"},
        },
        look,
        reads_only=True,
    )


if __name__ == "__main__":
    main()
