# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ollama server on this host: see what is there; start, stop and know again one of our own.

Fed to an interpreter on standard input (Python 3.8+, standard library only) with two
arguments: ``probe``, ``start`` or ``stop``, and a JSON object of the role's variables. Prints
a JSON object; what went wrong goes to standard error, exit 1. With ``"check": true`` says
what it would change, and changes nothing.

A server started without systemd is detached, in a session of its own, and known by a record
in the data directory: process id, start time and boot, so that another process that was
later given the same number is never taken for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

MARKER = ".complete"
# Counted up when the way a component is made changes what is inside it.
RECIPE = 1
# What Ollama's go.mod asks for; an older Go that can fetch toolchains fetches that one.
GO_NEEDED = (1, 26)
GO_FETCHES_TOOLCHAINS = (1, 21)
UNIT_HEADER = "# Managed by ia_homelab.llamafactory.ollama."
LOG_LIMIT = 10 << 20
STOP_SECONDS = 20


class Failed(Exception):
    """What went wrong, in words for the person who runs the play."""


def output(*command: str, **env: str) -> str:
    """What a command prints, both streams; "" if it does not run."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


# --- What is there -----------------------------------------------------------


def server_version(url: str) -> str:
    """Version of the server that answers at ``url``; "" if none does."""
    # Without proxies: they have no business between this host and its own server.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url.rstrip("/") + "/api/version", timeout=5) as answer:
            version = json.load(answer)["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return version if isinstance(version, str) else ""


def port_taken(host: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((local_address(host), port), timeout=2).close()
        return True
    return False


def local_address(host: str) -> str:
    """Where a server bound to ``host`` is reached from this host."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def find_binary(version: str) -> dict[str, str]:
    """An ollama outside of the tools, of the pinned version if there is one."""
    folders = os.environ.get("PATH", "").split(os.pathsep) + ["/usr/local/bin", "/usr/bin"]
    found: dict[str, str] = {}
    for path in dict.fromkeys(os.path.join(folder, "ollama") for folder in folders if folder):
        if os.access(path, os.X_OK):
            # The version of the program, not of a server it could ask.
            text = output(path, "--version", OLLAMA_HOST="127.0.0.1:1")
            match = re.search(r"version is v?(\d\S*)\s*$", text)
            it = {"path": path, "version": match.group(1) if match else ""}
            if it["version"] == version:
                return it
            found = found or it
    return found or {"path": "", "version": ""}


def find_go(wished: str) -> dict[str, str]:
    """A Go that builds the pinned version: ``path``, ``version`` and the ``toolchain`` to ask it for."""
    folders = os.environ.get("PATH", "").split(os.pathsep) + ["/usr/local/go/bin"]
    folders += sorted(glob.glob("/usr/lib/go-*/bin"), reverse=True)
    candidates = [wished] if wished else [os.path.join(folder, "go") for folder in folders if folder]
    for path in dict.fromkeys(candidates):
        # GOTOOLCHAIN=local: what is installed, without fetching anything to find out.
        match = re.search(r"go(\d+)\.(\d+)", output(path, "version", GOTOOLCHAIN="local"))
        if match is None:
            continue
        number = (int(match.group(1)), int(match.group(2)))
        if number >= GO_FETCHES_TOOLCHAINS:
            wanted = "" if number >= GO_NEEDED else f"go{GO_NEEDED[0]}.{GO_NEEDED[1]}.0+auto"
            return {"path": path, "version": f"{number[0]}.{number[1]}", "toolchain": wanted}
    return {"path": "", "version": "", "toolchain": ""}


def component(tools: str, method: str, **inputs: object) -> dict:
    inputs.update(component="ollama", method=method, recipe=RECIPE, machine=platform.machine())
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    path = os.path.join(tools, "ollama-" + key)
    needed = [os.path.join(path, item) for item in (MARKER, "bin/ollama")]
    lacking = [item for item in needed if not os.path.exists(item)]
    return {
        "name": "ollama",
        "key": key,
        "path": path,
        "inputs": inputs,
        "whole": not lacking,
        "guard": lacking[0] if lacking else needed[0],
        "vital": ["bin/ollama"],
    }


