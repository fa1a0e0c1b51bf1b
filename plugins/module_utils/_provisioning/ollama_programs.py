# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ollama programs of a host, and what building one needs."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import typing as t

from .._core.errors import InputError
from .._core.messages.message import Message
from .components import Component, component, libc
from .system import has_program, run
from .toolchain import llama_server_component

#: From this version on, Ollama has no engine of its own and runs models in llama.cpp's llama-server.
_FIRST_WITH_LLAMA_SERVER = (0, 30, 0)
#: The oldest of these that calls llama-server with the options of the pinned llama.cpp. Those before pass
#: ``--no-mmap``, which it does not have any more (``llm/llama_server.go`` of both versions).
_FIRST_WITH_LOAD_MODE = (0, 32, 6)
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?![.\d])\S*")
#: What Ollama's go.mod requires; an older Go that can download toolchains downloads that one.
_GO_NEEDED = (1, 26)
_GO_DOWNLOADS_TOOLCHAINS = (1, 21)
#: An address without a server: `ollama --version` then reports the version of the program alone.
NO_SERVER = {"OLLAMA_HOST": "127.0.0.1:1"}


@dataclasses.dataclass(frozen=True)
class Program:
    """An ollama program.

    :param path: empty if there is none.
    :param version: empty if it does not report one.
    """

    path: str = ""
    version: str = ""


@dataclasses.dataclass(frozen=True)
class Go:
    """A Go that builds Ollama.

    :param path: empty if there is none.
    :param version: major and minor version.
    :param toolchain: value of GOTOOLCHAIN; empty for the installed one.
    """

    path: str = ""
    version: str = ""
    toolchain: str = ""


def archive_component(tools_dir: str, sha256: str) -> Component:
    """Ollama from the official archive with this digest."""
    return component(tools_dir, "ollama", "ollama", method="archive", sha256=sha256)


def runs_llama_server(version: str) -> bool:
    """Whether this version of Ollama runs models in llama-server, which its Go module does not contain.

    :raises InputError: if this is no version.
    """
    return _numbers(version) >= _FIRST_WITH_LLAMA_SERVER


def source_problem(version: str) -> Message | None:
    """Why this version cannot be built from source; None if it can.

    :raises InputError: if this is no version.
    """
    if not _FIRST_WITH_LLAMA_SERVER <= _numbers(version) < _FIRST_WITH_LOAD_MODE:
        return None
    return Message("provisioning.ollama_not_buildable", version=version)


def _numbers(version: str) -> tuple[int, ...]:
    match = _VERSION.fullmatch(version)
    if match is None:
        raise InputError("provisioning.no_ollama_version", version=version)
    return tuple(map(int, match.groups()))


def source_component(tools_dir: str, version: str, llama_cpp_pins: str = "") -> Component:
    """Ollama built from source against the C library of this host.

    :param llama_cpp_pins: the source of llama.cpp, as in its lock file; only versions that run llama-server depend on
        it.
    :raises InputError: if ``version`` is no version.
    """
    inputs = {"method": "go", "version": version, "libc": libc()}
    if runs_llama_server(version):
        inputs["llama_server"] = llama_server_component(tools_dir, llama_cpp_pins).key
    return component(tools_dir, "ollama", "ollama", **inputs)


def program_of(made: Component) -> str:
    """Path of the program in a component."""
    return os.path.join(made.path, "bin/ollama")


def find_program(version: str, tools_dir: str) -> Program:
    """An ollama outside of the tools directory: the first with this version, otherwise the first at all.

    :param tools_dir: a link to a program in it, such as the role makes, is not one.
    """
    inside = os.path.join(os.path.realpath(tools_dir), "")
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/bin"]
    first = Program()
    for path in dict.fromkeys(os.path.join(folder, "ollama") for folder in folders if folder):
        if not os.access(path, os.X_OK) or os.path.realpath(path).startswith(inside):
            continue
        status, text = run(path, "--version", env=NO_SERVER)
        match = re.search(r"version is v?(\d\S*)\s*$", text) if status == 0 else None
        program = Program(path, match.group(1) if match else "")
        if program.version == version:
            return program
        first = first if first.path else program
    return first


def find_go(declared: str = "") -> Go:
    """A Go that builds the pinned version of Ollama.

    :param declared: path of the one to use; empty to look for one.
    """
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/go/bin"]
    folders += sorted(glob.glob("/usr/lib/go-*/bin"), reverse=True)
    candidates = [declared] if declared else [os.path.join(folder, "go") for folder in folders if folder]
    for path in dict.fromkeys(candidates):
        # GOTOOLCHAIN=local: the installed version, without a download to find out.
        status, text = run(path, "version", env={"GOTOOLCHAIN": "local"})
        match = re.search(r"go(\d+)\.(\d+)", text) if status == 0 else None
        if match is None:
            continue
        number = (int(match.group(1)), int(match.group(2)))
        if number >= _GO_DOWNLOADS_TOOLCHAINS:
            toolchain = "" if number >= _GO_NEEDED else f"go{_GO_NEEDED[0]}.{_GO_NEEDED[1]}.0+auto"
            return Go(path, f"{number[0]}.{number[1]}", toolchain)
    return Go()


def has_compilers() -> bool:
    """Whether a C and a C++ compiler are installed."""
    return has_program("cc", "gcc") and has_program("c++", "g++")


def installed(tools_dir: str, version: str, sha256: str, llama_cpp_pins: str = "") -> dict[str, t.Any]:
    """The programs that can be in the tools directory, by method, and the path of the one to use.

    The archive's program, which supports GPUs, takes precedence over the built one.

    :param llama_cpp_pins: as in :func:`source_component`.
    :raises InputError: if ``version`` is no version.
    """
    methods = {
        "archive": archive_component(tools_dir, sha256),
        "go": source_component(tools_dir, version, llama_cpp_pins),
    }
    complete = [program_of(made) for made in methods.values() if made.is_complete()]
    return {
        "methods": {name: {**made.as_dict(), "program": program_of(made)} for name, made in methods.items()},
        "installed": complete[0] if complete else "",
    }
