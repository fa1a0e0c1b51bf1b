# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp: the converter's files, the programs built from it, and the headers that older Ollamas are built with."""

from __future__ import annotations

import os
import shutil
import tarfile
import time
import typing as t
from pathlib import Path

from .._core.errors import NotReadyError
from .system import read_text
from .toolchain import Toolchain
from .workspace import Workspace, remove

#: The programs of each component. Ollama 0.30 and later runs models in llama-server, and copies them with
#: llama-quantize.
PROGRAMS = {
    "llama_cpp": ("llama-quantize", "llama-tokenize", "llama-imatrix", "llama-perplexity"),
    "llama_server": ("llama-server", "llama-quantize"),
}
#: Besides the options that depend on the machine. Static, and without what needs more system packages.
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    # The code that quantizes is C, and keeps -O3 (see _PROJECT). The C++ around it compiles a third faster with -O1 and
    # runs as fast: 58 million weights from f16 to Q4_K_M in 6.0 s either way, to the same bytes.
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
    # The page of llama-server is neither built nor downloaded.
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
}
# llama.cpp as a part of a project, which can set how its parts are compiled. llama-tokenize needs all of `common` for
# its command line: 60 files, half of the work. Most of that is reading the same headers, so they are compiled 16 at a
# time and without optimization: 342 s of processor time for everything that is built here, and 557 s without this.
# json.cpp stays apart, because a name has another meaning there.
# Most of the time of a quantization goes into sums over 32 weights, for each of many candidate scales. In C they are
# ordered, so a compiler keeps them one by one unless it may add in another order: three times the speed, and an error
# of the weights (root mean square) that differs by 0.002 %. Infinities and NaN are treated as before. ggml-base has no
# code that answers: the kernels of llama-server are in ggml-cpu.
# llama-perplexity has no option for it, so a header makes it read the markers of a chat template as tokens, as
# llama-imatrix does with --parse-special; a training reads them so too. Both leave their log to a thread that ends with
# the process: the header makes them wait for it, or their last lines, which have the results, would sometimes be lost.
# llama-server has to answer fast, so its kernels keep -O3, and what it does for each token is not left at -O0. It needs
# all of mtmd too, whose files for single models are compiled as one: 367 s of processor time for all three programs.
_PROJECT = """\
cmake_minimum_required(VERSION 3.18)
project(tools C CXX)
add_subdirectory("${SOURCE}" llama.cpp)
target_compile_options(ggml-base PRIVATE
    $<$<COMPILE_LANGUAGE:C>:-fassociative-math;-fno-signed-zeros;-fno-trapping-math;-fno-math-errno>)
set_target_properties(llama-common PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 16)
set_source_files_properties("${SOURCE}/common/json.cpp" TARGET_DIRECTORY llama-common
    PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
if(LLAMA_BUILD_SERVER)
    file(GLOB MODELS "${SOURCE}/tools/mtmd/models/*.cpp")
    set_target_properties(mtmd PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
    set_source_files_properties(${MODELS} TARGET_DIRECTORY mtmd PROPERTIES UNITY_GROUP models)
else()
    target_compile_options(llama-common PRIVATE -O0)
    target_compile_options(cpp-httplib PRIVATE -O0)
endif()
# llama-imatrix and llama-perplexity compute with the model.
target_compile_options(ggml-cpu PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-O3>)
file(WRITE "${CMAKE_BINARY_DIR}/measuring.h" [[
#include "common.h"
#include "log.h"
#include <cstdlib>
static void init_and_flush() {
    common_init();
    std::atexit([] { common_log_pause(common_log_main()); });
}
static std::vector<llama_token> with_markers(
        const llama_context * ctx, const std::string & text, bool add_special, bool parse_special = true) {
    return common_tokenize(ctx, text, add_special, parse_special);
}
#define common_init init_and_flush
#define common_tokenize with_markers
]])
foreach(MEASURING llama-imatrix llama-perplexity-impl)
    target_compile_options(${MEASURING} PRIVATE -include "${CMAKE_BINARY_DIR}/measuring.h")
endforeach()
"""
_KEPT = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion", "gguf-py", "LICENSE")
_NOT_UNPACKED = (".devops", ".github", "benches", "docs", "examples", "media", "models", "pocs", "tests")
#: Ollama's CPU engine includes these; the Go module proxy leaves `vendor` directories out.
_HEADERS = ("nlohmann", "miniaudio", "stb")
#: Memory that each compiler may need, in bytes, so that a build does not push a small host into swap.
_COMPILER_MEMORY = 1536 << 20