def unit_state(name: str) -> str:
    """``none``, ``ours`` or ``foreign``: who wrote the systemd unit of that name."""
    for folder in (
        "/etc/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ):
        path = os.path.join(folder, name + ".service")
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as stream:
            return "ours" if stream.readline().startswith(UNIT_HEADER) else "foreign"
    return "none"


def probe(wish: dict) -> dict:
    machine = platform.machine()
    archive = wish["archives"].get(machine) or {}
    methods = {
        "archive": component(wish["tools_dir"], "archive", sha256=archive.get("sha256", "")),
        # Built against this host's C library; the archive is not.
        "go": component(wish["tools_dir"], "go", version=wish["version"], libc="-".join(platform.libc_ver())),
    }
    made = next((it["path"] for it in methods.values() if it["whole"]), "")
    record = Server(wish).record()
    return {
        "tools_dir": wish["tools_dir"],
        "machine": machine,
        "archive": archive,
        "methods": methods,
        # A binary that this role made; the archive's, which knows GPUs, before the built one.
        "made": os.path.join(made, "bin/ollama") if made else "",
        "found": {"path": "", "version": ""} if made else find_binary(wish["version"]),
        "go": find_go(wish["go"]),
        "compilers": all(any(shutil.which(name) for name in names) for names in (("cc", "gcc"), ("c++", "g++"))),
        "answers": server_version(wish["url"]),
        "unit": unit_state(wish["service_name"]),
        "process": record,
        "root": os.geteuid() == 0,
        "apt": shutil.which("apt-get") is not None,
        "systemd": os.path.isdir("/run/systemd/system"),
    }


# --- A server without systemd ------------------------------------------------


def start_time(pid: int) -> str:
    """When a process began, in clock ticks since boot (field 22 of /proc/PID/stat); "" if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            # The second field, the name, may hold blanks and parentheses.
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


class Server:
    """The one server of a data directory that runs without systemd."""

    def __init__(self, wish: dict) -> None:
        self.wish = wish
        self.check = bool(wish.get("check"))
        self.folder = wish["data_dir"]
        self.pid_file = os.path.join(self.folder, "ollama.pid")
        self.log = os.path.join(self.folder, "ollama.log")

    def record(self) -> dict:
        """The server that runs, as it was started; {} if none does."""
        try:
            with open(self.pid_file, encoding="utf-8") as stream:
                record = json.load(stream)
            alive = record["boot_id"] == boot_id() and record["start_time"] == start_time(record["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return record if alive else {}

    @contextlib.contextmanager
    def locked(self):
        try:
            os.makedirs(self.folder, mode=0o755, exist_ok=True)
            lock = os.open(os.path.join(self.folder, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Failed(f"{self.folder} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def settings(self) -> dict:
        host = self.wish["host"]
        where = f"[{host}]" if ":" in host else host
        return {
            "binary": self.wish["binary"],
            "environment": {
                "OLLAMA_HOST": f"{where}:{self.wish['port']}",
                "OLLAMA_MODELS": self.wish["models_dir"],
                # It writes a key pair for a registry under its home, which is somebody else's.
                "HOME": self.folder,
            },
        }

    def start(self) -> dict:
        if self.check:
            return {"changed": self.differs(self.record())}
        with self.locked():
            running = self.record()
            if not self.differs(running):
                return {"changed": False, "version": self.wait(running["pid"])}
            if running:
                self.end(running)
            if port_taken(self.wish["host"], self.wish["port"]):
                raise Failed(
                    f"Port {self.wish['port']} is taken by a program that this role did not start."
                    " End it, or set ollama_port."
                )
            return {"changed": True, "version": self.wait(self.spawn())}

    def stop(self) -> dict:
        running = self.record()
        if not running or self.check:
            return {"changed": bool(running)}
        with self.locked():
            running = self.record()
            if running:
                self.end(running)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.pid_file)
            return {"changed": bool(running)}

    def differs(self, running: dict) -> bool:
        return any(running.get(name) != value for name, value in self.settings().items())

    def spawn(self) -> int:
        settings = self.settings()
        try:
            os.makedirs(self.wish["models_dir"], mode=0o755, exist_ok=True)
            if os.path.exists(self.log) and os.path.getsize(self.log) > LOG_LIMIT:
                os.replace(self.log, self.log + ".1")
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Failed(f"{error.filename}: {error.strerror}") from None
        pid = os.fork()
        if pid:
            os.close(log)
            os.close(null)
            return pid
        # In the child, which keeps its process id and start time through exec: it says who
        # it is before it becomes the server, so that there is no server nobody knows of.
        try:
            os.setsid()
            for source, target in ((null, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            record = dict(settings, pid=os.getpid(), start_time=start_time(os.getpid()), boot_id=boot_id())
            record["started_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            temporary = f"{self.pid_file}.{os.getpid()}"
            with open(temporary, "w", encoding="utf-8") as stream:
                json.dump(record, stream, indent=1, sort_keys=True)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, self.pid_file)
            os.chdir("/")
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            # Whoever stops it for a while and starts it again says in the record that it is the same server.
            named = {"IA_HOMELAB_RECORD": self.pid_file, **settings["environment"]}
            os.execve(settings["binary"], [settings["binary"], "serve"], {**os.environ, **named})
        except BaseException as error:
            os.write(2, (f"ollama does not start: {error!r}\n").encode())
        finally:
            os._exit(127)

    def wait(self, pid: int) -> str:
        """Until the server answers; its version."""
        deadline = time.monotonic() + self.wish["start_seconds"]
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not start_time(pid):
                raise Failed(f"The server ended as soon as it was started; the end of {self.log}:\n{self.tail()}")
            version = server_version(self.wish["local_url"])
            if version:
                return version
            time.sleep(0.2)
        raise Failed(
            f"The server runs but did not answer at {self.wish['local_url']} within {self.wish['start_seconds']} s;"
            f" the end of {self.log}:\n{self.tail()}"
        )

    def tail(self) -> str:
        with contextlib.suppress(OSError), open(self.log, encoding="utf-8", errors="replace") as stream:
            return "".join(stream.readlines()[-15:])
        return ""

    def end(self, running: dict) -> None:
        """Ask it to end (it then ends its own model runners); insist, with its whole session, if it does not."""
        pid = running["pid"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while start_time(pid) == running["start_time"]:
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                break
            time.sleep(0.1)


def main() -> int:
    action, wish = sys.argv[1], json.loads(sys.argv[2])
    # Files below are read by others: the log, the record.
    os.umask(0o022)
    try:
        answer = (
            probe(wish) if action == "probe" else Server(wish).start() if action == "start" else Server(wish).stop()
        )
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
