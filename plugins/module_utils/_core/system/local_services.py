# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server on this host: detection of what runs it, and how to stop and restart it.

A server is a systemd unit, a container or a plain process. Every operation can be repeated, and after a crash another
process that knows only :meth:`LocalServer.as_dict` can continue it: every method inspects the current state first.

Sources: systemd.unit(5) on drop-ins under /run, which do not outlive a reboot; Ollama's docs/gpu.md on
``CUDA_VISIBLE_DEVICES=-1``.
"""

from __future__ import annotations

import abc
import contextlib
import os
import re
import shutil
import signal

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import time
import typing as t
import urllib.parse

from ..errors import CoreError, NotReadyError
from . import job_helper, ports, processes
from .docker import DockerEngine
from .environment import clean_environment
from .files import make_dirs, read_record, write_atomic, write_json

#: Variables that hide every GPU from Ollama's runners: NVIDIA's from CUDA and Vulkan, AMD's from ROCm.
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1", "ROCR_VISIBLE_DEVICES": "-1", "GGML_VK_VISIBLE_DEVICES": "-1"}

#: Environment variable that marks a plain process restarted on the CPU.
_ON_CPU = "IA_HOMELAB_ON_CPU"

_DROP_IN = "ia-homelab-training.conf"
_STAND_IN = "ia-homelab.stand-in-for"
_SECONDS = 20.0
_SYSTEMCTL_SECONDS = 120
_KEPT_PREFIXES = ("OLLAMA_", "LLAMA_", "GGML_", "CUDA_", "NVIDIA_", "ROCR_", "HSA_", "HIP_", "GIN_")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)


class LocalServer(abc.ABC):
    """A server of this host."""

    kind: t.ClassVar[str]

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def description(self) -> str:
        """Name of the server for messages."""
        return f"{self.kind} {self.name}"

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values from which :func:`from_dict` restores the server."""
        return {"kind": self.kind, "name": self.name}

    def contains_process(self, pid: int) -> bool:
        """Return whether a process belongs to the server."""
        del pid
        return False

    @abc.abstractmethod
    def stop(self) -> None:
        """Stop the server. Only its owner or :meth:`restore` starts it again.

        :raises CoreError: if it cannot be stopped.
        """

    @abc.abstractmethod
    def on_cpu(self) -> None:
        """Restart the server without access to a GPU; no-op if it already runs so.

        :raises CoreError: if it cannot be restarted.
        """

    @abc.abstractmethod
    def restore(self) -> None:
        """Run the server as it ran before :meth:`stop` or :meth:`on_cpu`.

        :raises CoreError: if it cannot be started.
        """


class Unit(LocalServer):
    """A server that is a systemd unit."""

    kind = "unit"

    def _drop_in(self) -> str:
        return f"/run/systemd/system/{self.name}.d/{_DROP_IN}"

    def contains_process(self, pid: int) -> bool:
        return _unit_of(pid) == self.name

    def _asks_helper(self) -> bool:
        """Whether another user than root controls this unit through the helper."""
        return os.geteuid() != 0 and job_helper.controlled_unit().name == self.name

    def stop(self) -> None:
        if self._asks_helper():
            job_helper.control("stop")
        else:
            _systemctl("stop", self.name)

    def _runs_without_gpu(self) -> bool:
        """Return whether the unit runs without a GPU, judged by its process: the drop-in may not be in effect."""
        main = _systemctl("show", "--property=MainPID", "--value", self.name).strip()
        environment = ports.variables(int(main)) if main.isdigit() else {}
        return NO_GPU.items() <= environment.items()

    def on_cpu(self) -> None:
        if self._asks_helper():
            job_helper.control("hide-gpu")
            return
        if os.path.exists(self._drop_in()) and self._runs_without_gpu():
            return
        make_dirs(os.path.dirname(self._drop_in()))
        lines = [f"Environment={name}={value}\n" for name, value in NO_GPU.items()]
        # the drop-in is under /run, so that a reboot discards it
        write_atomic(self._drop_in(), "# While a training has the GPU.\n[Service]\n" + "".join(lines))
        _systemctl("daemon-reload")
        self._start("restart")

    def restore(self) -> None:
        if self._asks_helper():
            job_helper.control("start")
            return
        hidden = self._runs_without_gpu()
        if hidden or os.path.exists(self._drop_in()):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._drop_in())
            with contextlib.suppress(OSError):  # it contains other drop-ins, or does not exist
                os.rmdir(os.path.dirname(self._drop_in()))
            _systemctl("daemon-reload")
        self._start("restart" if hidden else "start")

    def _start(self, verb: str) -> None:
        # systemd limits the starts of a unit; trainings in quick succession must not exhaust that limit.
        with contextlib.suppress(NotReadyError):
            _systemctl("reset-failed", self.name)
        _systemctl(verb, self.name)


