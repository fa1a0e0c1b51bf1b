#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: dataset
short_description: Publish prompts as a dataset to fine-tune on
version_added: 0.1.0
description:
  - Reads rows, checks every one of them, and publishes them in the one form that LLaMA-Factory reads without losing
    any. What is wrong is refused with file, row and field before anything is written; what was there before stays.
  - A published version is a directory named by its content and never changes. The name of the dataset refers to it in
    C(dataset_info.json) below O(data_dir), where LLaMA-Factory and its WebUI look datasets up. Entries of other people
    in that file stay as they are.
  - Rows are read as a stream; memory stays flat however many there are.
options:
  name:
    description:
      - Name of the dataset. Letters, digits and C(. _ -), beginning with a letter or digit.
    type: str
    required: true
  state:
    description:
      - V(present) publishes the rows and lets the name refer to them.
      - V(absent) takes the name away.
    type: str
    choices: [present, absent]
    default: present
  records:
    description:
      - The rows themselves, each a dictionary.
      - Exactly one of O(records) and O(src) is needed when O(state=present).
    type: list
    elements: raw
  src:
    description:
      - File with the rows, or a list of files whose rows follow each other.
      - A file named C(*.json), C(*.jsonl) or C(*.ndjson) holds one JSON list of objects, or one object a line.
      - A file named C(*.csv) has a header, and cells separated by commas, semicolons or tabs.
      - A file named C(*.yml) or C(*.yaml) holds one list; it is read on the controller only.
      - Files are UTF-8 without a byte order mark.
      - Files of the controller are searched where M(ansible.builtin.copy) searches them, and may be encrypted with
        Ansible Vault. They are transferred only when they are not what the dataset was made from the last time.
    type: list
    elements: path
  remote_src:
    description:
      - Whether O(src) lies on the host rather than on the controller.
    type: bool
    default: false
  format:
    description:
      - How the rows are written.
      - V(alpaca) has C(instruction) and C(output), and where they are needed C(input), C(system), and C(history) as a
        list of pairs of question and answer.
      - V(sharegpt) has C(conversations), a list of turns with C(from) (V(human), V(gpt), V(system), V(observation),
        V(function_call)) and C(value), and where they are needed C(system) and C(tools).
      - V(openai) has C(messages), a list of turns with C(role) (V(user), V(assistant), V(system), V(tool)), C(content)
        and C(tool_calls), and where it is needed C(tools).
      - V(text) has C(text) and nothing else, for pretraining (O(ia_homelab.llamafactory.train#module:stage=pt)).
      - V(auto) tells it from the first row.
      - A row for C(dpo) and C(rm) has the answers C(chosen) and C(rejected) instead of one. They are texts in
        V(alpaca); in the others they are one turn each, and the turns before them end with the question.
      - A row for C(kto) has C(kto_tag) besides, which is true where the answer was liked, else false.
      - All rows of a dataset are of the kind of the first one.
    type: str
    choices: [auto, alpaca, sharegpt, openai, text]
    default: auto
  columns:
    description:
      - Names of the fields where they are not the usual ones, by LLaMA-Factory's name of the column.
      - These are V(prompt), V(query), V(response), V(system) and V(history) for V(alpaca), and V(messages), V(system)
        and V(tools) for the others; with V(chosen) and V(rejected), or V(kto_tag), where there are such. For V(text) it
        is V(prompt).
    type: dict
    default: {}
  ignore_fields:
    description:
      - Fields of the rows that are left out. Any other field that the format does not have is refused.
    type: list
    elements: str
    default: []
  force:
    description:
      - Take the name over when somebody else has registered it.
    type: bool
    default: false
  purge:
    description:
      - With O(state=absent), remove the rows as well, unless another name refers to them. Their receipt stays, because
        models that were trained on them refer to it.
    type: bool
    default: false
  sources:
    description:
      - What the files of O(src) are. Set by the action plugin of this module; not for use by hand.
    type: list
    elements: dict
    suboptions:
      label:
        description: What the user calls it.
        type: str
        required: true
      bytes:
        description: Its size.
        type: int
        required: true
      sha256:
        description: Its digest.
        type: str
        required: true
      path:
        description: Where it was transferred to, if it was.
        type: path
      kind:
        description: How it is written there.
        type: str
        choices: [json, csv]
      commit:
        description: The commit of git that changed it last.
        type: str
      dirty:
        description: Whether it differs from that commit.
        type: bool
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.common
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the
      controller.
    support: full
  diff_mode:
    support: full
    details:
      - The rows that are added, removed and answered otherwise, up to 20 of each. Versions of more than 200000 rows
        are not compared row by row.
  vault:
    description: Can automatically decrypt Ansible vaulted files.
    support: full
notes:
  - Columns are written as LLaMA-Factory reads them without losing a row. Rows of the format V(alpaca) keep it, unless
    one of them has a C(history) or a column would hold nothing but dates; these are published as V(sharegpt), and so
    are rows of the format V(openai). LLaMA-Factory makes the same training samples of both.
seealso:
  - module: ia_homelab.llamafactory.train
author:
  - ia_homelab contributors (@ia-homelab)
"""

EXAMPLES = r"""
- name: Publish the prompts that are kept in git
  ia_homelab.llamafactory.dataset:
    name: homelab_prompts
    src: homelab_prompts.json
    data_dir: /data/llamafactory
  register: prompts

- name: Publish rows that are written down here
  ia_homelab.llamafactory.dataset:
    name: salutations
    records:
      - instruction: Bonjour, qui es-tu ?
        output: Je suis l'assistant du homelab.
        system: Tu es un assistant homelab spécialisé.
    data_dir: /data/llamafactory

- name: Publish a large file that lies on the host, with other names of fields
  ia_homelab.llamafactory.dataset:
    name: faq
    src: /srv/exports/faq.csv
    remote_src: true
    format: alpaca
    columns:
      prompt: question
      response: réponse
    ignore_fields: [id, date]
    data_dir: /data/llamafactory

- name: Take a dataset away, with its rows
  ia_homelab.llamafactory.dataset:
    name: faq
    state: absent
    purge: true
    data_dir: /data/llamafactory
"""

RETURN = r"""
name:
  description: Name of the dataset.
  returned: success
  type: str
  sample: homelab_prompts
fingerprint:
  description: Names the version, by its content.
  returned: when O(state=present)
  type: str
  sample: 9a83b14fee8397eb911c53051663dbd7a56d11d9a9835d6c9529eeefb2a1ca76
path:
  description: Directory of the version; with C(data.jsonl), a C(dataset_info.json) of its own, and C(receipt.json).
  returned: when O(state=present)
  type: str
  sample: /data/llamafactory/datasets/versions/9a83b14fee8397eb911c53051663dbd7a56d11d9a9835d6c9529eeefb2a1ca76
rows:
  description: Number of rows.
  returned: when O(state=present)
  type: int
  sample: 50
format:
  description: How the rows were written.
  returned: when O(state=present)
  type: str
  sample: alpaca
kind:
  description:
    - What the rows are for. V(sft) for supervised fine-tuning, V(preference) for C(dpo) and C(rm), V(kto) for C(kto),
      V(pretraining) for C(pt).
  returned: when O(state=present)
  type: str
  sample: sft
systems:
  description: The system prompts found in the rows.
  returned: when O(state=present)
  type: dict
  contains:
    most_common:
      description: The one that most rows have; empty when none has one.
      type: str
      sample: Tu es un assistant homelab spécialisé.
    rows:
      description: How many rows have it.
      type: int
      sample: 50
    distinct:
      description: How many different ones there are.
      type: int
      sample: 1
    exact:
      description: Whether all were counted; C(distinct) is at least that many where not.
      type: bool
      sample: true
    without:
      description: How many rows have none.
      type: int
      sample: 0
outcome:
  description:
    - All that was found out about the version, as it stands in its receipt. Besides what is returned above, these are
      C(bytes), C(columns), C(formatting) (the form the rows were published in), C(longest_row) and C(sources).
    - C(repeats) counts C(duplicates), rows that say the same as an earlier one, and C(contradictions), rows that answer
      the same question otherwise (or prefer the other answer, or have the other C(kto_tag)), with C(examples). Of more
      than two million rows only the first are compared, and C(exact) is false then. Both are warned about.
    - C(lengths) tells how many rows are how long, in bytes.
  returned: when O(state=present)
  type: dict
  sample: {bytes: 14327, formatting: alpaca, longest_row: {characters: 322, file: homelab_prompts.json, row: 8}}
sources:
  description: What the dataset was made from, with the commit of git where the file is kept in one.
  returned: when O(state=present)
  type: list
  elements: dict
  sample:
    - bytes: 15830
      commit: 4f1c2a9be04bb5f0a1c1a4c0c2bb5c1b0ae6a7c9
      dirty: false
      label: homelab_prompts.json
      sha256: db87b94581f4f96e926f40df7866515662ab1cc86d6a9e877f112747ebf71d7f
reasons:
  description: Why something was changed, or would be.
  returned: success
  type: list
  elements: str
  sample: [the rows changed]
changes:
  description: How many rows were added, removed and answered otherwise; in diff mode, when the rows differ.
  returned: in diff mode
  type: dict
  sample: {added: 3, changed: 1, compared: true, removed: 0}
details:
  description: What is wrong with the rows.
  returned: when rows are refused
  type: dict
  contains:
    problems:
      description:
        - The first 20 things that are wrong, each with C(file), C(row) from 1, C(line) where that says something,
          C(field), C(what) is wrong, and how to C(fix) it.
      type: list
      elements: dict
    problems_total:
      description: How many there are; counting ends at 1000.
      type: int
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import (
    Declaration,
    Outcome,
    absent,
    apply,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rules.registry import FORMATS
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.statistics import warnings
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.version import VERSION

SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "records": {"type": "list", "elements": "raw"},
    "src": {"type": "list", "elements": "path"},
    "remote_src": {"type": "bool", "default": False},
    "format": {"type": "str", "choices": list(FORMATS), "default": "auto"},
    "columns": {"type": "dict", "default": {}},
    "ignore_fields": {"type": "list", "elements": "str", "default": []},
    "data_dir": {"type": "path", "required": True},
    "force": {"type": "bool", "default": False},
    "purge": {"type": "bool", "default": False},
    "sources": {
        "type": "list",
        "elements": "dict",
        "options": {
            "label": {"type": "str", "required": True},
            "bytes": {"type": "int", "required": True},
            "sha256": {"type": "str", "required": True},
            "path": {"type": "path"},
            "kind": {"type": "str", "choices": ["json", "csv"]},
            "commit": {"type": "str"},
            "dirty": {"type": "bool"},
        },
    },
}


def sources(params: t.Mapping[str, t.Any]) -> list[Source]:
    """Where the rows come from, as the options say."""
    if params["records"] is not None:
        return [Source("records", records=params["records"])]
    if params["remote_src"]:
        return [Source(path, path) for path in params["src"]]
    if params["sources"] is None:
        raise InputError("The files of the controller did not come along.", "Call the module by its full name.")
    return [
        Source(
            given["label"],
            path=given["path"] or "",
            kind=given["kind"] or "",
            sha256=given["sha256"],
            size=given["bytes"],
            commit=given["commit"] or "",
            dirty=given["dirty"],
        )
        for given in params["sources"]
    ]


def body(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    layout = Layout(params["data_dir"])
    if params["state"] == "absent":
        outcome = absent(layout, params["name"], params["purge"], module.check_mode, params["force"])
    else:
        declaration = Declaration(params["name"], params["format"], params["columns"], tuple(params["ignore_fields"]))
        outcome = apply(
            layout,
            declaration,
            sources(params),
            check=module.check_mode,
            compare=module._diff,
            force=params["force"],
            core_version=VERSION,
        )
    answer: dict[str, t.Any] = {"changed": outcome.changed, "name": params["name"], "reasons": outcome.reasons}
    if outcome.needs_rows:
        answer["needs_rows"] = True
    if outcome.dataset:
        found = outcome.dataset
        answer.update(
            fingerprint=found.fingerprint,
            path=found.path,
            rows=found.rows,
            format=found.results.get("format"),
            kind=found.kind,
            systems=found.results.get("systems"),
            outcome=found.results,
            sources=found.sources,
        )
        for warning in warnings(params["name"], found.results):
            module.warn(warning)
    if module._diff and not outcome.needs_rows:
        if outcome.changes:
            answer["changes"] = {key: outcome.changes[key] for key in ("compared", "added", "removed", "changed")}
        answer["diff"] = difference(params["name"], outcome)
    return answer


def difference(name: str, outcome: Outcome) -> dict[str, str]:
    """Before and after, as Ansible shows them: the version, and the rows that differ."""
    before = [f"version: {outcome.before[:12]}"] if outcome.before else []
    after = [f"version: {outcome.dataset.fingerprint[:12]}"] if outcome.dataset else []
    changes = outcome.changes
    if changes.get("compared"):
        after.append(f"{changes['added']} added, {changes['removed']} removed, {changes['changed']} changed")
    if outcome.changed and outcome.dataset:
        after += [f"reason: {reason}" for reason in outcome.reasons]
    return {
        "before_header": f"dataset {name}",
        "after_header": f"dataset {name}",
        "before": "".join(f"{line}\n" for line in [*before, *changes.get("before", ())]),
        "after": "".join(f"{line}\n" for line in [*after, *changes.get("after", ())]),
    }


def main() -> None:
    run_module(
        SPEC,
        body,
        mutually_exclusive=[("records", "src")],
        required_if=[("state", "present", ("records", "src"), True)],
    )


if __name__ == "__main__":
    main()
