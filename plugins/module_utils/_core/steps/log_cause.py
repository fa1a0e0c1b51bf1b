# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the first cause of a failure in the log of a job.

What a log ends with is often only what followed: torchrun reports that a process has ended, and Python that another
error occurred while the first was handled. So the message of a failure comes from its first cause, too
(:func:`problem_in`).
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from ..messages.message import Message
from .tool_errors import explain, is_error_line

#: Bytes that are read from the end of a log. The first cause of a failure is near it: what came before had not failed.
_TAIL_BYTES = 256 * 1024
#: Lines before and after the cause that :class:`LogCause` has.
_BEFORE, _AFTER = 12, 4
#: What torchrun puts before the lines of a process, and the first line of a traceback without it.
_RANK = re.compile(r"^\[rank\d+\]: ?")
_TRACEBACK = re.compile(r"^\W*Traceback \(most recent call last\):")
#: How a line begins that its program does not take for an error: in the formats of logging, LLaMA-Factory and torchrun.
_NO_ERROR = re.compile(r"^\[?(?:WARNING|INFO|DEBUG)\b|^[WI]\d{4} ")
#: How a line begins with which the programs of llama.cpp report an error.
_LLAMA_CPP = re.compile(r"^[\d.]+ E |^llama_\w+: (?:failed|invalid|error)")
#: The class of an exception, and its message.
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?::.*)?$")
#: Lines between two exceptions of which one led to the other (Python's traceback module). The second one, raised while
#: the first was handled, usually says more, unless it was raised from the first.
_HANDLING = "During handling of the above exception, another exception occurred:"
_DIRECT = "The above exception was the direct cause of the following exception:"
_MAX_LINE_LENGTH = 400
#: Codes of :func:`explain` for a line that it has no explanation of.
_UNEXPLAINED = ("steps.last_line", "steps.nothing_written", "steps.no_output")


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

    It is the error of the first traceback, or the first line that is known to report a failure.
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


def problem_in(log_tail: t.Sequence[str], cause: LogCause | None, explained: Message) -> Message:
    """Return the message for a command that failed.

    :param log_tail: the last lines of its log.
    :param cause: the first cause in its log.
    :param explained: what its step says of the last lines; it counts where the first cause is not known.
    """
    if cause is None or not log_tail:
        return explained
    first = Message.from_stored(cause.problem)
    return first if first.code not in _UNEXPLAINED or explained.code in _UNEXPLAINED else explained


def _index_of_cause(lines: t.Sequence[str]) -> int | None:
    """Index of the line with the first cause: of the first traceback if there is one, else of a known failure."""
    begin = next((number for number, line in enumerate(lines) if _TRACEBACK.match(_RANK.sub("", line))), None)
    if begin is not None:
        found = _error_of_traceback(lines, begin)
        if found is not None:
            return found
    for number in range(begin or 0, len(lines)):
        line = lines[number].strip()
        if is_error_line(line) or _LLAMA_CPP.match(line) or (line and not _NO_ERROR.match(line) and _is_known(line)):
            return number
    return None


def _error_of_traceback(lines: t.Sequence[str], begin: int) -> int | None:
    """Index of the line with the error of a traceback, or of one that led to it or followed from it.

    It is the first one that has an explanation. Without any, it is the last error, or the first of those that were
    raised from each other.

    :param begin: index of the first line of the traceback.
    """
    rank = _rank_of(lines[begin])
    errors: list[int] = []
    is_inside = is_linked = is_settled = False
    for number in range(begin, len(lines)):
        if _rank_of(lines[number]) != rank:  # the lines of the processes of a training are mixed
            continue
        line = _RANK.sub("", lines[number])
        if _TRACEBACK.match(line):
            if errors and not is_linked:
                break  # another failure
            is_inside = True
        elif is_inside and _EXCEPTION.match(line):
            if not is_settled:
                errors.append(number)
            is_inside = is_linked = False
            if _is_known(lines[number].strip()):
                return number
        elif line.startswith((_HANDLING, _DIRECT)):
            is_linked, is_settled = True, is_settled or line.startswith(_DIRECT)
    return errors[-1] if errors else None


def _rank_of(line: str) -> str:
    found = _RANK.match(line)
    return found[0] if found else ""


def _is_known(line: str) -> bool:
    """Whether a line has an explanation."""
    return explain([line]).code not in _UNEXPLAINED


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