def make_llama_cpp(workspace: Workspace, toolchain: Toolchain, requirements_dir: Path, jobs: int = 0) -> None:
    """Build the programs of ``llama_cpp`` or of ``llama_server``, and publish them.

    What takes only seconds more from the same source is published too, if it is missing: the headers, and ``llama_cpp``
    with ``llama_server``, whose build compiles all that ``llama_cpp`` needs.

    :param workspace: that of the component.
    :param jobs: number of compilers at a time; 0 derives it from processors and free memory.
    """
    started = time.monotonic()
    workspace.need_space(1)
    work = workspace.work_dir()
    source = _unpack_source(workspace, requirements_dir, work)
    names = [workspace.component.name]
    if names == ["llama_server"] and not toolchain.components["llama_cpp"].is_complete():
        names.append("llama_cpp")
    build, options = _compile(workspace, source, work, names, jobs)
    headers = toolchain.components["headers"]
    if not headers.is_complete():
        _publish_headers(workspace.of(headers), source, work, started)
    # The component that was asked for is published last: while it is missing, the next run makes all of them.
    for name in reversed(names):
        made = workspace.of(toolchain.components[name])
        result = work / name
        (result / "bin").mkdir(parents=True)
        for item in _KEPT if name == "llama_cpp" else ("LICENSE",):
            _copy(source / item, result / item)
        for program in PROGRAMS[name]:
            shutil.copy2(build / "bin" / program, result / "bin" / program)
            _check_program(made, result / "bin" / program)
        converter = toolchain.components["converter"]
        if name == "llama_cpp" and converter.is_complete():
            check_converter(made, Path(converter.path, "bin/python"), result)
        made.mark(result, started, options=options)
        made.publish(result)
    remove(work)


def _compile(
    workspace: Workspace, source: Path, work: Path, names: t.Sequence[str], jobs: int
) -> tuple[Path, dict[str, str]]:
    """Compile the programs of some components.

    :returns: the directory of the build, and the options it was configured with.
    """
    project, build = work / "project", work / "build"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(_PROJECT, encoding="ascii")
    server = "ON" if "llama_server" in names else "OFF"
    options = {**_OPTIONS, **workspace.component.inputs["options"], "LLAMA_BUILD_SERVER": server}
    programs = list(dict.fromkeys(program for name in names for program in PROGRAMS[name]))
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
    command: list[str | Path] = [ninja, "-C", build, "-j", str(jobs or parallel_jobs()), *programs]
    workspace.run(command, f"Building {', '.join(programs[:-1])} and {programs[-1]}")
    return build, options


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


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a directory."""
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _check_program(workspace: Workspace, program: Path) -> None:
    """Check that a program runs on this host."""
    # Not all have an option for the version; all print their usage, with different exit statuses.
    command: list[str | Path] = ["/bin/sh", "-c", '"$0" --help; test $? -le 1', program]
    if "usage" not in workspace.run(command, f"Checking {program.name}").lower():
        raise NotReadyError("provisioning.program_does_not_run", program=program.name, log=workspace.log)


def check_converter(workspace: Workspace, python: Path, tree: Path) -> None:
    """Check that the converter finds all it imports.

    :param python: interpreter of its environment.
    :param tree: directory of llama.cpp.
    """
    workspace.run(
        [python, tree / "convert_hf_to_gguf.py", "--help"], "Checking the converter", PYTHONDONTWRITEBYTECODE="1"
    )
