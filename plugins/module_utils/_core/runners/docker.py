# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner for a container of its own: labelled, detached, known to the engine by a name that only this job has.

The engine is the truth about what runs; ``command.json`` only tells that something was started. So whoever comes
after a crash finds the container again, and two containers for one job cannot be.

The command writes straight into ``log.txt`` of the job, which lies at the same path inside: nothing is lost when its
supervisor dies, and nobody has to hold the output in memory.
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
from ..runs.run import read_outcome
from ..system import processes
from ..system.clock import utc_now
from ..system.docker import DockerEngine, EngineRequestError, EngineUnavailableError, gpu_request, log_bounds, mount
from ..system.files import read_record, write_json
from .command import Command, Container
from .runner import COMMAND, EXIT, Probe, Runner, job_marker, note_signal

LABEL_JOB = "ia-homelab.job"
LABEL_STORE = "ia-homelab.store"

#: Seconds an engine that is being started again may take, for what cannot go on without it.
_PATIENCE = 60.0

#: Seconds the engine may take to end and remove a container.
_REMOVAL = 30.0

#: What the engine writes down for a container whose end it did not see.
_UNKNOWN_EXIT = 255

#: Standard output and error go to the job's log. ``$1`` goes before the image's own PATH.
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
        #: Commands that were seen running, with no gap since in which the engine was away.
        self._watched: set[str] = set()

    def _engine(self, job_dir: str) -> DockerEngine:
        run = read_record(os.path.join(os.path.dirname(os.path.abspath(job_dir)), "run.json")) or {}
        tools = run.get("toolchain")
        url = str(tools.get("docker_host") or "") if isinstance(tools, dict) else ""
        return self._engines.setdefault(url, DockerEngine(url))

    # -- starting ----------------------------------------------------------------------------------------------

    def start(self, command: Command, job_dir: str) -> None:
        place = command.container
        if place is None:
            raise NotReadyError(f"{command.argv[0]} could not be started: no image was named for it.")
        if any("\0" in part for part in command.argv):
            raise NotReadyError(f"{command.argv[0]} could not be started: {command.argv[0]}: embedded null byte.")
        engine = self._engine(job_dir)
        mark = job_marker(job_dir)
        store = mark.rpartition(":")[0]
        root = os.path.dirname(store)
        image = _patiently(lambda: engine.image(place.image))
        if image is None:
            raise NotReadyError(
                f"The Docker engine has no image {place.image!r}.",
                f"Get it with 'docker pull {place.image}', or provision again with playbooks/site.yml.",
            )
        self._remove_all(engine, job_dir)
        _remove_forgotten(engine, store)
        user = place.user or _default_user(root)
        log = os.path.join(job_dir, "log.txt")
        with open(log, "ab"):
            pass
        _hand_over(user, [path for path in (job_dir, *place.writable) if os.path.realpath(path).startswith(root + "/")])
        config = {
            "image": place.image,
            "entrypoint": ["/bin/sh", "-c", _ENTRY, log],
            "command": [command.env.get("PATH", ""), *command.argv],
            "environment": {
                **{name: value for name, value in command.env.items() if name != "PATH"},
                processes.JOB_MARKER: mark,
            },
            "working_dir": command.cwd,
            "user": user,
            "labels": {LABEL_JOB: mark, LABEL_STORE: store},
            "detach": True,
        }
        name = container_name(job_dir)
        try:
            container = engine.create(name, config, _host_config(place, job_dir))
            try:
                write_json(
                    os.path.join(job_dir, COMMAND),
                    {"argv": command.argv, "container": container, "image": image["Id"], "at": utc_now()},
                )
                engine.start(container)
            except BaseException:
                with contextlib.suppress(CoreError):
                    engine.remove(container)
                raise
        except EngineRequestError as error:
            self.forget(job_dir)
            raise NotReadyError(f"{command.argv[0]} could not be started: {error.message}", _hint(error)) from error
        self._watched.add(job_dir)

    # -- looking -----------------------------------------------------------------------------------------------

    def probe(self, job_dir: str) -> Probe:
        return self._ended(job_dir) or self._look(job_dir)[0]

    def refresh(self, job_dir: str) -> Probe:
        ended = self._ended(job_dir)
        if ended is None:
            ended, there = self._look(job_dir)
            if ended.state != "ended":
                return ended
            if ended.exit_code is not None:
                write_json(
                    os.path.join(job_dir, EXIT),
                    {"exit_code": ended.exit_code, "out_of_memory": ended.out_of_memory, "at": utc_now()},
                )
            if not there:
                return ended
        self.clear(job_dir)
        return ended

    @staticmethod
    def _ended(job_dir: str) -> Probe | None:
        told = read_record(os.path.join(job_dir, EXIT))
        if told is None:
            return None
        code = told.get("exit_code")
        return Probe("ended", code if isinstance(code, int) else None, bool(told.get("out_of_memory")))

    def _look(self, job_dir: str) -> tuple[Probe, bool]:
        """What the engine says of the job's command, and whether there is a container to be removed."""
        started = os.path.exists(os.path.join(job_dir, COMMAND))
        watched = job_dir in self._watched
        try:
            found = self._engine(job_dir).inspect(container_name(job_dir))
        except EngineUnavailableError:
            # what becomes of it now is the engine's doing
            self._watched.discard(job_dir)
            return Probe("running" if started else "absent"), False
        if found is None:
            if not started:
                return Probe("absent"), False
            return Probe("ended", -signal.SIGKILL if watched else None), False
        state = found["State"]
        if state["Status"] == "created":
            return Probe("absent"), True
        if state.get("Running"):
            self._watched.add(job_dir)
            return Probe("running"), True
        return _told(state, watched), True

    # -- ending ------------------------------------------------------------------------------------------------

    def signal(self, job_dir: str, number: int) -> None:
        note_signal(job_dir, number)
        engine, name = self._engine(job_dir), container_name(job_dir)
        try:
            # all but the first process, which only hands signals on to its child
            engine.run_inside(name, ["/bin/sh", "-c", f"kill -{int(number)} -1"])
        except EngineUnavailableError:
            pass
        except EngineRequestError:
            with contextlib.suppress(CoreError):  # it has ended, or there is nothing in it to send a signal with
                engine.kill(name, number)

    def clear(self, job_dir: str, grace: float = 0.0) -> None:
        engine = self._engine(job_dir)
        if grace > 0:
            self.signal(job_dir, signal.SIGTERM)
            deadline = time.monotonic() + grace
            while time.monotonic() < deadline and self._look(job_dir)[0].state == "running":
                time.sleep(0.05)
        try:
            if os.path.exists(os.path.join(job_dir, COMMAND)):
                _patiently(lambda: self._remove_all(engine, job_dir))
            else:
                with contextlib.suppress(EngineUnavailableError):
                    self._remove_all(engine, job_dir)
        except (EngineUnavailableError, EngineRequestError) as error:
            raise JobError(
                f"The container {container_name(job_dir)} cannot be ended: {error.message}",
                error.hint
                or "It waits inside the kernel, for a disk or a GPU that does not answer: a reboot may be needed.",
            ) from error

    @staticmethod
    def _remove_all(engine: DockerEngine, job_dir: str) -> None:
        """Remove the job's container, and wait until its name is free.

        :raises EngineRequestError: when it cannot be removed.
        """
        deadline = time.monotonic() + _REMOVAL
        while engine.inspect(container_name(job_dir)) is not None:
            engine.remove(container_name(job_dir))
            if time.monotonic() > deadline:
                raise EngineRequestError("It is still being removed.", 409)
            time.sleep(0.02)

    def forget(self, job_dir: str) -> None:
        self._watched.discard(job_dir)
        with contextlib.suppress(CoreError):  # whoever starts it again removes it
            self._remove_all(self._engine(job_dir), job_dir)
        for name in (EXIT, COMMAND):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(job_dir, name))


