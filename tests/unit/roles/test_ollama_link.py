# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role ollama links its program where shells find it, and leaves other files of that name alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.role_play import ansible_playbook


def play(root: Path, program: Path, state: str, *arguments: str) -> int:
    """Run the tasks for a program; the number of changes."""
    tasks = [{"include_role": {"name": "ia_homelab.llamafactory.ollama", "tasks_from": "link"}}]
    (root / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    declared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ollama_link": str(root / "bin" / "ollama"),
        "ollama_probe": {"tools_dir": str(root / "tools")},
        "ollama_binary": str(program),
        "ollama_state": state,
    }
    (root / "variables.json").write_text(json.dumps(declared))
    status, output = ansible_playbook(root, "-i", "localhost,", "play.yml", "-e", "@variables.json", *arguments)
    assert status == 0, output
    return int(output.partition("changed=")[2].split()[0])


def program_of(root: Path, version: str) -> Path:
    """Path of an installed program."""
    program = root / "tools" / f"ollama-{version}" / "bin" / "ollama"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    return program


@pytest.mark.slow
def test_the_link_follows_the_program_and_is_removed(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    link, older = tmp_path / "bin" / "ollama", tmp_path / "tools" / "ollama-1" / "bin" / "ollama"
    assert play(tmp_path, older, "started", "--check") == 1 and not os.path.lexists(link), "before it is installed"
    program_of(tmp_path, "1")
    assert play(tmp_path, older, "started") == 1 and link.readlink() == older
    assert play(tmp_path, older, "started") == 0
    newer = program_of(tmp_path, "2")
    assert play(tmp_path, newer, "stopped") == 1 and link.readlink() == newer
    assert play(tmp_path, newer, "absent") == 1 and not os.path.lexists(link) and newer.exists()
    assert play(tmp_path, newer, "absent") == 0


@pytest.mark.slow
def test_what_another_has_put_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    link, own, other = tmp_path / "bin" / "ollama", program_of(tmp_path, "1"), tmp_path / "other"
    link.symlink_to(other)
    for state in ("started", "absent"):
        assert play(tmp_path, own, state) == 0 and link.readlink() == other, "also if it leads nowhere"
    link.unlink()
    assert play(tmp_path, other, "started") == 0 and not os.path.lexists(link), "a program that was not installed here"
