# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp: the converter's files and the two programs built from it, and the headers that Ollama is built with."""

from __future__ import annotations

import os
import shutil
import tarfile
import time
from pathlib import Path

from .._core.errors import NotReadyError
from .system import read_text
from .toolchain import Toolchain
from .workspace import Workspace, remove

_TARGETS = ("llama-quantize", "llama-tokenize")
#: Besides the options that depend on the machine. Static, and without what needs more system packages.
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    # The code that quantizes is C, and keeps -O3. The C++ around it compiles a third faster with -O1 and runs as fast:
    # 58 million weights from f16 to Q4_K_M in 6.0 s either way, to the same bytes.
    "CMAKE_CXX_FLAGS_RELEASE": "-O1 -DNDEBUG",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_OPENMP": "OFF",
    "GGML_CCACHE": "OFF",
    "LLAMA_ALL_WARNINGS": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_COMMON": "ON",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_MTMD": "OFF",
    "LLAMA_BUILD_SERVER": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
}
# llama.cpp as a part of a project, which can set how its parts are compiled. llama-tokenize needs all of `common` for
# its command line: 60 files, half of the work. Most of that is reading the same headers, so they are compiled 16 at a
# time and without optimization: 342 s of processor time for everything that is built here, and 557 s without this.
# json.cpp stays apart, because a name has another meaning there.
_PROJECT = """\
cmake_minimum_required(VERSION 3.18)
project(tools C CXX)
add_subdirectory("${SOURCE}" llama.cpp)
set_target_properties(llama-common PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 16)
set_source_files_properties("${SOURCE}/common/json.cpp" TARGET_DIRECTORY llama-common
    PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
target_compile_options(llama-common PRIVATE -O0)
target_compile_options(cpp-httplib PRIVATE -O0)
"""
_KEPT = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion", "gguf-py", "LICENSE")
_NOT_UNPACKED = (".devops", ".github", "benches", "docs", "examples", "media", "models", "pocs", "tests")
#: Ollama's CPU engine includes these; the Go module proxy leaves `vendor` directories out.
_HEADERS = ("nlohmann", "miniaudio", "stb")
#: Memory that each compiler may need, in bytes, so that a build does not push a small host into swap.
_COMPILER_MEMORY = 1536 << 20


def make_llama_cpp(workspace: Workspace, toolchain: Toolchain, requirements_dir: Path, jobs: int = 0) -> None:
    """Build the programs, and publish them with the converter; also publish the headers if they are missing.

    :param jobs: number of compilers at a time; 0 derives it from processors and free memory.
    """
    started = time.monotonic()
    workspace.need_space(1)
    work = workspace.work_dir()
    source = _unpack_source(workspace, requirements_dir, work)
    project, build = work / "project", work / "build"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(_PROJECT, encoding="ascii")
    options = {**_OPTIONS, **workspace.component.inputs["options"]}
    ninja = workspace.builder_program("ninja")
    workspace.run(
        [
            *(workspace.builder_program("cmake"), "-G", "Ninja", "-S", project, "-B", build),
            *(f"-DCMAKE_MAKE_PROGRAM={ninja}", f"-DSOURCE={source}"),
            *(f"-D{name}={value}" for name, value in options.items()),
        ],
        "Configuring llama.cpp",
    )
    # ninja and not `cmake --build`: it ends its compilers when it receives a signal.
    command: list[str | Path] = [ninja, "-C", build, "-j", str(jobs or parallel_jobs()), *_TARGETS]
    workspace.run(command, "Building " + " and ".join(_TARGETS))
    headers = toolchain.components["headers"]
    if not headers.is_complete():
        _publish_headers(workspace.of(headers), source, work, started)
    result = work / "result"
    (result / "bin").mkdir(parents=True)
    for item in _KEPT:
        (source / item).rename(result / item)
    for target in _TARGETS:
        shutil.copy2(build / "bin" / target, result / "bin" / target)
    _check(workspace, toolchain, result)
    workspace.mark(result, started, options=options)
    workspace.publish(result)
    remove(work)


def make_headers(workspace: Workspace, toolchain: Toolchain, requirements_dir: Path) -> None:
    """Publish the headers alone."""
    del toolchain
    started = time.monotonic()
    workspace.need_space(1)
    work = workspace.work_dir()
    _publish_headers(workspace, _unpack_source(workspace, requirements_dir, work), work, started)
    remove(work)


def parallel_jobs() -> int:
    """Number of compilers to run at a time: one for each processor, as far as the free memory suffices."""
    processors = len(os.sched_getaffinity(0))
    for line in read_text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return max(1, min(processors, (int(line.split()[1]) << 10) // _COMPILER_MEMORY))
    return processors


def _publish_headers(workspace: Workspace, source: Path, work: Path, started: float) -> None:
    result = work / "headers"
    result.mkdir()
    for item in _HEADERS:
        (source / "vendor" / item).rename(result / item)
    shutil.copy2(source / "LICENSE", result / "LICENSE")
    workspace.mark(result, started)
    workspace.publish(result)


def _unpack_source(workspace: Workspace, requirements_dir: Path, work: Path) -> Path:
    """Download the source distribution, whose sha256 pip verifies, and unpack the files of llama.cpp from it."""
    workspace.run(
        [
            *(workspace.builder_program("python"), "-m", "pip", "download", "--no-deps", "--no-build-isolation"),
            *("--no-binary", "llama-cpp-python", "--require-hashes"),
            *("-r", requirements_dir / "requirements-llama-cpp.txt", "-d", work / "download"),
        ],
        "Downloading the source of llama.cpp",
    )
    archive = next((work / "download").glob("*.tar.gz"))
    tree = work / "source"
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts
            # llama_cpp_python-X/vendor/llama.cpp/…
            if parts[1:3] != ("vendor", "llama.cpp") or (parts[3:4] and parts[3] in _NOT_UNPACKED):
                continue
            if ".." in parts or not (member.isreg() or member.isdir()):
                continue
            member.name = str(Path(*parts[3:])) if parts[3:] else "."
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
            tar.extract(member, tree)
    archive.unlink()
    if not (tree / "convert_hf_to_gguf.py").exists():
        raise NotReadyError("provisioning.no_llama_cpp", archive=archive.name)
    return tree


def _check(workspace: Workspace, toolchain: Toolchain, tree: Path) -> None:
    """Check that the programs run on this host, and that the converter finds all it imports in its environment."""
    for target in _TARGETS:
        # They have no option for the version; both print their usage, with different exit statuses.
        command: list[str | Path] = ["/bin/sh", "-c", '"$0" --help; test $? -le 1', tree / "bin" / target]
        if "usage" not in workspace.run(command, f"Checking {target}").lower():
            raise NotReadyError("provisioning.program_does_not_run", program=target, log=workspace.log)
    converter = toolchain.components["converter"]
    if converter.is_complete():
        workspace.run(
            [Path(converter.path, "bin/python"), tree / "convert_hf_to_gguf.py", "--help"],
            "Checking the converter",
            PYTHONDONTWRITEBYTECODE="1",
        )
