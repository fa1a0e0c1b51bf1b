# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs in Python that start quickly: forks of a process that has imported them already.

Importing FastAPI, pydantic and the MCP SDK takes a service more than a second of processor time, and the tests start
more than a hundred of them. As a program, this file is the process that is forked.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path


class Forked:
    """A started program, with the part of the interface of ``subprocess.Popen`` that tests use."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            status = self._server.ask({"wait": self.pid})["status"]
            self.returncode = None if status is None else os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit status.

        :param timeout: seconds.
        :raises subprocess.TimeoutExpired: when it still runs after that time.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, if it has not been seen to end."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A process that has imported a module, and starts its ``main`` in forks.

    :param path: the directory for ``PYTHONPATH``.
    :param module: the module; its ``main`` takes the arguments and returns the exit status.
    """

    def __init__(self, path: str, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), module],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.close)

    def ask(self, request: dict[str, t.Any]) -> dict[str, t.Any]:
        """Send a request to the process; return its answer."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that is forked has ended"
        return t.cast("dict[str, t.Any]", json.loads(answer))

    def start(self, arguments: t.Sequence[str], environment: t.Mapping[str, str], directory: Path, log: Path) -> Forked:
        """Start the program.

        :param environment: its complete environment. ``/proc/PID/environ`` has that of the forked process instead.
        :param directory: its working directory.
        :param log: the file that gets both streams of output, appended.
        """
        request = {"arguments": [*arguments], "environment": {**environment}, "cwd": str(directory), "log": str(log)}
        return Forked(self, int(self.ask(request)["pid"]))

    def close(self) -> None:
        """End the process that is forked; what it has started keeps running."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()


def _become(module: t.Any, request: dict[str, t.Any]) -> t.NoReturn:
    """Run the program in this fork."""
    status = 1
    try:
        nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.close(nothing)
        os.close(log)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        status = module.main(request["arguments"])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _serve(name: str) -> None:
    """Answer requests until standard input ends: to start the program, and whether a started one has ended."""
    module = importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            ended, status = os.waitpid(request["wait"], os.WNOHANG)
            answer: dict[str, t.Any] = {"status": status if ended else None}
        else:
            pid = os.fork()
            if not pid:
                _become(module, request)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
