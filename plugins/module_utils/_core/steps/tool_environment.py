# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment, command line and container of the tools that the exclusive steps run."""

from __future__ import annotations

import os
import shutil
import typing as t

from ..errors import NotReadyError
from ..messages.message import Message
from ..runners.command import Container
from ..runs.job_context import StepContext
from ..runs.spec import Toolchain
from ..system.disk import free_bytes
from ..system.environment import clean_environment

#: Directory of the programs that run in the environments of the tools.
PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")

#: Runs LLaMA-Factory's command line. It is in the data directory, which every job's container mounts.
_LLAMAFACTORY_CLI = os.path.join(PROGRAMS, "llamafactory_cli.py")

#: Finds the interpreter with LLaMA-Factory, which can only be determined inside the image. Without such an interpreter
#: ``llamafactory-cli`` of the image runs.
_FIND_PYTHON = """
for python in python3 python "$(sed -n '1s/^#!//p' "$(command -v llamafactory-cli)")"; do
    "$python" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("llamafactory"))' 2>/dev/null && break
    python=
done
"""
#: The same for a program that runs in an image with llama.cpp, whose converter has an interpreter of its own.
_FIND_CLI_PYTHON = """
for python in "$(sed -n '1s/^#!//p' "$(command -v llamafactory-cli)" 2>/dev/null)" python3 python; do
    "$python" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("llamafactory"))' 2>/dev/null && break
    python=
done
[ "$python" ] || { echo "No module named 'llamafactory' in this image" >&2; exit 1; }
exec "$python" "$0" "$@"
"""
_RUN_CLI = """
[ "$python" ] || exec llamafactory-cli "$@"
exec "$python" "$0" "$@"
"""

#: Python's multiprocessing creates sockets below TMPDIR. The path of a socket has at most 107 bytes (unix(7)), of which
#: multiprocessing uses 32.
_MAX_TMPDIR_BYTES = 75

#: One thread is faster than several for weights below this number of bytes.
_TINY_BYTES = 64_000_000


def scratch(ctx: StepContext) -> str:
    """Return the job's directory for temporary files; :func:`remove_scratch` removes it at the end."""
    return os.path.join(ctx.job_dir, "tmp")


def remove_scratch(ctx: StepContext) -> None:
    """Remove the job's temporary files."""
    shutil.rmtree(scratch(ctx), ignore_errors=True)


def converter_programs(tools: Toolchain, script: str, image: str) -> tuple[str, str]:
    """Return the interpreter of llama.cpp's converters, and the path of one of them.

    :param script: file name of the converter.
    :param image: the image in which they run; empty on the host.
    """
    converter = tools.program(tools.llama_cpp_dir, script, image=image)
    if image:
        converter = os.path.join(tools.image_llama_cpp_dir, converter)
    return tools.program(tools.converter_venv, "bin", "python", image=image), converter


