# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One job user: root never works in the data directory of another user, it becomes that user.

What root executes must not be writable by anyone else. A process of root's that is to work in the data directory of
another user therefore becomes this user for good before it reads or writes anything below the directory
(:func:`become_owner`), and everything that it creates or starts is the owner's own.

Versions up to 0.1.0 worked as root and gave each file to the owner afterwards. :func:`repair_ownership` gives the owner
what such a version left. The owner may rename entries while root traverses the directory. Therefore every directory is
opened relative to its parent, no symbolic link is followed, and a file is only given away if it has a single hard link:
the owner never receives a file that lies outside the data directory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import stat
import typing as t

from ..errors import NotReadyError
from ..messages.message import Message

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclasses.dataclass(frozen=True)
class Owner:
    """The owner of a data directory.

    :param root: the data directory.
    :param uid: user id of the owner.
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

    def groups(self) -> list[int]:
        """Return the ids of the user's groups: those of the system's database, and the group of the data directory."""
        entry = self._entry()
        return os.getgrouplist(entry.pw_name, self.gid) if entry else [self.gid]

    def environment(self) -> dict[str, str]:
        """Return ``HOME``, ``USER`` and ``LOGNAME``. A user without a home directory gets the data directory."""
        entry = self._entry()
        home = entry.pw_dir if entry else ""
        try:
            owns_home = os.stat(home).st_uid == self.uid
        except OSError:
            owns_home = False
        return {"HOME": home if owns_home else self.root, "USER": self.name, "LOGNAME": self.name}

    def _entry(self) -> pwd.struct_passwd | None:
        try:
            return pwd.getpwuid(self.uid)
        except KeyError:
            return None


def foreign_owner(data_dir: str) -> Owner | None:
    """Return the user that this process has to become to work in a data directory, or in a directory of tools.

    A directory that does not exist yet belongs to the owner of the directory in which it will be created.

    :param data_dir: absolute path of the directory.
    :returns: None if this process is not root, or if the directory is root's.
    :raises NotReadyError: if the directory is root's, and another user can replace it: root would then execute what
        that user has put there.
    """
    if os.geteuid() != 0:
        return None
    data_dir = os.path.abspath(data_dir)
    existing = data_dir
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    status = os.stat(existing)
    if status.st_uid != 0:
        return Owner(data_dir, status.st_uid, status.st_gid)
    for path in sorted({*_parents(data_dir), *_parents(os.path.realpath(data_dir))}):
        _require_private(path, data_dir)
    return None


def become_owner(data_dir: str) -> Owner | None:
    """Become the owner of a data directory, for good, if this process is root and another user owns the directory.

    User and group ids, groups, ``HOME``, ``USER``, ``LOGNAME``, the umask and the working directory are changed.
    ``TMPDIR`` is removed if the owner cannot write there.

    :returns: the owner; None if this process stays who it is.
    :raises NotReadyError: as :func:`foreign_owner`.
    """
    owner = foreign_owner(data_dir)
    if owner is None:
        return None
    environment = owner.environment()
    os.chdir("/")
    os.setgroups(owner.groups())
    os.setresgid(owner.gid, owner.gid, owner.gid)
    os.setresuid(owner.uid, owner.uid, owner.uid)
    if os.getresuid() != (owner.uid,) * 3 or os.getresgid() != (owner.gid,) * 3:
        raise NotReadyError("system.user_not_become", user=owner.name)
    os.umask(0o022)
    os.environ.update(environment)
    if "TMPDIR" in os.environ and not os.access(os.environ["TMPDIR"], os.W_OK | os.X_OK):
        del os.environ["TMPDIR"]
    return owner


def refuse_root(data_dir: str) -> None:
    """Refuse to go on as root in the data directory of another user: :func:`become_owner` has to be called before.

    :raises NotReadyError: in this case.
    """
    owner = foreign_owner(data_dir)
    if owner is not None:
        raise NotReadyError("system.root_refused", path=data_dir, user=owner.name)


def denied_advice(path: str) -> Message:
    """Return what to do if this user may not use a file that the job of a data directory needs."""
    return Message("system.access_denied_advice", user=Owner("", os.geteuid(), os.getegid()).name, path=path)


def _parents(path: str) -> t.Iterator[str]:
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        yield path


def _require_private(path: str, data_dir: str) -> None:
    """Require that only root can replace an entry of a directory above a data directory of root's."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    shared = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid != 0)
    if status.st_uid == 0 and not (shared and not status.st_mode & stat.S_ISVTX):
        return
    facts = {"path": path, "data_dir": data_dir}
    if status.st_uid:
        user = Owner("", status.st_uid, 0).name
        raise NotReadyError("system.replaceable_by_owner", **facts, user=user, details=facts)
    raise NotReadyError("system.replaceable_by_others", **facts, details=facts)


# -- files that earlier versions left --------------------------------------------------------------------------------


def root_processes(data_dir: str) -> list[int]:
    """Return the processes of root's that work on a job of a data directory: supervisors of an earlier version.

    The command line of a supervisor, a worker and a command has a path below the directory of the job.
    """
    needles = {os.fsencode(os.path.join(root, "jobs", "")) for root in (data_dir, os.path.realpath(data_dir))}
    pids = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if int(name) != os.getpid() and os.stat(f"/proc/{name}").st_uid == 0:
                with open(f"/proc/{name}/cmdline", "rb") as stream:
                    arguments = stream.read().split(b"\0")
                if any(argument.startswith(needle) for argument in arguments for needle in needles):
                    pids.append(int(name))
    return pids


def repair_ownership(owner: Owner, enter: t.Callable[[str], bool], only: str = "") -> None:
    """Give the owner of a data directory what root's processes of an earlier version left.

    A directory of root's is given with all its content. A directory of the owner is only entered if ``enter`` allows
    it. Missing permissions and entries that vanish meanwhile are ignored: what needs the owner reports the error.

    :param enter: predicate on a path relative to the data directory.
    :param only: name of the only entry of the directory to look at; empty for all.
    """
    with contextlib.suppress(OSError):
        handle = os.open(owner.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in [only] if only else _names(handle):
                _give(owner, handle, name, "", enter)
        finally:
            os.close(handle)


def _names(handle: int) -> list[str]:
    with os.scandir(handle) as entries:
        return [entry.name for entry in entries]


def _give(owner: Owner, folder: int, name: str, relative: str, enter: t.Callable[[str], bool]) -> None:
    """Change the owner of one entry of an open directory, if it is root's.

    :param enter: whether to enter a directory of the owner's.
    """
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            path = os.path.join(relative, name)
            if status.st_uid == 0 or enter(path):
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
