#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: plan_info
short_description: Return the plan of fine-tunes on a host with reasons and requirements
version_added: 0.1.0
description:
  - For each declared fine-tune, returns the steps that would run, the inputs that changed since its last result with
    old and new value, and the GPU memory, RAM, disk space and time that each step requires. Nothing is changed.
  - The result can be saved to a file and passed later to the module M(ia_homelab.llamafactory.job), which refuses a
    stale plan. The playbook C(plan.yml) does that.
  - A fine-tune that does not fit the GPU or the machine is refused, with the nearest setting that fits.
options:
  finetunes:
    description:
      - Fine-tunes, as declared in C(finetunes) of the inventory. A list of entries, or a dictionary of entries by the
        name of the fine-tune.
      - The README of the role P(ia_homelab.llamafactory.finetune#role) lists their options.
    type: raw
    required: true
  saved:
    description:
      - Saved plans. If one is stale, the task fails with the changes.
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
- name: Plan a change of the learning rate
  ia_homelab.llamafactory.plan_info:
    data_dir: /data/llamafactory
    finetunes:
      - name: homelab-model
        base_model: qwen2.5:7b
        dataset: homelab_prompts
        learning_rate: 1e-4
  register: planned

- name: Show the plan
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
      description: Id of the future run.
      type: str
      sample: homelab-model-3fa9c1d2e4b5
    changed:
      description: Whether any step would run.
      type: bool
      sample: true
    pending:
      description: Labels of the steps that would run, in order.
      type: list
      elements: str
      sample: [train, merge, gguf-f16, gguf-q4_K_M, register-q4_K_M]
    previous:
      description: Time when the last result of that name, which the plan is compared with, finished; empty for none.
      type: str
      sample: "2026-01-01T10:00:00Z"
    method:
      description: Training method; for V(auto), the one selected on this host.
      type: str
      sample: qlora
    method_reason:
      description: Reason for the method, if V(auto) is declared.
      type: str
      sample: 12.9 GB of GPU memory, 515 MB in reserve; lora would take about 20.5 GB, qlora takes about 10.3 GB
    method_cause:
      description: The reason as a message, with C(code), C(parameters) and C(text); empty for none.
      type: dict
    base_unchecked:
      description: Why the files of the base model were not checked; empty if they were, or if nothing would be trained.
      type: str
      sample: its files are checked when it is applied
    base_unchecked_message:
      description: The same as a message; empty if they were.
      type: dict
    tool_format:
      description: How tools and calls are written for the model, V(template) or V(house); empty without a training.
      type: str
      sample: house
    tool_format_cause:
      description: The reason for the tool format as a message; empty if no row has tools and none is declared.
      type: dict
    thinking:
      description:
        - What becomes of thoughts in the training, V(keep) or V(off); V(from_rows) if the rows stay as they are,
          because nothing depends on it or a training of an earlier version exists; empty without a training.
      type: str
      sample: keep
    thinking_cause:
      description: The reason as a message; empty if nothing depends on it.
      type: dict
    steps:
      description: All steps in order, with fingerprint and state. Steps that would run also have the reasons below.
      type: list
      elements: dict
      contains:
        label:
          description: Label of the step.
          type: str
          sample: train
        runs:
          description: Whether the step would run.
          type: bool
          sample: true
        why:
          description: Reasons as text.
          type: list
          elements: str
          sample: [learning_rate 0.0001 → 0.0002]
        causes:
          description: The reasons as messages, each with C(code), C(parameters) and C(text).
          type: list
          elements: dict
          sample:
            - code: planning.changed
              parameters: {input: learning_rate, before: "0.0001", after: "0.0002"}
              text: learning_rate 0.0001 → 0.0002
        changes:
          description: The inputs that changed, each with C(input), C(before), C(after) and C(detail).
          type: list
          elements: dict
          sample: [{input: learning_rate, before: "0.0001", after: "0.0002", detail: ""}]
        takes:
          description: >-
            Requirements C(vram_bytes), C(ram_bytes), C(disk_bytes), C(optimizer_steps) and C(seconds), as far as known.
          type: dict
          sample: {vram_bytes: 10300000000, ram_bytes: 4700000000, disk_bytes: 900000000, seconds: 840.0}
    needs:
      description: >-
        What the steps that would run need together: the sum of C(disk_bytes) and C(seconds), and the peak of
        C(ram_bytes) and C(vram_bytes), as far as known.
      type: dict
      sample: {vram_bytes: 10300000000, ram_bytes: 15900000000, disk_bytes: 40200000000, seconds: 1080.0}
    host:
      description: Total and free resources of the host.
      type: dict
      sample: {vram_bytes: 12884901888, vram_free_bytes: 12465471488, disk_free_bytes: 210000000000}
    warnings:
      description: Warnings about insufficient resources.
      type: list
      elements: str
    warning_messages:
      description: The warnings as messages, each with C(code), C(parameters) and C(text).
      type: list
      elements: dict
text:
  description: The plans as text.
  returned: success
  type: str
  sample: "homelab-model: nothing to do\n"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.entries import entries
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.plans import plans_of, text_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._step_module import HOST_SPEC, toolchain


def collect(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    engine = Engine(params["data_dir"])
    host = Host(toolchain(params), params["accelerator"], params["datasets"], write=False)
    runs = [plan(engine.layout, Request.finetune(declared), host) for declared in entries(params["finetunes"])]
    previews = [(run, engine.preview(run)) for run in runs]
    obstacles = engine.obstacles(runs)
    plans = plans_of(engine.layout, previews, params["accelerator"], params["datasets"], params["saved"], obstacles)
    for warning in [warning for each in plans for warning in each["warnings"]]:
        module.warn(warning)
    return {"changed": False, "plans": plans, "text": text_of(plans)}


def main() -> None:
    run_module(
        {
            **HOST_SPEC,
            "finetunes": {"type": "raw", "required": True},
            "datasets": {"type": "dict", "default": {}},
            "saved": {"type": "list", "elements": "dict"},
            "accelerator": {"type": "str", "choices": ["auto", "cuda", "cpu"], "default": "auto"},
        },
        collect,
        reads_only=True,
    )


if __name__ == "__main__":
    main()
