#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model_info
short_description: Return the versions of a model and their lineage
version_added: 0.1.0
description:
  - Returns the version that the aliases refer to, the previous version, and the hold of a rollback.
  - Follows the receipts of each version back to its GGUF file, merged weights, adapter, base and dataset, and to the
    git commit of the prompts. Receipts outlive the files they describe.
  - Reports models that other programs changed or removed in Ollama.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  name:
    description:
      - Name of the model, without a tag. By default all models that were registered from this host.
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
- name: Gather facts about the served model
  ia_homelab.llamafactory.ollama_model_info:
    name: homelab-model
    data_dir: /data/llamafactory
  register: served

- name: Show the commit of the prompts
  ansible.builtin.debug:
    msg: "{{ (served.models[0].versions[0].lineage | selectattr('step', 'eq', 'train') | first).facts.sources }}"
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
      description: For each alias, C(version), empty if it is none of the versions below, and C(digest).
      type: dict
      sample: {"homelab-model:latest": {version: "homelab-model:3fa9c1d2e4b5-q4_K_M", digest: 9a83b14fee83}}
    declared:
      description: The version that was declared last.
      type: str
    previous:
      description: The version that a rollback restores. Empty if there is none.
      type: str
    hold:
      description: The hold of a rollback, with C(tag), C(against) and C(at). Empty if there is none.
      type: dict
    drift:
      description: Differences between Ollama and the recorded state.
      type: list
      elements: str
      sample: ["homelab-model:latest is another model than homelab-model:3fa9c1d2e4b5-q4_K_M"]
    versions:
      description: All versions, the newest first.
      type: list
      elements: dict
      contains:
        tag:
          description: Full name in Ollama.
          type: str
        digest:
          description: Digest of its manifest. Empty if Ollama does not have the version.
          type: str
        there:
          description: Whether Ollama has the version.
          type: bool
        registered_at:
          description: Time of the registration.
          type: str
        promoted_at:
          description: Time when an alias was last moved to it. Empty if this never happened.
          type: str
        pruned_at:
          description: Time when its files were removed. Empty if they were not.
          type: str
        gate:
          description: Last result of its gate, with C(passed), C(at), C(met) and C(asked). Empty without a gate.
          type: dict
        evaluation:
          description: What its last evaluation found. Empty without an evaluation.
          type: dict
          contains:
            line:
              description: What is said of it in one line. C(line_message) is the same as a message.
              type: str
              sample: calls 48/50, text 71.2, vs served calls +6.0 ± 8.0, text +3.1 ± 2.0
            measures:
              description:
                - By measure its C(value), with C(low) and C(high), the bounds of its 95 % confidence interval, and
                  C(asked), the number of answers. A share has C(met), too.
              type: dict
            comparisons:
              description:
                - Each with C(against), C(measure), C(difference), C(low), C(high), C(asked), C(verdict), and the
                  numbers of answers that are C(worse) and C(better).
              type: list
              elements: dict
            quantization:
              description:
                - What it costs against the largest quantization, C(against), with its C(size) as a share of that, the
                  C(differences) by measure, and C(likelihood), what llama.cpp has measured of its file, if it has.
                - None if there is one quantization alone, of which no likelihood was measured.
              type: dict
            requirements:
              description: Each with C(name), C(wanted), C(value), C(bound) and C(met).
              type: list
              elements: dict
            passed:
              description: Whether it meets all requirements; none if nothing is required.
              type: bool
            lines:
              description: What else is said, as messages; what a judge said, the requirements, and notes.
              type: list
              elements: dict
            questions:
              description: Number of questions.
              type: int
            asked_at:
              description: When it was evaluated.
              type: str
            label:
              description: How the report names it, which is its quantization.
              type: str
            fingerprint:
              description: Fingerprint of the evaluation.
              type: str
            path:
              description: Directory with C(report.json), C(questions.jsonl) and C(answers.jsonl).
              type: str
            tokens_per_answer:
              description: Mean number of tokens of an answer.
              type: float
            seconds_per_answer:
              description: Mean duration of an answer.
              type: float
        base_of:
          description:
            - The model that an evaluation compares with this one, which is its base. Empty for a version of a model.
          type: str
        path:
          description: Directory of its receipt and model card.
          type: str
        lineage:
          description:
            - Its inputs, the direct ones first. Each has C(step), C(fingerprint), C(path), C(there), C(pruned_at),
              C(finished_at), C(run) and C(facts).
          type: list
          elements: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.gpu_lease import ollama_stopped_for
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.model_versions import names, overview
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError, RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.syntax import DEFAULT_URL


def body(module: AnsibleModule) -> dict[str, t.Any]:
    layout = Layout(module.params["data_dir"])
    ollama = Ollama(module.params["ollama_url"])
    name = module.params["name"]
    try:
        models = [overview(layout, ollama, each) for each in ([name] if name else names(layout))]
    except RemoteError as error:
        stopped_for = ollama_stopped_for(layout, module.params["ollama_url"])
        if not stopped_for:
            raise
        raise NotReadyError("modules.models_not_checked", training=stopped_for) from error
    return {"changed": False, "models": models}


def main() -> None:
    run_module(
        {
            "data_dir": {"type": "path", "required": True},
            "name": {"type": "str"},
            "ollama_url": {"type": "str", "default": DEFAULT_URL},
        },
        body,
        reads_only=True,
    )


if __name__ == "__main__":
    main()
