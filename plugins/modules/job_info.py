#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: job_info
short_description: Return the fine-tuning runs of a host
version_added: 0.1.0
description:
  - Returns the state, the progress and the results of runs, without changing anything.
  - A run consists of all steps of one fine-tune; a job is one attempt at one of its steps.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  data_dir:
    description:
      - Directory on the host for models, datasets, outputs and jobs.
    type: path
    required: true
  run:
    description:
      - Id of the run to return.
      - By default all active runs in the order of the queue, then the most recently ended runs.
    type: str
  name:
    description:
      - Return only runs of the fine-tune with this name.
    type: str
  limit:
    description:
      - Maximum number of ended runs.
    type: int
    default: 20
  log_lines:
    description:
      - Number of lines to return from the end of each run's last log.
    type: int
    default: 0
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
seealso:
  - module: ia_homelab.llamafactory.job
"""

EXAMPLES = r"""
- name: List the runs of the host
  ia_homelab.llamafactory.job_info:
    data_dir: /data/llamafactory
  register: jobs

- name: Show the last lines of the log of a run
  ia_homelab.llamafactory.job_info:
    data_dir: /data/llamafactory
    run: homelab-model-3fa9c1d2e4b5
    log_lines: 20
"""

RETURN = r"""
runs:
  description: The runs; active ones first, in the order of the queue.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Id of the run.
      type: str
      sample: homelab-model-3fa9c1d2e4b5
    name:
      description: Name of the fine-tune.
      type: str
      sample: homelab-model
    state:
      description: One of V(queued), V(running), V(succeeded), V(failed), V(cancelled).
      type: str
      sample: running
    current:
      description: Label of the running step.
      type: str
      sample: train
    position:
      description: Position in the queue while the run waits; V(0) is next.
      type: int
      sample: 0
    waiting_for:
      description: What the run waits for, such as an earlier run, or Ollama with the job that uses or stops it.
      type: str
      sample: Ollama, which is stopped for the training homelab-model
    waiting_for_message:
      description:
        - The same as a message, with C(code), C(parameters) by name and C(text); empty if it waits for nothing.
      type: dict
      sample:
        code: engine.ollama_which_is_stopped
        parameters: {training: homelab-model}
        text: Ollama, which is stopped for the training homelab-model
    undetermined:
      description: Why it cannot be determined now whether the run is complete, if it waits for that alone; else empty.
      type: str
    undetermined_message:
      description: The same as a message; empty if it is determined.
      type: dict
    unchecked:
      description: Labels of complete steps that cannot be checked in Ollama now, each with the reason.
      type: dict
      sample: {register: "not checked: Ollama is stopped for the training other-model"}
    unchecked_messages:
      description: The same labels, each with the reason as a message.
      type: dict
    progress:
      description: Progress of the running step; unknown values are omitted.
      type: dict
      sample: {current: 62, total: 150, unit: step, loss: 0.83, eta_seconds: 72.0}
    findings:
      description: What a user should know about the finished training of the run, such as a loss that did not fall, as
        messages with C(code), C(parameters), C(text) and C(hint).
      type: list
      elements: dict
    steps:
      description: The steps in order, with label, kind, fingerprint, state, path, and the reason if incomplete.
      type: list
      elements: dict
    error:
      description: Error of a failed run (message, hint, details, step).
      type: dict
    job:
      description: Directory of the running job, or of the last one.
      type: str
    age_seconds:
      description: Seconds since the run was submitted.
      type: float
    log:
      description: The last lines of the log of that job, if O(log_lines) is greater than V(0).
      type: list
      elements: str
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.names import LOG_FILE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.status import RunView
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.clock import age_seconds
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import tail_lines


def collect(module: AnsibleModule) -> dict[str, t.Any]:
    engine = Engine(module.params["data_dir"])
    if module.params["run"]:
        views = [engine.observe(module.params["run"])]
    else:
        views = engine.observe_all(module.params["limit"])
    name = module.params["name"]
    return {
        "changed": False,
        "runs": [run_result(view, module.params["log_lines"]) for view in views if not name or view.name == name],
    }


def run_result(view: RunView, log_lines: int) -> dict[str, t.Any]:
    value = view.as_dict()
    value["age_seconds"] = age_seconds(view.submitted_at) if view.submitted_at else 0.0
    if log_lines and view.job:
        value["log"] = tail_lines(os.path.join(view.job, LOG_FILE), log_lines)
    return value


def main() -> None:
    run_module(
        {
            "data_dir": {"type": "path", "required": True},
            "run": {"type": "str"},
            "name": {"type": "str"},
            "limit": {"type": "int", "default": 20},
            "log_lines": {"type": "int", "default": 0},
        },
        collect,
        reads_only=True,
        mutually_exclusive=[("run", "name")],
    )


if __name__ == "__main__":
    main()
