#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: dataset
short_description: Publish prompts as a dataset for fine-tuning
version_added: 0.1.0
description:
  - Reads rows, validates every row, and publishes them in an output format that LLaMA-Factory reads without losing a
    row. Invalid rows are reported with file, row and field before anything is written; the published version stays.
  - A published version is an immutable directory named by the digest of its content. The name of the dataset refers to
    it in C(dataset_info.json) below O(data_dir), where LLaMA-Factory and its WebUI look up datasets. Entries from other
    sources in that file are not changed.
  - Rows are read as a stream; memory use does not depend on their number.
options:
  name:
    description:
      - Name of the dataset. Letters, digits and C(. _ -), beginning with a letter or digit.
    type: str
    required: true
  state:
    description:
      - V(present) publishes the rows and registers the name for them.
      - V(absent) removes the name.
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
      - File with the rows, or a list of files whose rows are concatenated.
      - A file named C(*.json), C(*.jsonl) or C(*.ndjson) contains one JSON list of objects, or one object per line.
      - A file named C(*.csv) has a header, and cells separated by commas, semicolons or tabs.
      - A file named C(*.yml) or C(*.yaml) contains one list; it is only supported on the controller.
      - Files are UTF-8 without a byte order mark.
      - Files of the controller are searched where M(ansible.builtin.copy) searches them, then beside the inventory and
        beside the playbook that was started, there also in the directory C(files). Your own file takes precedence over
        a file of this collection with the same name. Files may be encrypted with Ansible Vault. They are
        transferred only if they differ from the files of the last publication.
    type: list
    elements: path
  remote_src:
    description:
      - Whether O(src) is on the host rather than on the controller.
    type: bool
    default: false
  columns:
    description:
      - Names of fields that differ from the default, by LLaMA-Factory's name of the column.
      - The columns are V(prompt), V(query), V(response), V(system) and V(history) for V(alpaca), and V(messages),
        V(system) and V(tools) for the other formats; also V(chosen) and V(rejected), or V(kto_tag), for rows with such
        fields. For V(text) the only column is V(prompt).
    type: dict
    default: {}
  ignore_fields:
    description:
      - Fields of the rows to ignore. Any other field that is not part of the format is refused.
    type: list
    elements: str
    default: []
  tools:
    description:
      - Lists of tools by name. A row may give such a name in the field of its tools, instead of the tools themselves.
      - The module M(ia_homelab.llamafactory.tools_file) reads them from a file.
    type: dict
    default: {}
  force:
    description:
      - Take over the name if it was registered by another program.
    type: bool
    default: false
  purge:
    description:
      - With O(state=absent), also remove the rows, unless another name refers to them. Their receipt is kept, because
        models that were trained on them refer to it.
    type: bool
    default: false
  sources:
    description:
      - Metadata of the files of O(src). Set by the action plugin of this module; not for manual use.
    type: list
    elements: dict
    suboptions:
      label:
        description: Name of the file as declared.
        type: str
        required: true
      bytes:
        description: Size of the file.
        type: int
        required: true
      sha256:
        description: Digest of the file.
        type: str
        required: true
      path:
        description: Path on the host if the file was transferred.
        type: path
      kind:
        description: Format of the transferred file.
        type: str
        choices: [json, csv]
      commit:
        description: Git commit that last changed the file.
        type: str
      dirty:
        description: Whether the file differs from that commit.
        type: bool
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.attributes.with_action
  - ia_homelab.llamafactory.common
  - ia_homelab.llamafactory.dataset_format
attributes:
  diff_mode:
    support: full
    details:
      - The rows that are added, removed or have another answer, up to 20 of each. Versions of more than 200000 rows are
        not compared row by row.
  vault:
    description: Can automatically decrypt Ansible vaulted files.
    support: full
notes:
  - The output format is one that LLaMA-Factory reads without losing a row. Rows of the format V(alpaca) keep it, unless
    one of them has a C(history) or a column would contain only dates; these are published as V(sharegpt), and so are
    rows of the format V(openai). LLaMA-Factory creates the same training samples from both.
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

- name: Publish inline rows
  ia_homelab.llamafactory.dataset:
    name: salutations
    records:
      - instruction: Bonjour, qui es-tu ?
        output: Je suis l'assistant du homelab.
        system: Tu es un assistant homelab spécialisé.
    data_dir: /data/llamafactory

- name: Publish a large file on the host, with custom field names
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

- name: Remove a dataset and its rows
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
  description: Fingerprint of the version, derived from its content.
  returned: when O(state=present)
  type: str
  sample: 9a83b14fee8397eb911c53051663dbd7a56d11d9a9835d6c9529eeefb2a1ca76
path:
  description: Directory of the version, with C(data.jsonl), its own C(dataset_info.json), and C(receipt.json).
  returned: when O(state=present)
  type: str
  sample: /data/llamafactory/datasets/versions/9a83b14fee8397eb911c53051663dbd7a56d11d9a9835d6c9529eeefb2a1ca76
rows:
  description: Number of rows.
  returned: when O(state=present)
  type: int
  sample: 50
format:
  description: Input format of the rows; for files of different formats, all of them joined by C(+).
  returned: when O(state=present)
  type: str
  sample: alpaca
