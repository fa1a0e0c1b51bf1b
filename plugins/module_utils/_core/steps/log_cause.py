# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the first cause of a failure in the log of a job.

What a log ends with is often only what followed: torchrun reports that a process has ended, and Python that another
error occurred while the first was handled.
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from .tool_errors import explain, is_error_line

#: Bytes that are read from the end of a log. The first cause of a failure is near it: what came before had not failed.
_TAIL_BYTES = 256 * 1024
#: Lines before and after the cause that :class:`LogCause` has.
_BEFORE, _AFTER = 12, 4
_TRACEBACK = re.compile(r"^\W*(?:\[rank\d+\]: ?)?Traceback \(most recent call last\):")
_MAX_LINE_LENGTH = 400
#: Codes of :func:`explain` for a line that it has no explanation of.
_UNEXPLAINED = ("steps.last_line", "steps.nothing_written")


@dataclasses.dataclass(frozen=True)
class LogCause:
    """The first cause of a failure in a log.

    :param path: the log.
    :param line: number of the line, from 1.
    :param text: the line, at most 400 characters.
    :param first: number of the first line in ``excerpt``.
    :param excerpt: lines around it, each at most 400 characters.
    :param problem: what it means and what to do (:meth:`Message.as_dict`).
    """

    path: str
    line: int
    text: str
    first: int
    excerpt: tuple[str, ...]
    problem: dict[str, t.Any]

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values."""
        return {**dataclasses.asdict(self), "excerpt": list(self.excerpt)}


def first_cause(path: str) -> LogCause | None:
    """Find the first cause of a failure in a log; None if there is no log, or no line in it that names an error.

    It is the line with which the first traceback ends, or the first line that is known to report a failure.
    """
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            start = max(0, size - _TAIL_BYTES)
            stream.seek(0)
            skipped = _count_lines(stream, start)
            text = stream.read(_TAIL_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    # a progress bar rewrites its line with carriage returns, which do not count as ends of lines
    lines = [line.rsplit("\r", 1)[-1] for line in text.removesuffix("\n").split("\n")]
    index = _index_of_cause(lines)
    if index is None:
        return None
    low = max(0, index - _BEFORE)
    return LogCause(
        path=path,
        line=skipped + index + 1,
        text=lines[index].strip()[:_MAX_LINE_LENGTH],
        first=skipped + low + 1,
        excerpt=tuple(line[:_MAX_LINE_LENGTH] for line in lines[low : index + _AFTER + 1]),
        problem=explain([lines[index]]).as_dict(),
    )


def _index_of_cause(lines: t.Sequence[str]) -> int | None:
    """Index of the first line that names an error, after the first traceback if there is one."""
    begin = next((number for number, line in enumerate(lines) if _TRACEBACK.match(line)), 0)
    for number in range(begin, len(lines)):
        line = lines[number].strip()
        if is_error_line(line) or (line and explain([line]).code not in _UNEXPLAINED):
            return number
    return None


def _count_lines(stream: t.BinaryIO, end: int) -> int:
    """Number of line ends before a position of a file; leaves the file there."""
    count, left = 0, end
    while left > 0:
        block = stream.read(min(left, 1 << 20))
        if not block:
            break
        count += block.count(b"\n")
        left -= len(block)
    return count
