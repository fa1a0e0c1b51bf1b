#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gguf
short_description: Convert merged weights to GGUF and quantize them
version_added: 0.1.0
description:
  - Converts merged weights with llama.cpp's C(convert_hf_to_gguf.py) and quantizes them with C(llama-quantize), several
    types in one go.
  - Before a file counts as made, its header is read, its tensors are counted, and the token ids of a sample are
    compared between the base model's tokenizer and the file.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  merged:
    description:
      - Fingerprint of the merged weights, as M(ia_homelab.llamafactory.merge) returns it.
      - Required unless O(runs) is given.
    type: str
  quantizations:
    description:
      - GGUF types, in any case. All but V(f16), V(bf16) and V(f32) are quantized from f16.
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
- name: Make two quantizations
  ia_homelab.llamafactory.gguf:
    merged: "{{ merged.fingerprint }}"
    quantizations: [q4_K_M, q8_0]
    data_dir: /data/llamafactory
    toolchain: "{{ llamafactory_toolchain }}"
  register: files
"""

RETURN = r"""
fingerprint:
  description: Fingerprint of the result, when there is exactly one.
  returned: when there is exactly one result
  type: str
  sample: 3fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9
path:
  description: Where that result lies on the host, or will lie.
  returned: when there is exactly one result
  type: str
  sample: /data/llamafactory/models/gguf/3fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9
outcome:
  description: Quantization, bytes and number of tensors of the file C(model.gguf).
  returned: when there is exactly one result
  type: dict
  sample: {quantization: q4_K_M, bytes: 4683073184, tensors: 339}
steps:
  description: All results, also those that were there already.
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
      description: Where it lies on the host, or will lie.
      type: str
    changed:
      description: Whether it had to be made.
      type: bool
    reason:
      description: In check mode, why it would be made.
      type: str
    outcome:
      description: What the step found out; empty until it has been made.
      type: dict
runs:
  description: The runs, to be handed on to the next step.
  returned: success
  type: list
  elements: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._finetune import plan_gguf
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._module import FOLLOW_SPEC, follow_step, toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._run import Run


def act(module: AnsibleModule) -> dict[str, t.Any]:
    def prepare(engine: Engine) -> Run:
        return plan_gguf(
            engine.layout, module.params["merged"], module.params["quantizations"], toolchain(module.params)
        )

    return follow_step(module, ("gguf", "gguf_adapter"), prepare)


def main() -> None:
    run_module(
        {
            **FOLLOW_SPEC,
            "merged": {"type": "str"},
            "quantizations": {"type": "list", "elements": "str", "default": ["q4_K_M"]},
        },
        act,
        required_one_of=[("merged", "runs")],
    )


if __name__ == "__main__":
    main()
