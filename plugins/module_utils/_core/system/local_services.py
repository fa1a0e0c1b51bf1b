# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server on this host: what runs it, as found on the host itself, and how it is stopped and started again.

A systemd unit, a container, or a plain process. Whatever is done here may be done twice, and after a crash by somebody
who knows nothing but :meth:`LocalServer.as_dict`: every method looks at what there is first.

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
import subprocess
import time
import typing as t
import urllib.parse

from ..errors import CoreError, NotReadyError
from . import ports, processes
from .docker import DockerEngine
from .environment import clean_environment
from .files import make_dirs, read_record, write_atomic, write_json

#: Hides every GPU from Ollama's runners: NVIDIA's by CUDA and by Vulkan, AMD's by ROCm.
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1", "ROCR_VISIBLE_DEVICES": "-1", "GGML_VK_VISIBLE_DEVICES": "-1"}

#: In the environment of a plain process that was put on the CPU.
_ON_CPU = "IA_HOMELAB_ON_CPU"

#: In the environment of a server that a role started without systemd: the file in which it says who the server is.
RECORD = "IA_HOMELAB_RECORD"

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
    def words(self) -> str:
        """What it is called when people are told of it."""
        return f"{self.kind} {self.name}"

    def as_dict(self) -> dict[str, t.Any]:
        """Plain values, from which :func:`from_dict` makes it again."""
        return {"kind": self.kind, "name": self.name}

    def holds(self, pid: int) -> bool:
        """Whether a process belongs to it."""
        del pid
        return False

    @abc.abstractmethod
    def stop(self) -> None:
        """End it. It is not started again by anybody but its owner and :meth:`restore`.

        :raises CoreError: when it cannot be.
        """

    @abc.abstractmethod
    def on_cpu(self) -> None:
        """Have it go on without a GPU.

        :raises CoreError: when it cannot be.
        """

    @abc.abstractmethod
    def restore(self) -> None:
        """Have it run as it did before :meth:`stop` or :meth:`on_cpu`.

        :raises CoreError: when it cannot be.
        """


class Unit(LocalServer):
    """A unit of systemd."""

    kind = "unit"

    def _drop_in(self) -> str:
        return f"/run/systemd/system/{self.name}.d/{_DROP_IN}"

    def holds(self, pid: int) -> bool:
        return _unit_of(pid) == self.name

    def stop(self) -> None:
        _systemctl("stop", self.name)

    def _sees_no_gpu(self) -> bool:
        """Whether it runs without a GPU: what counts is the process, not the drop-in."""
        main = _systemctl("show", "--property=MainPID", "--value", self.name).strip()
        there = ports.variables(int(main)) if main.isdigit() else {}
        return NO_GPU.items() <= there.items()

    def on_cpu(self) -> None:
        if os.path.exists(self._drop_in()) and self._sees_no_gpu():
            return
        make_dirs(os.path.dirname(self._drop_in()))
        lines = [f"Environment={name}={value}\n" for name, value in NO_GPU.items()]
        # under /run: after a reboot it is as it was
        write_atomic(self._drop_in(), "# While a training has the GPU.\n[Service]\n" + "".join(lines))
        _systemctl("daemon-reload")
        self._start("restart")

    def restore(self) -> None:
        hidden = self._sees_no_gpu()
        if hidden or os.path.exists(self._drop_in()):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._drop_in())
            with contextlib.suppress(OSError):  # other people's drop-ins are in it, or it is gone
                os.rmdir(os.path.dirname(self._drop_in()))
            _systemctl("daemon-reload")
        self._start("restart" if hidden else "start")

    def _start(self, how: str) -> None:
        # Trainings that follow each other closely are no fault of the unit's, whose starts systemd counts.
        with contextlib.suppress(NotReadyError):
            _systemctl("reset-failed", self.name)
        _systemctl(how, self.name)


