# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that survive a crash: write aside and rename, publish a directory at once, locks that die with their holder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
import typing as t

from ..errors import StoreError
from .disk import disk_error
from .ownership import give_to_owner
from .processes import identify

_CHUNK = 1024 * 1024

#: Something half written, and something on its way out. After the prefix comes who made it: ``PID.STARTED-``.
NEW = ".new-"
REMOVED = ".gone-"
_ASIDE = re.compile(r"\.(?:new|gone)-(?:(\d+)\.(\d+)-)?")

#: What has no owner in its name is taken for abandoned after this long.
_ABANDONED_SECONDS = 24 * 3600.0


def fsync_dir(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def temporary_prefix(prefix: str) -> str:
    """The beginning of a temporary name that tells :func:`sweep` whose it is.

    :param prefix: :data:`NEW` or :data:`REMOVED`.
    """
    me = identify(os.getpid())
    return f"{prefix}{me.pid}.{me.started}-" if me else prefix


def _abandoned(path: str, match: re.Match[str]) -> bool:
    pid, started = match.groups()
    if pid is not None:
        owner = identify(int(pid))
        return owner is None or owner.started != int(started)
    try:
        return time.time() - os.lstat(path).st_mtime > _ABANDONED_SECONDS
    except FileNotFoundError:
        return False


def sweep(folder: str, deep: bool = False) -> None:
    """Remove what processes that are no more left half written or half removed in a directory.

    :param deep: look into its subdirectories as well.
    """
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        match = _ASIDE.match(entry.name)
        if match is not None:
            if _abandoned(entry.path, match):
                discard(entry.path)
        elif deep and entry.is_dir(follow_symlinks=False):
            sweep(entry.path, deep)


def discard(path: str) -> None:
    """Remove a file or a directory with all in it; what cannot be removed stays."""
    try:
        os.unlink(path)
    except IsADirectoryError:
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass


def make_dirs(path: str) -> None:
    """Make a directory and those above it, readable by everybody whatever the umask; one that is there is left so."""
    missing = []
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise
        else:
            os.chmod(folder, 0o755)
            give_to_owner(folder)


def make_temporary_dir(prefix: str, parent: str) -> str:
    """Make a directory of a name that nobody has, for us alone."""
    made = tempfile.mkdtemp(prefix=prefix, dir=parent)
    give_to_owner(made)
    return made


def write_atomic(path: str, data: bytes | str, mode: int = 0o644) -> None:
    """Replace a file with new content: a reader sees the old or the new, never a part.

    :raises DiskFullError: when the disk is full.
    """
    raw = data.encode("utf-8") if isinstance(data, str) else data
    parent = os.path.dirname(path) or "."
    temporary = ""
    try:
        fd, temporary = tempfile.mkstemp(prefix=temporary_prefix(NEW), dir=parent)
        with os.fdopen(fd, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        give_to_owner(temporary)
        os.replace(temporary, path)
        fsync_dir(parent)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        known = disk_error(error, path) if isinstance(error, OSError) else error
        if known is error:
            raise
        raise known from error


def write_json(path: str, value: t.Any, mode: int = 0o644) -> None:
    """Write readable, sorted JSON with :func:`write_atomic`."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", mode)


def read_json(path: str, default: t.Any = None) -> t.Any:
    """Read JSON; a missing file gives ``default``.

    :raises StoreError: when the file is there and is not JSON.
    """
    try:
        with open(path, "rb") as stream:
            raw = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return default
    try:
        return json.loads(raw.decode("utf-8"))
    except ValueError as error:
        raise StoreError(
            f"{path} is not valid JSON: {error}.",
            "It was damaged outside of this program: restore it, or move it away and run again.",
        ) from error


def read_record(path: str) -> dict[str, t.Any] | None:
    """A JSON object that can be done without: None when it is missing, damaged or no object."""
    try:
        found = read_json(path)
    except (StoreError, OSError):
        return None
    return found if isinstance(found, dict) else None


def append_json_line(path: str, value: t.Any) -> None:
    """Append one JSON object as a line, in a single write."""
    line = (json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)
    give_to_owner(path)


def sha256_file(path: str) -> str:
    """Hex SHA-256 of a file, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while True:
            chunk = stream.read(_CHUNK)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)


def tail_lines(path: str, count: int, limit: int = 64 * 1024) -> list[str]:
    """The last lines of a text file, reading at most ``limit`` bytes from its end; a missing file gives none."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - limit))
            raw = stream.read(limit)
    except FileNotFoundError:
        return []
    # a progress bar rewrites its line with carriage returns: only what stands last was meant to stay
    lines = [line.rsplit("\r", 1)[-1] for line in raw.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")]
    return [line for line in lines if line.strip()][-count:]


def list_files(root: str, skip: t.Container[str] = ()) -> list[str]:
    """Relative paths of the regular files under a directory, sorted; names in ``skip`` at the top are left out."""
    found: list[str] = []
    for folder, dirs, names in os.walk(root):
        dirs.sort()
        inside = os.path.relpath(folder, root)
        for name in names:
            relative = name if inside == "." else os.path.join(inside, name)
            if relative not in skip and os.path.isfile(os.path.join(folder, name)):
                found.append(relative)
    return sorted(found)


def fsync_tree(root: str) -> None:
    """Make every file and directory under ``root`` durable."""
    for folder, _dirs, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        fsync_dir(folder)


def publish_dir(work: str, final: str) -> None:
    """Give a finished directory its final name: fsync all of it, then one rename.

    An artifact that is there already is left alone and the work thrown away: same name, same content.

    :raises StoreError: when the two are not on one filesystem.
    """
    parent = os.path.dirname(final)
    make_dirs(parent)
    give_to_owner(work, deep=True)
    fsync_tree(work)
    try:
        os.rename(work, final)
    except OSError as error:
        if not os.path.isdir(final):
            raise StoreError(f"Cannot publish {work} as {final}: {error.strerror}.") from error
        remove_tree(work)
    fsync_dir(parent)
    if os.path.dirname(work) != parent:
        fsync_dir(os.path.dirname(work))


def remove_tree(path: str) -> None:
    """Remove a directory and all in it: renamed aside first, so that a crash leaves no half of it under its name."""
    if not os.path.lexists(path):
        return
    gone = make_temporary_dir(temporary_prefix(REMOVED), os.path.dirname(path))
    os.rename(path, os.path.join(gone, "x"))
    shutil.rmtree(gone, ignore_errors=True)
