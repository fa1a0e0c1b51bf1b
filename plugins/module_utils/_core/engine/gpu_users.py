# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else is on the GPU when a training wants it: Ollama, which can be asked to leave, and strangers."""

from __future__ import annotations

import os
import typing as t

from ..errors import CoreError
from ..ollama.client import Ollama
from ..system import gpus

#: Programs of Ollama's: what they hold is a matter of the policy, and comes and goes with its requests.
_OLLAMA = ("ollama", "llama-server")


def unload_models(url: str) -> list[str]:
    """Have an Ollama server take all its models out of memory. It loads one again when it is asked for it.

    :returns: what went wrong, in words: a training does not fail because Ollama does not answer.
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


def foreign_processes(gives_way: t.Callable[[int], bool] = lambda _pid: False) -> str:
    """Who computes on the GPU and is neither a job of ours nor Ollama, in words; empty when nobody does.

    :param gives_way: whether the process of that id will give way, and so is nobody to wait for.
    """
    found = [
        process
        for process in gpus.foreign(gpus.processes())
        if not os.path.basename(process.name).startswith(_OLLAMA) and not gives_way(process.pid)
    ]
    words = []
    for process in found:
        size = f", {process.used_bytes / 1e9:.1f} GB" if process.used_bytes else ""
        owner = f" of {process.user}" if process.user else ""
        words.append(f"{process.name}{owner} (pid {process.pid}{size})")
    return f"the GPU, where {' and '.join(words)} computes" if words else ""
