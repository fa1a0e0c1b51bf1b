# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The house stands as docs/architecture.md draws it: floors, no cycles, a core of its own.

The table of the floors is read from the document, so the document cannot grow untrue.
"""

from __future__ import annotations

import ast
import fnmatch
import graphlib
import os
import re
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _core

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "plugins" / "module_utils"
MAX_LINES = 500

#: Standard library of this Python, but not of 3.9.
NOT_IN_3_9 = {"tomllib"}

#: The edge to Ansible that the modules share: above the core, and the only files here that import Ansible.
EDGES = ("_module", "_edge")

#: Imports the Docker SDK, when it is needed first.
SDK = ("_docker_engine", ("docker", "requests"))

#: Ansible ships only those modules of the core that a module imports, so this function names them all.
CARRIES = "_modules"

#: Runs inside a virtual environment as a command of its own, so it may import what is installed there.
PROGRAM = "_program"


def floors() -> list[list[str]]:
    """Name patterns of the core's modules, from the top floor to the ground, as the document draws them."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.split("## The floors", 1)[1].split("\n## ", 1)[0]
    found = []
    for line in section.splitlines():
        names = re.match(r" {4}((?:_[a-z0-9_]*\*? ?)+)", line)
        if names:
            found.append(names.group(1).split())
    return found


def floor_of(module: str) -> int | None:
    """Height of a core module: 0 is the ground. None where the document names neither it nor its family.

    An exact name goes before a pattern, and ``_models`` stands for ``_models_data`` too.
    """
    rising = [*reversed(floors()), ["_edge"], ["_module"]]
    name = module
    while name:
        for height, patterns in enumerate(rising):
            if name in patterns:
                return height
        for height, patterns in enumerate(rising):
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                return height
        name = name.rpartition("_")[0]
    return None


def core_modules() -> dict[str, Path]:
    """Every module of the core by its name."""
    return {path.stem: path for path in sorted(CORE.glob("*.py")) if path.stem != "__init__"}


def imports(path: Path) -> t.Iterator[tuple[str, int, int]]:
    """Each import in the file, wherever it stands: (module, level of the relative import, line)."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    if path.stem == "_core":
        tree.body = [node for node in tree.body if getattr(node, "name", "") != CARRIES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, 0, node.lineno
        elif isinstance(node, ast.ImportFrom):
            if node.level and not node.module:
                for alias in node.names:
                    yield alias.name, node.level, node.lineno
            else:
                yield node.module or "", node.level, node.lineno


def python_files() -> t.Iterator[Path]:
    """Every Python file of the checkout (the link of the collection to itself is not followed)."""
    for directory, names, files in os.walk(ROOT):
        names[:] = [name for name in names if name not in ("__pycache__", "output", "shared") and name[0] != "."]
        yield from (Path(directory, file) for file in files if file.endswith(".py"))


MODULES = core_modules()


def test_the_document_names_the_floors() -> None:
    """Guards the reading of the table itself: a changed layout must not make the other tests vain."""
    assert len(floors()) >= 6
    assert floors()[0] == ["_engine"]
    assert "_errors" in floors()[-1]
    assert len(MODULES) > 5


@pytest.mark.parametrize("module", MODULES)
def test_each_module_has_a_floor(module: str) -> None:
    """A new module of the core gets its place in docs/architecture.md."""
    assert floor_of(module) is not None, f"name {module} in docs/architecture.md, section 'The floors'"


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_what_stands_below(module: str) -> None:
    """Own floor or lower; cycles within a floor, and modules without a floor, are other tests' business."""
    here = floor_of(module)
    above = []
    for name, level, line in imports(MODULES[module]):
        there = floor_of(name) if level and name in MODULES else None
        if here is not None and there is not None and there > here:
            above.append(f"{MODULES[module].name}:{line} imports {name}, which stands above it")
    assert not above, "\n".join(above)


def test_no_cycles() -> None:
    """Imports of the core form an order, those inside functions included."""
    graph = {
        module: {name for name, level, _line in imports(path) if level and name in MODULES}
        for module, path in MODULES.items()
    }
    cycle: list[str] = []
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        cycle = error.args[1]
    assert not cycle, " <- ".join(cycle)


@pytest.mark.parametrize("module", MODULES)
def test_core_is_relative_and_of_the_standard_library(module: str) -> None:
    """The core imports itself relatively, the standard library of Python 3.9, and nothing else (no Ansible)."""
    wrong = []
    for name, level, line in imports(MODULES[module]):
        top = name.split(".")[0]
        where = f"{MODULES[module].name}:{line}"
        if level:
            if level != 1 or name not in MODULES:
                wrong.append(f"{where} imports {'.' * level}{name}, which is no module of the core")
        elif (top == "ansible" and module in EDGES) or (module == SDK[0] and top in SDK[1]):
            continue
        elif top in ("ansible", "ansible_collections"):
            wrong.append(f"{where} imports {name}: the core knows nothing of Ansible and imports itself relatively")
        elif not module.endswith(PROGRAM) and (top not in sys.stdlib_module_names or top in NOT_IN_3_9):
            wrong.append(f"{where} imports {name}, which is not in the standard library of Python 3.9")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in python_files()])
def test_no_file_is_too_long(path: Path) -> None:
    """A file that has to be scrolled for minutes does more than one thing."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines, at most {MAX_LINES}"


def test_one_version() -> None:
    """Receipts name the version of the core; it is the collection's."""
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    assert galaxy["version"] == _core.VERSION


def test_action_group_names_every_module() -> None:
    """One group for module_defaults, and no module forgotten in it."""
    group = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))["action_groups"]["llamafactory"]
    modules = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
    assert [name for name in modules if name not in group] == []
    assert sorted(group) == list(group)
