#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: evaluate
short_description: Ask a model questions and check its answers against expectations
version_added: 0.1.0
description:
  - Sends the questions of a O(gate) to a model in Ollama, and to a second model for comparison.
  - The task fails if the answers do not meet the expectations, and shows the answers.
  - It is the same gate as before a promotion in C(finetunes), for any model. No model is created, moved or removed.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  model:
    description:
      - Name of the model to evaluate.
    type: str
    required: true
  gate:
    description:
      - C(prompts), a list with at least one entry, each with C(prompt) (or a full conversation as C(messages)), and
        optionally C(system).
      - The expectations on the answer to a prompt are C(contains), C(not_contains), C(regex), C(not_regex) and
        C(not_equals) (a text or a list of texts, all of which apply), C(equals), C(ends_by_itself), C(max_tokens),
        C(json), C(json_schema) (a JSON schema that the answer follows) and C(ignore_case). An answer must not be empty,
        unless C(not_empty=false).
      - C(tools), of a prompt or of the gate, is the list of tools that the model is offered.
      - C(calls) are exactly the calls that the answer must make, each with C(name) and C(arguments). The value of an
        argument is compared, or it is a dictionary of C(equals), C(contains), C(not_contains), C(regex) and
        C(not_regex). With C(no_calls=true), the answer must make no call.
      - A conversation may contain calls (C(tool_calls)) and results (C(role=tool)). No tool is executed.
      - C(options) are the Ollama options of the requests. By default C(temperature) is 0, C(seed) 42 and C(num_predict)
        1024.
      - C(allowed_failures) is the number of answers that may fail, 0 by default.
      - With C(no_regression=true), O(model) must also pass each question that the model O(against) passes.
    type: dict
    required: true
  against:
    description:
      - Name of a model to compare with, such as the one that is served now. It is ignored if it does not exist or is
        the same model.
    type: str
  required:
    description:
      - Whether the task fails if the gate is not passed.
    type: bool
    default: true
  ollama_url:
    description:
      - Base URL of the Ollama server, as seen from the host.
    type: str
    default: http://127.0.0.1:11434
  data_dir:
    description:
      - Data directory of the fine-tunes of the host. With it, no training stops or restarts Ollama during the
        evaluation, and the task waits for a training that has stopped it (C(ollama_while_training)).
    type: path
  timeout:
    description:
      - How long to wait for such a training, in seconds. After that the task fails and names the training.
    type: float
    default: 300
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
notes:
  - A model that is not in memory is loaded, and Ollama may unload another model to make room.
seealso:
  - module: ia_homelab.llamafactory.ollama_model
"""

EXAMPLES = r"""
- name: Check required knowledge
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
        - prompt: Demande Le Voyage de Chihiro.
          tools: "{{ homelab_tools.tools }}"   # as the module tools_file returns them
          calls: [{name: request_media, arguments: {title: {regex: Chihiro}}}]

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
  description: Whether the gate is passed; none in check mode while Ollama is stopped for a training.
  returned: when the questions were asked
  type: bool
report:
  description: Report of the evaluation.
  returned: when the questions were asked
  type: dict
  contains:
    items:
      description: Number of questions.
      type: int
    asked_at:
      description: Time of the evaluation, in UTC.
      type: str
    models:
      description:
        - The evaluated model and the one to compare with, each with C(role) (C(candidate) or C(served)), C(model),
          C(digest), and C(measures). C(measures.gate) has C(met), the number of answers that pass, and C(asked).
      type: list
      elements: dict
    requirements:
      description: Each requirement with C(name), C(wanted), C(value) and C(met).
      type: list
      elements: dict
questions:
  description:
    - Each question with C(messages), C(expected), and C(after) and C(before), the answers of the model and of the model
      to compare with. An answer has C(text), C(calls), C(ended), C(tokens), C(seconds), C(met), and C(unmet), the
      expectations it does not meet. C(unmet_messages) has these as messages with C(code) and C(parameters).
  returned: when the questions were asked
  type: list
  elements: dict
"""

import contextlib
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.gpu_lease import ollama_stopped_for
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.ollama_use import using_ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.evaluation import (
    Subject,
    answers_of,
    evaluate,
    read_questions,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.failures import (
    failure_lines,
    summary,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.gate_items import (
    gate_items,
    with_conditions,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.report import CANDIDATE, SERVED
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.requirements import Requirements
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.syntax import DEFAULT_URL
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import read_gate


def questions_of(directory: str, report: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The questions with the answers of the model and of the one that it is compared with."""
    answers = answers_of(directory, report)

    def judged(label: str, item: str) -> dict[str, t.Any] | None:
        line = (answers.get(label) or {}).get(item)
        if line is None:
            return None
        unmet = [str(Message.from_stored(each)) for each in line["unmet"]]
        return {**line["answer"], "met": not unmet, "unmet": unmet, "unmet_messages": line["unmet"]}

    return [
        {
            "number": number,
            "messages": list(item.messages),
            "expected": dict(item.expect),
            "after": judged(CANDIDATE, item.id),
            "before": judged(SERVED, item.id),
        }
        for number, item in enumerate(read_questions(directory), 1)
    ]


def body(module: AnsibleModule) -> dict[str, t.Any]:
    gate = read_gate(module.params["gate"])
    if gate is None:
        raise InputError("releases.gate_without_prompts")
    params = module.params
    url = params["ollama_url"]
    stopped_for = ollama_stopped_for(Layout(params["data_dir"]), url) if params["data_dir"] else ""
    if module.check_mode and stopped_for:
        module.warn(f"{params['model']} is not checked: Ollama is stopped for the training {stopped_for}.")
        return {"changed": False, "passed": None, "report": {}, "questions": []}
    with contextlib.ExitStack() as stack:
        if params["data_dir"] and not module.check_mode:
            stack.enter_context(using_ollama(params["data_dir"], "evaluate", url, params["timeout"]))
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir=module.tmpdir))
        model, required = params["model"], with_conditions(Requirements(), gate)
        subject = Subject(model, {CANDIDATE: model}, CANDIDATE, served=params["against"] or "", required=required)
        report = evaluate(Ollama(url), directory, gate_items(gate), subject)
        passed = bool(report["chosen"])
        answer = {"changed": False, "passed": passed, "report": report, "questions": questions_of(directory, report)}
        if params["required"] and not passed:
            lines = [summary(report, CANDIDATE), *failure_lines(directory, report, CANDIDATE)]
            module.fail_json(msg="\n".join(str(line) for line in lines), **answer)
    return answer


def main() -> None:
    run_module(
        {
            "model": {"type": "str", "required": True},
            "gate": {"type": "dict", "required": True},
            "against": {"type": "str"},
            "required": {"type": "bool", "default": True},
            "ollama_url": {"type": "str", "default": DEFAULT_URL},
            "data_dir": {"type": "path"},
            "timeout": {"type": "float", "default": 300},
        },
        body,
    )


if __name__ == "__main__":
    main()
