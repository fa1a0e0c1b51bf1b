# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One job user: what root does in a data directory that belongs to somebody else belongs to that owner.

So a play that connects as root and a training service that runs as the owner work on the same jobs. Nothing at all
happens where the data directory is root's, or we are not root.

Root walks here where somebody else may change names meanwhile. So every directory is opened from the data directory
on, one name at a time, no link is followed, and of files only those are given that have one name: nobody has
anything given to him that lies elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import stat
import subprocess
import typing as t

from ..errors import NotReadyError

#: The data directories this process works in.
_watched: set[str] = set()

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: Tells of pairs of a test and a path those that do not hold, a line each.
_TESTS = 'while [ $# -gt 0 ]; do [ "$1" "$2" ] || printf "%s %s\\n" "$1" "$2"; shift 2; done'

_DONE = {"-x": "run", "-r": "read", "-w": "write to"}
_TOOLS = "Tools and models have to lie where every user can reach them, not in the home of root"
_HELP = {
    "-x": f"{_TOOLS}.",
    "-r": f"{_TOOLS}.",
    "-w": "A link out of the data directory is not followed: mount the other place there instead.",
}


@dataclasses.dataclass(frozen=True)
class Owner:
    """Whom a data directory belongs to, while we are root and he is not.

    :param root: the data directory.
    :param uid: his user id, never 0.
    :param gid: group id of the data directory.
    """

    root: str
    uid: int
    gid: int

    @property
    def name(self) -> str:
        """The user's name; its number where it has none."""
        entry = self._entry()
        return entry.pw_name if entry else str(self.uid)

    def _entry(self) -> pwd.struct_passwd | None:
        try:
            return pwd.getpwuid(self.uid)
        except KeyError:
            return None

    def become(self) -> dict[str, t.Any]:
        """Arguments with which :mod:`subprocess` starts something as this user, in his groups and none of root's."""
        groups = [self.gid]
        entry = self._entry()
        if entry:
            groups = os.getgrouplist(entry.pw_name, self.gid)
        return {"user": self.uid, "group": self.gid, "extra_groups": groups}

    def environment(self) -> dict[str, str]:
        """``HOME``, ``USER`` and ``LOGNAME``. Without a home of his own he is at home in the data directory."""
        entry = self._entry()
        home = entry.pw_dir if entry else ""
        try:
            own = os.stat(home).st_uid == self.uid
        except OSError:
            own = False
        return {"HOME": home if own else self.root, "USER": self.name, "LOGNAME": self.name}

    def refused(self, wanted: t.Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """What he may not do.

        :param wanted: pairs of a test as of test(1), such as ``-x``, and an absolute path.
        :returns: those that do not hold for him.
        """
        parts = [part for pair in wanted for part in pair]
        told = subprocess.run(
            ["/bin/sh", "-c", _TESTS, "sh", *parts],
            stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd="/", **self.become(),
        )  # fmt: skip
        lines = told.stdout.decode("utf-8", "surrogateescape").splitlines()
        return [(line[:2], line[3:]) for line in lines]

    def need(self, wanted: t.Iterable[tuple[str, str]]) -> None:
        """Make sure that he may do what a job's command will have to.

        :param wanted: as for :meth:`refused`.
        :raises NotReadyError: with the first thing that he may not do.
        """
        for test, path in self.refused(wanted):
            raise NotReadyError(
                f"Jobs run as the user {self.name}, whom the data directory {self.root} belongs to, and who cannot "
                f"{_DONE[test]} {path}.",
                f"'namei -l {path}' shows where the way is closed. {_HELP[test]}",
                {"path": path, "user": self.name},
            )


def register_data_dir(root: str) -> None:
    """From now on :func:`foreign_owner` and :func:`give_to_owner` know this data directory."""
    _watched.add(root)


def owner_of(root: str) -> Owner | None:
    """Whom a data directory belongs to; None when we are not root, or it is root's, or not there."""
    if os.geteuid() != 0:
        return None
    try:
        found = os.stat(root)
    except OSError:
        return None
    return Owner(root, found.st_uid, found.st_gid) if found.st_uid != 0 else None


def foreign_owner(path: str) -> Owner | None:
    """Whom something below a data directory shall belong to; None where it stays ours."""
    if os.geteuid() != 0:
        return None
    folder = os.path.abspath(path)
    while folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        if folder in _watched:
            return owner_of(folder)
    return None


def give_to_owner(path: str, deep: bool = False) -> None:
    """Give what is root's to the owner of the data directory it lies in; what is not there any more is passed over.

    :param deep: all below it as well, itself last: a directory that has been given is given whole.
    """
    owner = foreign_owner(path)
    if owner is None:
        return
    folder, name = os.path.split(os.path.relpath(os.path.abspath(path), owner.root))
    with contextlib.suppress(OSError), _opened(owner.root, folder) as handle:
        _give(owner, handle, name, folder, (lambda _relative: True) if deep else None)


def repair_ownership(root: str, look: t.Callable[[str], bool]) -> None:
    """Give what a root that was killed, or one of an earlier version, has left as its own.

    A directory of root's is given with all in it. Into one of the owner's it is looked only where that is told.

    :param look: told a path relative to the data directory.
    """
    owner = owner_of(root)
    if owner is None:
        return
    with contextlib.suppress(OSError), _opened(root, "") as handle:
        for name in _names(handle):
            _give(owner, handle, name, "", look)


@contextlib.contextmanager
def _opened(root: str, relative: str) -> t.Iterator[int]:
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in relative.split(os.sep) if relative else []:
            below = os.open(part, _DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def _names(handle: int) -> list[str]:
    with os.scandir(handle) as entries:
        return [entry.name for entry in entries]


def _give(owner: Owner, folder: int, name: str, relative: str, look: t.Callable[[str], bool] | None) -> None:
    """Give one entry of an open directory.

    :param look: whether to look into a directory that is the owner's; None: into none, be it root's.
    """
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            here = os.path.join(relative, name)
            if look is not None and (found.st_uid == 0 or look(here)):
                below = (lambda _relative: True) if found.st_uid == 0 else look
                handle = os.open(name, _DIRECTORY, dir_fd=folder)
                try:
                    for each in _names(handle):
                        _give(owner, handle, each, here, below)
                finally:
                    os.close(handle)
            if found.st_uid == 0:
                _give_open(owner, folder, name, _DIRECTORY)
        elif found.st_uid != 0:
            return
        elif stat.S_ISREG(found.st_mode):
            _give_open(owner, folder, name, _FILE)
        else:
            os.chown(name, owner.uid, owner.gid, dir_fd=folder, follow_symlinks=False)
    except OSError:
        pass  # it is gone, or its filesystem keeps no owners: whoever cannot do without will tell


def _give_open(owner: Owner, folder: int, name: str, flags: int) -> None:
    handle = os.open(name, flags, dir_fd=folder)
    try:
        found = os.fstat(handle)
        if found.st_uid == 0 and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
            os.fchown(handle, owner.uid, owner.gid)
    finally:
        os.close(handle)
