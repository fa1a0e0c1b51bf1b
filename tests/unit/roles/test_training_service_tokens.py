# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role ``training_service``: the token that it makes, and settings that it refuses, in real plays."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import stat
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.role_play import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]
ROLE = "ia_homelab.llamafactory.training_service"
#: The handlers of the role restart a unit of systemd: the play ends before them.
END = {"name": "End", "ansible.builtin.meta": "end_play"}
OWN_GROUP = grp.getgrgid(os.getegid()).gr_name


def play(root: Path, tasks_from: str, *options: str, **variables: t.Any) -> tuple[int, str]:
    """Run tasks of the role on this machine; return the exit status and the output.

    :param options: of ``ansible-playbook``.
    """
    role = {"name": ROLE, "tasks_from": tasks_from}
    tasks = [{"name": "Include", "ansible.builtin.include_role": role}, END]
    playbook = [{"name": "Play", "hosts": "all", "gather_facts": False, "tasks": tasks}]
    (root / "play.yml").write_text(json.dumps(playbook))
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (root / "hosts.json").write_text(json.dumps({"all": {"hosts": {"pc-ia": host}}}))
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    values = {
        "training_service_etc": str(etc),
        "training_service_token_group": OWN_GROUP,
        "training_service_made_user": {},
    }
    (root / "variables.json").write_text(json.dumps({**values, **variables}))
    return ansible_playbook(root, "-i", "hosts.json", "play.yml", "-e", "@variables.json", *options)


def entries(root: Path) -> list[dict[str, t.Any]]:
    """The tokens that the service reads."""
    return t.cast("list[dict[str, t.Any]]", json.loads((root / "etc/tokens.json").read_text()))


def digest(secret: str) -> str:
    """The digest of a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


@pytest.mark.skipif(os.geteuid() != 0, reason="the role sets owners")
def test_a_token_is_made_once_and_read_by_its_group(tmp_path: Path) -> None:
    status, output = play(tmp_path, "tokens")
    assert status == 0, output
    path = tmp_path / "etc/token"
    secret = path.read_text().strip()
    assert len(secret) == 43 and secret.isalnum()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "etc/tokens.json").stat().st_mode) == 0o640
    assert entries(tmp_path) == [{"name": "host", "scopes": ["read", "train"], "sha256": digest(secret)}]
    assert secret not in output
    status, output = play(tmp_path, "tokens")
    assert status == 0 and "changed=0" in output, output
    assert path.read_text().strip() == secret
    # an interrupted write is not a token: without a check, the empty one would be valid
    path.write_text("")
    status, output = play(tmp_path, "tokens")
    assert status != 0
    assert entries(tmp_path)[0]["sha256"] == digest(secret)


@pytest.mark.skipif(os.geteuid() != 0, reason="the role sets owners")
def test_declared_tokens_replace_the_one_that_was_made(tmp_path: Path) -> None:
    assert play(tmp_path, "tokens")[0] == 0
    declared = {"name": "backend", "scopes": ["read"], "token": "only-for-this-test-0123"}
    status, output = play(tmp_path, "tokens", training_service_tokens=[declared])
    assert status == 0, output
    assert not (tmp_path / "etc/token").exists()
    assert entries(tmp_path) == [{"name": "backend", "scopes": ["read"], "sha256": digest(declared["token"])}]
    status, output = play(tmp_path, "tokens", training_service_no_token=True)
    assert status == 0, output
    assert list((tmp_path / "etc").iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"training_service_no_token": True, "training_service_host": "0.0.0.0"}, "client that reaches the service"),
        (
            {"training_service_no_token": True, "training_service_trusted_proxies": ["127.0.0.1"]},
            "any client that reaches the service",
        ),
        (
            {
                "training_service_no_token": True,
                "training_service_tokens": [{"name": "a", "scopes": ["read"], "token": "only-for-this-test-0123"}],
            },
            "any client that reaches the service",
        ),
        ({"training_service_allow_unauthenticated": True}, "no longer exists"),
        ({"training_service_allow_unauthenticated": False}, "no longer exists"),
    ],
)
def test_access_that_is_not_controlled_is_refused(tmp_path: Path, variables: dict[str, t.Any], message: str) -> None:
    status, output = play(tmp_path, "present", "--check", **variables)
    assert status != 0
    assert message in output and "Create the job user" not in output
