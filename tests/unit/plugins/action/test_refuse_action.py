# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Problems and warnings of a role, in a real play with the default callback."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.tests.support.role_play import ansible_playbook


def play(root: Path, **options: t.Any) -> tuple[int, str]:
    """Run the task on this machine; the exit status and the output."""
    tasks = [{"name": "Check", "ia_homelab.llamafactory.refuse": options}]
    playbook = [{"name": "Play", "hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    (root / "play.yml").write_text(json.dumps(playbook))
    return ansible_playbook(root, "-i", "localhost,", "play.yml", "-e", '{"listen_port": 80}')


def test_empty_problems_are_none_and_the_others_are_one_failure(tmp_path: Path) -> None:
    conditional = "{{ '' if listen_port > 1023 else 'The port is ' ~ listen_port ~ '.' }}"
    status, output = play(tmp_path, problems=[conditional, " ", "Second."])
    assert status != 0 and output.count("The port is 80.") == 1 and output.count("Second.") == 1, output
    assert "[ERROR]" not in output and output.count("fatal: ") == 1


def test_nothing_wrong_is_nothing_said(tmp_path: Path) -> None:
    status, output = play(tmp_path, problems=["{{ '' if listen_port > 79 else 'Low.' }}"], warnings=["", "{{ '' }}"])
    assert status == 0 and "ok: [localhost]" in output and "WARNING" not in output, output


def test_warnings_do_not_fail(tmp_path: Path) -> None:
    status, output = play(tmp_path, warnings=["The server has no password."])
    assert status == 0 and output.count("[WARNING]: The server has no password.") == 1, output
