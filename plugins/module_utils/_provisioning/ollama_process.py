# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama server that runs as a plain process, on a host where systemd does not manage it.

The server is detached, in a session of its own. A record in its data directory identifies it by process id, start time
and boot, so that another process that later gets the same id is never mistaken for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import socket
import time
import typing as t
import urllib.request

from .._core.errors import InputError, NotReadyError
from .._core.messages.message import Message
from .._core.system.ports import OLLAMA_PORT
from .._core.system.processes import SERVER_RECORD, boot_id, identify

#: Environment variables that the options of the module and the role decide.
OWN_VARIABLES = ("OLLAMA_HOST", "OLLAMA_MODELS", "HOME")
_LOG_LIMIT = 10 << 20
_LOG_TAIL_LINES = 15
_STOP_SECONDS = 20
_POLL_SECONDS = 0.1

#: Addresses that mean all interfaces, and the one at which such a server is reached from this host.
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def server_version(url: str) -> str:
    """Version of the server that answers at a URL; empty if none does."""
    # No proxies: they must not stand between this host and its own server.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url.rstrip("/") + "/api/version", timeout=5) as answer:
            version = json.load(answer)["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return version if isinstance(version, str) else ""


def local_address(host: str) -> str:
    """Where a server that listens at ``host`` is reached from this host."""
    return _ANY_ADDRESS.get(host, host)


def in_url(host: str) -> str:
    """An address as a URL contains it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def port_is_taken(host: str, port: int) -> bool:
    """Whether a program of this host listens at a port."""
    with contextlib.suppress(OSError):
        socket.create_connection((local_address(host), port), timeout=2).close()
        return True
    return False


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the server runs.

    :param binary: the ollama program.
    :param data_dir: directory of its record and its log, and its home.
    :param start_seconds: how long it may take to answer.
    :param environment: further environment variables, without those that the other settings decide.
    """

    binary: str
    data_dir: str
    models_dir: str
    host: str = "127.0.0.1"
    port: int = OLLAMA_PORT
    start_seconds: float = 60
    environment: t.Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it is reached from this host."""
        return f"http://{in_url(local_address(self.host))}:{self.port}"

    def recorded(self) -> dict[str, t.Any]:
        """What the record contains of the settings: another value needs another process."""
        return {
            "binary": self.binary,
            "environment": {
                **self.environment,
                "OLLAMA_HOST": f"{in_url(self.host)}:{self.port}",
                "OLLAMA_MODELS": self.models_dir,
                # It writes a key pair for a registry below its home, which must not be that of a user.
                "HOME": self.data_dir,
            },
        }


def running_server(data_dir: str) -> dict[str, t.Any]:
    """The record of the server of a data directory; empty if it does not run."""
    try:
        with open(os.path.join(data_dir, "ollama.pid"), encoding="utf-8") as stream:
            record = json.load(stream)
        alive = record["boot_id"] == boot_id() and record["start_time"] == _start_time(record["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(record) if alive else {}


def _start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if it has ended."""
    process = identify(pid)
    return str(process.started) if process else ""


class OllamaProcess:
    """The one server of a data directory that runs as a plain process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.record_file = os.path.join(settings.data_dir, "ollama.pid")
        self.log = os.path.join(settings.data_dir, "ollama.log")

    def running(self) -> dict[str, t.Any]:
        """The record of the server; empty if it does not run."""
        return running_server(self.settings.data_dir)

    def needs_start(self) -> bool:
        """Whether no server runs, or one with other settings."""
        return self._differs(self.running())

    def start(self) -> tuple[bool, str]:
        """Start the server, or restart one that runs with other settings; wait until it answers.

        :returns: whether it was started now, and its version.
        :raises InputError: if the program or the port cannot be used.
        :raises NotReadyError: if it does not start or does not answer.
        """
        settings = self.settings
        with self._locked():
            running = self.running()
            if not self._differs(running):
                return False, self._wait(running["pid"])
            if not os.access(settings.binary, os.X_OK):
                program = settings.binary or Message("provisioning.empty_path")
                raise InputError("provisioning.no_program", program=program)
            if running:
                self._end(running)
            if port_is_taken(settings.host, settings.port):
                raise InputError("provisioning.ollama_port_taken", port=settings.port)
            return True, self._wait(self._spawn())

    def stop(self) -> bool:
        """End the server; returns whether it ran."""
        if not self.running():
            return False
        with self._locked():
            running = self.running()
            if running:
                self._end(running)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.record_file)
            return bool(running)

    def _differs(self, running: t.Mapping[str, t.Any]) -> bool:
        return any(running.get(name) != value for name, value in self.settings.recorded().items())

    @contextlib.contextmanager
    def _locked(self) -> t.Iterator[None]:
        # Other users read the files: the log, the record.
        umask = os.umask(0o022)
        try:
            folder = self.settings.data_dir
            try:
                os.makedirs(folder, mode=0o755, exist_ok=True)
                lock = os.open(os.path.join(folder, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise NotReadyError("provisioning.directory_not_writable", path=folder, reason=error.strerror) from None
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)
        finally:
            os.umask(umask)

    def _spawn(self) -> int:
        try:
            os.makedirs(self.settings.models_dir, mode=0o755, exist_ok=True)
            if os.path.exists(self.log) and os.path.getsize(self.log) > _LOG_LIMIT:
                os.replace(self.log, self.log + ".1")
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotReadyError("errors.file_failed", path=error.filename, reason=error.strerror) from None
        pid = os.fork()
        if pid == 0:
            self._become_server(log, null)
        os.close(log)
        os.close(null)
        return pid

    def _become_server(self, log: int, null: int) -> t.NoReturn:
        """In the child, which keeps process id and start time through exec.

        It writes the record before it becomes the server, so that no server runs without a record.
        """
        try:
            os.setsid()
            for source, target in ((null, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            recorded = self.settings.recorded()
            self._write_record(recorded)
            os.chdir("/")
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            # A program that stops the server for a while and starts it again updates this record.
            variables = {SERVER_RECORD: self.record_file, **recorded["environment"]}
            os.execve(self.settings.binary, [self.settings.binary, "serve"], {**os.environ, **variables})
        except BaseException as error:
            os.write(2, f"ollama does not start: {error!r}\n".encode())
        finally:
            os._exit(127)

    def _write_record(self, recorded: t.Mapping[str, t.Any]) -> None:
        record = {
            **recorded,
            "pid": os.getpid(),
            "start_time": _start_time(os.getpid()),
            "boot_id": boot_id(),
            "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        temporary = f"{self.record_file}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(record, stream, indent=1, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, self.record_file)

    def _wait(self, pid: int) -> str:
        """Wait until the server answers; returns its version."""
        settings = self.settings
        deadline = time.monotonic() + settings.start_seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not _start_time(pid):
                raise NotReadyError("provisioning.server_ended", log=self.log, log_tail=self._log_tail())
            version = server_version(settings.url)
            if version:
                return version
            time.sleep(_POLL_SECONDS)
        raise NotReadyError(
            "provisioning.server_silent",
            url=settings.url,
            seconds=settings.start_seconds,
            log=self.log,
            log_tail=self._log_tail(),
        )

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError), open(self.log, encoding="utf-8", errors="replace") as stream:
            return "".join(stream.readlines()[-_LOG_TAIL_LINES:])
        return ""

    def _end(self, running: t.Mapping[str, t.Any]) -> None:
        """Send SIGTERM, on which the server ends its own model runners; then SIGKILL to its session."""
        pid = running["pid"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while _start_time(pid) == running["start_time"]:
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                break
            time.sleep(_POLL_SECONDS)
