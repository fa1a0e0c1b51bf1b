#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: train
short_description: Fine-tune a base model on a dataset
version_added: 0.1.0
description:
  - Trains with C(llamafactory-cli train). The result is identified by the hyperparameters that affect it, the base and
    the dataset, so a second run of the task trains nothing.
  - The training continues when the connection to the controller is lost; running the task again attaches to it. A
    training that was stopped or killed resumes from its last complete checkpoint.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  name:
    description:
      - Name of the fine-tune, of at most 80 letters, digits, C(.), C(_) and C(-). It does not affect the result.
      - Required unless O(runs) is given.
    type: str
  base_model:
    description:
      - Ollama-style name, Hugging Face id, or absolute path of a directory on the host.
    type: str
  base_revision:
    description:
      - Branch, tag or commit of the Hugging Face repository.
    type: str
    default: main
  dataset:
    description:
      - Name of a dataset that M(ia_homelab.llamafactory.dataset) has published.
    type: str
  accelerator:
    description:
      - Device to train on. V(auto) selects V(cuda) if there is an NVIDIA GPU.
    type: str
    choices: [auto, cuda, cpu]
    default: auto
  memory_check:
    description:
      - Handling of a training whose memory estimate exceeds the GPU or the machine.
      - V(enforce) refuses it and names the nearest setting that fits. V(warn) starts it nevertheless.
    type: str
    choices: [enforce, warn]
    default: enforce
  preflight_check:
    description:
      - Handling of a training for which the disk is too small as it is now.
      - V(enforce) refuses it before anything runs. V(warn) starts it nevertheless.
    type: str
    choices: [enforce, warn]
    default: enforce
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.follow
  - ia_homelab.llamafactory.follow.host
  - ia_homelab.llamafactory.hyperparameters
attributes:
  diff_mode:
    support: none
seealso:
  - module: ia_homelab.llamafactory.dataset
  - module: ia_homelab.llamafactory.merge
"""

EXAMPLES = r"""
- name: Train a LoRA adapter
  ia_homelab.llamafactory.train:
    name: homelab-model
    base_model: qwen2.5:7b
    dataset: homelab_prompts
    lora_rank: 16
    epochs: 3
    data_dir: /data/llamafactory
    toolchain: "{{ llamafactory_toolchain }}"
  register: trained

- name: Fetch the loss plot
  ansible.builtin.fetch:
    src: "{{ trained.path }}/{{ trained.outcome.loss_plot }}"
    dest: plots/
"""

RETURN = r"""
fingerprint:
  description: Fingerprint of the result, when there is exactly one.
  returned: when there is exactly one result
  type: str
  sample: 3fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9
path:
  description: Path of that result on the host, also if it does not exist yet.
  returned: when there is exactly one result
  type: str
  sample: /data/llamafactory/outputs/adapters/3fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9
outcome:
  description: Metrics, steps, duration in seconds and the name of the loss plot of the training.
  returned: when there is exactly one result
  type: dict
  sample: {method: lora, steps: 100, loss_plot: training_loss.png, duration_seconds: 20.3, metrics: {train_loss: 0.62}}
steps:
  description: All results, including those that existed before.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the fine-tune.
      type: str
    step:
      description: Label of the step.
      type: str
    fingerprint:
      description: Fingerprint of the result.
      type: str
    path:
      description: Path of the result on the host, also if it does not exist yet.
      type: str
    changed:
      description: Whether the step had to run.
      type: bool
    reason:
      description: In check mode, why the step would run.
      type: str
    outcome:
      description: Results of the step; empty until it has run.
      type: dict
runs:
  description: The runs, to be passed to the task of the next step.
  returned: success
  type: list
  elements: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.kinds import KINDS_OF_MODULE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import (
    argument_spec,
    option_names,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._step_module import (
    FOLLOW_SPEC,
    follow_step,
    toolchain,
)

#: Options of a fine-tune beside its hyperparameters.
DECLARED = ("name", "base_model", "base_revision", "dataset", "memory_check", "preflight_check")


def act(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params

    def prepare(engine: Engine) -> Run:
        declared = {name: params[name] for name in (*DECLARED, *option_names("train")) if params[name] is not None}
        host = Host(toolchain(params), params["accelerator"], write=not module.check_mode)
        return plan(engine.layout, Request.finetune(declared, Goal.TRAIN), host)

    return follow_step(module, KINDS_OF_MODULE["train"], prepare)


def main() -> None:
    run_module(
        {
            **FOLLOW_SPEC,
            **argument_spec("train"),
            "name": {"type": "str"},
            "base_model": {"type": "str"},
            "base_revision": {"type": "str", "default": "main"},
            "dataset": {"type": "str"},
            "accelerator": {"type": "str", "choices": ["auto", "cuda", "cpu"], "default": "auto"},
            "memory_check": {"type": "str", "choices": ["enforce", "warn"], "default": "enforce"},
            "preflight_check": {"type": "str", "choices": ["enforce", "warn"], "default": "enforce"},
        },
        act,
        required_one_of=[("name", "runs")],
        mutually_exclusive=[("name", "runs")],
        required_by={"name": ("base_model", "dataset")},
    )


if __name__ == "__main__":
    main()
