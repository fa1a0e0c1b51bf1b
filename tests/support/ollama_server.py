# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Ollama server for a test, of the current version or of the oldest that is supported."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama

#: Ports that :func:`free_port` has returned in this process.
_GIVEN: set[int] = set()
#: The variables with the programs of the servers, by name.
PROGRAMS = {"current": "IA_OLLAMA_BIN", "old": "IA_OLLAMA_OLD_BIN"}
#: Marks a test, or in ``pytestmark`` a module, whose fixture ``ollama_server`` is each of them in turn.
both_servers = pytest.mark.parametrize("ollama_server", list(PROGRAMS), indirect=True, scope="module")
#: The same for tests that take long and ask nothing of a server that other tests on both do not: old only in "full".
old_server_in_full = pytest.mark.parametrize(
    "ollama_server", ["current", pytest.param("old", marks=pytest.mark.full)], indirect=True, scope="module"
)


def program_of(name: str) -> str:
    """Path of a program of Ollama.

    :param name: a key of :data:`PROGRAMS`.
    """
    return os.environ[PROGRAMS[name]]


def volumes(prefix: str) -> list[str]:
    """Options of ``docker run`` that mount the current program and what it needs beside it.

    :param prefix: directory in the container that gets ``bin/ollama`` and ``lib/ollama``.
    """
    program = Path(program_of("current")).resolve()
    library = program.parents[1] / "lib/ollama"
    return ["--volume", f"{program}:{prefix}/bin/ollama:ro", "--volume", f"{library}:{prefix}/lib/ollama:ro"]


@dataclasses.dataclass
class Server:
    """An Ollama server that can be stopped and started again."""

    program: str
    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Its log output so far, including all requests."""
        return (self.root / "log").read_text("utf-8", "replace")

    def requests(self, method: str, path: str) -> list[int]:
        """Status of each request of a kind so far, from the log."""
        found = re.findall(r"\[GIN\][^|]*\|\s*(\d+) \|[^|]*\|[^|]*\| (\w+)\s+\"([^\"]*)\"", self.log)
        return [int(status) for status, verb, where in found if (verb, where) == (method, path)]

    def another(self, root: Path) -> Server:
        """Another server of the same program, not started."""
        return Server(self.program, root, free_port())

    def upgrade(self, program: str) -> None:
        """Replace the program, which keeps address and models, and start it."""
        self.stop()
        self.program = program
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "OLLAMA_HOST": f"127.0.0.1:{self.port}",
            "OLLAMA_MODELS": str(self.root / "models"),
            "OLLAMA_KEEP_ALIVE": "10m",
            "GIN_MODE": "release",
            # Threads of ggml wait for each other without sleeping. For models of a few kilobytes, beside other parts of
            # the tests, two of them take four times the processor time of one.
            "LLAMA_ARG_THREADS": "1",
        }
        with open(self.root / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*self._one_processor(), self.program, "serve"],
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        client = Ollama(self.url, timeout=20)
        end = time.monotonic() + 120
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log[-2000:]
            try:
                client.version()
                return
            except RemoteError:
                time.sleep(0.1)
        raise AssertionError(self.log[-2000:])

    def _one_processor(self) -> list[str]:
        """What to start an old server with, which takes its number of threads from the list of processors alone.

        Where mounts are not allowed it is nothing: the server is slower then.
        """
        if Path(self.program).resolve().parents[1].joinpath("lib/ollama/llama-server").exists() or not _may_mount():
            return []
        processors = self.root / "cpuinfo"
        processors.write_text(Path("/proc/cpuinfo").read_text("utf-8").partition("\n\n")[0] + "\n\n", "utf-8")
        mount = 'mount --bind "$0" /proc/cpuinfo && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mount, str(processors)]

    def stop(self, hard: bool = False) -> None:
        """End the server and its runners."""
        if self.process is not None:
            if hard:
                os.killpg(self.process.pid, signal.SIGKILL)  # otherwise its runners outlive it
            else:
                self.process.terminate()
            self.process.wait(30)
            self.process = None


@functools.cache
def _may_mount() -> bool:
    command = ["unshare", "--mount", "mount", "--bind", "/dev/null", "/proc/cpuinfo"]
    try:
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False, timeout=60).returncode == 0
    except OSError:
        return False


def free_port() -> int:
    """An unused port, which this process was not given before.

    It is below those that the kernel gives to outgoing connections: one of these, of any process, would otherwise have
    taken it when a server listens there only later, or again after a restart.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    while True:
        port = random.SystemRandom().randrange(12000, first if first > 16000 else 32768)
        with contextlib.suppress(OSError), socket.socket() as found:
            found.bind(("127.0.0.1", port))
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port
