# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File locks that die with their holder."""

from __future__ import annotations

import fcntl
import os
import time

from ..errors import StoreError
from .ownership import give_to_owner


class LockedError(StoreError):
    """Somebody else has held a lock for longer than one waits."""


class FileLock:
    """An exclusive flock: the kernel drops it when its holder dies. Close-on-exec, so that no child keeps it.

    :param path: the lock file; made when missing, never removed (removing it would let two hold it).
    :param timeout: seconds to wait; 0 tries once.
    """

    def __init__(self, path: str, timeout: float = 60.0) -> None:
        self.path = path
        self.timeout = timeout
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False when another held it for the whole of ``timeout``."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        give_to_owner(self.path)
        end = time.monotonic() + self.timeout
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    os.close(fd)
                    return False
                time.sleep(0.02)
            else:
                self._fd = fd
                return True

    def release(self) -> None:
        """Give the lock back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> FileLock:
        if not self.acquire():
            raise LockedError(
                f"{self.path} has been locked by another process for {self.timeout:.0f} seconds.",
                "Find its holder with 'fuser' or 'lsof' on that file.",
            )
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()
