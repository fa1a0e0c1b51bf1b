#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: finetunes
short_description: Plan and submit the declared fine-tunes of a host
version_added: 0.1.0
description:
  - Reads declared tools, checks the declaration, prints the plan, publishes the datasets and submits the runs, in this
    order. Nothing is published or submitted if a part of it fails before.
  - The parts are the modules M(ia_homelab.llamafactory.tools_file), M(ia_homelab.llamafactory.dataset) and
    M(ia_homelab.llamafactory.job), which can also be used alone.
options:
  state:
    description:
      - V(planned) prints the plan and changes nothing.
      - V(submitted) prints the plan, and then publishes the datasets and submits the runs. It does not wait for them.
      - V(shown) prints what O(runs) have made.
    type: str
    choices: [planned, submitted, shown]
    default: submitted
  finetunes:
    description:
      - Fine-tunes. A list of entries, or a dictionary of entries by the name of the fine-tune.
      - The README of the role P(ia_homelab.llamafactory.finetune#role) lists their options.
    type: raw
  datasets:
    description:
      - The datasets. Each entry has options of the module M(ia_homelab.llamafactory.dataset).
    type: list
    elements: dict
    default: []
  tools:
    description:
      - Declared tools. Each entry has options of the module M(ia_homelab.llamafactory.tools_file).
    type: list
    elements: dict
    default: []
  plan_file:
    description:
      - A plan that C(playbooks/plan.yml) has saved, a file on the controller. If something else would be done, nothing
        is, and the task fails with what changed.
    type: str
    default: ""
  runs:
    description:
      - With O(state=shown), the runs, as RV(runs) of an earlier task.
    type: list
    elements: dict
    default: []
  page_url:
    description:
      - URL of the page of the training service, which the end of the table names. None when empty.
    type: str
    default: ""
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.follow.host
  - ia_homelab.llamafactory.follow.accelerator
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the
      controller.
    support: full
  diff_mode:
    support: full
    details:
      - The rows of the datasets that are added, removed or have another answer.
seealso:
  - module: ia_homelab.llamafactory.job
  - module: ia_homelab.llamafactory.dataset
author:
  - ia_homelab contributors (@ia-homelab)
"""

EXAMPLES = r"""
- name: Plan, publish the dataset and submit
  ia_homelab.llamafactory.finetunes:
    data_dir: /data/llamafactory
    toolchain: "{{ llamafactory_toolchain }}"
    datasets:
      - name: homelab_prompts
        src: homelab_prompts.json
    finetunes:
      - name: homelab-model
        base_model: qwen2.5:7b
        dataset: homelab_prompts
  register: submitted

- name: Wait until the models are served
  ia_homelab.llamafactory.job:
    data_dir: /data/llamafactory
    runs: "{{ submitted.runs }}"
"""

RETURN = r"""
runs:
  description: The runs, as M(ia_homelab.llamafactory.job) returns them.
  returned: with O(state=planned) and O(state=submitted)
  type: list
  elements: dict
plans:
  description: The plans, as M(ia_homelab.llamafactory.plan_info) returns them.
  returned: with O(state=planned) and O(state=submitted)
  type: list
  elements: dict
text:
  description: The plans as text.
  returned: with O(state=planned) and O(state=submitted)
  type: str
  sample: "homelab-model: nothing to do\n"
datasets:
  description: Results of the module M(ia_homelab.llamafactory.dataset).
  returned: with O(state=planned) and O(state=submitted)
  type: list
  elements: dict
results:
  description: What the runs have made, as RV(ia_homelab.llamafactory.job#module:results).
  returned: with O(state=shown)
  type: list
  elements: dict
lines:
  description: The printed table.
  returned: with O(state=shown)
  type: list
  elements: str
  sample: ["MODEL          VERSION            LOSS         FINDINGS  TIME"]
"""
