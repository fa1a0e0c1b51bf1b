# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp: the converter's tree and the two programs built from it, and headers for building Ollama."""

from __future__ import annotations

import os
import shutil
import tarfile
import time
from pathlib import Path

from workshop import MARKER, Failed, Workshop

HERE = Path(__file__).resolve().parent
TARGETS = ("llama-quantize", "llama-tokenize")
# Beside the options the host decides (probe.py). Static, and without what would ask for
# more system packages.
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    # What quantizes is C, and keeps -O3. The C++ around it takes a third less time to compile so, and none more to run:
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
# llama.cpp as a part of a project, which may say how its parts are compiled. llama-tokenize wants all of `common` for
# its command line: 60 files, half of the whole work. Most of that is reading the same headers, so they are compiled 16
# at a time, and not optimized: 342 s of processor time for all that is built here, and 557 s without this.
# json.cpp stays apart, since a name means something else there.
PROJECT = """\
cmake_minimum_required(VERSION 3.18)
project(tools C CXX)
add_subdirectory("${SOURCE}" llama.cpp)
set_target_properties(llama-common PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 16)
set_source_files_properties("${SOURCE}/common/json.cpp" TARGET_DIRECTORY llama-common
    PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
target_compile_options(llama-common PRIVATE -O0)
target_compile_options(cpp-httplib PRIVATE -O0)
"""
KEPT = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion", "gguf-py", "LICENSE")
LEFT_IN_ARCHIVE = (".devops", ".github", "benches", "docs", "examples", "media", "models", "pocs", "tests")
# Ollama's CPU engine includes these; the Go module proxy leaves `vendor` directories out.
HEADERS = ("nlohmann", "miniaudio", "stb")
COMPILER_MEMORY = 1536 << 20
"""Room to leave for each compiler, in bytes, so that a build does not push a small host into swap."""


def make_llama_cpp(shop: Workshop) -> None:
    started = time.monotonic()
    shop.need_space(1)
    work = _fresh(shop)
    source = _source(shop, work)
    project, build = work / "project", work / "build"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(PROJECT, encoding="ascii")
    options = {**OPTIONS, **shop.component["inputs"]["options"]}
    ninja = shop.builder("ninja")
    shop.run(
        [
            *(shop.builder("cmake"), "-G", "Ninja", "-S", project, "-B", build),
            *(f"-DCMAKE_MAKE_PROGRAM={ninja}", f"-DSOURCE={source}"),
            *(f"-D{name}={value}" for name, value in options.items()),
        ],
        "Configuring llama.cpp",
    )
    # ninja itself and not `cmake --build`: it ends its compilers when it is told to end.
    shop.run([ninja, "-C", build, "-j", str(_jobs(shop)), *TARGETS], "Building " + " and ".join(TARGETS))
    headers = Workshop(shop.spec, "headers")
    if not headers.whole():
        _make_headers(headers, source, work, started)
    result = work / "result"
    (result / "bin").mkdir(parents=True)
    for item in KEPT:
        (source / item).rename(result / item)
    for target in TARGETS:
        shutil.copy2(build / "bin" / target, result / "bin" / target)
    _check(shop, result)
    shop.mark(result, started, options=options)
    shop.publish(result)
    shop.clear(work)


def make_headers(shop: Workshop) -> None:
    started = time.monotonic()
    shop.need_space(1)
    work = _fresh(shop)
    _make_headers(shop, _source(shop, work), work, started)
    shop.clear(work)


def _make_headers(shop: Workshop, source: Path, work: Path, started: float) -> None:
    result = work / "headers"
    result.mkdir()
    for item in HEADERS:
        (source / "vendor" / item).rename(result / item)
    shutil.copy2(source / "LICENSE", result / "LICENSE")
    shop.mark(result, started)
    shop.publish(result)


def _fresh(shop: Workshop) -> Path:
    work = shop.tools / f".work-{shop.path.name}"
    shop.clear(work)
    work.mkdir(parents=True)
    return work


def _source(shop: Workshop, work: Path) -> Path:
    """Fetch the source distribution (pip verifies its sha256) and unpack llama.cpp's tree from it."""
    shop.run(
        [
            *(shop.builder("python"), "-m", "pip", "download", "--no-deps", "--no-build-isolation"),
            *("--no-binary", "llama-cpp-python", "--require-hashes", "-r", HERE / "requirements-llama-cpp.txt"),
            *("-d", work / "download"),
        ],
        "Fetching the source of llama.cpp",
    )
    archive = next((work / "download").glob("*.tar.gz"))
    tree = work / "source"
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts
            # llama_cpp_python-X/vendor/llama.cpp/…
            if parts[1:3] != ("vendor", "llama.cpp") or parts[3:4] and parts[3] in LEFT_IN_ARCHIVE:
                continue
            if ".." in parts or not (member.isreg() or member.isdir()):
                continue
            member.name = str(Path(*parts[3:])) if parts[3:] else "."
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
            tar.extract(member, tree)
    archive.unlink()
    if not (tree / "convert_hf_to_gguf.py").exists():
        raise Failed(f"{archive.name} holds no llama.cpp tree.")
    return tree


def _jobs(shop: Workshop) -> int:
    if shop.spec["jobs"]:
        return int(shop.spec["jobs"])
    processors = len(os.sched_getaffinity(0))
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(int(line.split()[1]) << 10 for line in meminfo if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return processors
    return max(1, min(processors, available // COMPILER_MEMORY))


def _check(shop: Workshop, tree: Path) -> None:
    """The programs run here, and the converter finds all it imports in its environment."""
    for target in TARGETS:
        # Neither has a version to ask for; both print their usage, with different exits.
        usage = shop.run(["/bin/sh", "-c", '"$0" --help; test $? -le 1', tree / "bin" / target], f"Checking {target}")
        if "usage" not in usage.lower():
            raise Failed(f"{target} was built but does not print its usage; the log is {shop.log}")
    converter = shop.spec["components"]["converter"]
    python = Path(converter["path"], "bin/python")
    if Path(converter["path"], MARKER).exists():
        shop.run(
            [python, tree / "convert_hf_to_gguf.py", "--help"], "Checking the converter", PYTHONDONTWRITEBYTECODE="1"
        )
