# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills its own process with SIGKILL just before the process makes its Nth change.

A change is visible to other processes: creating, renaming or removing a file or directory, starting a process. (fsync
is none: data written by a killed process is not lost.) The role selects the process:

* ``controller``: the process that calls :func:`arm` itself;
* ``supervisor-K``: the Kth process that used this file as an interpreter (see ``ROOT/python``);
* ``…/child``: a child of these, between fork and exec. It can also kill its parent and survive (``parent``).

``ROOT/fault.json``: ``{"role": …, "point": N, "victim": "self"|"parent"|"both"}``. Without a point the changes are
only recorded, one per line, in ``ROOT/points/ROLE``.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import typing as t

_CALLS = ("replace", "rename", "unlink", "remove", "mkdir", "rmdir")


class Faults:
    """Counts the changes of this process and its forked children."""

    def __init__(self, root: str, role: str) -> None:
        self.root = root
        self.role = role
        self.pid = os.getpid()
        self.count = 0
        with builtins.open(os.path.join(root, "fault.json"), encoding="utf-8") as stream:
            self.fault: dict[str, t.Any] = json.load(stream)
        self._open = os.open
        self._inside = False

    def here(self, what: str) -> None:
        """Called before every change."""
        if self._inside:
            return
        if os.getpid() != self.pid:
            self.pid, self.count, self.role = os.getpid(), 0, self.role + "/child"
        self.count += 1
        if "point" not in self.fault:
            self._write(os.path.join("points", self.role.replace("/", "-")), f"{what}\n")
        elif (self.fault["role"], self.fault["point"]) == (self.role, self.count):
            self._fire(what)

    def _write(self, name: str, text: str) -> None:
        fd = self._open(os.path.join(self.root, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(fd, text.encode())
        os.close(fd)

    def _fire(self, what: str) -> None:
        victims = {"self": [os.getpid()], "parent": [os.getppid()], "both": [os.getppid(), os.getpid()]}
        self._write("fired", f"{self.role} {what}\n")
        if self.fault.get("controller_too"):
            with contextlib.suppress(OSError, ValueError), builtins.open(f"{self.root}/controller") as stream:
                os.kill(int(stream.read()), signal.SIGKILL)
        for pid in victims[self.fault.get("victim", "self")]:
            os.kill(pid, signal.SIGKILL)

    def install(self) -> None:
        """Wrap every call that makes a change."""
        for name in _CALLS:
            setattr(os, name, self._before(getattr(os, name), name))
        plain_open, real_open = builtins.open, os.open

        def open_path(path: t.Any, flags: int, *more: t.Any, **named: t.Any) -> int:
            if flags & os.O_CREAT:
                self.here(f"create {path}")
            return real_open(path, flags, *more, **named)

        def open_stream(file: t.Any, mode: str = "r", *more: t.Any, **named: t.Any) -> t.Any:
            if isinstance(file, str) and set(mode) & set("wax+"):
                self.here(f"open {file} {mode}")
            return plain_open(file, mode, *more, **named)

        os.open = open_path  # type: ignore[assignment]
        builtins.open = open_stream  # type: ignore[assignment]
        popen, faults = subprocess.Popen, self

        class Popen(popen):  # type: ignore[type-arg,misc,valid-type]
            def __init__(self, *more: t.Any, **named: t.Any) -> None:
                faults.here("start a process")
                super().__init__(*more, **named)
                faults.here("(after it was started)")

        subprocess.Popen = Popen  # type: ignore[misc]

    def _before(self, call: t.Callable[..., t.Any], name: str) -> t.Callable[..., t.Any]:
        def wrapped(*arguments: t.Any, **named: t.Any) -> t.Any:
            self.here(f"{name} {arguments[0] if arguments else ''}")
            return call(*arguments, **named)

        return wrapped


def arm(root: str, role: str) -> Faults:
    """Arm this process."""
    faults = Faults(root, role)
    faults.install()
    return faults


def interpreter(root: str) -> str:
    """Write ``ROOT/python``, an executable that runs Python with the faults armed."""
    path = os.path.join(root, "python")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(f"#!/bin/sh\nexec '{sys.executable}' '{os.path.abspath(__file__)}' '{root}' \"$@\"\n")
    os.chmod(path, 0o755)
    for name in ("points", "starts"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    return path


def main(root: str, dash_m: str, module: str, *arguments: str) -> None:
    """Act as ``python -m MODULE ARGUMENT…``."""
    assert dash_m == "-m", dash_m
    number = 1
    while True:
        try:
            os.close(os.open(os.path.join(root, "starts", str(number)), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            number += 1
    sys.path[0] = os.getcwd()
    sys.argv = [module, *arguments]
    if os.path.exists(os.path.join(root, "fault.json")):
        arm(root, f"supervisor-{number}")
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
