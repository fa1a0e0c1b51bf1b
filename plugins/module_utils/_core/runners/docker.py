# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner for a container per job: labelled, detached, with a name that is unique to the job.

The Docker engine is the source of truth about what runs; ``command.json`` only records that a command was started.
Therefore a process that runs after a crash finds the container by its name, and a job never has two containers.

The command writes directly to ``log.txt`` of the job, which is mounted at the same path: no output is lost when the
supervisor dies, and no process has to buffer it in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import time
import typing as t

from ..errors import CoreError, JobError, NotReadyError
from ..messages.message import Message
from ..runs.names import COMMAND_FILE, EXIT_FILE, LOG_FILE, RUN_FILE
from ..runs.run import read_outcome
from ..system import processes
from ..system.clock import utc_now
from ..system.docker import (
    LABEL_JOB,
    DockerEngine,
    EngineRequestError,
    EngineUnavailableError,
    gpu_request,
    log_bounds,
    mount,
)
from ..system.files import read_record, write_json
from .command import Command, Container, check_container_user
from .runner import Probe, Runner, job_marker, record_signal

LABEL_STORE = "ia-homelab.store"

#: Seconds to wait for an engine that is restarting, for operations that require it.
_ENGINE_SECONDS = 60.0

#: Seconds the engine may take to end and remove a container.
_REMOVE_SECONDS = 30.0

#: Exit status that the engine reports for a container whose end it did not observe.
_UNKNOWN_EXIT = 255

#: Redirects standard output and error to the job's log. ``$1`` is put before the PATH of the image.
_ENTRY = """
log=$0 PATH=${1:+$1:}$PATH; shift
export PATH
echo "The output is in $log"
exec >>"$log" 2>&1
command -v "$1" >/dev/null || { echo "$1 could not be started: it is not in the image."; exit 127; }
exec "$@"
"""

_SIZE = re.compile(r"[1-9][0-9]*[kmgt]?b?\Z", re.IGNORECASE)