class Container(LocalServer):
    """A server that runs in a container.

    :param name: name of the container; Compose may replace the container of that name in the meantime.
    :param url: address of the engine.
    """

    kind = "container"

    def __init__(self, name: str, url: str = "") -> None:
        super().__init__(name)
        self.url = url
        self.engine = DockerEngine(url)

    @property
    def _cpu_name(self) -> str:
        """Name of the stand-in container that runs without a GPU."""
        return f"{self.name}-on-cpu"

    def as_dict(self) -> dict[str, t.Any]:
        return {**super().as_dict(), "url": self.url}

    def contains_process(self, pid: int) -> bool:
        ids = ports.container_ids(pid)
        containers = map(self.engine.inspect, (self.name, self._cpu_name)) if ids else ()
        return any(each is not None and each["Id"] in ids for each in containers)

    def stop(self) -> None:
        self.engine.stop(self.name)

    def on_cpu(self) -> None:
        original = self.engine.inspect(self.name)
        if original is None:
            raise NotReadyError("system.container_gone", name=self.name)
        stand_in = self.engine.inspect(self._cpu_name)
        if stand_in is not None and stand_in["State"].get("Running"):
            return
        self.engine.stop(self.name)
        self.engine.remove(self._cpu_name)
        self.engine.create_from(self._cpu_name, without_gpu(original))
        self.engine.start(self._cpu_name)

    def restore(self) -> None:
        if self.engine.inspect(self._cpu_name) is not None:
            self.engine.remove(self._cpu_name)
        if self.engine.inspect(self.name) is None:
            return  # its owner has removed it
        self.engine.start(self.name)


class Process(LocalServer):
    """A server that was started by hand, or by a role on a host without systemd.

    :param launch: how to start it: ``argv``, ``env``, ``cwd``, ``uid``, ``gid``, ``log`` and ``record`` of the process,
        and the ``port`` it serves.
    """

    kind = "process"

    def __init__(self, name: str, launch: t.Mapping[str, t.Any]) -> None:
        super().__init__(name)
        self.launch = dict(launch)

    def as_dict(self) -> dict[str, t.Any]:
        return {**super().as_dict(), "how": self.launch}

    def _running(self) -> processes.Identity | None:
        """Return the process that listens on the port now, if it runs the same program; else None."""
        for pid in ports.listeners(int(self.launch["port"])):
            if ports.program(pid) == self.launch["argv"][0]:
                return processes.identify(pid)
        return None

    def contains_process(self, pid: int) -> bool:
        leader = self._running()
        return leader is not None and pid in (leader.pid, *ports.children(leader.pid))

    def stop(self) -> None:
        running = self._running()
        if running is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGTERM)  # the server ends its own child processes
        if not _until(lambda: not processes.alive(running)):
            processes.send(
                [running, *filter(None, map(processes.identify, ports.children(running.pid)))], signal.SIGKILL
            )
            _until(lambda: not processes.alive(running))

    def on_cpu(self) -> None:
        running = self._running()
        if running is None or not ports.variables(running.pid).get(_ON_CPU):
            self.stop()
            self._start({**NO_GPU, _ON_CPU: "1"})

    def restore(self) -> None:
        running = self._running()
        if running is not None and ports.variables(running.pid).get(_ON_CPU):
            self.stop()
            running = None
        if running is None and not ports.listeners(int(self.launch["port"])):
            self._start({})

    def _start(self, extra_environment: t.Mapping[str, str]) -> None:
        launch = self.launch
        argv, log = [str(part) for part in launch["argv"]], str(launch["log"])
        user: dict[str, t.Any] = {}
        if os.geteuid() == 0 and int(launch["uid"]) != 0:
            user = {"user": int(launch["uid"]), "group": int(launch["gid"]), "extra_groups": launch.get("groups") or []}
        try:
            # The shell exits at once, so the server is reparented to init and never becomes a zombie of this process.
            started = subprocess.run(
                ["/bin/sh", "-c", '"$@" >>"$0" 2>&1 & echo $!', log, *argv],
                stdin=subprocess.DEVNULL, capture_output=True, check=True, text=True,
                env={**launch["env"], **extra_environment}, cwd=str(launch["cwd"]), start_new_session=True, **user,
            )  # fmt: skip
            pid = int(started.stdout)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise NotReadyError("system.service_not_started", name=self.name, reason=error) from error
        self._record(pid)

    def _record(self, pid: int) -> None:
        """Write the new process into the record file of the role that started the server."""
        path, process = str(self.launch.get("record") or ""), processes.identify(pid)
        record = read_record(path) if path else None
        if record is not None and process is not None:
            identity = {"pid": process.pid, "start_time": str(process.started), "boot_id": process.boot}
            with contextlib.suppress(OSError):
                write_json(path, {**record, **identity})


