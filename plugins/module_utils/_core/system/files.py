# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Crash-safe files: atomic writes by rename, publication of a complete directory by one rename, safe removal."""

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
from ..json_text import parse_json
from .disk import disk_error
from .processes import identify

_CHUNK = 1024 * 1024

#: Prefixes of an entry being written and of one being removed. The creating process follows: ``PID.STARTED-``.
NEW = ".new-"
REMOVED = ".gone-"
_TEMPORARY_NAME = re.compile(r"\.(?:new|gone)-(?:(\d+)\.(\d+)-)?")

#: Age in seconds after which a temporary entry without a process in its name counts as abandoned.
_ABANDONED_SECONDS = 24 * 3600.0


def fsync_dir(path: str) -> None:
    """Make the entries of a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def temporary_prefix(prefix: str) -> str:
    """Return a prefix for a temporary name from which :func:`sweep` identifies the creating process.

    :param prefix: :data:`NEW` or :data:`REMOVED`.
    """
    process = identify(os.getpid())
    return f"{prefix}{process.pid}.{process.started}-" if process else prefix


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
    """Remove partly written or partly removed entries of dead processes from a directory.

    :param deep: descend into subdirectories as well.
    """
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        match = _TEMPORARY_NAME.match(entry.name)
        if match is not None:
            if _abandoned(entry.path, match):
                discard(entry.path)
        elif deep and entry.is_dir(follow_symlinks=False):
            sweep(entry.path, deep)


def discard(path: str) -> None:
    """Remove a file or a directory tree. Entries that cannot be removed are left in place."""
    try:
        os.unlink(path)
    except IsADirectoryError:
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass


def make_dirs(path: str) -> None:
    """Create a directory and its parents with mode 0755 regardless of the umask. Existing ones keep their mode."""
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


def make_temporary_dir(prefix: str, parent: str) -> str:
    """Create a directory with a unique name that only this user can access."""
    return tempfile.mkdtemp(prefix=prefix, dir=parent)


def write_atomic(path: str, data: bytes | str, mode: int = 0o644) -> None:
    """Replace the content of a file atomically: a reader sees the old or the new content, never a part.

    :raises DiskFullError: when the disk is full.
    """
    write_chunks(path, [data.encode("utf-8") if isinstance(data, str) else data], mode)


def write_chunks(path: str, chunks: t.Iterable[bytes], mode: int = 0o644) -> None:
    """Replace the content of a file as :func:`write_atomic` does, without having all of it in memory.

    :param chunks: if reading them fails, the file stays as it was.
    :raises DiskFullError: when the disk is full.
    """
    parent = os.path.dirname(path) or "."
    temporary = ""
    try:
        fd, temporary = tempfile.mkstemp(prefix=temporary_prefix(NEW), dir=parent)
        with os.fdopen(fd, "wb") as stream:
            stream.writelines(chunks)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        fsync_dir(parent)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        translated = disk_error(error, path) if isinstance(error, OSError) else error
        if translated is error:
            raise
        raise translated from error


def write_json(path: str, value: t.Any, mode: int = 0o644) -> None:
    """Write indented JSON with sorted keys, using :func:`write_atomic`."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", mode)


def read_json(path: str, default: t.Any = None) -> t.Any:
    """Read JSON; return ``default`` if the file does not exist.

    :raises StoreError: if the file exists and is not valid JSON.
    """
    try:
        with open(path, "rb") as stream:
            raw = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return default
    try:
        return parse_json(raw.decode("utf-8"))
    except ValueError as error:
        raise StoreError("system.invalid_json", path=path, reason=error) from error


def read_record(path: str) -> dict[str, t.Any] | None:
    """Read an optional JSON object; return None if it is missing, damaged or not an object."""
    try:
        value = read_json(path)
    except (StoreError, OSError):
        return None
    return value if isinstance(value, dict) else None


def append_json_line(path: str, value: t.Any) -> None:
    """Append one JSON object as a line in a single write."""
    line = (json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


def sha256_file(path: str) -> str:
    """Return the hex SHA-256 of a file, read in chunks of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while True:
            chunk = stream.read(_CHUNK)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)


def tail_lines(path: str, count: int, limit: int = 64 * 1024) -> list[str]:
    """Return the last lines of a text file that are not blank; an empty list if the file does not exist.

    :param count: maximum number of lines.
    :param limit: maximum number of bytes to read from the end of the file.
    """
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - limit))
            raw = stream.read(limit)
    except FileNotFoundError:
        return []
    # a progress bar rewrites its line with carriage returns: keep only the final state of each line
    lines = [line.rsplit("\r", 1)[-1] for line in raw.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")]
    return [line for line in lines if line.strip()][-count:]


def list_files(root: str, skip: t.Container[str] = ()) -> list[str]:
    """Return the sorted relative paths of the regular files under a directory.

    :param skip: relative paths to leave out; a bare name therefore matches only at the top level.
    """
    paths: list[str] = []
    for folder, dirs, names in os.walk(root):
        dirs.sort()
        subfolder = os.path.relpath(folder, root)
        for name in names:
            relative = name if subfolder == "." else os.path.join(subfolder, name)
            if relative not in skip and os.path.isfile(os.path.join(folder, name)):
                paths.append(relative)
    return sorted(paths)


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
    """Publish a finished directory under its final name: fsync everything, then rename once.

    If the final directory exists, it is kept and the work directory is removed: the same name means the same content.

    :raises StoreError: if the rename fails and there is no final directory, for example across filesystems.
    """
    parent = os.path.dirname(final)
    make_dirs(parent)
    fsync_tree(work)
    try:
        os.rename(work, final)
    except OSError as error:
        if not os.path.isdir(final):
            raise StoreError("system.not_published", source=work, target=final, reason=error.strerror) from error
        remove_tree(work)
    fsync_dir(parent)
    if os.path.dirname(work) != parent:
        fsync_dir(os.path.dirname(work))


def remove_tree(path: str) -> None:
    """Remove a directory tree. It is renamed first, so that a crash leaves no partial directory under its name."""
    if not os.path.lexists(path):
        return
    trash = make_temporary_dir(temporary_prefix(REMOVED), os.path.dirname(path))
    os.rename(path, os.path.join(trash, "x"))
    shutil.rmtree(trash, ignore_errors=True)
