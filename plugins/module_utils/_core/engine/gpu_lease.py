# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease of the GPU for a training: Ollama and labelled containers yield it, and are restored afterwards.

The servers that yield are recorded in ``jobs/gpu_loan.json``, with the job that holds the lease, before any of them is
stopped. Therefore a process that runs after a crash can read what must be restored, and restoring a server that was
never stopped changes nothing. The job's own supervisor releases the lease before it writes the outcome of the job;
after a crash the next reconcile does, once the job has ended or its directory no longer exists.

A job that stops or restarts Ollama has exclusive access to it (:mod:`.ollama_access`) while it does: with the policy
``stop`` until Ollama runs again, with ``cpu`` during each of the two restarts. The record outlives the processes: while
it names Ollama as stopped, no job uses Ollama, even if the supervisor that stopped it was killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import typing as t
import urllib.parse

from ..artifacts.layout import Layout
from ..errors import CoreError
from ..messages.message import Message
from ..ollama.client import Ollama
from ..runs.run import read_outcome
from ..runs.spec import Toolchain
from ..system.clock import monotonic_stamp, seconds_since, utc_now
from ..system.files import read_record, write_json
from ..system.local_services import LocalServer, Process, find, from_dict, labelled
from ..system.locks import FileLock
from ..system.log import log_problem
from ..system.ports import is_local
from . import gpu_users
from .ollama_access import describe_holders, holder_of, ollama_access, run_name

#: What Ollama may do while a training holds the GPU lease.
POLICIES = ("unload", "stop", "cpu", "share")

#: Label of containers that use GPU memory and may be stopped for a training: LLaMA-Factory's API in the Compose stack.
LABEL = "ia-homelab.gives-way-to-training"

#: ``RUN/JOB``: names of directories below ``jobs/active``.
_JOB = re.compile(r"[A-Za-z0-9][^/\0]*/[A-Za-z0-9][^/\0]*\Z")

_FILE = "gpu_loan.json"
_LOCK = "gpu_loan.lock"

#: Seconds a server may take until it answers again, and seconds between two attempts to restore a server.
_ANSWER_SECONDS = 60.0
_RETRY_SECONDS = 30.0

