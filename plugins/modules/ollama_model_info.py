#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_info
short_description: Tell which versions of a model there are, and what each was made from
version_added: 0.1.0
description:
  - Tells what is served under the tags people use, what was before, and whether a rollback holds it.
  - Follows the receipts of each version back to its GGUF file, merged weights, adapter, base and dataset, and to the
    commit of git of the prompts. Receipts outlive the files they tell of.
  - Names what was changed or removed in Ollama by somebody else.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  name:
    description:
      - Name of the model, without a tag. All that were registered from here by default.
    type: str
  ollama_url:
    description:
      - Base URL of the Ollama server, as seen from the host.
    type: str
    default: http://127.0.0.1:11434
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.common
seealso:
  - module: ia_homelab.llamafactory.ollama_model
  - module: ia_homelab.llamafactory.job_info
"""

EXAMPLES = r"""
- name: Know what is served
  ia_homelab.llamafactory.ollama_model_info:
    name: homelab-model
    data_dir: /data/llamafactory
  register: known

- name: Show the commit of the prompts
  ansible.builtin.debug:
    msg: "{{ (known.models[0].versions[0].lineage | selectattr('step', 'eq', 'train') | first).facts.sources }}"
"""

RETURN = r"""
models:
  description: The models.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the model.
      type: str
      sample: homelab-model
    served:
      description: For each tag people use, C(version), empty where it is none of these, and C(digest).
      type: dict
      sample: {"homelab-model:latest": {version: "homelab-model:3fa9c1d2e4b5-q4_K_M", digest: 9a83b14fee83}}
    declared:
      description: The version that was declared last.
      type: str
    previous:
      description: The version a rollback puts back. Empty when there is none.
      type: str
    hold:
      description: What a rollback holds, with C(tag), C(against) and C(at). Empty when nothing is held.
      type: dict
    drift:
      description: What is not as it was left.
      type: list
      elements: str
      sample: ["homelab-model:latest is another model than homelab-model:3fa9c1d2e4b5-q4_K_M"]
    versions:
      description: All versions, the latest first.
      type: list
      elements: dict
      contains:
        tag:
          description: Its full name in Ollama.
          type: str
        digest:
          description: Digest of its manifest. Empty when it is not there.
          type: str
        there:
          description: Whether Ollama has it.
          type: bool
        registered_at:
          description: When it was registered.
          type: str
        promoted_at:
          description: When a tag people use was last moved to it. Empty when none was.
          type: str
        pruned_at:
          description: When its files were removed. Empty when they were not.
          type: str
        gate:
          description: How its gate was answered last, with C(passed), C(at), C(met) and C(asked). Empty without a gate.
          type: dict
        path:
          description: Where its receipt and its model card lie.
          type: str
        lineage:
          description:
            - What it was made from, the nearest first. Each has C(step), C(fingerprint), C(path), C(there),
              C(pruned_at), C(finished_at), C(run) and C(facts).
          type: list
          elements: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._edge import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ollama import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._versions import names, overview


def body(module: AnsibleModule) -> dict[str, t.Any]:
    layout = Layout(module.params["data_dir"])
    ollama = Ollama(module.params["ollama_url"])
    name = module.params["name"]
    return {"changed": False, "models": [overview(layout, ollama, one) for one in ([name] if name else names(layout))]}


def main() -> None:
    run_module(
        {
            "data_dir": {"type": "path", "required": True},
            "name": {"type": "str"},
            "ollama_url": {"type": "str", "default": "http://127.0.0.1:11434"},
        },
        body,
        reads_only=True,
    )


if __name__ == "__main__":
    main()
