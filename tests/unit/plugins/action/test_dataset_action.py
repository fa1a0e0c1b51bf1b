# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin on the controller: conversion of YAML to rows, and the git commit of a file."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.action.dataset import git_state, yaml_to_lines
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError


def rows_of(path: Path) -> list[t.Any]:
    """Return the rows of a YAML file as they are passed to the module."""
    lines = yaml_to_lines(str(path), path.name, "homelab")
    try:
        return [json.loads(line) for line in Path(lines).read_text("ascii").splitlines()]
    finally:
        os.unlink(lines)


def test_yaml_is_converted_to_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text(
        """# un commentaire
- &first
  instruction: |
    Été ?
    Oui ?
  output: "2024-01-01"
  system: &system Tu es là.
- {instruction: a, output: 12, system: *system, history: [[a, b]]}
- *first
""",
        encoding="utf-8",
    )
    first = {"instruction": "Été ?\nOui ?\n", "output": "2024-01-01", "system": "Tu es là."}
    assert rows_of(path) == [
        first,
        # the host refuses values that are not text, with their location
        {"instruction": "a", "output": 12, "system": "Tu es là.", "history": [["a", "b"]]},
        first,
    ]


any_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=8)


@given(st.lists(st.dictionaries(any_text, any_text | st.lists(st.lists(any_text, max_size=2), max_size=2)), min_size=1))
@settings(max_examples=60, deadline=None)
def test_yaml_and_json_are_equivalent(tmp_path_factory: pytest.TempPathFactory, rows: list[t.Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_text(yaml.safe_dump(rows, allow_unicode=True, default_flow_style=None), encoding="utf-8")
    assert rows_of(path) == rows


GOOD = "- {instruction: a, output: b}\n"

BAD: dict[str, tuple[str | bytes, int | None, int | None, str, str]] = {
    "date": (GOOD + "- instruction: a\n  output: 2024-01-01\n", 2, 3, "output", "is a date to YAML"),
    "date and time": (GOOD + "- {instruction: 2024-01-01 10:00:00}", 2, 2, "instruction", "is a date to YAML"),
    "date inside": ("- {history: [[a, 2024-01-01]]}", 1, 1, "history[0][1]", "is a date to YAML"),
    "key twice": (GOOD + "- instruction: a\n  output: b\n  output: c\n", 2, 4, "output", "given twice"),
    "key twice inside": ("- {conversations: [{from: human, from: gpt}]}", 1, 1, "conversations[0].from", "given twice"),
    "tag": (GOOD + "- {instruction: !vault x, output: b}", 2, 2, "instruction", "has the tag !vault"),
    "tag of Python": ("- !!python/object/apply:os.system [x]", 1, 1, "", "has the tag"),
    "binary": ("- {instruction: !!binary YQ==, output: b}", 1, 1, "instruction", "has the tag"),
    "set": ("- {instruction: a, output: !!set {a, b}}", 1, 1, "output", "has the tag"),
    "merge": ("- &a {instruction: a}\n- {<<: *a, output: b}", 2, 2, "<<", "a merge key of YAML"),
    "mark inside": (GOOD + "\ufeff" + GOOD, None, 2, "", "byte order mark"),
    "rows in a field": ("version: 1\ndata:\n  - {instruction: a, output: b}\n", None, 2, "data", "the rows stand in"),
    "key is a number": ("- {1: a}", 1, 1, "1", "name of a field is text"),
    "key is a list": ("- {[a]: b}", 1, 1, "?", "name of a field is text"),
    "alias of a list": ("- {history: &h [[a, b]], tools: *h}", 1, 1, "tools", "alias of a list or an object"),
    "laughs": (
        "- a: &a [x, x, x, x, x, x, x, x, x]\n  b: &b [*a, *a, *a, *a, *a]\n  c: [*b, *b, *b, *b]\n",
        1, 2, "b[0]", "alias of a list",
    ),
    "endless": ("- &a [*a]", 1, 1, "[0]", "alias of a list or an object"),
    "indent": (GOOD + "- instruction: a\n   output: b\n", None, 3, "", "not valid YAML"),
    "tab": ("- instruction: a\n\toutput: b\n", None, 2, "", "not valid YAML"),
    "open quote": (GOOD + '- instruction: "a\n', None, 3, "", "not valid YAML"),
    "unknown alias": ("- *a", None, 1, "", "not valid YAML"),
    "two documents": (GOOD + "---\n" + GOOD, None, 2, "", "not valid YAML"),
    "control character": ("- {instruction: a\x01}", None, None, "", "not valid YAML"),
    "object": ("rows: []", None, None, "", "not a list of rows"),
    "text": ("oui", None, None, "", "not a list of rows"),
    "nothing": ("# rien\n", None, None, "", "holds no row"),
    "empty": ("", None, None, "", "it is empty"),
    "mark": (b"\xef\xbb\xbf" + GOOD.encode(), 1, 1, "", "byte order mark"),
    "UTF-16": (GOOD.encode("utf-16"), 1, 1, "", "UTF-16"),
    "Latin": (GOOD.encode() + b"- {instruction: \xe9}", None, 2, "", "byte 0xe9 at offset 46 is not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_yaml_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, row, line, field, message = BAD[name]
    path = tmp_path / "a.yml"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("ansible.constants.DEFAULT_LOCAL_TMP", str(scratch))
    with pytest.raises(InputError) as caught:
        yaml_to_lines(str(path), "a.yml", "homelab")
    problem = caught.value.details["problems"][0]
    assert (problem["file"], problem["row"], problem["field"]) == ("a.yml", row, field), problem
    assert problem["line"] == line, problem
    assert message in problem["what"], problem
    assert os.listdir(scratch) == []


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("- {output: 2024-01-01, instruction: 2024-01-02}\n" + GOOD + "- {output: b, output: c}\n")
    with pytest.raises(InputError) as caught:
        yaml_to_lines(str(path), "a.yml", "homelab")
    places = [(problem["row"], problem["field"]) for problem in caught.value.details["problems"]]
    assert places == [(1, "output"), (1, "instruction"), (3, "output")]


def git(folder: Path, *args: str) -> str:
    """Run git with a neutral identity and configuration."""
    result = subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *args],
        check=True, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"},
    )  # fmt: skip
    return result.stdout.strip()


def test_git_state(tmp_path: Path) -> None:
    """The state is the commit that last changed exactly this file, and whether the file differs from it."""
    path = tmp_path / "prompts" / "a b.json"
    path.parent.mkdir()
    path.write_text("[]")
    assert git_state(str(path)) == ("", None)
    git(tmp_path, "init", "-q")
    assert git_state(str(path)) == ("", None)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "prompts")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "other").write_text("x")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "other")
    assert git_state(str(path)) == (commit, False)
    path.write_text("[1]")
    assert git_state(str(path)) == (commit, True)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    assert git_state(str(link)) == (commit, True)


def test_git_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(str(tmp_path / "a.json")) == ("", None)
