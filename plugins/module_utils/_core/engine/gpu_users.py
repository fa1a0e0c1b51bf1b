# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other users of the GPU when a training needs it: Ollama, which unloads its models on request, foreign processes."""

from __future__ import annotations

import os
import typing as t

from ..errors import CoreError
from ..messages.message import Message
from ..ollama.client import Ollama
from ..system import gpus

#: Programs of Ollama. The policy decides on their memory, which they allocate and free with each request.
_OLLAMA = ("ollama", "llama-server")


def unload_models(url: str) -> list[str]:
    """Make an Ollama server unload all its models from memory. It loads a model again on the next request for it.

    :returns: problems, as text and not as an error: an Ollama that does not answer must not fail the training.
    """
    server = Ollama(url)
    problems = []
    try:
        for model in server.ps():
            try:
                server.unload(str(model["name"]))
            except CoreError as error:
                problems.append(error.message)
    except CoreError as error:
        problems.append(error.message)
    return problems


def foreign_processes(
    will_yield: t.Callable[[int], bool] = lambda _pid: False, store: str = "", used: t.Collection[str] = ()
) -> Message | None:
    """Describe the processes on the GPU that belong neither to a job nor to Ollama.

    :param will_yield: whether the process with that id will yield the GPU; such a process is left out, because the
        training need not wait for it.
    :param store: directory of the store to which the jobs belong; empty for any on this host.
    :param used: UUIDs of the GPUs on which processes count; empty for all GPUs.
    :returns: the description; None when there is no such process.
    """
    processes = [
        process
        for process in gpus.foreign(gpus.processes(), store, used)
        if not os.path.basename(process.name).startswith(_OLLAMA) and not will_yield(process.pid)
    ]
    if not processes:
        return None
    descriptions = [
        Message(
            "engine.gpu_process",
            program=process.name,
            owner=Message("engine.gpu_process_owner", user=process.user) if process.user else None,
            pid=process.pid,
            memory=Message("engine.gpu_process_memory", size=process.used_bytes) if process.used_bytes else None,
        )
        for process in processes
    ]
    return Message("engine.gpu_in_use", processes=descriptions, count=len(descriptions))
