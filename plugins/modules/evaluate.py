#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: evaluate
short_description: Evaluate a model in Ollama
version_added: 0.1.0
description:
  - Asks any model in Ollama the rows of a published dataset, a guard set, and the questions of a O(gate), and measures
    its answers, as the option C(evaluation) of a fine-tune does before a promotion. A second model can be asked the
    same for comparison. No model is created, moved or removed.
  - The task fails if the answers do not meet what is required, and shows those that are not as expected.
  - With O(data_dir), questions, answers and report are kept there under C(outputs/evaluations). Nothing is asked again
    as long as the models, by their digests, and the questions are the same; another O(require) is checked on the
    answers that are there. After an interruption, only what has no answer yet is asked.
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
      - At least one of O(gate), O(rows) and O(guard) is needed.
    type: dict
  rows:
    description:
      - Name of a published dataset. The answer of each of its rows is what the answer of the model is measured by. It
        needs O(data_dir).
    type: str
  guard:
    description:
      - V(general) for the shipped set of 40 general questions in French and English, or the name of a published dataset
        whose rows must be answered as they are, which needs O(data_dir).
    type: str
  require:
    description:
      - What the answers must be like, as C(require) of the option C(evaluation) of a fine-tune. By measure (C(calls),
        C(json), C(exact), C(same), C(gate), C(guard)) the smallest share, C(not_worse_than_served) (than the model
        O(against)), C(guard_drop_at_most), C(allowed_failures), C(no_regression), and C(confidence).
      - A requirement that cannot be met, even if every answer is right, is refused.
    type: dict
  against:
    description:
      - Name of a model to compare with, such as the one that is served now. It is ignored if it does not exist or is
        the same model.
    type: str
  judge:
    description:
      - Name of a model in Ollama that compares two texts where nothing exact can, or a dictionary of C(model) and
        C(rubric), what makes an answer better. It has an effect with O(against).
    type: raw
  converter_venv:
    description:
      - Virtual environment of the converter, as the role C(llamafactory) installs it. With it, texts are measured by
        chrF; without it, by equality alone.
    type: path
  required:
    description:
      - Whether the task fails if O(gate) or O(require) is not met.
    type: bool
    default: true
  ollama_url:
    description:
      - Base URL of the Ollama server, as seen from the host.
    type: str
    default: http://127.0.0.1:11434
  data_dir:
    description:
      - Data directory of the fine-tunes of the host, where the evaluation is kept. With it, no training stops or
        restarts Ollama during the evaluation, and the task waits for a training that has stopped it
        (C(ollama_while_training)).
      - Without it nothing is kept. Each run asks all questions, also in check mode.
    type: path
  timeout:
    description:
      - How long to wait for such a training, in seconds. After that the task fails and names the training.
    type: float
    default: 300
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
attributes:
  check_mode:
    details:
      - With O(data_dir), no question is asked; an evaluation that is kept is returned.
  diff_mode:
    support: none
  idempotent:
    details:
      - An evaluation is changed when it was made and kept.
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

- name: Measure a model on rows that it was not trained on, and what it can do in general
  ia_homelab.llamafactory.evaluate:
    model: qwen2.5:7b
    against: homelab-model
    rows: homelab-test
    guard: general
    require: {calls: 0.8, guard: 0.9}
    data_dir: /data/llamafactory

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
  description:
    - Whether O(gate) and O(require) are met. None in check mode if nothing was asked.
  returned: success
  type: bool
line:
  description: What was measured in one line. Behind C(±) is half of the width of a 95 % confidence interval.
  returned: when there is a report
  type: str
  sample: calls 48/50, guard 39/40, vs served calls +6.0 ± 8.0, guard -2.5 ± 3.8
lines:
  description: What else is said; what the judge said, the requirements, and notes.
  returned: when there is a report
  type: list
  elements: str
path:
  description: Directory with C(report.json), C(questions.jsonl) and C(answers.jsonl). Empty without O(data_dir).
  returned: success
  type: str
report:
  description: Report of the evaluation. Empty in check mode if nothing was asked.
  returned: success
  type: dict
  contains:
    questions:
      description: Number of questions.
      type: int
    asked_at:
      description: Time of the evaluation, in UTC.
      type: str
    models:
      description:
        - The evaluated model and the one to compare with, each with C(role) (C(candidate) or C(served)), C(model),
          C(digest), and C(measures). A measure has C(value), with C(low) and C(high), the bounds of a 95 % confidence
          interval, C(asked), and C(met) if it is a share.
      type: list
      elements: dict
    comparisons:
      description:
        - By C(measure) the C(difference) to the model to compare with, with C(low), C(high), C(asked), and the ids of
          the questions whose answers are C(worse) and C(better).
      type: list
      elements: dict
    requirements:
      description: Each requirement with C(name), C(wanted), C(value) and C(met).
      type: list
      elements: dict
