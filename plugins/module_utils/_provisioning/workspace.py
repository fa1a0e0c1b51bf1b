# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment in which a component is built: a lock, a log, and a marker that is written last."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import json
import os
import shutil
import signal

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import time
import typing as t
from pathlib import Path

from .._core.errors import NotReadyError
from .components import MARKER, Component

_PR_SET_PDEATHSIG = 1
_LOG_TAIL_LINES = 25
_NICENESS = 5
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_DROPPED_VARIABLES = ("PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "PIP_REQUIRE_VIRTUALENV")
_GIB = 1 << 30


@dataclasses.dataclass
class Workspace:
    """The build of one component.

    The lock is held by this process and, because they inherit its descriptor, by every program it starts: if this
    process is killed, another build waits until the last of them has ended and does not work in the same directory.

    :param tools_dir: directory of all components, which holds the lock, the logs and the caches.
    :param component: what is built.
    :param builder_dir: environment with pip, uv, cmake and ninja.
    :param index_url: package index; empty for the one that the host is configured for.
    """

    tools_dir: Path
    component: Component
    builder_dir: str
    index_url: str = ""
    lock: int = -1

    @property
    def path(self) -> Path:
        """Final directory of the component."""
        return Path(self.component.path)

    @property
    def log(self) -> Path:
        """File with the output of every command."""
        return self.tools_dir / ".logs" / f"{self.path.name}.log"

    def of(self, component: Component) -> Workspace:
        """A workspace for another component under the same lock."""
        return dataclasses.replace(self, component=component)

    @contextlib.contextmanager
    def locked(self) -> t.Iterator[None]:
        """Hold the lock of the tools directory; OS errors inside become errors that name the file and the log.

        :raises NotReadyError: if the directory cannot be written, or root would run what another user can replace.
        """
        # All users of the host may use the tools, whatever umask the play has.
        umask = os.umask(0o022)
        try:
            self._open_lock()
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX)
                yield
            except OSError as error:
                raise NotReadyError(
                    "provisioning.file_failed",
                    path=error.filename or self.tools_dir,
                    reason=error.strerror or error,
                    log=self.log,
                ) from error
            finally:
                os.close(self.lock)
                self.lock = -1
        finally:
            os.umask(umask)

    def _open_lock(self) -> None:
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            for directory in (self.tools_dir, Path(self.builder_dir)):
                _refuse_foreign_directory(directory)
            self.lock = os.open(self.tools_dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise NotReadyError(
                "provisioning.tools_not_writable", directory=self.tools_dir, reason=error.strerror, path=error.filename
            ) from None

    def builder_program(self, program: str) -> Path:
        """Path of a program in the builder's environment."""
        return Path(self.builder_dir, "bin", program)

    def environment(self) -> dict[str, str]:
        """Variables of every command: the host's (proxies, indexes), without those of another Python."""
        env = {name: value for name, value in os.environ.items() if name not in _DROPPED_VARIABLES}
        env["PATH"] = f"{self.builder_program('')}:{env.get('PATH', os.defpath)}"
        env["UV_CACHE_DIR"] = str(self.tools_dir / ".cache" / "uv")
        env["UV_LINK_MODE"] = "hardlink"
        env["MPLCONFIGDIR"] = str(self.tools_dir / ".cache" / "matplotlib")
        env["UV_NO_PROGRESS"] = "1"
        # The certificates of the host: a network with a proxy or a mirror has added its CA there.
        env.setdefault("UV_SYSTEM_CERTS", "1")
        env.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        bundle = next((path for path in _CA_BUNDLES if os.path.exists(path)), None)
        if bundle:
            env.setdefault("PIP_CERT", bundle)
        if self.index_url:
            env["UV_DEFAULT_INDEX"] = env["PIP_INDEX_URL"] = self.index_url
        # Sources are unpacked below the tools directory; a git repository around it does not contain them.
        env["GIT_CEILING_DIRECTORIES"] = str(self.tools_dir)
        return env

    def run(self, command: t.Sequence[str | Path], purpose: str, **env: str) -> str:
        """Run a command with its output in the log, and return this output.

        :param purpose: what the command is for, for the log and for errors.
        :raises NotReadyError: if it fails.
        """
        argv = [str(item) for item in command]
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"\n# {_now()} {purpose}\n$ {' '.join(argv)}\n")
            log.flush()
            start = log.tell()
            try:
                done = subprocess.run(
                    argv,
                    cwd=self.tools_dir,
                    env={**self.environment(), **env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(self.lock,),
                    preexec_fn=prepare_child,
                    check=False,
                )
            except OSError as error:
                raise NotReadyError(
                    "provisioning.program_not_started", purpose=purpose, program=argv[0], reason=error.strerror
                ) from None
        with self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(start)
            output = log.read()
        if done.returncode:
            tail = "\n".join(output.splitlines()[-_LOG_TAIL_LINES:])
            raise NotReadyError(
                "provisioning.program_failed", purpose=purpose, status=done.returncode, log=self.log, tail=tail
            )
        return output

    def need_space(self, gibibytes: int) -> None:
        """Refuse to begin if the disk has less free space.

        :raises NotReadyError: in this case.
        """
        free = shutil.disk_usage(self.tools_dir).free
        if free < gibibytes * _GIB:
            raise NotReadyError(
                "provisioning.no_room",
                directory=self.tools_dir,
                free=free / _GIB,
                needed=gibibytes,
                details={"free_bytes": free, "needed_bytes": gibibytes * _GIB},
            )

    def work_dir(self) -> Path:
        """A new, empty directory for the build; what an interrupted build left in it is removed."""
        work = self.tools_dir / f".work-{self.path.name}"
        remove(work)
        work.mkdir(parents=True)
        return work

    def mark(self, path: Path, started: float, **facts: object) -> None:
        """Write the marker, last of all, when everything in ``path`` is on the disk.

        :param started: ``time.monotonic()`` at the beginning of the build.
        :param facts: more to record.
        """
        os.sync()
        record = {
            "component": self.component.name,
            "key": self.component.key,
            "inputs": self.component.inputs,
            "made_at": _now(),
            "seconds": round(time.monotonic() - started, 1),
            **facts,
        }
        temporary = path / f"{MARKER}.new"
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(record, stream, indent=1, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path / MARKER)
        _sync_directory(path)

    def publish(self, result: Path) -> None:
        """Give a finished, marked directory its final name."""
        remove(self.path)
        result.rename(self.path)
        _sync_directory(self.path.parent)

    def remove_caches(self) -> None:
        """Remove downloads and unfinished builds. Files that an environment links to stay there."""
        remove(self.tools_dir / ".cache")
        for directory in self.tools_dir.glob(".work-*"):
            remove(directory)


def prepare_child() -> None:
    """Run between fork and exec: a command ends with this process, and does not slow down the work of the host."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.nice(_NICENESS)


def remove(path: Path) -> None:
    """Remove a file or a directory, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()


def _refuse_foreign_directory(path: Path) -> None:
    """Root runs programs from the tools directory: another user must not be able to replace them.

    :raises NotReadyError: if root runs this and another user owns the directory, or can write to it.
    """
    if os.geteuid() != 0 or not path.exists():
        return
    status = path.stat()
    if status.st_uid != 0 or status.st_mode & 0o022:
        raise NotReadyError("provisioning.unsafe_path", path=path)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