class DockerRunner(Runner):
    """Runs a job's command as a container."""

    name = "docker"

    def __init__(self) -> None:
        self._engines: dict[str, DockerEngine] = {}
        #: Directories of jobs whose command was observed running, and since then the engine was always reachable.
        self._watched: set[str] = set()

    def _engine(self, job_dir: str) -> DockerEngine:
        run = read_record(os.path.join(os.path.dirname(os.path.abspath(job_dir)), RUN_FILE)) or {}
        tools = run.get("toolchain")
        url = str(tools.get("docker_host") or "") if isinstance(tools, dict) else ""
        return self._engines.setdefault(url, DockerEngine(url))

    # -- start -------------------------------------------------------------------------------------------------

    def start(self, command: Command, job_dir: str) -> None:
        container = command.container
        if container is None:
            raise NotReadyError("runners.no_image_named", program=command.argv[0])
        if any("\0" in part for part in command.argv):
            raise NotReadyError("runners.null_byte", program=command.argv[0])
        engine = self._engine(job_dir)
        marker = job_marker(job_dir)
        store = marker.rpartition(":")[0]
        user = _user_of(container)
        image = _retry_while_away(lambda: engine.image(container.image))
        if image is None:
            raise NotReadyError("runners.image_missing", image=container.image)
        self._remove_all(engine, job_dir)
        _remove_orphans(engine, store)
        log = os.path.join(job_dir, LOG_FILE)
        with open(log, "ab"):
            pass
        config = {
            "image": container.image,
            "entrypoint": ["/bin/sh", "-c", _ENTRY, log],
            "command": [command.env.get("PATH", ""), *command.argv],
            "environment": {
                **{name: value for name, value in command.env.items() if name != "PATH"},
                processes.JOB_MARKER: marker,
            },
            "working_dir": command.cwd,
            "user": user,
            "labels": {LABEL_JOB: marker, LABEL_STORE: store},
            "detach": True,
        }
        name = container_name(job_dir)
        try:
            container_id = engine.create(name, config, _host_config(container, job_dir))
            try:
                write_json(
                    os.path.join(job_dir, COMMAND_FILE),
                    {
                        "argv": command.argv,
                        "container": container_id,
                        "image": image["Id"],
                        "oom_kills": processes.oom_kills(),
                        "at": utc_now(),
                    },
                )
                engine.start(container_id)
            except BaseException:
                with contextlib.suppress(CoreError):
                    engine.remove(container_id)
                raise
        except EngineRequestError as error:
            self.forget(job_dir)
            raise NotReadyError(
                "runners.container_not_started", program=command.argv[0], problem=error.content, advice=_advice(error)
            ) from error
        self._watched.add(job_dir)

    # -- state -------------------------------------------------------------------------------------------------

    def probe(self, job_dir: str) -> Probe:
        return self._recorded_exit(job_dir) or self._inspect(job_dir)[0]

    def refresh(self, job_dir: str) -> Probe:
        probe = self._recorded_exit(job_dir)
        if probe is None:
            probe, container_exists = self._inspect(job_dir)
            if probe.state != "ended":
                return probe
            if probe.exit_code is not None:
                write_json(
                    os.path.join(job_dir, EXIT_FILE),
                    {"exit_code": probe.exit_code, "out_of_memory": probe.out_of_memory, "at": utc_now()},
                )
            if not container_exists:
                return probe
        self.clear(job_dir)
        return probe

    @staticmethod
    def _recorded_exit(job_dir: str) -> Probe | None:
        exit_record = read_record(os.path.join(job_dir, EXIT_FILE))
        if exit_record is None:
            return None
        code = exit_record.get("exit_code")
        return Probe("ended", code if isinstance(code, int) else None, bool(exit_record.get("out_of_memory")))

    def _inspect(self, job_dir: str) -> tuple[Probe, bool]:
        """Return the state of the job's command according to the engine, and whether its container still exists."""
        record = read_record(os.path.join(job_dir, COMMAND_FILE))
        started = record is not None or os.path.exists(os.path.join(job_dir, COMMAND_FILE))
        watched = job_dir in self._watched
        try:
            container = self._engine(job_dir).inspect(container_name(job_dir))
        except EngineUnavailableError:
            # the engine may end the container while it is away, so an exit status from now on is not reliable
            self._watched.discard(job_dir)
            return Probe("running" if started else "absent"), False
        if container is None:
            if not started:
                return Probe("absent"), False
            return Probe("ended", -signal.SIGKILL if watched else None), False
        state = container["State"]
        if state["Status"] == "created":
            return Probe("absent"), True
        if state.get("Running"):
            self._watched.add(job_dir)
            return Probe("running"), True
        probe = _exit_probe(state, watched)
        if probe.exit_code is not None and watched and not probe.out_of_memory:
            # the engine learns of the kernel's kill from a second event, which it may receive after the container's
            # end or, when the container's cgroup was removed before, never
            kills = (record or {}).get("oom_kills")
            probe = Probe("ended", probe.exit_code, processes.killed_for_memory(probe.exit_code, kills))
        return probe, True

    # -- end ---------------------------------------------------------------------------------------------------

    def signal(self, job_dir: str, number: int) -> None:
        record_signal(job_dir, number)
        engine, name = self._engine(job_dir), container_name(job_dir)
        try:
            # all processes except the first, which only forwards signals to its child
            engine.run_inside(name, ["/bin/sh", "-c", f"kill -{int(number)} -1"])
        except EngineUnavailableError:
            pass
        except EngineRequestError:
            with contextlib.suppress(CoreError):  # the container has ended, or it contains no program to send a signal
                engine.kill(name, number)

    def clear(self, job_dir: str, grace: float = 0.0) -> None:
        engine = self._engine(job_dir)
        if grace > 0:
            self.signal(job_dir, signal.SIGTERM)
            deadline = time.monotonic() + grace
            while time.monotonic() < deadline and self._inspect(job_dir)[0].state == "running":
                time.sleep(0.05)
        try:
            if os.path.exists(os.path.join(job_dir, COMMAND_FILE)):
                _retry_while_away(lambda: self._remove_all(engine, job_dir))
            else:
                with contextlib.suppress(EngineUnavailableError):
                    self._remove_all(engine, job_dir)
        except (EngineUnavailableError, EngineRequestError) as error:
            advice = error.hint or Message("runners.waits_in_kernel")
            container = container_name(job_dir)
            raise JobError(
                "runners.container_remains", container=container, problem=error.content, advice=advice
            ) from error

    @staticmethod
    def _remove_all(engine: DockerEngine, job_dir: str) -> None:
        """Remove the job's container, and wait until its name is free.

        :raises EngineRequestError: when it cannot be removed.
        """
        deadline = time.monotonic() + _REMOVE_SECONDS
        while engine.inspect(container_name(job_dir)) is not None:
            engine.remove(container_name(job_dir))
            if time.monotonic() > deadline:
                raise EngineRequestError("runners.container_being_removed", http_status=409)
            time.sleep(0.02)

    def forget(self, job_dir: str) -> None:
        self._watched.discard(job_dir)
        with contextlib.suppress(CoreError):  # the next start of the command removes the container
            self._remove_all(self._engine(job_dir), job_dir)
        for name in (EXIT_FILE, COMMAND_FILE):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(job_dir, name))