def tool_environment(ctx: StepContext, venv: str, threads: int, image: str = "") -> dict[str, str]:
    """Return the complete environment of a tool: no secrets, no network access, no writes outside the data directory.

    :param venv: the virtual environment, whose programs come first in the ``PATH``.
    :param threads: number of compute threads.
    :param image: the image in which the tool runs; then the virtual environment and the variables of this process are
        ignored.
    """
    if image:
        home = scratch(ctx)
        env = {"PATH": ctx.toolchain.image_path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": home}
        env.update(USER="job", LOGNAME="job")  # the users of the host have no name in the image, and torch needs one
        threads = min(threads, max(1, int(ctx.toolchain.cpus or threads)))
    else:
        env = clean_environment()
        env["PATH"] = os.path.join(venv, "bin") + os.pathsep + env["PATH"]
        env["VIRTUAL_ENV"] = venv
    env.update(
        PYTHONUNBUFFERED="1",
        OMP_NUM_THREADS=str(threads),
        TOKENIZERS_PARALLELISM="false",
        HF_HOME=ctx.layout.cache,
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        TRANSFORMERS_OFFLINE="1",
        HF_DATASETS_CACHE=os.path.join(scratch(ctx), "datasets"),
        # persistent, because building the font cache takes seconds
        MPLCONFIGDIR=ctx.layout.path("cache", "matplotlib"),
    )
    os.makedirs(scratch(ctx), exist_ok=True)
    if len(scratch(ctx).encode()) <= _MAX_TMPDIR_BYTES:
        env["TMPDIR"] = scratch(ctx)
    env.update(ctx.toolchain.environment)
    return env


def llamafactory(ctx: StepContext, image: str, *arguments: str, before: str = "") -> list[str]:
    """Return the command line that runs LLaMA-Factory.

    :param image: the image in which it runs; empty for none.
    :param arguments: arguments of ``llamafactory-cli``.
    :param before: shell code that runs before it in an image; ``$python`` is the interpreter, ``$@`` the arguments.
    :raises NotReadyError: when the virtual environment does not exist.
    """
    if image:
        return ["/bin/sh", "-c", _FIND_PYTHON + before + _RUN_CLI, _LLAMAFACTORY_CLI, *arguments]
    return [ctx.toolchain.program(ctx.toolchain.llamafactory_venv, "bin", "python"), _LLAMAFACTORY_CLI, *arguments]


def llamafactory_python(ctx: StepContext, image: str, program: str, *arguments: str) -> list[str]:
    """Return the command line that runs a program with the Python of LLaMA-Factory's environment.

    :param image: the image in which it runs; empty for none.
    :param program: path of the program, in the data directory or on the host.
    :raises NotReadyError: when the virtual environment does not exist.
    """
    if image:
        return ["/bin/sh", "-c", _FIND_CLI_PYTHON, program, *arguments]
    return [ctx.toolchain.program(ctx.toolchain.llamafactory_venv, "bin", "python"), program, *arguments]


def container(ctx: StepContext, image: str, reads: t.Iterable[str] = (), gpu: bool = False) -> Container | None:
    """Return the container in which a step's command runs; None without an image.

    The data directory is mounted at its own path, so paths are the same inside and outside. Only the directories of
    this job and the caches are writable.

    :param reads: files and directories that the command reads, at any path.
    :param gpu: whether the command uses a GPU.
    """
    if not image:
        return None
    tools = ctx.toolchain
    writable = [ctx.work, ctx.job_dir, ctx.layout.path("cache")]
    for path in writable:
        os.makedirs(path, exist_ok=True)
    readable = [ctx.layout.root, *_outside(ctx.layout.root, reads)]
    for mount in tools.mounts:
        path, _colon, mode = mount.partition(":")
        (readable if mode == "ro" else writable).append(path)
    return Container(
        image=image,
        writable=tuple(dict.fromkeys(writable)),
        readable=tuple(dict.fromkeys(readable)),
        gpus=tools.gpus if gpu else "",
        memory_limit=tools.memory_limit,
        cpus=tools.cpus,
        shm_size=tools.shm_size,
        user=tools.container_user,
    )


def _outside(root: str, reads: t.Iterable[str]) -> list[str]:
    """Return the directories to mount for paths outside the data directory.

    Links are followed, because the cache of a hub consists of links.
    """
    outside = []
    for path in reads:
        directory = path if os.path.isdir(path) else os.path.dirname(path)
        links = [entry.path for entry in os.scandir(directory) if entry.is_symlink()] if directory == path else [path]
        for candidate in [directory, *(os.path.dirname(os.path.realpath(link)) for link in links)]:
            if os.path.commonpath([candidate, root]) != root:
                outside.append(candidate)
    return sorted(set(outside))


def paths_in(values: t.Iterable[t.Any]) -> list[str]:
    """Return the declared values that are absolute paths of existing files or directories (``extra.deepspeed``)."""
    return [value for value in values if isinstance(value, str) and os.path.isabs(value) and os.path.exists(value)]


def cpus() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compute_threads(weight_bytes: int, accelerator: str) -> int:
    """Return the number of compute threads for a model: all CPUs without a GPU, at most 8 beside a GPU.

    On the CPU, a tiny model gets one thread.
    """
    if accelerator == "cpu":
        return 1 if weight_bytes < _TINY_BYTES else cpus()
    return min(8, cpus())


def weight_bytes(directory: str) -> int:
    """Return the total size, in bytes, of the weight files directly in a directory."""
    return sum(
        entry.stat().st_size
        for entry in os.scandir(directory)
        if entry.is_file() and entry.name.endswith((".safetensors", ".bin", ".pt", ".pth"))
    )


def require_disk_space(path: str, expected: int, step: Message, kept: int = 0) -> None:
    """Check that a result will fit on the disk, before it is written.

    :param path: where the result will be written.
    :param expected: its expected size in bytes.
    :param step: subject of the error message.
    :param kept: number of bytes of the result that are already on the disk.
    :raises NotReadyError: when the free space is too small.
    """
    free = free_bytes(path)
    if free < expected - kept:
        raise NotReadyError(
            "steps.no_room",
            step=step,
            needed=expected - kept,
            free=free,
            path=path,
            details={"path": path, "free_bytes": free, "needed_bytes": expected - kept},
        )


def require_directory(path: str, subject: Message) -> str:
    """Return the path of a directory that must exist.

    :param subject: subject of the error message.
    :raises NotReadyError: when the directory does not exist.
    """
    if not os.path.isdir(path):
        raise NotReadyError("steps.tool_moved", subject=subject, path=path)
    return path
