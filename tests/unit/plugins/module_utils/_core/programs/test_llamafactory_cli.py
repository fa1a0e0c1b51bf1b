# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that runs LLaMA-Factory's command line, tested with a stand-in package that prints its arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import tool_environment, train

MISC = """
import os
def is_env_enabled(name): return os.environ.get(name, "") in ("1", "true")
def get_device_count(): return int(os.environ.get("DEVICES", "0"))
"""
CLI = """
import atexit, gc, os, sys, threading, time
def main():
    print("runs", sys.argv[1:], gc.isenabled(), "llamafactory.train.tuner" in sys.modules)
    atexit.register(print, "exit handler")
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


def write_package(tmp_path: Path) -> str:
    """Write the stand-in package and return its parent directory."""
    files = {"extras/misc.py": MISC, "cli.py": CLI, "train/tuner.py": TUNER}
    for name in ("__init__.py", "extras/__init__.py", "train/__init__.py", *files):
        path = tmp_path / "lib" / "llamafactory" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files.get(name, ""))
    return str(tmp_path / "lib")


def run(tmp_path: Path, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program; the stand-in executes ``code``."""
    return subprocess.run(
        [sys.executable, tool_environment._LLAMAFACTORY_CLI, "train", "train.yaml"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": write_package(tmp_path), "DOES": code, **environment},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_no_garbage_collection_and_no_teardown(tmp_path: Path) -> None:
    process = run(tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == [
        "imported False",
        "runs ['train', 'train.yaml'] True True",
        "thread",
        "exit handler",
    ]


@pytest.mark.parametrize("environment", [{"FORCE_TORCHRUN": "1"}, {"DEVICES": "2"}])
def test_launcher_imports_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    assert run(tmp_path, **environment).stdout.startswith("runs ['train', 'train.yaml'] True False")


@pytest.mark.parametrize(
    "code, status, message",
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(0)", 0, ""),
        ("sys.exit(7)", 7, ""),
        ("sys.exit('failure')", 1, "failure\n"),
        ("raise ValueError('no such template')", 1, "ValueError: no such template\n"),
        ("import llamafactory.nothing", 1, "ModuleNotFoundError: No module named 'llamafactory.nothing'\n"),
        ("os.kill(os.getpid(), 15)", -15, ""),
    ],
)
def test_exit_status_is_that_of_python(tmp_path: Path, code: str, status: int, message: str) -> None:
    process = run(tmp_path, code)
    assert process.returncode == status
    assert process.stderr.endswith(message)
    assert process.stdout.endswith("exit handler\n") is (status >= 0)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The directory of programs in a simulated image."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "sed"):
        (programs / name).symlink_to(str(shutil.which(name)))
    return programs


def write(path: Path, text: str) -> None:
    """Write an executable program."""
    path.write_text(text)
    path.chmod(0o755)


def in_image(image: Path, before: str = "") -> str:
    """Run the command line in the simulated image and return its output."""
    argv = tool_environment.llamafactory(t.cast("t.Any", None), "an image", "train", "train.yaml", before=before)
    process = subprocess.run(argv, env={"PATH": str(image)}, capture_output=True, text=True, check=False, timeout=60)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.parametrize("name", ["python3", "python", "other"])
def test_interpreter_of_an_image_is_found(tmp_path: Path, image: Path, name: str) -> None:
    library = write_package(tmp_path)
    for bare in {"python3", "python"} - {name}:
        write(image / bare, f'#!/bin/sh\nexec {sys.executable} -I "$@"\n')
    write(image / name, f'#!/bin/sh\nPYTHONPATH={library} exec {sys.executable} "$@"\n')
    write(image / "llamafactory-cli", f"#!{image / name}\nraise SystemExit('not asked for')\n")
    assert "runs ['train', 'train.yaml'] True True" in in_image(image)


def test_own_program_of_an_image_is_the_fallback(image: Path) -> None:
    write(image / "llamafactory-cli", '#!/bin/sh\necho "itself: $*"\n')
    assert in_image(image) == "itself: train train.yaml\n"
    assert in_image(image, train._ENABLE_JIT_CHECKPOINT) == "itself: train train.yaml\n"


def test_jit_checkpoint_is_enabled_in_an_image(tmp_path: Path, image: Path) -> None:
    library = write_package(tmp_path)
    write(image / "python3", f'#!/bin/sh\nPYTHONPATH={library} exec {sys.executable} "$@"\n')
    (tmp_path / "lib" / "transformers").mkdir()
    (tmp_path / "lib" / "transformers" / "__init__.py").touch()
    assert "runs ['train', 'train.yaml']" in in_image(image, train._ENABLE_JIT_CHECKPOINT)
    (tmp_path / "lib" / "transformers" / "trainer_jit_checkpoint.py").touch()
    assert "runs ['train', 'train.yaml', 'enable_jit_checkpoint=true']" in in_image(image, train._ENABLE_JIT_CHECKPOINT)
