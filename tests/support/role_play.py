# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real play with the collection of this checkout, for tests of what a role refuses or does on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def ansible_playbook(root: Path, *arguments: str, collections: Path | None = None) -> tuple[int, str]:
    """Run ``ansible-playbook``; its exit status and output.

    :param root: directory in which it runs, and which contains what the arguments name.
    :param collections: where the collections are installed; by default the collection of this checkout is used.
    """
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), *arguments],
        cwd=root,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(collections or ROOT / "playbooks" / "collections"),
            "ANSIBLE_HOME": str(root / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout
