#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: merge
short_description: Merge an adapter into its base model
version_added: 0.1.0
description:
  - Merges the result of M(ia_homelab.llamafactory.train) into the 16-bit base with C(llamafactory-cli export), on the
    CPU, and restores the base's tokenizer files, which the export omits or rewrites.
  - For the methods V(full) and V(freeze) there is no adapter; the trained weights are exported in the same way.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  adapter:
    description:
      - Fingerprint of the training, as M(ia_homelab.llamafactory.train) returns it.
      - Required unless O(runs) is given.
    type: str
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.follow
  - ia_homelab.llamafactory.follow.host
attributes:
  diff_mode:
    support: none
notes:
  - An adapter can be served without being merged, see O(ia_homelab.llamafactory.gguf#module:adapter).
seealso:
  - module: ia_homelab.llamafactory.train
  - module: ia_homelab.llamafactory.gguf
"""

EXAMPLES = r"""
- name: Merge the adapter into its base
  ia_homelab.llamafactory.merge:
    adapter: "{{ trained.fingerprint }}"
    data_dir: /data/llamafactory
    toolchain: "{{ llamafactory_toolchain }}"
  register: merged
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
  sample: /data/llamafactory/models/merged/3fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9
outcome:
  description: Number of tensors, bytes and type of the merged weights.
  returned: when there is exactly one result
  type: dict
  sample: {tensors: 339, bytes: 15231233024, dtype: bfloat16}
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
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._step_module import (
    FOLLOW_SPEC,
    follow_step,
    toolchain,
)


def act(module: AnsibleModule) -> dict[str, t.Any]:
    def prepare(engine: Engine) -> Run:
        return plan(engine.layout, Request.merge(module.params["adapter"]), Host(toolchain(module.params)))

    return follow_step(module, KINDS_OF_MODULE["merge"], prepare)


def main() -> None:
    run_module(
        {**FOLLOW_SPEC, "adapter": {"type": "str"}},
        act,
        required_one_of=[("adapter", "runs")],
        mutually_exclusive=[("adapter", "runs")],
    )


if __name__ == "__main__":
    main()
