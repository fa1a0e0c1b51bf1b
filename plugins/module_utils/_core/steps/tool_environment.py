# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tools of the heavy steps are started with: their environment, their configuration file."""

from __future__ import annotations

import os
import shutil
import typing as t

from ..errors import NotReadyError
from ..runners.command import Container
from ..runs.job_context import StepContext
from ..system.disk import free_bytes, gigabytes
from ..system.environment import clean_environment

#: Runs LLaMA-Factory's command line. Every job's container sees it, too: it lies in the data directory.
#: Directory of the programs that run in the environments of the tools.
PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")
_LLAMAFACTORY = os.path.join(PROGRAMS, "llamafactory_cli.py")

#: Which of an image's interpreters has LLaMA-Factory is known inside of it alone; where none has, its program is run.
_FIND = """
for python in python3 python "$(sed -n '1s/^#!//p' "$(command -v llamafactory-cli)")"; do
    "$python" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("llamafactory"))' 2>/dev/null && break
    python=
done
"""
_RUN = """
[ "$python" ] || exec llamafactory-cli "$@"
exec "$python" "$0" "$@"
"""

#: Python's multiprocessing puts sockets below TMPDIR, whose path may have 107 bytes (unix(7)): 32 of them are its own.
_LONGEST_TMPDIR = 75

#: Weights below this many bytes are computed faster by one thread than by several.
_TINY = 64_000_000


def scratch(ctx: StepContext) -> str:
    """The job's directory for temporary files; removed by :func:`remove_scratch` at the end."""
    return os.path.join(ctx.job_dir, "tmp")


def remove_scratch(ctx: StepContext) -> None:
    """Remove the job's temporary files."""
    shutil.rmtree(scratch(ctx), ignore_errors=True)


def tool_environment(ctx: StepContext, venv: str, threads: int, image: str = "") -> dict[str, str]:
    """The whole environment of a tool: no secret, no network, nothing written elsewhere.

    :param venv: the virtual environment, whose programs are found first.
    :param threads: threads for computing.
    :param image: the image it runs in: then neither that environment nor this process's own variables mean anything.
    """
    if image:
        home = scratch(ctx)
        env = {"PATH": ctx.toolchain.image_path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": home}
        env.update(USER="job", LOGNAME="job")  # no user of the host is known there by name, and torch asks for it
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
        # the cache of fonts takes seconds to make
        MPLCONFIGDIR=ctx.layout.path("cache", "matplotlib"),
    )
    os.makedirs(scratch(ctx), exist_ok=True)
    if len(scratch(ctx).encode()) <= _LONGEST_TMPDIR:
        env["TMPDIR"] = scratch(ctx)
    env.update(ctx.toolchain.environment)
    return env


def llamafactory(ctx: StepContext, image: str, *arguments: str, before: str = "") -> list[str]:
    """The command line that runs LLaMA-Factory.

    :param image: the image it runs in, or empty.
    :param arguments: of ``llamafactory-cli``.
    :param before: in an image, what its shell does before; ``$python`` is the interpreter, ``$@`` the arguments.
    :raises NotReadyError: when it is not there.
    """
    if image:
        return ["/bin/sh", "-c", _FIND + before + _RUN, _LLAMAFACTORY, *arguments]
    return [ctx.toolchain.program(ctx.toolchain.llamafactory_venv, "bin", "python"), _LLAMAFACTORY, *arguments]


def container(ctx: StepContext, image: str, reads: t.Iterable[str] = (), gpu: bool = False) -> Container | None:
    """The container a step's command runs in; None without an image.

    It sees the data directory at its own path, so every path means the same inside and outside; it may write where
    this job works and to the caches, and nowhere else.

    :param reads: files and directories that it needs, wherever they are.
    :param gpu: whether it computes on a GPU.
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
    """Directories to be seen for what does not lie under the data directory, links followed (a hub's cache is all
    links)."""
    found = []
    for path in reads:
        directory = path if os.path.isdir(path) else os.path.dirname(path)
        links = [entry.path for entry in os.scandir(directory) if entry.is_symlink()] if directory == path else [path]
        for place in [directory, *(os.path.dirname(os.path.realpath(link)) for link in links)]:
            if os.path.commonpath([place, root]) != root:
                found.append(place)
    return sorted(set(found))


def paths_in(values: t.Iterable[t.Any]) -> list[str]:
    """Those of some declared values that name a file or directory of this host (``extra.deepspeed``)."""
    return [value for value in values if isinstance(value, str) and os.path.isabs(value) and os.path.exists(value)]


def cpus() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compute_threads(weight_bytes: int, accelerator: str) -> int:
    """Threads for computing with a model of so many bytes: all on a CPU, few beside a GPU, one for a tiny model."""
    if accelerator == "cpu":
        return 1 if weight_bytes < _TINY else cpus()
    return min(8, cpus())


def weight_bytes(directory: str) -> int:
    """Bytes of the weight files at the top of a directory."""
    return sum(
        entry.stat().st_size
        for entry in os.scandir(directory)
        if entry.is_file() and entry.name.endswith((".safetensors", ".bin", ".pt", ".pth"))
    )


def require_disk_space(path: str, expected: int, step: str = "This step", kept: int = 0) -> None:
    """Make sure beforehand that a result fits on the disk.

    :param path: where it will be written.
    :param expected: its size in bytes.
    :param step: what is done, as a message begins.
    :param kept: bytes of it that lie there already.
    :raises NotReadyError: when it does not.
    """
    free = free_bytes(path)
    if free < expected - kept:
        raise NotReadyError(
            f"{step} needs about {gigabytes(expected - kept)} of disk, {gigabytes(free)} free at {path}.",
            "Make room on that filesystem and run again: what was finished before is kept.",
            {"path": path, "free_bytes": free, "needed_bytes": expected - kept},
        )


def require_directory(path: str, what: str) -> str:
    """The path of a directory that must be there.

    :raises NotReadyError: when it is not.
    """
    if not os.path.isdir(path):
        raise NotReadyError(f"{what} is not at {path}.", "It was moved or removed: run again to make it anew.")
    return path