kind:
  description:
    - Purpose of the rows. V(sft) for supervised fine-tuning, V(preference) for C(dpo) and C(rm), V(kto) for C(kto),
      V(pretraining) for C(pt).
  returned: when O(state=present)
  type: str
  sample: sft
systems:
  description: The system prompts in the rows.
  returned: when O(state=present)
  type: dict
  contains:
    most_common:
      description: The most common system prompt; empty if no row has one.
      type: str
      sample: Tu es un assistant homelab spécialisé.
    rows:
      description: Number of rows with the most common system prompt.
      type: int
      sample: 50
    distinct:
      description: Number of different system prompts.
      type: int
      sample: 1
    exact:
      description: Whether C(distinct) is exact; if not, it is a lower bound.
      type: bool
      sample: true
    without:
      description: Number of rows without a system prompt.
      type: int
      sample: 0
outcome:
  description:
    - All results in the receipt of the version. In addition to the values above, these are C(bytes), C(columns),
      C(formatting) (the output format of the rows), C(longest_row) and C(sources).
    - C(repeats) counts C(duplicates), rows that repeat an earlier row, and C(contradictions), rows that give another
      answer to the same question (or prefer the other answer, or have the opposite C(kto_tag)), with C(examples). If
      there are more than two million rows, only the first are compared, and C(exact) is false. Both cause a warning.
    - C(suspects) has the C(count) of rows and the first C(rows) with answers of invisible characters (C(invisible)),
      with texts that are in a chat format already (C(formatted)), and with two braces left in a text (C(unfilled)).
      Each causes a warning.
    - C(thoughts) has the number of rows with a thought before an answer (C(rows)), of those in which only some answers
      have one (C(partly)), the words around thoughts (C(spellings)), texts of C(empty) thoughts, and texts whose
      thought cannot be told from the answer (C(unclear)), with the first place of each kind.
    - C(lengths) is the distribution of the row lengths in bytes.
  returned: when O(state=present)
  type: dict
  sample: {bytes: 14327, formatting: alpaca, longest_row: {characters: 322, file: homelab_prompts.json, row: 8}}
sources:
  description: The source files of the dataset, with the git commit of files in a git repository.
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
  description: Reasons for the change, or for the predicted change.
  returned: success
  type: list
  elements: str
  sample: [the rows changed]
changes:
  description: Number of rows that were added, removed or got another answer, if the rows differ.
  returned: in diff mode
  type: dict
  sample: {added: 3, changed: 1, compared: true, removed: 0}
details:
  description: Problems of the rows.
  returned: when rows are refused
  type: dict
  contains:
    problems:
      description:
        - The first 20 problems, each with C(file), C(row) starting at 1, C(line) if applicable, C(field), C(what) is
          wrong, and how to C(fix) it.
      type: list
      elements: dict
    problems_total:
      description: Number of problems; the count stops at 1000.
      type: int
"""

import os
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
    "tools": {"type": "dict", "default": {}},
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
    """Return the sources of the rows from the module options."""
    if params["records"] is not None:
        return [Source("records", records=params["records"])]
    if params["remote_src"]:
        return [Source(path, path) for path in params["src"]]
    if params["sources"] is None:
        raise InputError("modules.files_not_transferred")
    return [
        Source(
            entry["label"],
            path=entry["path"] or "",
            kind=entry["kind"] or "",
            sha256=entry["sha256"],
            size=entry["bytes"],
            commit=entry["commit"] or "",
            dirty=entry["dirty"],
            descriptor=entry.get("descriptor", -1),
        )
        for entry in params["sources"]
    ]


def open_transferred(module: AnsibleModule) -> None:
    """Open the transferred files, which lie in a directory that only the user who started the module can enter."""
    for entry in module.params["sources"] or []:
        if entry["path"]:
            entry["descriptor"] = os.open(entry["path"], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def body(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    layout = Layout(params["data_dir"])
    if params["state"] == "absent":
        outcome = absent(layout, params["name"], params["purge"], module.check_mode, params["force"])
    else:
        declaration = Declaration(
            params["name"], params["format"], params["columns"], tuple(params["ignore_fields"]), params["tools"]
        )
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
        dataset = outcome.dataset
        answer.update(
            fingerprint=dataset.fingerprint,
            path=dataset.path,
            rows=dataset.rows,
            format=dataset.results.get("format"),
            kind=dataset.kind,
            systems=dataset.results.get("systems"),
            outcome=dataset.results,
            sources=dataset.sources,
        )
        for warning in warnings(params["name"], dataset.results):
            module.warn(str(warning))
    if module._diff and not outcome.needs_rows:
        if outcome.changes:
            answer["changes"] = {key: outcome.changes[key] for key in ("compared", "added", "removed", "changed")}
        answer["diff"] = difference(params["name"], outcome)
    return answer


def difference(name: str, outcome: Outcome) -> dict[str, str]:
    """Return the versions and the differing rows in the format of Ansible's diff mode."""
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
        prepare=open_transferred,
        mutually_exclusive=[("records", "src")],
        required_if=[("state", "present", ("records", "src"), True)],
    )


if __name__ == "__main__":
    main()
