# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on a filesystem, and what its failures mean to a user."""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from ..errors import NotReadyError, StoreError


class DiskFullError(NotReadyError):
    """There is no room left: goes away by itself once somebody makes some."""


def gigabytes(size: float) -> str:
    """A size for people to read: ``17.9 GB``, ``12 MB``, ``0.4 MB``."""
    if size >= 1e8:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


def free_bytes(path: str) -> int:
    """Bytes an ordinary user can still write on the filesystem that holds ``path`` (or will hold it)."""
    probe = os.path.abspath(path)
    while not os.path.exists(probe):
        probe = os.path.dirname(probe)
    stat = os.statvfs(probe)
    return stat.f_bavail * stat.f_frsize


def disk_error(error: OSError, path: str) -> Exception:
    """A full disk said with figures, a directory that is not ours to write said as such; any other as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = free_bytes(os.path.dirname(path) or ".")
        return DiskFullError(
            f"The disk is full: {path} could not be written ({gigabytes(free)} free there).",
            "Make room on that filesystem and run again: what was finished before is kept.",
            {"path": path, "free_bytes": free},
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotReadyError(
            f"{path} cannot be written by the user with id {os.geteuid()}: {error.strerror}.",
            "Run as the user the data directory belongs to.",
            {"path": path},
        )
    return error


@contextlib.contextmanager
def disk_errors(path: str) -> t.Iterator[None]:
    """Within it every failure of the filesystem becomes an error of the core.

    :param path: what is named where the failure names no file.
    """
    try:
        yield
    except OSError as error:
        at = error.filename if isinstance(error.filename, str) else path
        known = disk_error(error, at)
        if isinstance(known, OSError):
            known = StoreError(f"{at}: {error.strerror or error}.")
        raise known from error