#: Seconds that the end of a job waits for the jobs that use Ollama on the CPU, before it leaves the restart to a later
#: reconcile.
_USERS_SECONDS = 10.0


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
        self._access = ollama_access(layout, holder_of(job_dir), exclusive=True)

    def find_users(self) -> None:
        """Find the servers that would yield the GPU. Read-only."""
        if self.policy not in ("stop", "cpu"):
            return
        try:
            ollama = find(self.tools.ollama_address, self.tools.docker_host)
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

    def ollama_users(self) -> list[Message]:
        """Request exclusive access to Ollama if the policy stops or restarts it.

        :returns: the jobs that use it now, for a message; empty when :meth:`acquire` may be called.
        """
        if self.policy not in ("stop", "cpu") or not any(each.is_ollama for each in self._leased()):
            return []
        lease = read_lease(self.layout)
        if lease is not None and lease.get("job") == self.job and _is_stopped(lease):
            # This job has stopped it before, and its supervisor and command were lost. Its record keeps the users away:
            # those in the queue wait for it, so it must not wait for them.
            return []
        return describe_holders(self.layout, self._access.request())

    def withdraw(self) -> None:
        """Withdraw the request for exclusive access to Ollama."""
        self._access.release()

    def _leased(self) -> list[LeasedServer]:
        """Return the servers found, and those that an existing record names.

        A supervisor that was lost wrote such a record before it stopped the servers. It overrides what was found now,
        because only it describes how the servers ran originally.
        """
        recorded = _read_leased(read_lease(self.layout))
        return list({each.key: each for each in [*self._servers, *recorded]}.values())

    def acquire(self) -> list[str]:
        """Make the servers found by :meth:`find_users` yield the GPU.

        :returns: messages for the log. A server that does not yield is one of them and not an error: it must not fail
            the training.
        """
        if self.policy == "share":
            return []
        if self.policy == "unload":
            return gpu_users.unload_models(self.tools.ollama_address)
        messages, self._messages = self._messages, []
        if messages:
            messages += gpu_users.unload_models(self.tools.ollama_address)
        with FileLock(self.layout.path("jobs", _LOCK)):
            leased = self._leased()
            if not leased:
                return messages
            record = {
                "job": self.job,
                "name": run_name(self.layout, os.path.dirname(self.job)),
                "policy": self.policy,
                "ollama_url": Ollama(self.tools.ollama_address).url,  # without the password that an address may have
                "servers": [{"is_ollama": each.is_ollama, **each.server.as_dict()} for each in leased],
                "at": utc_now(),
            }
            write_json(_path(self.layout), record, 0o600)
            for each in leased:
                try:
                    messages.append(self._yield_gpu(each))
                except CoreError as error:
                    messages.append(f"{each.server.description} does not yield the GPU: {error.message}")
                    if each.is_ollama:
                        messages += gpu_users.unload_models(self.tools.ollama_address)
                        if not self._wait_until_ollama_answers(0):
                            record["policy"] = "unload"  # it runs as before, and other jobs may use it
                            write_json(_path(self.layout), record, 0o600)
        if record["policy"] == "cpu" and any(each.is_ollama for each in leased):
            problem = self._wait_until_ollama_answers()
            messages += [f"Ollama was restarted without a GPU and does not answer: {problem}"] if problem else []
        if record["policy"] != "stop":
            self._access.release()
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
        try:
            lease = read_lease(self.layout)
            if lease is None or lease.get("job") != self.job:
                return []
            if _is_on_cpu(lease):
                users = self._wait_for_ollama_users()
                if users:
                    return [f"Ollama keeps running without a GPU while it is in use by {users}."]
            problems = _restore(self.layout, self.job)
            if not problems and _leases_ollama(lease):
                problem = self._wait_until_ollama_answers()
                problems = [f"Ollama was started again and does not answer: {problem}"] if problem else []
            return problems
        finally:
            self._access.release()

    def _wait_for_ollama_users(self) -> str:
        """Wait for exclusive access; return the jobs that still use Ollama after the timeout, empty when granted."""
        deadline = time.monotonic() + _USERS_SECONDS
        while True:
            holders = self._access.request()
            if not holders or time.monotonic() > deadline:
                return " and ".join(str(holder) for holder in describe_holders(self.layout, holders))
            time.sleep(0.2)

    def _wait_until_ollama_answers(self, seconds: float | None = None) -> str:
        """Return why Ollama does not answer after the timeout; empty when it answers.

        :param seconds: the timeout; 0 tries once.
        """
        deadline = time.monotonic() + (_ANSWER_SECONDS if seconds is None else seconds)
        server = Ollama(self.tools.ollama_address, timeout=2)
        while True:
            try:
                server.version()
                return ""
            except CoreError as error:
                if time.monotonic() > deadline:
                    return error.message
            time.sleep(0.2)


def ollama_lease(layout: Layout, url: str = "") -> dict[str, str]:
    """Return the lease to which an Ollama server yields.

    :param url: address of the server; by default any server.
    :returns: ``name`` of the fine-tune that is trained, the ``policy``, ``stop`` or ``cpu``, and the ``kind`` of the
        server, ``unit``, ``container`` or ``process``; empty when it yields to no job, or when the job has ended.
    """
    lease = read_lease(layout)
    if lease is None or not (_is_stopped(lease) or _is_on_cpu(lease)) or _is_stale(layout, lease):
        return {}
    if not _is_of(lease, url):
        return {}
    kind = next(each.server.kind for each in _read_leased(lease) if each.is_ollama)
    return {"name": _name(layout, lease), "policy": "cpu" if _is_on_cpu(lease) else "stop", "kind": kind}


def ollama_stopped_for(layout: Layout, url: str = "") -> str:
    """Return the name of the fine-tune for whose training Ollama is stopped; empty when it is not.

    Ollama counts as stopped until it was started again, or until an attempt at that has failed after the training.

    :param url: address of the server; by default any server.
    """
    lease = read_lease(layout)
    if lease is None or not _is_stopped(lease) or not _is_of(lease, url):
        return ""
    return "" if lease.get("tried_at") and _is_stale(layout, lease) else _name(layout, lease)


def release_stale(layout: Layout) -> None:
    """Release the lease of a job that has ended or no longer exists; no-op without such a lease.

    Fast, because every reconcile calls it: it does not wait until Ollama answers. A record that is damaged is reported
    and put aside: no lease is read from it.
    """
    lease = read_lease(layout)
    if lease is None:
        _put_aside_damaged(layout)
        return
    if not _is_stale(layout, lease):
        return
    age = seconds_since(lease.get("tried"))
    if age is not None and age < _RETRY_SECONDS:
        return
    job = str(lease.get("job"))
    if not _is_on_cpu(lease):
        _restore(layout, job)
        return
    access = ollama_access(layout, f"reconcile-{os.getpid()}", exclusive=True)
    try:
        if not access.request():  # else it is in use, on the CPU: a later reconcile restarts it
            _restore(layout, job)
    finally:
        access.release()