questions:
  description:
    - The first 100 questions, those whose answers are worse than those of the model to compare with first; RV(path) has
      all. Each has C(messages), C(expected), C(reference), and C(after) and C(before), the answers of the model and of
      the model to compare with. An answer has C(text), C(calls), C(ended), C(tokens), C(seconds), C(scores), C(met),
      and C(unmet), the expectations it does not meet. C(unmet_messages) has these as messages with C(code) and
      C(parameters).
  returned: success
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
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.model_evaluation import (
    Evaluated,
    evaluate_model,
    evaluate_once,
    settings_of,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.ollama_use import using_ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import judge as judges
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import requirements, statements
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.answered import (
    Answered,
    index_of,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.evaluation import Subject
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.failures import (
    failure_lines,
    summary,
    unmet_requirements,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.gate_items import (
    with_conditions,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.report import CANDIDATE, SERVED
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.syntax import DEFAULT_URL
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import read_gate
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain

#: Largest number of questions in the result: Ansible keeps all of it in memory several times.
_MAX_QUESTIONS = 100


def questions_of(directory: str, report: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The first questions with the answers of the model and of the one that it is compared with, the worst first."""
    columns = {str(model["label"]): str(model["digest"]) for model in report["models"]}
    answered = Answered([index_of(directory)], columns)
    found = []
    for item, _change in answered.ordered(CANDIDATE, SERVED if SERVED in columns else "")[:_MAX_QUESTIONS]:
        read = answered.read(item)
        question = read["item"]
        found.append(
            {
                "messages": question["messages"],
                "expected": question["expect"],
                "reference": question["reference"],
                "after": _judged(read["answers"].get(CANDIDATE)),
                "before": _judged(read["answers"].get(SERVED)),
            }
        )
    return found


def _judged(line: dict[str, t.Any] | None) -> dict[str, t.Any] | None:
    if line is None:
        return None
    unmet = [str(Message.from_stored(each)) for each in line["unmet"]]
    facts = {"met": not unmet, "unmet": unmet, "unmet_messages": line["unmet"], "scores": line["scores"]}
    return {**line["answer"], **facts}


def answer(evaluated: Evaluated) -> dict[str, t.Any]:
    """The result of the module."""
    path = evaluated.directory if evaluated.fingerprint else ""
    report = evaluated.report
    if report is None:
        return {"changed": evaluated.changed, "passed": None, "path": path, "report": {}, "questions": []}
    line = statements.line(report, CANDIDATE)
    said = [
        *statements.judged(report, CANDIDATE),
        *statements.requirements(report, CANDIDATE),
        *statements.notes(report),
    ]
    return {
        "changed": evaluated.changed,
        "passed": bool(report["chosen"]),
        "line": line.text if line is not None else "",
        "lines": [each.text for each in said],
        "path": path,
        # in Jinja, "items" of a dictionary is its method
        "report": {"questions" if key == "items" else key: value for key, value in report.items()},
        "questions": questions_of(evaluated.directory, report),
    }


def body(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    gate, url = read_gate(params.get("gate")), params["ollama_url"]
    required = requirements.read(params.get("require"), Message("modules.place_option", option="require"))
    subject = Subject(
        params["model"],
        {CANDIDATE: params["model"]},
        CANDIDATE,
        served=params["against"] or "",
        required=with_conditions(required, gate),
    )
    layout = Layout(params["data_dir"]) if params["data_dir"] else None
    judge = judges.read(params.get("judge"), Message("modules.place_option", option="judge"))
    asked = settings_of(layout, gate, params.get("rows") or "", params.get("guard") or "", judge)
    tools = Toolchain(converter_venv=params.get("converter_venv") or "")
    stopped_for = ollama_stopped_for(layout, url) if layout is not None else ""
    if module.check_mode and stopped_for:
        module.warn(str(Message("modules.unchecked_model", model=params["model"], training=stopped_for)))
        return answer(Evaluated("", "", None, False))
    with contextlib.ExitStack() as stack:
        if layout is not None and not module.check_mode:
            stack.enter_context(using_ollama(layout.root, "evaluate", url, params["timeout"]))
        if layout is not None:
            evaluated = evaluate_model(layout, Ollama(url), subject, asked, tools, module.check_mode)
        else:
            directory = stack.enter_context(tempfile.TemporaryDirectory(dir=module.tmpdir))
            evaluated = evaluate_once(directory, Ollama(url), subject, asked, tools)
        result = answer(evaluated)
        if params["required"] and result["passed"] is False and evaluated.report is not None:
            lines = [
                *unmet_requirements(evaluated.report["requirements"], CANDIDATE),
                summary(evaluated.report, CANDIDATE),
                *failure_lines(evaluated.directory, evaluated.report, CANDIDATE),
            ]
            module.fail_json(msg="\n".join(str(line) for line in lines), **result)
    return result


def main() -> None:
    run_module(
        {
            "model": {"type": "str", "required": True},
            "gate": {"type": "dict"},
            "rows": {"type": "str"},
            "guard": {"type": "str"},
            "require": {"type": "dict"},
            "judge": {"type": "raw"},
            "converter_venv": {"type": "path"},
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
