# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exclusive locks for the whole host, between the processes of any user and any data directory.

A lock is an abstract Unix socket (unix(7)) that listens: only one process can bind a name, and the kernel releases it
when that process ends. Unlike a file it needs no directory in which every user may write, no user can replace it, and
nothing removes it at the end of a session. Processes in another network namespace have locks of their own.
"""

from __future__ import annotations

import errno
import socket
import struct
import typing as t

#: Abstract names begin with a null byte. 107 bytes follow at most.
_PREFIX = "\0ia-homelab/"
_CREDENTIALS = struct.Struct("3i")


class Holder(t.NamedTuple):
    """The process that holds a lock.

    :param pid: its process id; 0 if it is not visible from here.
    :param uid: the user it runs as.
    """

    pid: int
    uid: int


class HostLock:
    """An exclusive lock with a name. Close-on-exec, so that no child inherits it.

    :param name: at most 90 bytes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket: socket.socket | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._socket is not None

    def acquire(self) -> bool:
        """Acquire the lock without waiting; return False if another process holds it."""
        if self._socket is not None:
            return True
        handle = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            handle.bind(_PREFIX + self.name)
            handle.listen(1)
        except OSError as error:
            handle.close()
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        self._socket = handle
        return True

    def release(self) -> None:
        """Release the lock; no-op if it is not held."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def holder(self) -> Holder | None:
        """Return the process that holds the lock; None if there is none, or if it does not say."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(_PREFIX + self.name)
                raw = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            except OSError:
                return None
        pid, uid, _gid = _CREDENTIALS.unpack(raw)
        return Holder(pid, uid)
