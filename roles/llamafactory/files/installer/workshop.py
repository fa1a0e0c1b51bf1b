# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every component of the toolchain is made with: a lock, a log, a marker written last."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MARKER = ".complete"
PR_SET_PDEATHSIG = 1
LOG_TAIL_LINES = 25
CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


class Failed(Exception):
    """What went wrong, in words for the person who runs the play."""


class Workshop:
    """One installation: the directory of tools, its lock and its log.

    The lock is held by this process and, because they inherit its descriptor, by every
    program it starts: were this process killed, another installation would wait until the
    last of them is gone, instead of working in the same directory.
    """

    def __init__(self, spec: Mapping[str, Any], name: str) -> None:
        self.spec = spec
        self.tools = Path(spec["tools_dir"])
        self.component: Mapping[str, Any] = spec["components"][name]
        self.path = Path(self.component["path"])
        self.log = self.tools / ".logs" / f"{self.path.name}.log"
        self._lock = -1

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        # Tools are shared: readable by every user of the host, whatever umask the play came with.
        os.umask(0o022)
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.tools / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Failed(f"{self.tools} cannot be written: {error.strerror} ({error.filename})") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(self._lock)

    def whole(self) -> bool:
        return all((self.path / item).exists() for item in (MARKER, *self.component["vital"]))

    def builder(self, program: str) -> Path:
        return Path(self.spec["components"]["builder"]["path"], "bin", program)

    def environment(self) -> dict[str, str]:
        """The environment of every program: the host's settings (proxies, indexes), minus another Python's."""
        dropped = ("PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "PIP_REQUIRE_VIRTUALENV")
        env = {name: value for name, value in os.environ.items() if name not in dropped}
        env["PATH"] = f"{self.builder('')}:{env.get('PATH', os.defpath)}"
        env["UV_CACHE_DIR"] = str(self.tools / ".cache" / "uv")
        env["UV_LINK_MODE"] = "hardlink"
        env["MPLCONFIGDIR"] = str(self.tools / ".cache" / "matplotlib")
        env["UV_NO_PROGRESS"] = "1"
        # The host's own certificates: a homelab behind a proxy or a mirror has added its CA there.
        env.setdefault("UV_SYSTEM_CERTS", "1")
        env.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        bundle = next((path for path in CA_BUNDLES if os.path.exists(path)), None)
        if bundle:
            env.setdefault("PIP_CERT", bundle)
        if self.spec["index_url"]:
            env["UV_DEFAULT_INDEX"] = env["PIP_INDEX_URL"] = self.spec["index_url"]
        # Sources are unpacked below the tools; a git repository around them is not theirs.
        env["GIT_CEILING_DIRECTORIES"] = str(self.tools)
        return env

    def run(self, command: Sequence[str | Path], why: str, cwd: Path | None = None, **env: str) -> str:
        """Run a program to its end, its output in the log; returns what it printed."""
        argv = [str(item) for item in command]
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"\n# {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {why}\n$ {' '.join(argv)}\n")
            log.flush()
            start = log.tell()
            try:
                done = subprocess.run(
                    argv,
                    cwd=cwd or self.tools,
                    env={**self.environment(), **env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(self._lock,),
                    preexec_fn=_end_with_parent,
                    check=False,
                )
            except OSError as error:
                raise Failed(f"{why}: {argv[0]} does not start: {error.strerror}") from None
        with self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(start)
            output = log.read()
        if done.returncode:
            tail = "\n".join(output.splitlines()[-LOG_TAIL_LINES:])
            raise Failed(f"{why} failed (exit {done.returncode}); the log is {self.log}\n{tail}")
        return output

    def need_space(self, gibibytes: int) -> None:
        free = shutil.disk_usage(self.tools).free
        if free < gibibytes << 30:
            raise Failed(
                f"{self.tools} has {free / (1 << 30):.1f} GiB free and about {gibibytes} GiB are needed."
                " Make room, or set llamafactory_tools_dir to a larger disk."
            )

    def clear(self, path: Path) -> None:
        """Remove what an interrupted installation left."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            path.unlink()

    def tidy(self) -> None:
        """Once all is there, drop what served to make it. Linked files stay where they are linked to."""
        components = self.spec["components"]
        if all((Path(components[name]["path"]) / MARKER).exists() for name in self.spec["missing"]):
            self.clear(self.tools / ".cache")
            for left in self.tools.glob(".work-*"):
                self.clear(left)

    def mark(self, path: Path, started: float, **facts: object) -> None:
        """Say that everything in ``path`` is there; last of all, once the disk has it."""
        os.sync()
        record = {
            "component": self.component["name"],
            "key": self.component["key"],
            "inputs": self.component["inputs"],
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(time.monotonic() - started, 1),
            **facts,
        }
        temporary = path / f"{MARKER}.new"
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(record, stream, indent=1, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path / MARKER)
        directory = os.open(path, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def publish(self, made: Path) -> None:
        """Give what is finished and marked its final name."""
        self.clear(self.path)
        made.rename(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)


def _end_with_parent() -> None:
    # Runs between fork and exec: a program whose installer is killed is told to end.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