def container_name(job_dir: str) -> str:
    """The name of a job's container: to be read, and no other job's, whatever stores use this engine."""
    run, job = os.path.split(os.path.abspath(job_dir))
    digest = hashlib.sha256(job_marker(job_dir).encode("utf-8", "surrogateescape")).hexdigest()
    return f"ia-homelab-{os.path.basename(run)}-{job}-{digest[:10]}"


def _told(state: t.Mapping[str, t.Any], watched: bool) -> Probe:
    """How a container ended.

    Nobody knows why one ended by a signal, or ended well after it was asked to stop, if the engine or the machine may
    have gone down just then: that is told of those alone that were watched all the time.
    """
    raw = int(state.get("ExitCode") or 0)
    code = 128 - raw if 128 < raw <= 128 + 64 else raw
    starved = bool(state.get("OOMKilled")) and code != 0
    if not watched and not starved and (code <= 0 or raw == _UNKNOWN_EXIT):
        return Probe("ended")
    return Probe("ended", code, starved)


def _patiently(ask: t.Callable[[], t.Any]) -> t.Any:
    """Ask an engine that may just be started again."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return ask()
        except EngineUnavailableError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def _remove_forgotten(engine: DockerEngine, store: str) -> None:
    """Remove containers of jobs of this store that have come to their end: the engine was away when they did."""
    for found in engine.labelled(f"{LABEL_STORE}={store}"):
        run, _slash, job = str((found.get("Labels") or {}).get(LABEL_JOB, "")).rpartition(":")[2].partition("/")
        places = [os.path.join(store, section, run, job) for section in ("active", "done", "active")]
        there = [place for place in places if os.path.isdir(place)]
        if not there or read_outcome(there[0]) is not None:
            engine.remove(found["Id"])


def _host_config(place: Container, job_dir: str) -> dict[str, t.Any]:
    for option, value in (("memory_limit", place.memory_limit), ("shm_size", place.shm_size)):
        if value and not _SIZE.match(value):
            raise NotReadyError(f"{option} is {value!r}, which is no size.", "Write it as 512m or 24g.")
    writable = dict.fromkeys([*place.writable, os.path.abspath(job_dir)])
    readable = [path for path in place.readable if path not in writable]
    host: dict[str, t.Any] = {
        "init": True,
        "mounts": [mount(path, True) for path in readable] + [mount(path, False) for path in writable],
        "network_mode": place.network,
        "log_config": log_bounds(),
        "security_opt": ["no-new-privileges"],
    }
    if place.memory_limit:
        host.update(mem_limit=place.memory_limit, memswap_limit=place.memory_limit)
    if place.cpus:
        host["nano_cpus"] = int(place.cpus * 1e9)
    if place.shm_size:
        host["shm_size"] = place.shm_size
    if place.gpus:
        host["device_requests"] = [gpu_request(place.gpus)]
    return host


def _default_user(root: str) -> str:
    """Whoever runs this; when that is root, the owner of the data directory: results shall not be root's."""
    if os.geteuid() == 0:
        stat = os.stat(root)
        return f"{stat.st_uid}:{stat.st_gid}"
    return f"{os.geteuid()}:{os.getegid()}"


def _hand_over(user: str, places: t.Iterable[str]) -> None:
    """Give the directories that a container writes to its user, as far as they are ours to give."""
    owner, _colon, group = user.partition(":")
    if os.geteuid() != 0 or not owner.isdigit() or int(owner) == 0:
        return
    uid, gid = int(owner), int(group) if group.isdigit() else -1
    for place in places:
        if os.stat(place).st_uid != uid:
            os.chown(place, uid, gid)
        for folder, dirs, files in os.walk(place):
            for name in [*dirs, *files]:
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    if os.lstat(path).st_uid != uid:
                        os.chown(path, uid, gid, follow_symlinks=False)


def _hint(error: EngineRequestError) -> str:
    told = error.message
    if "could not select device driver" in told or "unresolvable CDI devices" in told or "nvidia" in told.lower():
        return (
            "The engine cannot give a GPU to a container: provision the role ia_homelab.llamafactory.nvidia_docker, or "
            "declare llamafactory_accelerator: cpu."
        )
    if "bind source path does not exist" in told:
        return "A directory that the job needs was moved or removed: run again."
    return "Look into 'journalctl -u docker'."
