# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that runs LLaMA-Factory's command line, on a package of that name that tells what it was given."""

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


def package(tmp_path: Path) -> str:
    """The directory that holds it."""
    files = {"extras/misc.py": MISC, "cli.py": CLI, "train/tuner.py": TUNER}
    for name in ("__init__.py", "extras/__init__.py", "train/__init__.py", *files):
        path = tmp_path / "lib" / "llamafactory" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files.get(name, ""))
    return str(tmp_path / "lib")


def run(tmp_path: Path, does: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """What it did."""
    return subprocess.run(
        [sys.executable, tool_environment._LLAMAFACTORY, "train", "train.yaml"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": package(tmp_path), "DOES": does, **environment},
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


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The directory of programs of what could be an image."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "sed"):
        (programs / name).symlink_to(str(shutil.which(name)))
    return programs


def write(path: Path, text: str) -> None:
    """A program."""
    path.write_text(text)
    path.chmod(0o755)


def in_image(image: Path, before: str = "") -> str:
    """What the command line does there."""
    argv = tool_environment.llamafactory(t.cast("t.Any", None), "an image", "train", "train.yaml", before=before)
    done = subprocess.run(argv, env={"PATH": str(image)}, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["python3", "python", "other"])
def test_in_an_image_the_interpreter_that_has_it_is_found(tmp_path: Path, image: Path, name: str) -> None:
    library = package(tmp_path)
    for bare in {"python3", "python"} - {name}:
        write(image / bare, f'#!/bin/sh\nexec {sys.executable} -I "$@"\n')
    write(image / name, f'#!/bin/sh\nPYTHONPATH={library} exec {sys.executable} "$@"\n')
    write(image / "llamafactory-cli", f"#!{image / name}\nraise SystemExit('not asked for')\n")
    assert "runs ['train', 'train.yaml'] True True" in in_image(image)


def test_in_an_image_that_does_not_tell_its_own_program_is_run(image: Path) -> None:
    write(image / "llamafactory-cli", '#!/bin/sh\necho "itself: $*"\n')
    assert in_image(image) == "itself: train train.yaml\n"
    assert in_image(image, train._ENABLE_JIT_CHECKPOINT) == "itself: train train.yaml\n"


def test_in_an_image_a_transformers_that_saves_when_asked_to_end_is_told_to(tmp_path: Path, image: Path) -> None:
    library = package(tmp_path)
    write(image / "python3", f'#!/bin/sh\nPYTHONPATH={library} exec {sys.executable} "$@"\n')
    (tmp_path / "lib" / "transformers").mkdir()
    (tmp_path / "lib" / "transformers" / "__init__.py").touch()
    assert "runs ['train', 'train.yaml']" in in_image(image, train._ENABLE_JIT_CHECKPOINT)
    (tmp_path / "lib" / "transformers" / "trainer_jit_checkpoint.py").touch()
    assert "runs ['train', 'train.yaml', 'enable_jit_checkpoint=true']" in in_image(image, train._ENABLE_JIT_CHECKPOINT)
