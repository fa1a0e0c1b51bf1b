# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether runs can reach their end on this host as it is now: the disk, and the Ollama server. Read-only.

Each step checks its own requirements right before it runs, which for a registration may be hours after the beginning.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from ..artifacts.kinds import KINDS_OF_MODULE
from ..artifacts.layout import Layout
from ..errors import CoreError, RemoteError
from ..messages.message import Message
from ..ollama.client import Ollama
from ..ollama.model_store import local_models_directory
from ..runs.run import Run, RunStep
from ..system.disk import free_bytes
from ..system.files import list_files

#: Runs, each with the labels of the steps that are still to be made.
Pending = t.Sequence[tuple[Run, t.Container[str]]]

#: Kinds of step that need the Ollama server.
_IN_OLLAMA = KINDS_OF_MODULE["ollama_model"]

#: How long a server may take to answer.
_SERVER_SECONDS = 5.0


def steps_to_make(runs: Pending) -> list[tuple[Run, RunStep]]:
    """The steps that are still to be made, each once: runs may share a base model."""
    found: dict[tuple[str, str], tuple[Run, RunStep]] = {}
    for run, pending in runs:
        for step in run.steps:
            if step.label in pending:
                found.setdefault((step.spec.kind, step.spec.fingerprint), (run, step))
    return list(found.values())


def training_options(run: Run) -> dict[str, t.Any]:
    """Options of the training of a run, which have its estimate; empty if it has none."""
    return next((step.spec.options for step in run.steps if step.spec.options.get("resolved")), {})


def disk_of(run: Run, step: RunStep) -> int | None:
    """Bytes that a step writes at most; None if unknown."""
    if step.spec.kind == "base":
        if step.spec.options.get("location"):
            return 0
        if step.spec.options.get("bytes"):
            return int(step.spec.options["bytes"])
    if step.spec.options.get("takes"):
        return int(step.spec.options["takes"]["disk_bytes"])
    if step.spec.kind == "projector":
        return int(step.spec.options.get("bytes") or 0)
    if step.spec.kind == "merge" and not step.spec.options.get("weights", True):
        return 0  # merged on the way to the GGUF file
    estimated = (training_options(run).get("estimate") or {}).get("disk") or {}
    size = estimated.get(step.label, estimated.get(step.spec.kind))
    if step.spec.kind == "merge" and not size:
        size = estimated.get("base")  # the training was estimated without merged weights
    if size is not None and "projector" in step.spec.upstream:
        size += sum(disk_of(run, each) or 0 for each in run.steps if each.spec.kind == "projector")
    return None if size is None else int(size)


def _kept_of(run: Run, step: RunStep) -> int:
    """Bytes that are left of what a step writes, once it has ended."""
    kept = (training_options(run).get("estimate") or {}).get("kept") or {}
    size = kept.get(step.label, kept.get(step.spec.kind))
    return int(size) if size is not None else disk_of(run, step) or 0


def peak_disk(layout: Layout, steps: t.Iterable[tuple[Run, RunStep]]) -> int:
    """Free bytes that steps need together, one after the other. What they have written already is not counted.

    The checkpoints of a training are gone when the next step begins.
    """
    peak = written = 0
    for run, step in steps:
        there = _bytes_in(layout.work(step.spec.kind, step.spec.fingerprint))
        peak = max(peak, written + (disk_of(run, step) or 0) - there)
        written += max(0, _kept_of(run, step) - there)
    return peak


def _bytes_in(directory: str) -> int:
    size = 0
    with contextlib.suppress(OSError):
        for name in list_files(directory):
            with contextlib.suppress(OSError):
                size += os.path.getsize(os.path.join(directory, name))
    return size


def obstacles(layout: Layout, runs: Pending, stopped_for: t.Callable[[Layout, str], str]) -> list[Message]:
    """What keeps runs from reaching their end; empty if nothing is known of that kind.

    :param stopped_for: returns the training for which the server of that address is stopped or restarted, and after
        which it runs again; empty if there is none.
    """
    steps = steps_to_make(runs)
    found: list[Message] = []
    in_ollama = [(run, step) for run, step in steps if step.spec.kind in _IN_OLLAMA]
    others = [pair for pair in steps if pair not in in_ollama]
    stores: dict[str, list[tuple[Run, RunStep]]] = {}
    for url in dict.fromkeys(run.toolchain.ollama_address for run, _step in in_ollama):
        served = [(run, step) for run, step in in_ollama if run.toolchain.ollama_address == url]
        if stopped_for(layout, url):
            continue
        server = Ollama(url, timeout=_SERVER_SECONDS)
        try:
            server.version()
        except RemoteError as error:
            # the address of the client has no password
            found.append(Message("planning.server_silent", name=_names(served), url=server.url, problem=error.content))
            continue
        with contextlib.suppress(CoreError):
            directory = local_models_directory(server)
            if directory and _same_filesystem(directory, layout.root):
                others += served
            elif directory:
                stores[directory] = served
    found += _short_disk(layout, layout.root, others)
    for directory, served in stores.items():
        found += _short_disk(layout, directory, served)
    return found


def _short_disk(layout: Layout, path: str, steps: t.Sequence[tuple[Run, RunStep]]) -> list[Message]:
    needed, free = peak_disk(layout, steps), free_bytes(path)
    if needed <= free:
        return []
    return [Message("planning.disk_short", name=_names(steps), needed=needed, free=free, path=path)]


def _names(steps: t.Iterable[tuple[Run, RunStep]]) -> str:
    return ", ".join(dict.fromkeys(run.name for run, _step in steps))


def _same_filesystem(one: str, other: str) -> bool:
    while not os.path.exists(other):
        other = os.path.dirname(other)
    return os.stat(one).st_dev == os.stat(other).st_dev
