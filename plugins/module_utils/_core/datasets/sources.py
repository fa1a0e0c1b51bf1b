# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of rows: files of this host, files transferred from the controller, rows in memory."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import json
import os
import stat
import time
import typing as t

from ..errors import InputError
from ..messages.message import Message
from ..system.files import sha256_file
from .problems import Problem

#: A file changed less than this many nanoseconds ago may change again without a new mtime.
_SETTLING_NS = 2_000_000_000
#: Size in bytes from which a file is recognized by its identity; hashing a smaller one takes no noticeable time.
_LARGE_BYTES = 16 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Source:
    """A source of rows.

    :param label: the name the user gave it; part of every message.
    :param path: the file on this host; empty for records, and for a file of which only the digest is known here.
    :param kind: one of ``json``, ``csv``, ``records``, or empty to derive it from the name.
    :param records: the rows themselves, for kind ``records``.
    :param sha256: digest of the user's input (a YAML file is transferred as JSON, so this may differ from the digest
        of the file at ``path``); empty if not known yet.
    :param size: size of that input in bytes; -1 if not known yet.
    :param identity: size, mtime in nanoseconds, inode and device of a file on this host.
    :param commit: the git commit that last changed it, if known.
    :param dirty: whether it differs from that commit; None if not known.
    :param descriptor: open file to read instead of ``path``, which this user may not open; -1 for none.
    """

    label: str
    path: str = ""
    kind: str = ""
    records: t.Sequence[t.Any] | None = None
    sha256: str = ""
    size: int = -1
    identity: tuple[int, ...] = ()
    commit: str = ""
    dirty: bool | None = None
    descriptor: int = -1

    def open(self) -> t.BinaryIO:
        """Open the file for reading, from its beginning.

        :raises InputError: as :func:`open_file`.
        """
        if self.descriptor < 0:
            return open_file(self.path, self.label)
        stream = io.FileIO(os.dup(self.descriptor), "rb")
        stream.seek(0)
        return t.cast(t.BinaryIO, stream)

    def as_dict(self) -> dict[str, t.Any]:
        """The record of this source in a receipt; never contains its content."""
        value: dict[str, t.Any] = {"label": self.label, "bytes": self.size, "sha256": self.sha256}
        if self.identity:
            value["identity"] = list(self.identity)
        if self.commit:
            value.update(commit=self.commit, dirty=bool(self.dirty))
        return value


def refuse(label: str, defect: Message) -> InputError:
    """The error for a source that cannot be read."""
    problem = Problem(label, None, None, "", defect)
    return InputError(problem.content, details={"problems": [problem.as_dict()], "problems_total": 1})


def kind_of_file(label: str) -> str:
    """``json`` or ``csv``, derived from the name.

    :raises InputError: for any other extension.
    """
    extension = os.path.splitext(label)[1].lower()
    if extension in (".json", ".jsonl", ".ndjson"):
        return "json"
    if extension == ".csv":
        return "csv"
    if extension in (".yml", ".yaml"):
        raise refuse(label, Message("datasets.yaml_on_controller"))
    if extension:
        raise refuse(label, Message("datasets.extension_unknown", extension=extension))
    raise refuse(label, Message("datasets.no_extension"))


def open_file(path: str, label: str) -> t.BinaryIO:
    """Open a regular file for reading. A symbolic link is followed only if its target is below its own directory.

    :raises InputError: if it is missing, unreadable, not a regular file, empty, or linked to another directory.
    """
    folder = os.path.realpath(os.path.dirname(path) or ".")
    real = os.path.realpath(path)
    if os.path.islink(path) and os.path.commonpath([folder, real]) != folder:
        raise refuse(label, Message("datasets.link_leads_out", target=real))
    try:
        # a FIFO without a writer would block an ordinary open forever
        fd = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reasons = {
            errno.ENOENT: Message("datasets.no_such_file"),
            errno.EACCES: Message("datasets.may_not_be_read"),
            errno.ELOOP: Message("datasets.link_to_itself"),
            errno.ENXIO: Message("datasets.cannot_be_opened_as_file"),
        }
        defect = reasons.get(error.errno or 0, Message("datasets.cannot_be_opened", reason=error.strerror))
        raise refuse(label, defect) from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        is_directory = stat.S_ISDIR(status.st_mode)
        raise refuse(label, Message("datasets.is_directory" if is_directory else "datasets.no_regular_file"))
    if not status.st_size:
        os.close(fd)
        raise refuse(label, Message("datasets.file_empty"))
    return t.cast(t.BinaryIO, io.FileIO(fd, "rb"))


def identity_of(path: str) -> tuple[int, ...]:
    """Values that change when a file is changed: size, mtime in nanoseconds, inode, device."""
    status = os.stat(path)
    return (status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


def identify(source: Source, earlier: t.Iterable[t.Mapping[str, t.Any]]) -> Source:
    """Fill in size and digest, reading as little as possible.

    :param earlier: earlier :meth:`Source.as_dict`: a file with one of these identities is not hashed again.
    :raises InputError: if the file cannot be read.
    """
    if source.sha256:
        return source
    if source.records is not None:
        # Rows are compared by content, so the order of keys is ignored. NaN and the like are reported when read.
        try:
            text = json.dumps(source.records, sort_keys=True, default=repr).encode("ascii")
        except (ValueError, TypeError, RecursionError):
            text = b"rows that cannot be written are refused later, with their place"
        return dataclasses.replace(source, sha256=hashlib.sha256(text).hexdigest(), size=len(text))
    open_file(source.path, source.label).close()
    identity = identity_of(source.path)
    for record in earlier:
        if tuple(record.get("identity") or ()) == identity:
            return dataclasses.replace(source, sha256=str(record["sha256"]), size=identity[0], identity=identity)
    if identity[0] < _LARGE_BYTES or time.time_ns() - identity[1] < _SETTLING_NS:
        return dataclasses.replace(source, sha256=sha256_file(source.path), size=identity[0])
    return dataclasses.replace(source, sha256=sha256_file(source.path), size=identity[0], identity=identity)
