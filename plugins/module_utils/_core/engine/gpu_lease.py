# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease of the GPU for a training: Ollama and labelled containers yield it, and are restored afterwards.

The servers that yield are recorded in ``jobs/gpu_loan.json``, with the job that holds the lease, before any of them is
stopped. Therefore a process that runs after a crash can read what must be restored, and restoring a server that was
never stopped changes nothing. The job's own supervisor releases the lease before it writes the outcome of the job;
after a crash the next reconcile does, once the job has ended or its directory no longer exists.
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

#: What Ollama may do while a training holds the GPU lease.
POLICIES = ("unload", "stop", "cpu", "share")

#: Label of containers that use GPU memory and may be stopped for a training: LLaMA-Factory's API in the Compose stack.
LABEL = "ia-homelab.gives-way-to-training"

_FILE = "gpu_loan.json"
_LOCK = "gpu_loan.lock"

#: Seconds a server may take until it answers again, and seconds between two attempts to restore a server.
_ANSWER_SECONDS = 60.0
_RETRY_SECONDS = 30.0


class LeasedServer(t.NamedTuple):
    """A server that yields the GPU.

    :param server: controls the service, container or process.
    :param is_ollama: whether it is Ollama, which can also run without a GPU.
    """

    server: LocalServer
    is_ollama: bool

    @property
    def key(self) -> tuple[str, str]:
        """Identifies the server across restarts, independent of its process."""
        server = self.server
        return server.kind, str(server.launch["port"]) if isinstance(server, Process) else server.name


class GpuLease:
    """The lease of the GPU that a job holds while its command runs.

    :param layout: the data directory.
    :param job_dir: directory of the job.
    :param tools: has the policy and the addresses of Ollama and of the Docker engine.
    """

    def __init__(self, layout: Layout, job_dir: str, tools: Toolchain) -> None:
        self.layout = layout
        self.job = os.path.join(*os.path.abspath(job_dir).split(os.sep)[-2:])
        self.tools = tools
        self.policy = tools.ollama_while_training
        self._servers: list[LeasedServer] = []
        self._messages: list[str] = []

    def find_users(self) -> None:
        """Find the servers that would yield the GPU. Read-only."""
        if self.policy not in ("stop", "cpu"):
            return
        try:
            ollama = find(self.tools.ollama_url, self.tools.docker_host)
            self._servers += [LeasedServer(ollama, True)] if ollama is not None else []
        except CoreError as error:
            self._messages.append(f"{error.message} Its models are unloaded instead.")
        self._servers += [LeasedServer(server, False) for server in labelled(LABEL, self.tools.docker_host)]

    def covers(self, pid: int) -> bool:
        """Whether a process on the GPU belongs to a server that yields."""
        try:
            return any(user.server.contains_process(pid) for user in self._servers)
        except CoreError:
            return False

    def acquire(self) -> list[str]:
        """Make the servers found by :meth:`find_users` yield the GPU.

        :returns: messages for the log. A server that does not yield is one of them and not an error: it must not fail
            the training.
        """
        if self.policy == "share":
            return []
        if self.policy == "unload":
            return gpu_users.unload_models(self.tools.ollama_url)
        messages, self._messages = self._messages, []
        if messages:
            messages += gpu_users.unload_models(self.tools.ollama_url)
        with FileLock(self.layout.path("jobs", _LOCK)):
            # an existing entry was written by a supervisor that was lost, before it stopped the server: it overrides
            # what was found now, because only it describes how the server ran originally
            leased = list(
                {each.key: each for each in [*self._servers, *_read_leased(read_record(_path(self.layout)))]}.values()
            )
            if not leased:
                return messages
            servers = [{"is_ollama": each.is_ollama, **each.server.as_dict()} for each in leased]
            write_json(_path(self.layout), {"job": self.job, "servers": servers, "at": utc_now()}, 0o600)
            for each in leased:
                try:
                    messages.append(self._yield_gpu(each))
                except CoreError as error:
                    messages.append(f"{each.server.description} does not yield the GPU: {error.message}")
                    messages += gpu_users.unload_models(self.tools.ollama_url) if each.is_ollama else []
        return messages

    def _yield_gpu(self, leased: LeasedServer) -> str:
        if self.policy == "cpu" and leased.is_ollama:
            leased.server.on_cpu()
            return f"Until this job ends, {leased.server.description} runs without a GPU."
        leased.server.stop()
        return f"Until this job ends, {leased.server.description} is stopped."

    def release(self) -> list[str]:
        """Restore the servers to how they ran before, and wait until Ollama answers again.

        :returns: problems; the next reconcile retries.
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
    """Release the lease of a job that has ended or no longer exists; no-op without such a lease.

    Fast, because every reconcile calls it: it does not wait until Ollama answers.
    """
    lease = read_record(_path(layout))
    if lease is None or not _is_stale(layout, lease):
        return
    tried_at = str(lease.get("tried_at") or "")
    if tried_at and age_seconds(tried_at) < _RETRY_SECONDS:
        return
    _restore(layout, str(lease.get("job")))


def _is_stale(layout: Layout, lease: t.Mapping[str, t.Any]) -> bool:
    job_dir = layout.path("jobs", "active", str(lease.get("job")))
    return not os.path.isdir(job_dir) or read_outcome(job_dir) is not None


def _restore(layout: Layout, job: str) -> list[str]:
    lock = FileLock(layout.path("jobs", _LOCK), timeout=_ANSWER_SECONDS)
    if not lock.acquire():
        return ["Another process is restoring the other users of the GPU."]
    try:
        lease = read_record(_path(layout))
        if lease is None or lease.get("job") != job:
            return []  # already released, or taken over by the next job
        problems, remaining = [], []
        for each in _read_leased(lease):
            try:
                each.server.restore()
            except CoreError as error:
                problems.append(f"{each.server.description} could not be started again: {error.message}")
                remaining.append({"is_ollama": each.is_ollama, **each.server.as_dict()})
        if remaining:
            write_json(_path(layout), {**lease, "servers": remaining, "tried_at": utc_now()}, 0o600)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_path(layout))
        return problems
    finally:
        lock.release()


def _path(layout: Layout) -> str:
    return layout.path("jobs", _FILE)


def _read_leased(lease: t.Mapping[str, t.Any] | None) -> list[LeasedServer]:
    leased = []
    for each in (lease or {}).get("servers") or []:
        with contextlib.suppress(KeyError, TypeError):  # the record was changed by a foreign program
            leased.append(LeasedServer(from_dict(each), bool(each.get("is_ollama"))))
    return leased
