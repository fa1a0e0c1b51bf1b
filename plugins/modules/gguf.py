#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gguf
short_description: Convert merged weights, or an adapter beside its base, to GGUF and quantize them
version_added: 0.1.0
description:
  - Converts merged weights with llama.cpp's C(convert_hf_to_gguf.py) and quantizes them with C(llama-quantize), to
    several types in one task.
  - A file counts as complete only after its header was read, its tensors were counted, and the token ids of a sample
    were compared between the base model's tokenizer and the file.
  - With O(adapter) nothing is merged. C(convert_lora_to_gguf.py) converts the adapter to a separate file in the step
    C(gguf-adapter), and the base is converted and quantized once.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  merged:
    description:
      - Fingerprint of the merged weights, as M(ia_homelab.llamafactory.merge) returns it.
      - Exactly one of O(merged) and O(adapter) is required unless O(runs) is given.
    type: str
  adapter:
    description:
      - Fingerprint of a training, as M(ia_homelab.llamafactory.train) returns it, to be converted without being merged.
      - Creates a GGUF file of the adapter, and files of its base in the types O(quantizations), which all fine-tunes of
        that base share. M(ia_homelab.llamafactory.ollama_model) registers both together. C(export=adapter) of a
        declared fine-tune does the same.
      - Only for the methods V(lora) and V(qlora). Refused if the adapter does not contain everything that was trained.
    type: str
  quantizations:
    description:
      - GGUF types, case-insensitive. All types except V(f16), V(bf16) and V(f32) are quantized from f16.
    type: list
    elements: str
    default: [q4_K_M]
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.follow
  - ia_homelab.llamafactory.follow.host
attributes:
  diff_mode:
    support: none
seealso:
  - module: ia_homelab.llamafactory.merge
  - module: ia_homelab.llamafactory.ollama_model
"""

EXAMPLES = r"""
- name: Create two quantizations
  ia_homelab.llamafactory.gguf:
    merged: "{{ merged.fingerprint }}"
    quantizations: [q4_K_M, q8_0]
    data_dir: /data/llamafactory
    toolchain: "{{ llamafactory_toolchain }}"
  register: files

- name: Convert the adapter and its base to separate GGUF files
  ia_homelab.llamafactory.gguf:
    adapter: "{{ trained.fingerprint }}"
    quantizations: [q4_K_M]
    data_dir: /data/llamafactory
    toolchain: "{{ llamafactory_toolchain }}"
  register: beside
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
  sample: /data/llamafactory/models/gguf/3fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9
outcome:
  description: Quantization, bytes and number of tensors of the file C(model.gguf).
  returned: when there is exactly one result
  type: dict
  sample: {quantization: q4_K_M, bytes: 4683073184, tensors: 339}
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
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import (
    Host,
    Request,
    Result,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._step_module import (
    FOLLOW_SPEC,
    follow_step,
    toolchain,
)


def act(module: AnsibleModule) -> dict[str, t.Any]:
    def prepare(engine: Engine) -> Run:
        adapter = module.params["adapter"]
        start = Result("train", adapter) if adapter else Result("merge", module.params["merged"])
        request = Request.gguf(start, module.params["quantizations"])
        return plan(engine.layout, request, Host(toolchain(module.params)))

    return follow_step(module, KINDS_OF_MODULE["gguf"], prepare)


def main() -> None:
    run_module(
        {
            **FOLLOW_SPEC,
            "merged": {"type": "str"},
            "adapter": {"type": "str"},
            "quantizations": {"type": "list", "elements": "str", "default": ["q4_K_M"]},
        },
        act,
        required_one_of=[("merged", "adapter", "runs")],
        mutually_exclusive=[("merged", "adapter", "runs")],
    )


if __name__ == "__main__":
    main()
