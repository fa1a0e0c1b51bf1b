# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detects leaked tokens: in arguments and environments of running processes, and in files afterwards."""

from __future__ import annotations

import threading
import typing as t
from pathlib import Path


class Watch(threading.Thread):
    """Polls all processes of this machine for secrets.

    :param mark: text in arguments or environment of the test's own processes, such as its data directory.
    :param secrets: texts that no process may have, neither as an argument nor in its environment.
    :param exported: texts in the environment of the play: no process may have them as an argument, and
        no job in its environment.
    """

    def __init__(self, mark: str, secrets: t.Sequence[str], exported: t.Sequence[str] = ()) -> None:
        super().__init__(daemon=True)
        self.mark = mark.encode()
        self.secrets = [word.encode() for word in secrets]
        self.exported = [word.encode() for word in exported]
        self.found: set[str] = set()
        #: Command lines of the detected jobs.
        self.jobs: set[str] = set()
        self.rounds = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    line = (entry / "cmdline").read_bytes()
                    environment = (entry / "environ").read_bytes()
                except OSError:
                    continue
                self._look(line, environment)
            self.rounds += 1
            self.over.wait(0.1)

    def _look(self, line: bytes, environment: bytes) -> None:
        shown = line.replace(b"\0", b" ").decode(errors="replace")
        if any(word in line for word in (*self.secrets, *self.exported)):
            self.found.add(f"argument of {shown}")
        hidden = list(self.secrets)
        # a supervisor or its descendants, not the module that Ansible runs
        if self.mark in line + environment and (b"IA_HOMELAB_JOB=" in environment or b".main\0supervise" in line):
            self.jobs.add(shown)
            hidden += self.exported
        if any(word in environment for word in hidden):
            self.found.add(f"environment of {shown}")

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        self.join()


def holding(root: Path, words: t.Sequence[str], but: t.Container[Path] = ()) -> list[str]:
    """Files below a directory whose content or name contains one of the secrets."""
    found = []
    for path in root.rglob("*"):
        if path in but or path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if any(word.encode() in content or word in path.name for word in words):
            found.append(str(path.relative_to(root)))
    return found
