#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: finetunes
short_description: Plan, submit and finish the declared fine-tunes of a host
version_added: 0.1.0
description:
  - Reads declared tools, checks the declaration, prints the plan, publishes the datasets and submits the runs, in this
    order. Nothing is published or submitted if a part of it fails before.
  - The parts are the modules M(ia_homelab.llamafactory.tools_file), M(ia_homelab.llamafactory.dataset) and
    M(ia_homelab.llamafactory.job), which can also be used alone.
options:
  state:
    description:
      - V(prepared) reads the tools, checks the declaration and finds the programs, and returns them.
      - V(planned) prints the plan and changes nothing.
      - V(saved) writes O(plans) to O(plan_file), if that is not empty.
      - V(submitted) prints the plan, and then publishes the datasets and submits the runs. It does not wait for them.
      - V(finished) waits for the evaluations and promotions of O(runs), copies their loss plots, and prints what they
        have made.
    type: str
    choices: [prepared, planned, saved, submitted, finished]
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
      - Declared tools. Each entry has O(ia_homelab.llamafactory.tools_file#module:name),
        O(ia_homelab.llamafactory.tools_file#module:src) and, optionally, C(mcp), C(include) and C(token_file) of the
        module M(ia_homelab.llamafactory.tools_file).
    type: list
    elements: dict
    default: []
  plan_file:
    description:
      - A plan that C(playbooks/plan.yml) has saved, a file on the controller. If something else would be done, nothing
        is, and the task fails with what changed.
      - With O(state=saved), the file to write.
    type: str
    default: ""
  plans:
    description:
      - With O(state=saved), RV(plans) of every host, by the name of the host.
    type: dict
    default: {}
  find_toolchain:
    description:
      - Options of the module M(ia_homelab.llamafactory.toolchain_info), with which the programs are found. The role
        P(ia_homelab.llamafactory.llamafactory#role) has them as C(llamafactory_toolchain_options). What O(toolchain)
        names is used instead of what is found.
      - Nothing is searched for when empty.
    type: dict
    default: {}
  runs:
    description:
      - With O(state=finished), the runs, as RV(runs) of an earlier task.
    type: list
    elements: dict
    default: []
  changed:
    description:
      - With O(state=finished), whether something was submitted. If not, nothing is waited for.
    type: bool
    default: true
  wait:
    description:
      - With O(state=finished), whether to wait for what was submitted. If not, nothing is printed of it.
    type: bool
    default: true
  plots_dir:
    description:
      - With O(state=finished), a directory on the controller that the loss plots are copied to. None when empty.
    type: str
    default: ""
  page_url:
    description:
      - URL of the page of the training service, which the end of the table names. None when empty.
    type: str
    default: ""
  ollama_program:
    description:
      - Program on the host that asks a model, for the line below the table. No such line when empty.
    type: str
    default: ollama
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.attributes.with_action
  - ia_homelab.llamafactory.follow.host
  - ia_homelab.llamafactory.follow.accelerator
attributes:
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

- name: Show them
  ia_homelab.llamafactory.finetunes:
    state: finished
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
tools:
  description: The declared tools, as M(ia_homelab.llamafactory.tools_file) returns them, by name.
  returned: with O(state=prepared)
  type: dict
finetunes:
  description: The declared fine-tunes as a list of entries.
  returned: with O(state=prepared)
  type: list
  elements: dict
toolchain:
  description: The option O(toolchain), with what was found.
  returned: with O(state=prepared)
  type: dict
path:
  description: The file that was written.
  returned: with O(state=saved), if there is one
  type: str
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
  returned: with O(state=finished)
  type: list
  elements: dict
lines:
  description: The printed table.
  returned: with O(state=finished)
  type: list
  elements: str
  sample: ["MODEL          VERSION            LOSS         FINDINGS  TIME"]
"""