def container_name(job_dir: str) -> str:
    """Return the name of a job's container: readable, and unique among all stores that use the engine."""
    run, job = os.path.split(os.path.abspath(job_dir))
    digest = hashlib.sha256(job_marker(job_dir).encode("utf-8", "surrogateescape")).hexdigest()
    return f"ia-homelab-{os.path.basename(run)}-{job}-{digest[:10]}"


def _exit_probe(state: t.Mapping[str, t.Any], watched: bool) -> Probe:
    """Return the exit status of a container.

    If the engine or the machine may have gone down, the reason of a container's end by a signal, or with status 0
    (possibly after a stop request), is unknown. Therefore such a status is returned only for a container that was
    watched without interruption.
    """
    raw_code = int(state.get("ExitCode") or 0)
    code = 128 - raw_code if 128 < raw_code <= 128 + 64 else raw_code
    out_of_memory = bool(state.get("OOMKilled")) and code != 0
    if not watched and not out_of_memory and (code <= 0 or raw_code == _UNKNOWN_EXIT):
        return Probe("ended")
    return Probe("ended", code, out_of_memory)


def _retry_while_away(request: t.Callable[[], t.Any]) -> t.Any:
    """Send a request to an engine that may be restarting."""
    deadline = time.monotonic() + _ENGINE_SECONDS
    while True:
        try:
            return request()
        except EngineUnavailableError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def _remove_orphans(engine: DockerEngine, store: str) -> None:
    """Remove containers of ended jobs of this store, which remain if the engine was away when their job ended."""
    for container in engine.labelled(f"{LABEL_STORE}={store}"):
        run, _slash, job = str((container.get("Labels") or {}).get(LABEL_JOB, "")).rpartition(":")[2].partition("/")
        candidates = [os.path.join(store, section, run, job) for section in ("active", "done", "active")]
        job_dirs = [path for path in candidates if os.path.isdir(path)]
        if not job_dirs or read_outcome(job_dirs[0]) is not None:
            engine.remove(container["Id"])


def _host_config(container: Container, job_dir: str) -> dict[str, t.Any]:
    for option, value in (("memory_limit", container.memory_limit), ("shm_size", container.shm_size)):
        if value and not _SIZE.match(value):
            raise NotReadyError("runners.size_invalid", option=option, value=value)
    writable = dict.fromkeys([*container.writable, os.path.abspath(job_dir)])
    readable = [path for path in container.readable if path not in writable]
    host: dict[str, t.Any] = {
        "init": True,
        "mounts": [mount(path, True) for path in readable] + [mount(path, False) for path in writable],
        "network_mode": container.network,
        "log_config": log_bounds(),
        "security_opt": ["no-new-privileges"],
    }
    if container.memory_limit:
        host.update(mem_limit=container.memory_limit, memswap_limit=container.memory_limit)
    if container.cpus:
        host["nano_cpus"] = int(container.cpus * 1e9)
    if container.shm_size:
        host["shm_size"] = container.shm_size
    if container.gpus:
        host["device_requests"] = [gpu_request(container.gpus)]
    return host


def _user_of(container: Container) -> str:
    """Return ``UID:GID`` of a container: the user that runs this, unless another one is declared.

    :raises InputError: if that user must not be declared here.
    """
    check_container_user(container.user)
    return container.user or f"{os.geteuid()}:{os.getegid()}"


def _advice(error: EngineRequestError) -> Message:
    message = error.message
    if (
        "could not select device driver" in message
        or "unresolvable CDI devices" in message
        or "nvidia" in message.lower()
    ):
        return Message("runners.no_gpu_for_container")
    if "bind source path does not exist" in message:
        return Message("runners.mount_missing")
    return Message("runners.see_journal")
