# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong declarations in real plays: the role's argument validation, then the core's message, and nothing else."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.role_play import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]


def play(root: Path, finetunes: t.Any, playbook: str = "finetune", **more: t.Any) -> tuple[int, str]:
    """Run a playbook in check mode; its exit status and output."""
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (root / "hosts.yml").write_text(json.dumps({"pc_ia": {"hosts": {"pc-ia": host}}}))
    variables = {
        "llamafactory_data_dir": str(root / "data"),
        "llamafactory_toolchain": {},
        "finetunes": finetunes,
        **more,
    }
    (root / "variables.json").write_text(json.dumps(variables))
    return ansible_playbook(
        root, "-i", "hosts.yml", str(ROOT / "playbooks" / f"{playbook}.yml"), "-e", "@variables.json", "--check"
    )


def failure(output: str) -> list[str]:
    """The lines of the failed task's message, without indentation."""
    assert output.count("fatal: ") == 1, output
    shown = output.partition("fatal: ")[2].partition("PLAY RECAP")[0]
    return [line.strip() for line in shown.splitlines()[1:] if line.strip()]


@pytest.mark.parametrize("playbook", ["finetune", "plan"])
def test_a_wrong_declaration_is_one_short_message(tmp_path: Path, playbook: str) -> None:
    wrong = {"lora_rnk": 8, "epochs": 0, "lr": "fast", "register": "perhaps"}
    status, output = play(tmp_path, [{"name": "homelab-model", "base_model": "b", "dataset": "d", **wrong}], playbook)
    assert status != 0
    assert failure(output) == [
        "changed: false",
        "msg: |-",
        "homelab-model: 4 options are wrong.",
        "- There is no option 'lora_rnk' of a fine-tune. Did you mean lora_rank?",
        "- epochs must be above 0 and at most 1000, not 0.",
        "- lr: learning_rate must be a number, not 'fast'.",
        "- register must be true or false, not 'perhaps'.",
    ]
    assert len(output.splitlines()) < 45, output


def test_a_dictionary_with_another_name_inside_is_refused(tmp_path: Path) -> None:
    status, output = play(tmp_path, {"homelab-model": {"name": "other", "base_model": "b", "dataset": "d"}})
    assert status != 0
    message = " ".join(failure(output)).replace("''", "'")  # YAML's quotes
    assert "the fine-tune 'homelab-model' has another name inside: 'other'" in message


def test_a_valid_dictionary_gets_to_the_modules(tmp_path: Path) -> None:
    """The message is that of the module ``job``, which looks for the dataset."""
    base = str(tmp_path / "no-such-base")
    status, output = play(tmp_path, {"homelab-model": {"base_model": base, "dataset": "d", "register": False}})
    assert status != 0
    assert "TASK [ia_homelab.llamafactory.finetune : Plan, publish the datasets and submit]" in output
    message = " ".join(failure(output)).replace("''", "'")  # YAML's quotes
    assert "There is no dataset 'd' in" in message


def with_gate(**prompt: t.Any) -> dict[str, t.Any]:
    gate = {"tools": "homelab", "prompts": [{"prompt": "Le NAS répond-il ?", **prompt}]}
    return {"homelab-model": {"base_model": "/no-such-base", "dataset": "d", "gate": gate}}


def test_a_gate_names_declared_tools(tmp_path: Path) -> None:
    """The shipped file is read on the control machine; expected calls are compared with it."""
    declared = [{"name": "homelab", "src": str(ROOT / "playbooks" / "files" / "tools" / "homelab.json")}]
    call = {"name": "ping_host", "arguments": {"host": {"regex": "nas"}}}
    status, output = play(tmp_path, with_gate(calls=[call]), finetune_tools=declared)
    assert status != 0
    assert "There is no dataset 'd' in" in " ".join(failure(output)).replace("''", "'")
    wrong = {"name": "ping_hots", "arguments": {}}
    _status, output = play(tmp_path, with_gate(calls=[wrong]), playbook="plan", finetune_tools=declared)
    message = " ".join(failure(output)).replace("''", "'")
    assert "the prompt offers no tool 'ping_hots'. Did you mean 'ping_host'?" in message


def test_a_gate_with_tools_that_are_not_declared_is_refused(tmp_path: Path) -> None:
    _status, output = play(tmp_path, with_gate(no_calls=True))
    assert "no tools are declared as 'homelab'" in " ".join(failure(output)).replace("''", "'")


def test_an_invalid_declaration_of_tools_is_refused(tmp_path: Path) -> None:
    _status, output = play(tmp_path, {}, finetune_tools=[{"name": "homelab", "source": "x"}])
    message = " ".join(failure(output))
    assert "missing required arguments: src found in tools" in message
    _status, output = play(tmp_path, {}, finetune_tools=[{"name": "homelab", "src": "tools/none.json"}])
    assert "There is no file 'tools/none.json' with the tools homelab" in output
