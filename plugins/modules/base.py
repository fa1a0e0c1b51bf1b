#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: base
short_description: Provide a base model on the host
version_added: 0.1.0
description:
  - Resolves the name of a base model to one commit of its Hugging Face repository, and downloads the weights. A local
    directory is used in place.
  - The commit is recorded at the first resolution and kept until the declared name or revision changes, so that a later
    run needs no network and does not train on other weights unnoticed.
  - The download does not occupy the GPU. It resumes after an interruption, and continues when the connection to the
    controller is lost. For gated weights the token is checked before the download starts.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  name:
    description:
      - Ollama-style name (V(qwen2.5:7b)), Hugging Face id (V(Qwen/Qwen2.5-7B-Instruct)), or absolute path of a
        directory on the host with weights, tokenizer and C(config.json).
      - Required unless O(runs) is given.
    type: str
  revision:
    description:
      - Branch, tag or commit of the Hugging Face repository.
    type: str
    default: main
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.follow
  - ia_homelab.llamafactory.follow.host
attributes:
  diff_mode:
    support: none
seealso:
  - module: ia_homelab.llamafactory.train
"""

EXAMPLES = r"""
- name: Provide Qwen2.5 7B
  ia_homelab.llamafactory.base:
    name: qwen2.5:7b
    data_dir: /data/llamafactory
    toolchain: "{{ llamafactory_toolchain }}"
  register: base
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
  sample: /data/llamafactory/models/base/3fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9
outcome:
  description: Location, repository and commit of the weights, and the chat template of the family.
  returned: when there is exactly one result
  type: dict
  sample: {hub: Qwen/Qwen2.5-7B-Instruct, commit: a09a35458c702b33eeacc393d103063234e8bc28, template: qwen}
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
        request = Request.base_model(module.params["name"], module.params["revision"])
        return plan(engine.layout, request, Host(toolchain(module.params), write=not module.check_mode))

    return follow_step(module, KINDS_OF_MODULE["base"], prepare)


def main() -> None:
    run_module(
        {**FOLLOW_SPEC, "name": {"type": "str"}, "revision": {"type": "str", "default": "main"}},
        act,
        required_one_of=[("name", "runs")],
        mutually_exclusive=[("name", "runs")],
    )


if __name__ == "__main__":
    main()
