# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Free space of a filesystem, and errors of the filesystem in terms of the core."""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from ..errors import NotReadyError, StoreError
from ..messages.formatting import format_size


class DiskFullError(NotReadyError):
    """The disk is full. A retry succeeds once space has been freed."""


def gigabytes(size: float) -> str:
    """Format a size in bytes for display: ``17.9 GB``, ``12 MB``, ``0.4 MB``."""
    return format_size(size)


def free_bytes(path: str) -> int:
    """Return the bytes an unprivileged user can still write on the filesystem of ``path``, which need not exist."""
    probe = os.path.abspath(path)
    while not os.path.exists(probe):
        probe = os.path.dirname(probe)
    stat = os.statvfs(probe)
    return stat.f_bavail * stat.f_frsize


def disk_error(error: OSError, path: str) -> Exception:
    """Translate a filesystem error.

    :returns: :class:`DiskFullError` with the free space for a full disk, :class:`NotReadyError` for a path that this
        user must not write, and the error itself for anything else.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = free_bytes(os.path.dirname(path) or ".")
        return DiskFullError("system.disk_full", path=path, free=free, details={"path": path, "free_bytes": free})
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotReadyError(
            "system.not_writable", path=path, user=os.geteuid(), reason=error.strerror, details={"path": path}
        )
    return error


@contextlib.contextmanager
def disk_errors(path: str) -> t.Iterator[None]:
    """Turn every filesystem error raised inside the block into an error of the core.

    :param path: path to report when the error itself names no file.
    """
    try:
        yield
    except OSError as error:
        failed_path = error.filename if isinstance(error.filename, str) else path
        translated = disk_error(error, failed_path)
        if isinstance(translated, OSError):
            translated = StoreError("errors.file_failed", path=failed_path, reason=error.strerror or error)
        raise translated from error