def from_dict(value: t.Mapping[str, t.Any]) -> LocalServer:
    """Restore a server from the values of :meth:`LocalServer.as_dict`.

    :raises KeyError, TypeError, ValueError: if they are no such values.
    """
    kind, name = value["kind"], value["name"]
    if not isinstance(name, str) or not name:
        raise TypeError("a server has a name")
    if kind == "unit":
        return Unit(name)
    if kind == "container":
        return Container(name, str(value.get("url") or ""))
    if kind == "process":
        return Process(name, _checked_launch(value["how"]))
    raise ValueError(f"unknown kind of server {kind!r}")


def _checked_launch(launch: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """Return how to start a process, if it says everything that :class:`Process` uses."""
    argv, environment, groups = launch["argv"], launch["env"], launch.get("groups") or []
    texts = [*argv, *environment.keys(), *environment.values(), launch["cwd"], launch["log"]]
    numbers = [launch["uid"], launch["gid"], launch["port"], *groups]
    is_launch = isinstance(argv, list) and argv and isinstance(environment, dict)
    if not is_launch or not all(isinstance(each, str) and "\0" not in each for each in texts):
        raise TypeError("a process is started with texts")
    if not all(isinstance(each, int) and 0 <= each < 2**32 for each in numbers):
        raise ValueError("a process has numbers of its user and its port")
    return launch


# -- detection ---------------------------------------------------------------------------------------------------------


def find(url: str, docker_host: str = "") -> LocalServer | None:
    """Return the local server behind a URL; None if no server listens there or it runs on another machine.

    :raises NotReadyError: if a local process serves the URL and cannot be stopped and restarted from here.
    """
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    port = parts.port or (443 if parts.scheme == "https" else 80 if "://" in url else ports.OLLAMA_PORT)
    if not parts.hostname or not ports.is_local(parts.hostname):
        return None
    engine = DockerEngine(docker_host)
    try:
        running = engine.running()
    except CoreError:
        running = []  # no engine, no SDK or no access: then this process could not stop a container either
    for container in running:
        if any(each.get("PublicPort") == port for each in container.get("Ports") or []):
            return Container(_name_of(container), docker_host)
    pids = ports.listeners(port)
    for container in running:
        if any(container["Id"] in ports.container_ids(pid) for pid in pids):
            return Container(_name_of(container), docker_host)
    for pid in pids:
        unit = _unit_of(pid)
        if unit:
            return Unit(unit)
    for pid in pids:
        process = _plain_process(pid, port)
        if process is not None:
            return process
    if not pids:  # only root sees which process of another user listens
        unit_status = job_helper.controlled_unit()
        if port in unit_status.ports:
            return Unit(unit_status.name)
    if pids or ports.accepts(parts.hostname, port):
        raise NotReadyError("system.service_not_controllable", host=parts.hostname, port=port)
    return None


def labelled(label: str, docker_host: str = "") -> list[LocalServer]:
    """Return the running containers with a label; an empty list if there is no engine."""
    try:
        running = DockerEngine(docker_host).running()
    except CoreError:
        return []
    return [Container(_name_of(each), docker_host) for each in running if label in (each.get("Labels") or {})]


def _name_of(container: t.Mapping[str, t.Any]) -> str:
    name = str(container["Names"][0]).lstrip("/")
    stands_in = (container.get("Labels") or {}).get(_STAND_IN)
    return str(stands_in or name)


def _unit_of(pid: int) -> str:
    """Return the service of the system's own systemd that a process belongs to; empty if there is none."""
    if not os.path.isdir("/run/systemd/system"):
        return ""
    for line in ports.cgroups(pid).splitlines():
        _number, controllers, path = line.split(":", 2)
        match = re.search(r"/system\.slice/(?:[^/]+\.slice/)*([^/]+\.service)(?:/|$)", path)
        if match and controllers in ("", "name=systemd"):
            unit = match.group(1)
            # a process left behind in the cgroup by another program is not part of the service
            main = _systemctl("show", "--property=MainPID", "--value", unit).strip()
            if main.isdigit() and pid in (int(main), *ports.children(int(main))):
                return unit
    return ""


def _plain_process(pid: int, port: int) -> Process | None:
    """Return an Ollama server that no service manager supervises, with how it was started; None for anything else."""
    argv, cgroups = ports.arguments(pid), ports.cgroups(pid)
    if [os.path.basename(part) for part in argv] != ["ollama", "serve"] or re.search(r"/user@\d+\.service/.", cgroups):
        return None
    try:
        owner, cwd = os.stat(f"/proc/{pid}"), os.readlink(f"/proc/{pid}/cwd")
        log = os.readlink(f"/proc/{pid}/fd/2")
    except OSError:
        return None
    argv[0] = ports.program(pid)
    if os.geteuid() not in (0, owner.st_uid) or not os.access(argv[0], os.X_OK):
        return None
    variables = ports.variables(pid)
    launch = {
        "argv": argv, "env": _stored_environment(variables), "cwd": cwd, "port": port,
        "uid": owner.st_uid, "gid": owner.st_gid, "log": log if os.path.isfile(log) else os.devnull,
        "record": variables.get(processes.SERVER_RECORD, ""),
    }  # fmt: skip
    return Process(f"{argv[0]} (pid {pid})", launch)


def _stored_environment(variables: t.Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a server's environment that may be stored; possible secrets are left out."""
    inherited = clean_environment()
    put_on_cpu = bool(variables.get(_ON_CPU))
    return {
        name: value
        for name, value in variables.items()
        if (name in inherited or name == processes.SERVER_RECORD or name.startswith(_KEPT_PREFIXES))
        and not (put_on_cpu and name in NO_GPU)
        and not _SECRET.search(name)
        and not re.search(r"://[^/]*@", value)
    }


# -- operations --------------------------------------------------------------------------------------------------------


def without_gpu(original: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the body of ``POST /containers/create`` for a copy of a container without a GPU.

    :param original: description of the original container, as the engine returns it.
    """
    config, host = dict(original["Config"]), dict(original["HostConfig"])
    copied_keys = (
        "Image", "Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "Healthcheck", "StopSignal", "Tty",
        "OpenStdin",
    )  # fmt: skip
    body: dict[str, t.Any] = {key: config[key] for key in copied_keys if config.get(key)}
    # NVIDIA's runtime reads NVIDIA_VISIBLE_DEVICES when it is the engine's default runtime
    hidden = {**NO_GPU, "NVIDIA_VISIBLE_DEVICES": "void"}
    environment = [entry for entry in config.get("Env") or [] if entry.partition("=")[0] not in hidden]
    body["Env"] = [*environment, *(f"{name}={value}" for name, value in hidden.items())]
    body["Labels"] = {_STAND_IN: str(original["Name"]).lstrip("/")}
    host["DeviceRequests"] = None
    host["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0}
    host["Devices"] = [each for each in host.get("Devices") or [] if "nvidia" not in str(each.get("PathOnHost"))]
    if host.get("Runtime") == "nvidia":
        host["Runtime"] = ""
    if any(each.get("Type") == "volume" for each in original.get("Mounts") or []):
        host["VolumesFrom"] = [original["Id"]]  # this includes anonymous volumes
        host["Mounts"] = [each for each in host.get("Mounts") or [] if each.get("Type") != "volume"]
    body["HostConfig"] = host
    networks = (original.get("NetworkSettings") or {}).get("Networks") or {}
    network_mode = host.get("NetworkMode")
    names = (networks.get(network_mode) or {}).get("Aliases") or []
    aliases = [name for name in names if not str(original["Id"]).startswith(name)]
    if aliases:
        body["NetworkingConfig"] = {"EndpointsConfig": {network_mode: {"Aliases": aliases}}}
    return body


def _until(condition: t.Callable[[], bool], seconds: float = _SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _systemctl(*arguments: str) -> str:
    program = shutil.which("systemctl") or "systemctl"
    try:
        result = subprocess.run(
            [program, "--no-ask-password", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SYSTEMCTL_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise NotReadyError("system.systemctl_failed", arguments=list(arguments), reason=error) from error
    if result.returncode != 0:
        problem = result.stderr.strip() or f"status {result.returncode}"
        raise NotReadyError("system.systemctl_failed", arguments=list(arguments), reason=problem)
    return result.stdout
