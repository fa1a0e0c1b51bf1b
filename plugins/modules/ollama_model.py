#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model
short_description: Register a GGUF file as an Ollama model
version_added: 0.1.0
description:
  - Creates the model under a content tag (12 digits of the fingerprint and the quantization), checks it, then moves the
    O(aliases), C(latest) by default, to it. The aliases remain available all the time.
  - Template, stop strings and system prompt are always set, so that prompts have the format of the training.
  - The file is streamed over HTTP, and is not sent if the server already has it.
  - Ollama's copy is a cache. If it is missing or was changed, it is recreated from the GGUF file.
  - A model whose base accepts images is registered with the encoder of that base, which the step C(projector) converts
    once for each base.
  - With a O(gate) the tags are moved only if the answers of the new model meet the expectations. If the model does not
    pass, nothing changes, and the task fails with the answers.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  state:
    description:
      - V(present) registers the model.
      - V(absent) removes the tag O(name) (C(latest) if it contains no tag) from the server.
      - V(rolled_back) restores an earlier version of the model O(name) under its tags, and places a hold. Applying the
        declaration does not undo that until the hold is released or another version is declared.
      - V(released) releases the hold of the model O(name). The next apply promotes the declared version.
    type: str
    choices: [present, absent, rolled_back, released]
    default: present
  version:
    description:
      - With O(state=rolled_back), the tag of a version of the model, or a prefix of it.
      - By default the version that was served before. If there already is a hold, nothing is changed by default.
    type: str
  name:
    description:
      - Name of the model, without a tag unless O(state=absent).
      - Required unless O(runs) is given.
    type: str
  gguf:
    description:
      - Fingerprint of the GGUF file, as M(ia_homelab.llamafactory.gguf) returns it.
    type: str
  adapter:
    description:
      - Fingerprint of the GGUF file of an adapter, from the step C(gguf-adapter) of M(ia_homelab.llamafactory.gguf).
        Ollama applies it to O(gguf), the file of its base, when it loads the model.
    type: str
  template:
    description:
      - Name of the LLaMA-Factory template the model was trained with.
      - By default the template of the training.
    type: str
  system:
    description:
      - System prompt.
      - By default the system prompt of the training data.
    type: str
  parameters:
    description:
      - Ollama parameters such as C(temperature) or C(num_ctx). The stop strings of the template are added.
    type: dict
    default: {}
  aliases:
    description:
      - Tags to move to the model.
    type: list
    elements: str
    default: [latest]
  gate:
    description:
      - Questions and expectations on their answers that must be met before the O(aliases) are moved. See
        O(ia_homelab.llamafactory.evaluate#module:gate) for its content.
    type: dict
    default: {}
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.follow
  - ia_homelab.llamafactory.follow.host
attributes:
  diff_mode:
    support: none
seealso:
  - module: ia_homelab.llamafactory.gguf
  - module: ia_homelab.llamafactory.evaluate
"""

EXAMPLES = r"""
- name: Register a model
  ia_homelab.llamafactory.ollama_model:
    name: homelab-model
    gguf: "{{ file.fingerprint }}"
    data_dir: /data/llamafactory

- name: Register a model, and move the alias only if it passes a gate
  ia_homelab.llamafactory.ollama_model:
    name: homelab-model
    gguf: "{{ file.fingerprint }}"
    gate:
      prompts:
        - prompt: Bonjour, qui es-tu ?
          contains: homelab
          ends_by_itself: true
    data_dir: /data/llamafactory

- name: Register an adapter on the file of its base
  ia_homelab.llamafactory.ollama_model:
    name: homelab-model
    gguf: "{{ (beside.steps | selectattr('step', 'eq', 'gguf-q4_K_M') | first).fingerprint }}"
    adapter: "{{ (beside.steps | selectattr('step', 'eq', 'gguf-adapter') | first).fingerprint }}"
    data_dir: /data/llamafactory

- name: Roll back to the previous version
  ia_homelab.llamafactory.ollama_model:
    name: homelab-model
    state: rolled_back
    data_dir: /data/llamafactory

- name: Remove a tag
  ia_homelab.llamafactory.ollama_model:
    name: homelab-model:old
    state: absent
    data_dir: /data/llamafactory
"""

RETURN = r"""
tag:
  description: Full name of the version that the aliases refer to.
  returned: when O(state=rolled_back)
  type: str
  sample: homelab-model:3fa9c1d2e4b5-q4_K_M
moved:
  description: The aliases that were moved to it.
  returned: when O(state=rolled_back)
  type: list
  elements: str
  sample: ["homelab-model:latest"]
hold:
  description: The hold, with C(tag), C(against) (the versions that are held out) and C(at). Empty if there is none.
  returned: when O(state) is V(rolled_back) or V(released)
  type: dict
fingerprint:
  description: Fingerprint of the result, when there is exactly one.
  returned: when there is exactly one result
  type: str
  sample: 3fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9
path:
  description: Path of that result on the host, also if it does not exist yet.
  returned: when there is exactly one result
  type: str
  sample: /data/llamafactory/outputs/models/3fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9c1d2e4b53fa9
outcome:
  description: Tag, digest and aliases in Ollama, and the previous targets of the aliases.
  returned: when there is exactly one result
  type: dict
  sample: {tag: "homelab-model:3fa9c1d2e4b5-q4_K_M", aliases: ["homelab-model:latest"]}
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

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.kinds import KINDS_OF_MODULE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.gpu_lease import ollama_stopped_for
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.model_versions import rollback
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.ollama_use import using_ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import Releases
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._step_module import (
    FOLLOW_SPEC,
    follow_step,
    toolchain,
)

#: Result of the states that run no step.
NO_STEPS: dict[str, t.Any] = {"runs": [], "steps": []}

#: Seconds that these states wait by default for a training that has Ollama stopped.
_WAIT_SECONDS = 30.0

#: Options of a registration.
OF_PRESENT = ("gguf", "adapter", "template", "system", "parameters", "aliases", "gate")


def remove(module: AnsibleModule) -> dict[str, t.Any]:
    ollama = Ollama(module.params["ollama_url"])
    exists = ollama.find(module.params["name"]) is not None
    if exists and not module.check_mode:
        ollama.delete(module.params["name"])
    return {"changed": exists, **NO_STEPS}


def roll_back(module: AnsibleModule) -> dict[str, t.Any]:
    change = rollback(
        Layout(module.params["data_dir"]),
        Ollama(module.params["ollama_url"]),
        module.params["name"],
        module.params["version"] or "",
        check=module.check_mode,
    )
    hold = dataclasses.asdict(change.hold) if change.hold else {}
    return {"changed": change.changed, "tag": change.tag, "moved": list(change.moved), "hold": hold, **NO_STEPS}


def release(module: AnsibleModule) -> dict[str, t.Any]:
    changed = Releases(Layout(module.params["data_dir"]), module.params["name"]).release(module.check_mode)
    return {"changed": changed, "hold": {}, **NO_STEPS}


def refuse_unused(params: t.Mapping[str, t.Any]) -> None:
    """Refuse options that the state does not use.

    :raises InputError: with their names.
    """
    state, defaults = params["state"], {"aliases": ["latest"]}
    unused = [name for name in OF_PRESENT if params.get(name) not in (None, {}, "", defaults.get(name))]
    unused = unused if state != "present" else []
    unused += ["version"] if params.get("version") and state != "rolled_back" else []
    if unused:
        raise InputError("modules.options_of_other_state", options=unused, count=len(unused), state=state)


def act(module: AnsibleModule) -> dict[str, t.Any]:
    refuse_unused(module.params)
    action = {"absent": remove, "rolled_back": roll_back, "released": release}.get(module.params["state"])
    if action is release:
        return action(module)
    if action is not None:
        layout = Layout(module.params["data_dir"])
        url = module.params["ollama_url"]
        stopped_for = ollama_stopped_for(layout, url)
        if module.check_mode and stopped_for:
            module.warn(str(Message("modules.unchecked_model", model=module.params["name"], training=stopped_for)))
            return {"changed": False, "tag": "", "moved": [], "hold": {}, **NO_STEPS}
        if module.check_mode:
            return action(module)
        seconds = module.params["timeout"]
        with using_ollama(layout.root, "ollama_model", url, _WAIT_SECONDS if seconds is None else seconds):
            return action(module)

    def prepare(engine: Engine) -> Run:
        request = Request.register(
            module.params["gguf"],
            module.params["name"],
            template=module.params["template"],
            system=module.params["system"],
            parameters=module.params["parameters"],
            aliases=module.params["aliases"],
            gate=module.params["gate"],
            adapter=module.params["adapter"],
        )
        return plan(engine.layout, request, Host(toolchain(module.params)))

    return follow_step(module, KINDS_OF_MODULE["ollama_model"], prepare)


def main() -> None:
    run_module(
        {
            **FOLLOW_SPEC,
            "state": {
                "type": "str",
                "choices": ["present", "absent", "rolled_back", "released"],
                "default": "present",
            },
            "version": {"type": "str"},
            "name": {"type": "str"},
            "gguf": {"type": "str"},
            "adapter": {"type": "str"},
            "template": {"type": "str"},
            "system": {"type": "str"},
            "parameters": {"type": "dict", "default": {}},
            "aliases": {"type": "list", "elements": "str", "default": ["latest"]},
            "gate": {"type": "dict", "default": {}},
        },
        act,
        required_one_of=[("name", "runs")],
        mutually_exclusive=[("name", "runs")],
    )


if __name__ == "__main__":
    main()
