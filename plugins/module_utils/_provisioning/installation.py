# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the missing components of the toolchain."""

from __future__ import annotations

import dataclasses
import os
import time
import typing as t
from pathlib import Path

from .._core.errors import NotReadyError
from .llama_cpp import PROGRAMS, make_headers, make_llama_cpp
from .python_environments import make_builder, make_environment
from .system import has_apt, user_is_root
from .toolchain import Problem, Toolchain
from .workspace import Workspace


@dataclasses.dataclass(frozen=True)
class Installed:
    """A component that was installed now.

    :param seconds: how long it took.
    """

    name: str
    path: str
    seconds: float


def install(
    toolchain: Toolchain,
    wanted: t.Iterable[str],
    requirements_dir: str,
    *,
    index_url: str = "",
    jobs: int = 0,
    keep_cache: bool = False,
) -> list[Installed]:
    """Build what is missing of the wanted components, and the builder if it is needed.

    :param requirements_dir: directory of the lock files.
    :param index_url: package index; empty for the one that the host is configured for.
    :param jobs: number of compilers at a time; 0 derives it from processors and free memory.
    :param keep_cache: keep the downloads for another call.
    :raises NotReadyError: if a component cannot be built.
    """
    wanted = list(wanted)
    missing = toolchain.missing(wanted)
    refuse_problems(toolchain.problems(missing))
    installed = []
    for name in missing:
        seconds = _install_one(toolchain, name, Path(requirements_dir), index_url, jobs)
        if seconds is not None:
            installed.append(Installed(name, toolchain.components[name].path, seconds))
    if missing and not keep_cache:
        workspace = _workspace(toolchain, missing[-1], index_url)
        with workspace.locked():
            workspace.remove_caches()
    return installed


def refuse_problems(problems: t.Sequence[Problem]) -> None:
    """Refuse to build with the reasons, and the command that solves them.

    :raises NotReadyError: if there is a problem.
    """
    if not problems:
        return
    raise NotReadyError(
        "provisioning.not_buildable",
        reasons=[problem.content for problem in problems],
        advice=install_command([problem.packages for problem in problems]),
        details={"problems": [problem.as_dict() for problem in problems]},
    )


def install_command(packages: t.Iterable[str]) -> str:
    """What a user can do to install system packages; empty if there are none."""
    names = " ".join(filter(None, packages))
    if not names:
        return ""
    if has_apt():
        return f"Run: {'' if user_is_root() else 'sudo '}apt-get install {names}"
    return f"Install, by the names this system has for them: {names}"


def _workspace(toolchain: Toolchain, name: str, index_url: str) -> Workspace:
    components = toolchain.components
    return Workspace(Path(toolchain.settings.tools_dir), components[name], components["builder"].path, index_url)


def _install_one(toolchain: Toolchain, name: str, requirements_dir: Path, index_url: str, jobs: int) -> float | None:
    """Build one component; returns the seconds it took, None if another process built it meanwhile."""
    workspace = _workspace(toolchain, name, index_url)
    started = time.monotonic()
    with workspace.locked():
        if workspace.component.is_complete():
            return None
        if not os.path.isdir(requirements_dir):
            raise NotReadyError("provisioning.no_lock_files", directory=requirements_dir)
        if name == "builder":
            make_builder(workspace, toolchain, requirements_dir)
        elif name in PROGRAMS:
            make_llama_cpp(workspace, toolchain, requirements_dir, jobs)
        elif name == "headers":
            make_headers(workspace, toolchain, requirements_dir)
        else:
            make_environment(workspace, toolchain, requirements_dir)
    return round(time.monotonic() - started, 1)
