# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of an apply: which task follows which step, and the file of a saved plan."""

from __future__ import annotations

import json
import types
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.action import finetunes
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.kinds import (
    KINDS,
    KINDS_OF_MODULE,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.tests.support.role_play import ROOT

ROLE = ROOT / "roles" / "finetune"


def action(check_mode: bool = False) -> t.Any:
    made = finetunes.ActionModule.__new__(finetunes.ActionModule)
    made._task = types.SimpleNamespace(check_mode=check_mode)
    return made


def test_each_step_is_followed_by_one_task() -> None:
    middle = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["finetune_middle_kinds"]
    followed = [*KINDS_OF_MODULE["base"], *KINDS_OF_MODULE["train"], *middle, *finetunes.LAST_KINDS]
    assert sorted([*followed, "dataset"]) == sorted(KINDS), "datasets are published before the submission"


def test_a_saved_plan_is_one_that_can_be_applied(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    options = {"plan_file": str(path), "plans": {"pc-ia": [{"name": "m", "pending": ["train"]}]}}
    assert action()._save(options, {}) == {"changed": True, "path": str(path)}
    assert json.loads(path.read_text())["schema"] == 1
    assert finetunes.saved_plans(str(path), "pc-ia") == options["plans"]["pc-ia"]
    assert action()._save(options, {})["changed"] is False
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]


def test_a_check_writes_no_plan_and_none_is_written_without_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert action(check_mode=True)._save({"plan_file": str(path), "plans": {}}, {})["changed"] is True
    assert not path.exists()
    assert action()._save({"plan_file": "", "plans": {}}, {}) == {"changed": False}


def test_a_plan_that_cannot_be_written_is_an_error_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "plan.json"
    with pytest.raises(InputError, match=f"cannot be written to {path}: No such file or directory"):
        action()._save({"plan_file": str(path), "plans": {}}, {})
