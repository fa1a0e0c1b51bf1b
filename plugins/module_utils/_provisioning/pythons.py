# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python interpreters of a host."""

from __future__ import annotations

import dataclasses
import os
import sys

from .system import run

#: Versions that LLaMA-Factory runs on, newest first. 3.14 is missing: datasets 4.0.0, which LLaMA-Factory 0.9.5 pins,
#: cannot pickle there.
SUPPORTED = ("3.13", "3.12", "3.11")
#: Version that uv installs.
MANAGED = "3.12"

_IDENTIFY = (
    "import sys; b = getattr(sys, '_base_executable', None) or sys.executable;"
    "print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.maxsize > 2**32, b, sep='\\n')"
)
_MAKES_ENVIRONMENTS = "import sys, venv, ensurepip; ensurepip.version(); assert sys.version_info >= (3, 9)"


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """An interpreter.

    :param version: major and minor version, such as 3.12.
    :param path: its real path; empty if it is not installed yet.
    """

    version: str
    path: str


def _ask(python: str, code: str) -> str | None:
    """What an interpreter prints for some code; None if it does not run, as a shim of pyenv may not."""
    status, text = run(python, "-I", "-c", code, stderr=False)
    return None if status else text


def identify(python: str) -> Interpreter | None:
    """The 64-bit CPython at a path, or the one that a virtual environment at this path is based on."""
    lines = (_ask(python, _IDENTIFY) or "").splitlines()
    if len(lines) != 4 or lines[0] != "cpython" or lines[2] != "True":
        return None
    return Interpreter(lines[1], lines[3])


def find_supported() -> dict[str, Interpreter]:
    """Supported interpreters by version; the system's own precede those that the PATH of this user adds.

    Other users may use the environments: an interpreter in a home directory is out of their reach. And an environment
    must not depend on the PATH of the user that runs the play.
    """
    interpreters: dict[str, Interpreter] = {}
    folders = ["/usr/bin", "/usr/local/bin", *os.environ.get("PATH", "").split(os.pathsep)]
    candidates = [os.path.join(folder, "python" + version) for version in SUPPORTED for folder in folders if folder]
    candidates += ["/usr/bin/python3", "/usr/local/bin/python3", sys.executable]
    for candidate in dict.fromkeys(candidates):
        version = os.path.basename(candidate)[len("python") :]
        if version in interpreters or not os.access(candidate, os.X_OK):
            continue
        interpreter = identify(candidate)
        if interpreter and interpreter.version in SUPPORTED:
            interpreters.setdefault(interpreter.version, interpreter)
    return interpreters


def find_for_environments(preferred: str) -> str:
    """Path of an interpreter that makes virtual environments with pip; empty if there is none.

    :param preferred: the one to try first.
    """
    own: str = getattr(sys, "_base_executable", "") or sys.executable
    candidates = (preferred, own, "/usr/bin/python3")
    for candidate in filter(None, candidates):
        if _ask(candidate, _MAKES_ENVIRONMENTS) is not None:
            return candidate
    return ""
