# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File locks that the kernel releases when their holder ends."""

from __future__ import annotations

import fcntl
import os
import time

from ..errors import StoreError


class LockedError(StoreError):
    """Another process held a lock for longer than the timeout."""


class FileLock:
    """An exclusive flock. The kernel releases it when its holder ends. Close-on-exec, so that no child inherits it.

    :param path: the lock file. It is created if missing and never removed: removal would allow two holders.
    :param timeout: seconds to wait; 0 tries once.
    """

    def __init__(self, path: str, timeout: float = 60.0) -> None:
        self.path = path
        self.timeout = timeout
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Acquire the lock; return False if another process holds it until ``timeout`` expires."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
        """Release the lock."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> FileLock:
        if not self.acquire():
            raise LockedError("system.locked", path=self.path, seconds=self.timeout)
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()
