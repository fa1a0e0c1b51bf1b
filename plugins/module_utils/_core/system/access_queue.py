# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared and exclusive access to a resource for several processes, in the order in which they ask for it.

A plain flock has no order: holders of a shared lock that follow each other keep an exclusive one out for ever. Here
each holder has an entry in one directory, a file whose name has its number in the queue, its mode and its name. A
shared access is granted when no exclusive entry has a lower number, an exclusive one when no entry has. Hence none of
them starves, and a process that waits can report for whom. An entry counts as long as some process holds a flock on its
file: the kernel ends the access of a process that dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import typing as t

from .files import make_dirs
from .locks import FileLock, LockedError

_LOCK = "lock"
_ENTRY = re.compile(r"(\d{10})\.(shared|exclusive)\.([A-Za-z0-9._+-]+)\Z")


class _Entry(t.NamedTuple):
    number: int
    mode: str
    holder: str

    @property
    def file_name(self) -> str:
        return f"{self.number:010d}.{self.mode}.{self.holder}"

    def waits_for(self, other: _Entry) -> bool:
        return other.number < self.number and "exclusive" in (self.mode, other.mode)


class Access:
    """One access to a resource. All processes that use the same holder and mode share one entry.

    Therefore a supervisor and its worker hold one access together, and it lasts until both have released it or died.

    :param directory: the directory of the queue; created when it is needed.
    :param holder: who uses the resource: letters, digits, and ``._+-``.
    :param exclusive: whether no other holder may use it at the same time.
    """

    def __init__(self, directory: str, holder: str, *, exclusive: bool = False) -> None:
        self.directory = directory
        self.holder = holder
        self._mode = "exclusive" if exclusive else "shared"
        self._entry: _Entry | None = None
        self._fd = -1

    @property
    def requested(self) -> bool:
        """Whether this process has an entry in the queue: it has the access, or waits for it."""
        return self._entry is not None

    def request(self) -> list[str]:
        """Enter the queue, unless this process is in it.

        :returns: the holders that must release the resource before; empty when the access is granted.
        :raises LockedError: when another process keeps the directory locked.
        """
        make_dirs(self.directory)
        with self._locked():
            entry = self._entry or self._enter()
            return [other.holder for other in self._live_entries() if entry.waits_for(other)]

    def release(self) -> None:
        """End the access of this process, or leave the queue; no-op if it is not in the queue."""
        if self._entry is None:
            return
        # without the directory or its lock there is nothing to remove, or the next process that asks removes it
        with contextlib.suppress(OSError, LockedError), self._locked():
            self._close()
            self._live_entries()  # removes the file unless another process shares the entry
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._entry = -1, None

    def _locked(self) -> FileLock:
        return FileLock(os.path.join(self.directory, _LOCK))

    def _enter(self) -> _Entry:
        entries = self._live_entries()
        own = next((each for each in entries if (each.mode, each.holder) == (self._mode, self.holder)), None)
        number = max((each.number for each in entries), default=0) + 1
        entry = own or _Entry(number, self._mode, self.holder)
        path = os.path.join(self.directory, entry.file_name)
        fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            # granted: only the holder of the lock of the directory tries an exclusive one
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._entry = fd, entry
        return entry

    def _live_entries(self) -> list[_Entry]:
        """Return the entries that a process holds, by number; remove the others. Needs the lock of the directory."""
        entries = []
        for name in sorted(os.listdir(self.directory)):
            match = _ENTRY.match(name)
            if match is None:
                continue
            path = os.path.join(self.directory, name)
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                entries.append(_Entry(int(match[1]), match[2], match[3]))
            else:
                os.unlink(path)
            finally:
                os.close(fd)
        return entries
