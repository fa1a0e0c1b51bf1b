# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gives the GPU up while a training has it, and gets it back: Ollama, and containers that say they may be stopped.

What is taken is written down before it is taken, with the job it is taken for, in ``jobs/gpu_loan.json``. So whoever
comes after a crash knows what has to be given back, and giving back what was never taken changes nothing. The job's
own supervisor gives back before it tells how the job ended; after a crash the next reconcile does, once the job has
come to its end or is gone.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ..artifacts.layout import Layout
from ..errors import CoreError
from ..ollama.client import Ollama
from ..runs.run import read_outcome
from ..runs.spec import Toolchain
from ..system.clock import age_seconds, utc_now
from ..system.files import read_record, write_json
from ..system.local_services import LocalServer, Process, find, from_dict, labelled
from ..system.locks import FileLock
from . import gpu_users

#: What Ollama may do while a training has the GPU.
POLICIES = ("unload", "stop", "cpu", "share")

#: Label of containers that hold GPU memory and may be stopped for a training: LLaMA-Factory's API of the Compose stack.
LABEL = "ia-homelab.gives-way-to-training"

_FILE = "gpu_loan.json"
_LOCK = "gpu_loan.lock"

#: Seconds a server may take until it answers again, and between two attempts to give back what could not be.
_ANSWER_SECONDS = 60.0
_AGAIN_SECONDS = 30.0


class LeasedServer(t.NamedTuple):
    """A server that gives way.

    :param server: what runs it.
    :param is_ollama: whether it is Ollama, which may go on without a GPU.
    """

    server: LocalServer
    is_ollama: bool

    @property
    def key(self) -> tuple[str, str]:
        """The same for the same server, whatever its process is."""
        server = self.server
        return server.kind, str(server.launch["port"]) if isinstance(server, Process) else server.name


class GpuLease:
    """What the GPU's other users do while a job has it.

    :param layout: the data directory.
    :param job_dir: directory of the job.
    :param tools: with the policy, and where Ollama and the engine are.
    """

    def __init__(self, layout: Layout, job_dir: str, tools: Toolchain) -> None:
        self.layout = layout
        self.job = os.path.join(*os.path.abspath(job_dir).split(os.sep)[-2:])
        self.tools = tools
        self.policy = tools.ollama_while_training
        self._found: list[LeasedServer] = []
        self._told: list[str] = []

    def look(self) -> None:
        """Find out who would give way; changes nothing."""
        if self.policy not in ("stop", "cpu"):
            return
        try:
            ollama = find(self.tools.ollama_url, self.tools.docker_host)
            self._found += [LeasedServer(ollama, True)] if ollama is not None else []
        except CoreError as error:
            self._told.append(f"{error.message} Its models are unloaded instead.")
        self._found += [LeasedServer(server, False) for server in labelled(LABEL, self.tools.docker_host)]

    def covers(self, pid: int) -> bool:
        """Whether a process on the GPU is one that gives way."""
        try:
            return any(found.server.contains_process(pid) for found in self._found)
        except CoreError:
            return False

    def take(self) -> list[str]:
        """Have those that were found give way.

        :returns: what there is to tell of it: a training does not fail because another server does not listen.
        """
        if self.policy == "share":
            return []
        if self.policy == "unload":
            return gpu_users.unload_models(self.tools.ollama_url)
        told, self._told = self._told, []
        if told:
            told += gpu_users.unload_models(self.tools.ollama_url)
        with FileLock(self.layout.path("jobs", _LOCK)):
            # what is there already was taken by a supervisor that was lost: how it ran before, it knows better
            taken = list(
                {each.key: each for each in [*self._found, *_read_leased(read_record(_path(self.layout)))]}.values()
            )
            if not taken:
                return told
            servers = [{"is_ollama": each.is_ollama, **each.server.as_dict()} for each in taken]
            write_json(_path(self.layout), {"job": self.job, "servers": servers, "at": utc_now()}, 0o600)
            for each in taken:
                try:
                    told.append(self._one(each))
                except CoreError as error:
                    told.append(f"{each.server.description} does not give way: {error.message}")
                    told += gpu_users.unload_models(self.tools.ollama_url) if each.is_ollama else []
        return told

    def _one(self, taken: LeasedServer) -> str:
        if self.policy == "cpu" and taken.is_ollama:
            taken.server.on_cpu()
            return f"Till this job ends, {taken.server.description} goes on without a GPU."
        taken.server.stop()
        return f"Till this job ends, {taken.server.description} is stopped."

    def restore(self) -> list[str]:
        """Have them run as they did before, and wait until Ollama answers again.

        :returns: what went wrong; the next reconcile tries it again.
        """
        lease = read_record(_path(self.layout))
        if lease is None or lease.get("job") != self.job:
            return []
        problems = _restore(self.layout, self.job)
        deadline = time.monotonic() + (0 if problems else _ANSWER_SECONDS)
        server = Ollama(self.tools.ollama_url, timeout=2)
        while not problems and any(each.is_ollama for each in _read_leased(lease)):
            try:
                server.version()
                break
            except CoreError as error:
                if time.monotonic() > deadline:
                    problems.append(f"Ollama was started again and does not answer: {error.message}")
            time.sleep(0.2)
        return problems


def release_stale(layout: Layout) -> None:
    """Give back what was taken for a job that has ended or is gone. Short, and does nothing when nothing is due."""
    lease = read_record(_path(layout))
    if lease is None or not _is_due(layout, lease):
        return
    tried = str(lease.get("tried_at") or "")
    if tried and age_seconds(tried) < _AGAIN_SECONDS:
        return
    _restore(layout, str(lease.get("job")))


def _is_due(layout: Layout, lease: t.Mapping[str, t.Any]) -> bool:
    job_dir = layout.path("jobs", "active", str(lease.get("job")))
    return not os.path.isdir(job_dir) or read_outcome(job_dir) is not None


def _restore(layout: Layout, job: str) -> list[str]:
    lock = FileLock(layout.path("jobs", _LOCK), timeout=_ANSWER_SECONDS)
    if not lock.acquire():
        return ["Somebody else gives the GPU's other users back."]
    try:
        lease = read_record(_path(layout))
        if lease is None or lease.get("job") != job:
            return []  # done already, or taken over by the next
        problems, left = [], []
        for each in _read_leased(lease):
            try:
                each.server.restore()
            except CoreError as error:
                problems.append(f"{each.server.description} could not be started again: {error.message}")
                left.append({"is_ollama": each.is_ollama, **each.server.as_dict()})
        if left:
            write_json(_path(layout), {**lease, "servers": left, "tried_at": utc_now()}, 0o600)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_path(layout))
        return problems
    finally:
        lock.release()


def _path(layout: Layout) -> str:
    return layout.path("jobs", _FILE)


def _read_leased(lease: t.Mapping[str, t.Any] | None) -> list[LeasedServer]:
    found = []
    for each in (lease or {}).get("servers") or []:
        with contextlib.suppress(KeyError, TypeError):  # a record that was changed from outside
            found.append(LeasedServer(from_dict(each), bool(each.get("is_ollama"))))
    return found
