#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: evaluate
short_description: Ask a model questions and hold its answers to what is expected
version_added: 0.1.0
description:
  - Asks the questions of a O(gate) of a model in Ollama, and of a second one to compare with.
  - The task fails when the answers are not as expected, and shows them.
  - It is the gate that stands before a promotion in C(finetunes), for any model. No model is made, moved or removed.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  model:
    description:
      - Name of the model to ask.
    type: str
    required: true
  gate:
    description:
      - C(prompts), a list with at least one entry, each with C(prompt) (or a whole conversation as C(messages)), and
        where it is needed C(system).
      - What the answer of a prompt must be like is said by C(contains), C(not_contains), C(regex), C(not_regex) and
        C(not_equals) (a text or a list of texts, all of which are meant), C(equals), C(ends_by_itself), C(max_tokens),
        C(json) and C(ignore_case). An answer must not be empty, unless C(not_empty=false).
      - C(options) are Ollama's to ask with. By default C(temperature) is 0, C(seed) 42 and C(num_predict) 1024.
      - C(allowed_failures) is how many answers may be otherwise, 0 by default.
      - With C(no_regression=true) each question that the model O(against) answers as expected must be answered so by
        O(model) too.
    type: dict
    required: true
  against:
    description:
      - Name of a model to compare with, such as the one that is served now. Passed over when there is none of that
        name, and when it is the same model.
    type: str
  required:
    description:
      - Whether the task fails when the gate is not passed.
    type: bool
    default: true
  ollama_url:
    description:
      - Base URL of the Ollama server, as seen from the host.
    type: str
    default: http://127.0.0.1:11434
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
notes:
  - A model that is not in memory is loaded, and Ollama may take another one out for it.
seealso:
  - module: ia_homelab.llamafactory.ollama_model
"""

EXAMPLES = r"""
- name: Ask what it must know
  ia_homelab.llamafactory.evaluate:
    model: homelab-model
    gate:
      prompts:
        - prompt: Bonjour, qui es-tu ?
          contains: [assistant, homelab]
          not_contains: Qwen
          ignore_case: true
          ends_by_itself: true
          max_tokens: 200
        - prompt: Donne l'adresse du NAS en JSON.
          json: true
          regex: '"nas\.'

- name: Compare two versions without failing
  ia_homelab.llamafactory.evaluate:
    model: homelab-model:3fa9c1d2e4b5-q4_K_M
    against: homelab-model
    gate: "{{ homelab_gate }}"
    required: false
  register: compared
"""

RETURN = r"""
passed:
  description: Whether the answers are as expected.
  returned: when the questions were asked
  type: bool
report:
  description: What was asked and answered.
  returned: when the questions were asked
  type: dict
  contains:
    asked:
      description: Number of questions.
      type: int
    asked_at:
      description: When, in UTC.
      type: str
    candidate:
      description: The model, with C(model), C(digest) and C(met), the number of answers that are as expected.
      type: dict
    served:
      description: The same of the model to compare with. None where there is none.
      type: dict
    questions:
      description:
        - Each question with C(messages), C(expected), and C(after) and C(before), the answers of the model and of the
          one it is compared with. An answer has C(text), C(ended), C(tokens), C(seconds), C(met), and C(unmet), in what
          it is not as expected.
      type: list
      elements: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import (
    failure_lines,
    read_gate,
    summary,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate_evaluation import evaluate


def body(module: AnsibleModule) -> dict[str, t.Any]:
    gate = read_gate(module.params["gate"])
    if gate is None:
        raise InputError("The gate has no prompts.", "Give at least one, with what its answer must be like.")
    ollama = Ollama(module.params["ollama_url"])
    report = evaluate(ollama, gate, module.params["model"], module.params["against"] or "")
    answer = {"changed": False, "passed": report["passed"], "report": report}
    if module.params["required"] and not report["passed"]:
        module.fail_json(msg="\n".join([summary(report), *failure_lines(report)]), **answer)
    return answer


def main() -> None:
    run_module(
        {
            "model": {"type": "str", "required": True},
            "gate": {"type": "dict", "required": True},
            "against": {"type": "str"},
            "required": {"type": "bool", "default": True},
            "ollama_url": {"type": "str", "default": "http://127.0.0.1:11434"},
        },
        body,
    )


if __name__ == "__main__":
    main()
