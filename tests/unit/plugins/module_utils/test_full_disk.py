# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk, at every point of a run: told with figures, nothing broken, and it goes on once there is room.

A small tmpfs of its own, in a mount namespace that goes with the processes in it (as root, or as root of a user
namespace).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCENARIO = Path(__file__).parents[3] / "support" / "full_disk.py"


def in_small_disk(root: Path, *arguments: str) -> dict[str, object]:
    """Run the scenario on a tmpfs of 3 MB."""
    private = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        private += ["--user", "--map-root-user"]
    disk, answer = root / "disk", root / "answer.json"
    disk.mkdir(parents=True)
    script = 'mount -t tmpfs -o size=3m,nr_inodes=10k none "$1" && shift && exec "$@"'
    done = subprocess.run(
        [
            *private,
            "sh",
            "-c",
            script,
            "sh",
            str(disk),
            sys.executable,
            str(_SCENARIO),
            str(disk),
            str(answer),
            *arguments,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    found: dict[str, object] = json.loads(answer.read_text())
    return found


def test_full_at_every_point_of_a_run(tmp_path: Path, installed_core: Path) -> None:
    found = in_small_disk(tmp_path, str(installed_core), "run")
    assert found["problems"] == []
    told = found["told"]
    assert isinstance(told, list) and len(told) >= 10, "it did run full"
    for message in told:
        assert "The disk is full" in message and "MB free" in message, message
    assert found["succeeded"], "with enough room it comes to its end"


@pytest.mark.parametrize("what", ["install"])
def test_full_while_the_core_is_installed(tmp_path: Path, installed_core: Path, what: str) -> None:
    found = in_small_disk(tmp_path, str(installed_core), what)
    assert found["problems"] == []
    assert found["told"]