class Container(LocalServer):
    """A container.

    :param name: its name; Compose may make another one of that name meanwhile.
    :param url: address of the engine.
    """

    kind = "container"

    def __init__(self, name: str, url: str = "") -> None:
        super().__init__(name)
        self.url = url
        self.engine = DockerEngine(url)

    @property
    def _other(self) -> str:
        return f"{self.name}-on-cpu"

    def as_dict(self) -> dict[str, t.Any]:
        return {**super().as_dict(), "url": self.url}

    def holds(self, pid: int) -> bool:
        ids = ports.container_ids(pid)
        found = map(self.engine.inspect, (self.name, self._other)) if ids else ()
        return any(each is not None and each["Id"] in ids for each in found)

    def stop(self) -> None:
        self.engine.stop(self.name)

    def on_cpu(self) -> None:
        found = self.engine.inspect(self.name)
        if found is None:
            raise NotReadyError(f"The container {self.name} is gone.")
        other = self.engine.inspect(self._other)
        if other is not None and other["State"].get("Running"):
            return
        self.engine.stop(self.name)
        self.engine.remove(self._other)
        self.engine.create_from(self._other, without_gpu(found))
        self.engine.start(self._other)

    def restore(self) -> None:
        if self.engine.inspect(self._other) is not None:
            self.engine.remove(self._other)
        if self.engine.inspect(self.name) is None:
            return  # its owner has taken it away
        self.engine.start(self.name)


class Process(LocalServer):
    """A server that somebody started by hand, or a role without systemd.

    :param how: ``argv``, ``env``, ``cwd``, ``uid``, ``gid``, ``log`` and ``record`` of the process, ``port`` it serves.
    """

    kind = "process"

    def __init__(self, name: str, how: t.Mapping[str, t.Any]) -> None:
        super().__init__(name)
        self.how = dict(how)

    def as_dict(self) -> dict[str, t.Any]:
        return {**super().as_dict(), "how": self.how}

    def _running(self) -> processes.Identity | None:
        """Whoever serves its port now, if it is a server of its program."""
        for pid in ports.listeners(int(self.how["port"])):
            if ports.program(pid) == self.how["argv"][0]:
                return processes.identify(pid)
        return None

    def holds(self, pid: int) -> bool:
        leader = self._running()
        return leader is not None and pid in (leader.pid, *ports.children(leader.pid))

    def stop(self) -> None:
        running = self._running()
        if running is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGTERM)  # it ends those it has started itself
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
        if running is None and not ports.listeners(int(self.how["port"])):
            self._start({})

    def _start(self, more: t.Mapping[str, str]) -> None:
        how = self.how
        argv, log = [str(part) for part in how["argv"]], str(how["log"])
        user: dict[str, t.Any] = {}
        if os.geteuid() == 0 and int(how["uid"]) != 0:
            user = {"user": int(how["uid"]), "group": int(how["gid"]), "extra_groups": how.get("groups") or []}
        try:
            # the shell ends at once: what it leaves behind belongs to nobody's process tree
            started = subprocess.run(
                ["/bin/sh", "-c", '"$@" >>"$0" 2>&1 & echo $!', log, *argv],
                stdin=subprocess.DEVNULL, capture_output=True, check=True, text=True,
                env={**how["env"], **more}, cwd=str(how["cwd"]), start_new_session=True, **user,
            )  # fmt: skip
            pid = int(started.stdout)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise NotReadyError(f"{self.name} could not be started again: {error}") from error
        self._note(pid)

    def _note(self, pid: int) -> None:
        """Tell the record of whoever started it that this is the server now."""
        path, me = str(self.how.get("record") or ""), processes.identify(pid)
        told = read_record(path) if path else None
        if told is not None and me is not None:
            same = {"pid": me.pid, "start_time": str(me.started), "boot_id": me.boot}
            with contextlib.suppress(OSError):
                write_json(path, {**told, **same})


def from_dict(value: t.Mapping[str, t.Any]) -> LocalServer:
    """The server that :meth:`LocalServer.as_dict` told of."""
    if value["kind"] == "unit":
        return Unit(str(value["name"]))
    if value["kind"] == "container":
        return Container(str(value["name"]), str(value.get("url") or ""))
    return Process(str(value["name"]), value["how"])


# -- finding -----------------------------------------------------------------------------------------------------------


def find(url: str, docker_host: str = "") -> LocalServer | None:
    """What runs the server behind a URL; None when none does, or on another machine.

    :raises NotReadyError: when something of this host serves it that cannot be stopped and started again.
    """
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    port = parts.port or (443 if parts.scheme == "https" else 80 if "://" in url else 11434)
    if not parts.hostname or not ports.is_local(parts.hostname):
        return None
    engine = DockerEngine(docker_host)
    try:
        running = engine.running()
    except CoreError:
        running = []  # no engine, no SDK, or not for us: then it is no container that we could stop
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
    if pids or ports.accepts(parts.hostname, port):
        raise NotReadyError(f"What serves {parts.hostname}:{port} cannot be stopped and started again from here.")
    return None