def _is_stale(layout: Layout, lease: t.Mapping[str, t.Any]) -> bool:
    job_dir = layout.path("jobs", "active", str(lease.get("job")))
    return not os.path.isdir(job_dir) or read_outcome(job_dir) is not None


def _restore(layout: Layout, job: str) -> list[str]:
    lock = FileLock(layout.path("jobs", _LOCK), timeout=_ANSWER_SECONDS)
    if not lock.acquire():
        return ["Another process is restoring the other users of the GPU."]
    try:
        lease = read_lease(layout)
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
            write_json(
                _path(layout), {**lease, "servers": remaining, "tried_at": utc_now(), "tried": monotonic_stamp()}, 0o600
            )
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_path(layout))
        return problems
    finally:
        lock.release()


def _path(layout: Layout) -> str:
    return layout.path("jobs", _FILE)


def read_lease(layout: Layout) -> dict[str, t.Any] | None:
    """Return the record of the lease, with only those of its values that are valid.

    :returns: None when there is none, or when it is damaged: without its job, or without any server that can be read.
    """
    raw = read_record(_path(layout))
    job, servers = (raw or {}).get("job"), (raw or {}).get("servers")
    if raw is None or not isinstance(job, str) or not _JOB.match(job) or not isinstance(servers, list):
        return None
    lease = {
        name: raw[name] for name in ("name", "policy", "ollama_url", "at", "tried_at") if isinstance(raw.get(name), str)
    }
    if not _is_url(lease.get("ollama_url", "")):
        lease.pop("ollama_url", None)
    readable = [each for each in servers if _read_server(each) is not None]
    return {**lease, "job": job, "servers": readable, "tried": raw.get("tried")} if readable else None


def _put_aside_damaged(layout: Layout) -> None:
    """Rename a record that cannot be read, so that it is reported once and a person can see which servers it named."""
    path = _path(layout)
    if not os.path.lexists(path):
        return
    lock = FileLock(layout.path("jobs", _LOCK), timeout=0)
    if not lock.acquire():
        return
    try:
        if os.path.lexists(path) and read_lease(layout) is None:
            aside = f"{path}.damaged"
            os.replace(path, aside)
            log_problem(str(Message("engine.lease_damaged", path=path, aside=aside)))
    finally:
        lock.release()


def _is_url(url: str) -> bool:
    try:
        _port = urllib.parse.urlsplit(Ollama(url).url).port
    except (CoreError, ValueError):
        return False
    return bool(url)


def _read_server(value: t.Any) -> LeasedServer | None:
    try:
        return LeasedServer(from_dict(value), bool(value.get("is_ollama")))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # the record was changed by a foreign program


def _read_leased(lease: t.Mapping[str, t.Any] | None) -> list[LeasedServer]:
    servers = map(_read_server, (lease or {}).get("servers") or [])
    return [each for each in servers if each is not None]


def _leases_ollama(lease: t.Mapping[str, t.Any]) -> bool:
    return any(each.is_ollama for each in _read_leased(lease))


def _is_stopped(lease: t.Mapping[str, t.Any]) -> bool:
    """Whether Ollama is stopped. Earlier versions wrote no policy."""
    return str(lease.get("policy") or "stop") == "stop" and _leases_ollama(lease)


def _is_on_cpu(lease: t.Mapping[str, t.Any]) -> bool:
    """Whether Ollama runs without a GPU instead of being stopped."""
    return lease.get("policy") == "cpu" and _leases_ollama(lease)


def _name(layout: Layout, lease: t.Mapping[str, t.Any]) -> str:
    return str(lease.get("name") or run_name(layout, str(lease.get("job")).partition("/")[0]))


def _is_of(lease: t.Mapping[str, t.Any], url: str) -> bool:
    """Whether a lease is that of the server at an address. Earlier versions recorded none."""
    leased_url = str(lease.get("ollama_url") or "")
    if not url or not leased_url:
        return True
    (host, port), (leased_host, leased_port) = (
        (parts.hostname or "", parts.port) for parts in map(urllib.parse.urlsplit, (Ollama(url).url, leased_url))
    )
    return port == leased_port and (host == leased_host or (is_local(host) and is_local(leased_host)))
