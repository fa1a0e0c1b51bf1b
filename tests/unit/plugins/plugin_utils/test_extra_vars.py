# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extra variables of the playbooks."""

from __future__ import annotations

import re

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _extra_vars
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import ROOT, taken_by

PLAYBOOKS = [path for path in (ROOT / "playbooks").glob("*.yml") if "play_hosts" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("old, new", sorted(_extra_vars.RENAMED.items()))
def test_old_name_is_refused_with_the_new_one(old: str, new: str) -> None:
    problems = _extra_vars.problems({old: "x"}, [new])
    assert problems == [f"The extra variable {old} is called {new}: write -e {new}=…"]


@pytest.mark.parametrize(
    "name, meant",
    [
        ("plna", "finetune_plan_file"),
        ("modl", "finetune_name"),
        ("finetune_plan_fil", "finetune_plan_file"),
        ("finetune_weit", "finetune_wait"),
        ("llamafactory_data_dirs", "llamafactory_data_dir"),
    ],
)
def test_misspelled_name_is_refused_with_the_nearest(name: str, meant: str) -> None:
    problems = _extra_vars.problems({name: "x"}, ["finetune_plan_file", "finetune_name"])
    assert problems == [f"There is no extra variable {name}. Did you mean {meant}?"]


def test_unknown_name_with_our_prefix_is_refused() -> None:
    assert _extra_vars.problems({"finetune_zzzzzzzzzz": 1}, []) == ["There is no extra variable finetune_zzzzzzzzzz."]


@pytest.mark.parametrize("name", ["ansible_user", "my_model", "host", "finetunes", "ollama_url", "finetune_models"])
def test_names_of_the_user_and_of_the_inventory_are_taken(name: str) -> None:
    assert _extra_vars.problems({name: "x"}, []) == []


def test_variable_of_another_playbook_is_refused() -> None:
    (problem,) = _extra_vars.problems({"finetune_run": "x"}, ["finetune_plan_file"])
    assert "playbooks/cancel.yml takes it" in problem


def test_needed_variable_is_asked_for() -> None:
    (problem,) = _extra_vars.problems({}, ["finetune_name"], ["finetune_name"])
    assert "-e finetune_name=…" in problem
    assert _extra_vars.problems({"finetune_name": "m"}, ["finetune_name"], ["finetune_name"]) == []


def test_every_playbook_checks_its_extra_variables() -> None:
    """Those of the quickstart get what quickstart.yml has checked."""
    others = {path.stem for path in (ROOT / "playbooks").glob("*.yml")} - {path.stem for path in PLAYBOOKS}
    assert others == {"quickstart-page", "quickstart-stop"}


def test_table_says_which_playbooks_take_a_variable() -> None:
    taken: dict[str, set[str]] = {}
    for path in PLAYBOOKS:
        for name in taken_by(path):
            taken.setdefault(name, set()).add(path.stem)
    assert taken == {name: set(books) for name, books in _extra_vars.PLAYBOOKS.items()}


def test_every_variable_of_playbooks_and_roles_is_known() -> None:
    """A variable that a file uses with a default, or that a role takes, must not be refused as an extra variable."""
    used: set[str] = set()
    for path in [*PLAYBOOKS, *(ROOT / "roles").glob("*/defaults/*.yml")]:
        used.update(re.findall(r"\b(finetunes?(?:_\w+)?) \| default\(", path.read_text(encoding="utf-8")))
    known = {*_extra_vars.PLAYBOOKS, *_extra_vars.RENAMED, *_extra_vars.OTHERS, *_extra_vars.role_options()}
    assert used - known == set()
