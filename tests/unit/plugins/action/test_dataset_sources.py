# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the user are found beside the inventory and the playbook, also with the installed collection."""

from __future__ import annotations

import json
import shutil
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils._user_files import (
    find,
    new_path,
    user_places,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.role_play import ROOT, ansible_playbook

SHIPPED = "homelab_prompts.json"
PLAY = [{
    "hosts": "localhost",
    "gather_facts": False,
    "tasks": [{"include_role": {"name": "ia_homelab.llamafactory.finetune", "tasks_from": "datasets"}}],
}]  # fmt: skip


TOOLS = "tools/homelab.json"
TOOLS_PLAY = [{
    "hosts": "localhost",
    "gather_facts": False,
    "tasks": [
        {
            "ia_homelab.llamafactory.tools_file": {"name": "{{ item.name }}", "src": "{{ item.src }}"},
            "loop": "{{ finetune_tools }}",
            "register": "finetune_tools_read",
        },
        {"debug": {"msg": "{{ finetune_tools_read.results[0].path }} has {{ finetune_tools_read.results[0].names }}"}},
    ],
}]  # fmt: skip


def tool(name: str) -> dict[str, t.Any]:
    return {"name": name, "parameters": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as it is installed, with a playbook that only publishes the datasets."""
    collections = tmp_path_factory.mktemp("collections")
    place = collections / "ansible_collections" / "ia_homelab" / "llamafactory"
    for name in ("plugins", "roles", "meta"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "playbooks" / "files").mkdir(parents=True)
    (place / "playbooks" / "files" / SHIPPED).write_text('[{"instruction": "shipped", "output": "b"}]')
    (place / "playbooks" / "datasets_only.yml").write_text(json.dumps(PLAY))
    (place / "playbooks" / "files" / "tools").mkdir()
    (place / "playbooks" / "files" / TOOLS).write_text(json.dumps([tool("shipped")]))
    (place / "playbooks" / "tools_only.yml").write_text(json.dumps(TOOLS_PLAY))
    return collections


def play(root: Path, installed: Path, playbook: str, src: t.Any, **more: t.Any) -> tuple[int, str]:
    """Publish a dataset; exit status and output."""
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "finetune_data_dir": str(root / "data"),
        "finetune_datasets": [{"name": "mine", "src": src}],
        "finetune_is_distributed": False,
        **more,
    }
    (root / "inventory").mkdir(exist_ok=True)
    (root / "inventory" / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"localhost": variables}}}))
    return ansible_playbook(root, "-i", "inventory/hosts.yml", playbook, collections=installed)


def published(root: Path) -> list[str]:
    """The questions of the published rows."""
    (data,) = root.glob("data/datasets/versions/*/data.jsonl")
    return [json.loads(line)["instruction"] for line in data.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("playbook", "place", "name"),
    [
        ("ia_homelab.llamafactory.datasets_only", "inventory", "mine.json"),
        ("ia_homelab.llamafactory.datasets_only", "inventory/files", SHIPPED),
        ("plays/site.yml", "plays", "mine.json"),
        ("plays/site.yml", "plays/files", SHIPPED),
    ],
)
def test_a_file_of_the_user_is_found(playbook: str, place: str, name: str, installed: Path, tmp_path: Path) -> None:
    """Rather than a file of the collection with the same name."""
    (tmp_path / "plays").mkdir()
    imported = [{"import_playbook": "ia_homelab.llamafactory.datasets_only"}]
    (tmp_path / "plays" / "site.yml").write_text(json.dumps(imported))
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / name).write_text('[{"instruction": "mine", "output": "b"}]')
    status, output = play(tmp_path, installed, playbook, name)
    assert status == 0, output
    assert published(tmp_path) == ["mine"]


@pytest.mark.slow
def test_a_file_of_the_collection_is_still_found(installed: Path, tmp_path: Path) -> None:
    status, output = play(tmp_path, installed, "ia_homelab.llamafactory.datasets_only", SHIPPED)
    assert status == 0, output
    assert published(tmp_path) == ["shipped"]
    status, output = play(tmp_path, installed, "ia_homelab.llamafactory.datasets_only", "other.json")
    assert status != 0
    assert "there is no such file on the controller (searched: " in output
    assert str(tmp_path / "inventory" / "files" / "other.json") in output
    status, output = play(tmp_path, installed, "ia_homelab.llamafactory.datasets_only", "/nowhere/other.json")
    assert status != 0 and "/nowhere/other.json: there is no such file" in output


def test_places_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "site.yml").write_text("[]")
    arguments = [str(tmp_path / "b" / "site.yml"), "ia_homelab.llamafactory.finetune"]
    monkeypatch.setattr("ansible.context.CLIARGS", {"args": arguments})
    found = user_places(
        {"inventory_dir": str(tmp_path / "a"), "ansible_inventory_sources": [str(tmp_path / "a"), "x,"]}
    )
    assert found == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert user_places({"inventory_dir": None}) == [str(tmp_path / "b")]


@pytest.mark.slow
def test_a_file_of_tools_is_found_where_rows_are(installed: Path, tmp_path: Path) -> None:
    playbook = "ia_homelab.llamafactory.tools_only"
    declared = [{"name": "homelab", "src": TOOLS}]
    status, output = play(tmp_path, installed, playbook, SHIPPED, finetune_tools=declared)
    assert status == 0 and "['shipped']" in output, output
    mine = tmp_path / "inventory" / "files" / TOOLS
    mine.parent.mkdir(parents=True)
    mine.write_text(json.dumps([tool("mine")]))
    status, output = play(tmp_path, installed, playbook, SHIPPED, finetune_tools=declared)
    assert status == 0 and str(mine) in output and "has ['mine']" in output, output


def test_a_file_of_the_collection_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched lies with the user's files, which an upgrade of the collection leaves as they are."""
    monkeypatch.setattr("ansible.context.CLIARGS", {"args": ["ia_homelab.llamafactory.tools"]})
    shipped = ROOT / "playbooks" / "files" / TOOLS
    variables = {"inventory_dir": str(tmp_path)}
    found = find(TOOLS, variables, lambda _folder, _path: str(shipped))
    assert found.path == str(shipped) and found.is_shipped
    assert new_path(TOOLS, variables, "/collection") == str(tmp_path / "files" / TOOLS)
    assert new_path(TOOLS, {}, "/plays") == f"/plays/files/{TOOLS}"
    assert new_path("/etc/tools.json", variables, "/plays") == "/etc/tools.json"
    monkeypatch.setattr("ansible.context.CLIARGS", {"args": [str(ROOT / "playbooks" / "tools.yml")]})
    found = find(TOOLS, variables, lambda _folder, _path: str(shipped))
    assert found.path == str(shipped) and not found.is_shipped, "in a checkout, the files are the user's"
