# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One job user: files that root creates in the data directory of another user are given to that user.

A play that connects as root and a training service that runs as the owner can therefore work on the same jobs. This
module does nothing if root owns the data directory or if this process is not root.

The owner may rename entries while root traverses the directory. Therefore every directory is opened component by
component from the data directory on, no symbolic link is followed, and a file is only given away if it has a single
hard link: the owner never receives a file that lies outside the data directory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import stat

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import typing as t

from ..errors import NotReadyError

#: The data directories this process works in.
_data_dirs: set[str] = set()

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: Shell loop over pairs of a test and a path; it prints the pairs that fail, one per line.
_TEST_LOOP = 'while [ $# -gt 0 ]; do [ "$1" "$2" ] || printf "%s %s\\n" "$1" "$2"; shift 2; done'

_CODES = {"-x": "system.user_cannot_run", "-r": "system.user_cannot_read", "-w": "system.user_cannot_write"}


@dataclasses.dataclass(frozen=True)
class Owner:
    """The unprivileged owner of a data directory, while this process is root.

    :param root: the data directory.
    :param uid: user id of the owner, never 0.
    :param gid: group id of the data directory.
    """

    root: str
    uid: int
    gid: int

    @property
    def name(self) -> str:
        """Name of the user; the user id if it has no name."""
        entry = self._entry()
        return entry.pw_name if entry else str(self.uid)

    def _entry(self) -> pwd.struct_passwd | None:
        try:
            return pwd.getpwuid(self.uid)
        except KeyError:
            return None

    def become(self) -> dict[str, t.Any]:
        """Return arguments for :mod:`subprocess` to run a command as this user, with its groups and none of root's."""
        groups = [self.gid]
        entry = self._entry()
        if entry:
            groups = os.getgrouplist(entry.pw_name, self.gid)
        return {"user": self.uid, "group": self.gid, "extra_groups": groups}

    def environment(self) -> dict[str, str]:
        """Return ``HOME``, ``USER`` and ``LOGNAME``. A user without a home directory gets the data directory."""
        entry = self._entry()
        home = entry.pw_dir if entry else ""
        try:
            owns_home = os.stat(home).st_uid == self.uid
        except OSError:
            owns_home = False
        return {"HOME": home if owns_home else self.root, "USER": self.name, "LOGNAME": self.name}

    def denied(self, permissions: t.Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the permissions that this user lacks.

        :param permissions: pairs of a test of test(1), such as ``-x``, and an absolute path.
        :returns: the pairs whose test fails for this user.
        """
        parts = [part for pair in permissions for part in pair]
        result = subprocess.run(
            ["/bin/sh", "-c", _TEST_LOOP, "sh", *parts],
            stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd="/", **self.become(),
        )  # fmt: skip
        lines = result.stdout.decode("utf-8", "surrogateescape").splitlines()
        return [(line[:2], line[3:]) for line in lines]

    def require(self, permissions: t.Iterable[tuple[str, str]]) -> None:
        """Check that this user has the permissions that the command of a job requires.

        :param permissions: as for :meth:`denied`.
        :raises NotReadyError: naming the first missing permission.
        """
        for test, path in self.denied(permissions):
            facts = {"user": self.name, "path": path}
            raise NotReadyError(_CODES[test], **facts, data_dir=self.root, details=facts)


def register_data_dir(root: str) -> None:
    """Register a data directory for :func:`foreign_owner` and :func:`give_to_owner`."""
    _data_dirs.add(root)


def owner_of(root: str) -> Owner | None:
    """Return the owner of a data directory; None if this process is not root, root owns it, or it does not exist."""
    if os.geteuid() != 0:
        return None
    try:
        status = os.stat(root)
    except OSError:
        return None
    return Owner(root, status.st_uid, status.st_gid) if status.st_uid != 0 else None


def foreign_owner(path: str) -> Owner | None:
    """Return the user that a path below a data directory must belong to; None if its ownership does not change."""
    if os.geteuid() != 0:
        return None
    folder = os.path.abspath(path)
    while folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        if folder in _data_dirs:
            return owner_of(folder)
    return None


def give_to_owner(path: str, deep: bool = False) -> None:
    """Change the owner of a path of root's to the owner of its data directory; a missing path is ignored.

    :param deep: include everything below, and the directory itself last: once its owner has changed, the owner of all
        its content has changed.
    """
    owner = foreign_owner(path)
    if owner is None:
        return
    folder, name = os.path.split(os.path.relpath(os.path.abspath(path), owner.root))
    with contextlib.suppress(OSError), _opened(owner.root, folder) as handle:
        _give(owner, handle, name, folder, (lambda _relative: True) if deep else None)


def repair_ownership(root: str, enter: t.Callable[[str], bool]) -> None:
    """Change the owner of files that a killed root process or an earlier version left owned by root.

    A directory of root's changes with all its content. A directory of the owner is only entered if ``look`` allows it.

    :param enter: predicate on a path relative to the data directory.
    """
    owner = owner_of(root)
    if owner is None:
        return
    with contextlib.suppress(OSError), _opened(root, "") as handle:
        for name in _names(handle):
            _give(owner, handle, name, "", enter)


@contextlib.contextmanager
def _opened(root: str, relative: str) -> t.Iterator[int]:
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in relative.split(os.sep) if relative else []:
            child = os.open(part, _DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = child
        yield handle
    finally:
        os.close(handle)


def _names(handle: int) -> list[str]:
    with os.scandir(handle) as entries:
        return [entry.name for entry in entries]


def _give(owner: Owner, folder: int, name: str, relative: str, enter: t.Callable[[str], bool] | None) -> None:
    """Change the owner of one entry of an open directory.

    :param enter: whether to enter a directory of the owner's; None enters no directory, not even root's.
    """
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            path = os.path.join(relative, name)
            if enter is not None and (status.st_uid == 0 or enter(path)):
                enter_children = (lambda _relative: True) if status.st_uid == 0 else enter
                handle = os.open(name, _DIRECTORY, dir_fd=folder)
                try:
                    for child in _names(handle):
                        _give(owner, handle, child, path, enter_children)
                finally:
                    os.close(handle)
            if status.st_uid == 0:
                _give_open(owner, folder, name, _DIRECTORY)
        elif status.st_uid != 0:
            return
        elif stat.S_ISREG(status.st_mode):
            _give_open(owner, folder, name, _FILE)
        else:
            os.chown(name, owner.uid, owner.gid, dir_fd=folder, follow_symlinks=False)
    except OSError:
        pass  # it was removed, or its filesystem has no owners: an operation that needs the owner reports the error


def _give_open(owner: Owner, folder: int, name: str, flags: int) -> None:
    handle = os.open(name, flags, dir_fd=folder)
    try:
        status = os.fstat(handle)
        if status.st_uid == 0 and (stat.S_ISDIR(status.st_mode) or status.st_nlink == 1):
            os.fchown(handle, owner.uid, owner.gid)
    finally:
        os.close(handle)
