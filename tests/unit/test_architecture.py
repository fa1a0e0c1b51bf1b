# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/architecture.md promises of the code, apart from the order of the packages.

That order, and that there are no circles, is checked by import-linter (``[tool.importlinter]`` in pyproject.toml).
"""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UTILS = ROOT / "plugins" / "module_utils"
CORE = UTILS / "_core"
MAX_LINES = 500
#: Files without code, which a program writes.
GENERATED_DATA = {
    CORE / "base_models" / "llamafactory_models.py",
    CORE / "chat_formats" / "llamafactory_templates.py",
}
COLLECTION = "ansible_collections.ia_homelab.llamafactory."

#: Standard library of this Python, but not of 3.9.
NOT_IN_3_9 = {"tomllib"}

#: Imports the Docker SDK when it is first needed.
SDK = ("system/docker.py", ("docker", "requests"))

#: Run by the Python of another environment, so they may import what is installed there.
PROGRAMS = "programs/"

#: Modules that only look at runs, and never install the core.
OBSERVERS = {"job_info.py"}

CORE_FILES = sorted(path.relative_to(CORE).as_posix() for path in CORE.rglob("*.py"))


@functools.cache
def imports(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Each import in the file, wherever it stands: (module, level of the relative import, line)."""
    return tuple(_imports(path))


def _imports(path: Path) -> t.Iterator[tuple[str, int, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, 0, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level, node.lineno
            for alias in node.names:  # the name may be a module itself
                yield f"{node.module}.{alias.name}" if node.module else alias.name, node.level, node.lineno


def python_files() -> t.Iterator[Path]:
    """Every Python file of the checkout (the link of the collection to itself is not followed)."""
    for directory, names, files in os.walk(ROOT):
        names[:] = [name for name in names if name not in ("__pycache__", "output", "shared") and name[0] != "."]
        yield from (Path(directory, file) for file in files if file.endswith(".py"))


def shipped_with(start: Path) -> set[Path]:
    """The files of ``module_utils`` that Ansible ships with a module: those it imports, directly or not."""
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        for name, level, _line in imports(path):
            if level:
                folder = path.parents[level - 1]
            elif name.startswith(f"{COLLECTION}plugins.module_utils"):
                folder, name = UTILS, name[len(f"{COLLECTION}plugins.module_utils.") :]
            else:
                continue
            there = folder.joinpath(*name.split(".")).with_suffix(".py")
            if there.is_file() and there not in found:
                found.add(there)
                waiting.append(there)
    return found


@pytest.mark.parametrize("file", CORE_FILES)
def test_core_is_relative_and_of_the_standard_library(file: str) -> None:
    """The core imports itself relatively, the standard library of Python 3.9, and nothing else (no Ansible)."""
    wrong = []
    depth = file.count("/") + 1
    for name, level, line in imports(CORE / file):
        top = name.split(".")[0]
        if level:
            if level > depth:
                wrong.append(f"{file}:{line} imports {name} from outside of the core")
        elif file == SDK[0] and top in SDK[1]:
            continue
        elif top in ("ansible", "ansible_collections", "ia_homelab_core"):
            wrong.append(
                f"{file}:{line} imports {name}: the core knows nothing of Ansible and imports itself relatively"
            )
        elif not file.startswith(PROGRAMS) and (top not in sys.stdlib_module_names or top in NOT_IN_3_9):
            wrong.append(f"{file}:{line} imports {name}, which is not in the standard library of Python 3.9")
    assert not wrong, "\n".join(wrong)


def test_no_program_hides_a_module_of_another_name() -> None:
    """The directory of a program comes first on its path: a file called json.py there would be taken for json."""
    names = {Path(file).stem for file in CORE_FILES if file.startswith(PROGRAMS)} - {"__init__"}
    assert names
    assert not names & (set(sys.stdlib_module_names) | {"gguf", "torch", "transformers", "llamafactory", "yaml"})


def test_packages_of_the_core_are_empty_folders() -> None:
    """Ansible adds an empty __init__.py where one is missing, so no other may hold anything."""
    packages = [CORE / file for file in CORE_FILES if file.endswith("__init__.py")]
    assert {path.parent for path in packages} == {(CORE / file).parent for file in CORE_FILES}
    assert [path for path in packages if path.read_bytes()] == []


@pytest.mark.parametrize("module", sorted(path.name for path in (ROOT / "plugins" / "modules").glob("*.py")))
def test_a_module_that_installs_the_core_ships_all_of_it(module: str) -> None:
    """A part that is missing would be found out by a supervisor, long after the module has ended."""
    shipped = shipped_with(ROOT / "plugins" / "modules" / module)
    files = {CORE / file for file in CORE_FILES if not file.endswith("__init__.py")}
    if CORE / "engine" / "reconciler.py" in shipped and module not in OBSERVERS:
        assert UTILS / "_bundle.py" in shipped, "import _step_module, or _bundle"
        assert files - shipped == set()
    else:
        assert UTILS / "_bundle.py" not in shipped


def test_the_lists_are_not_empty() -> None:
    """Guards the tests above: a changed layout must not leave them without anything to look at."""
    assert len(CORE_FILES) > 100
    assert UTILS / "_bundle.py" in shipped_with(ROOT / "plugins" / "modules" / "job.py")
    assert UTILS / "_bundle.py" not in shipped_with(ROOT / "plugins" / "modules" / "gpu_info.py")


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in python_files()])
def test_no_file_is_too_long(path: Path) -> None:
    """A file that has to be scrolled for minutes does more than one thing; data that a program writes is left out."""
    if path in GENERATED_DATA:
        assert "Written by" in path.read_text(encoding="utf-8")[:1000]
        return
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines, at most {MAX_LINES}"


def test_every_package_is_described() -> None:
    """docs/architecture.md has a row for each package of the core."""
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `([a-z_]+)/?` \|", document, re.MULTILINE))
    packages = {path.name for path in CORE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages - described == set()
