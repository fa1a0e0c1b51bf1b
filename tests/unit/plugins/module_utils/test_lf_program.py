# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that runs LLaMA-Factory's command line, on a package of that name that tells what it was given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _step_environment

MISC = """
import os
def is_env_enabled(name): return os.environ.get(name, "") in ("1", "true")
def get_device_count(): return int(os.environ.get("DEVICES", "0"))
"""
CLI = """
import atexit, gc, os, sys, threading, time
def main():
    print("runs", sys.argv[1:], gc.isenabled(), "llamafactory.train.tuner" in sys.modules)
    atexit.register(print, "put in order")
    threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()
    exec(os.environ.get("DOES", ""))
"""
TUNER = """
import gc, sys
print("imported", gc.isenabled())
class Heavy:
    def __del__(self): sys.stdout.write("taken down")
HEAVY = Heavy(); HEAVY.itself = HEAVY
"""


def run(tmp_path: Path, does: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """What it did."""
    files = {"extras/misc.py": MISC, "cli.py": CLI, "train/tuner.py": TUNER}
    for name in ("__init__.py", "extras/__init__.py", "train/__init__.py", *files):
        path = tmp_path / "lib" / "llamafactory" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files.get(name, ""))
    return subprocess.run(
        [sys.executable, _step_environment.LLAMAFACTORY, "train", "train.yaml"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "lib"), "DOES": does, **environment},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_what_is_imported_is_neither_searched_nor_taken_down(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "imported False",
        "runs ['train', 'train.yaml'] True True",
        "thread",
        "put in order",
    ]


@pytest.mark.parametrize("environment", [{"FORCE_TORCHRUN": "1"}, {"DEVICES": "2"}])
def test_what_only_starts_others_imports_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    assert run(tmp_path, **environment).stdout.startswith("runs ['train', 'train.yaml'] True False")


@pytest.mark.parametrize(
    "does, status, said",
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(0)", 0, ""),
        ("sys.exit(7)", 7, ""),
        ("sys.exit('so it is')", 1, "so it is\n"),
        ("raise ValueError('no such template')", 1, "ValueError: no such template\n"),
        ("import llamafactory.nothing", 1, "ModuleNotFoundError: No module named 'llamafactory.nothing'\n"),
        ("os.kill(os.getpid(), 15)", -15, ""),
    ],
)
def test_it_ends_as_python_would(tmp_path: Path, does: str, status: int, said: str) -> None:
    done = run(tmp_path, does)
    assert done.returncode == status
    assert done.stderr.endswith(said)
    assert done.stdout.endswith("put in order\n") is (status >= 0)