def labelled(label: str, docker_host: str = "") -> list[LocalServer]:
    """The running containers that carry a label; none where there is no engine."""
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
    """The service of the system's own systemd that a process belongs to; empty when there is none."""
    if not os.path.isdir("/run/systemd/system"):
        return ""
    for line in ports.cgroups(pid).splitlines():
        _number, controllers, path = line.split(":", 2)
        found = re.search(r"/system\.slice/(?:[^/]+\.slice/)*([^/]+\.service)(?:/|$)", path)
        if found and controllers in ("", "name=systemd"):
            unit = found.group(1)
            # one that some other service's process left behind is not the service
            main = _systemctl("show", "--property=MainPID", "--value", unit).strip()
            if main.isdigit() and pid in (int(main), *ports.children(int(main))):
                return unit
    return ""


def _plain_process(pid: int, port: int) -> Process | None:
    """How an Ollama server that nobody looks after was started; None for anything else."""
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
    how = {
        "argv": argv, "env": _worth_keeping(variables), "cwd": cwd, "port": port,
        "uid": owner.st_uid, "gid": owner.st_gid, "log": log if os.path.isfile(log) else os.devnull,
        "record": variables.get(RECORD, ""),
    }  # fmt: skip
    return Process(f"{argv[0]} (pid {pid})", how)


def _worth_keeping(variables: t.Mapping[str, str]) -> dict[str, str]:
    """The part of a server's environment that is written down; what may be a secret is not."""
    known = clean_environment()
    put_on_cpu = bool(variables.get(_ON_CPU))
    return {
        name: value
        for name, value in variables.items()
        if (name in known or name == RECORD or name.startswith(_KEPT_PREFIXES))
        and not (put_on_cpu and name in NO_GPU)
        and not _SECRET.search(name)
        and not re.search(r"://[^/]*@", value)
    }


# -- doing -------------------------------------------------------------------------------------------------------------


def without_gpu(found: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What makes a container as another one is, but without a GPU: a body of ``POST /containers/create``.

    :param found: what the engine tells of the other one.
    """
    config, host = dict(found["Config"]), dict(found["HostConfig"])
    kept = (
        "Image", "Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "Healthcheck", "StopSignal", "Tty",
        "OpenStdin",
    )  # fmt: skip
    made: dict[str, t.Any] = {key: config[key] for key in kept if config.get(key)}
    # the last: what NVIDIA's runtime reads, where it is the engine's default one
    hidden = {**NO_GPU, "NVIDIA_VISIBLE_DEVICES": "void"}
    given = [entry for entry in config.get("Env") or [] if entry.partition("=")[0] not in hidden]
    made["Env"] = [*given, *(f"{name}={value}" for name, value in hidden.items())]
    made["Labels"] = {_STAND_IN: str(found["Name"]).lstrip("/")}
    host["DeviceRequests"] = None
    host["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0}
    host["Devices"] = [each for each in host.get("Devices") or [] if "nvidia" not in str(each.get("PathOnHost"))]
    if host.get("Runtime") == "nvidia":
        host["Runtime"] = ""
    if any(each.get("Type") == "volume" for each in found.get("Mounts") or []):
        host["VolumesFrom"] = [found["Id"]]  # those without a name as well
        host["Mounts"] = [each for each in host.get("Mounts") or [] if each.get("Type") != "volume"]
    made["HostConfig"] = host
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    own = host.get("NetworkMode")
    aliases = [name for name in (networks.get(own) or {}).get("Aliases") or [] if not str(found["Id"]).startswith(name)]
    if aliases:
        made["NetworkingConfig"] = {"EndpointsConfig": {own: {"Aliases": aliases}}}
    return made


def _until(so: t.Callable[[], bool], seconds: float = _SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _systemctl(*arguments: str) -> str:
    program = shutil.which("systemctl") or "systemctl"
    try:
        done = subprocess.run(
            [program, "--no-ask-password", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SYSTEMCTL_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise NotReadyError(f"systemctl {' '.join(arguments)}: {error}") from error
    if done.returncode != 0:
        raise NotReadyError(f"systemctl {' '.join(arguments)}: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout
