# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package is independent of Ansible, of packages that a host may lack, and of most of the core."""

from __future__ import annotations

import ast
import graphlib
import sys
import typing as t
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[5] / "plugins" / "module_utils" / "_provisioning"
MODULES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}


def imports(path: Path) -> t.Iterator[tuple[str, int]]:
    """Each import: name and level."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((name, node.level) for name in names)


@pytest.mark.parametrize("module", MODULES)
def test_only_the_standard_library_is_imported(module: str) -> None:
    absolute = {name.partition(".")[0] for name, level in imports(MODULES[module]) if level == 0}
    assert absolute <= sys.stdlib_module_names


def test_only_these_modules_of_the_core_are_used() -> None:
    """Errors, messages, process identities, whose a directory is, and two constants: Ollama's port, the label of
    containers.
    """
    core = {name for path in MODULES.values() for name, level in imports(path) if level > 1}
    system = {f"_core.system.{name}" for name in ("processes", "ports", "docker", "ownership")}
    assert core == {"_core.errors", "_core.messages.message", *system}


def test_there_are_no_cycles() -> None:
    graph = {module: {name for name, level in imports(path) if level == 1} for module, path in MODULES.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())
