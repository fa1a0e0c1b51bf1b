# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a source in chunks and lines, and collects its problems."""

from __future__ import annotations

import typing as t

from ..messages.message import Message
from .problems import Problem, Problems

#: Largest row and largest line, in characters (or bytes): a longer one is a mistake, not a prompt.
ROW_LIMIT = 16 * 1024 * 1024
#: Bytes per read.
CHUNK = 1024 * 1024
#: Whitespace in JSON.
BLANK = " \t\r\n"

#: U+FEFF: in front of a file, and where files that began with one were joined.
BYTE_ORDER_MARK = "\ufeff"
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "UTF-8 with a byte order mark", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

#: Row number from 1, line number from 1 (None for sources without lines), the row, and the JSON text it was read from
#: with its span (None if it was not JSON). The span reveals what a dict cannot show: a key that occurs twice.
Row = tuple[int, t.Optional[int], t.Any, t.Optional[str], int, int]


class FileGrew(Exception):
    """The file is larger than it was when it was opened."""


class SourceFile:
    """A source that is being read.

    :param size: size in bytes when it was opened.
    """

    def __init__(self, label: str, stream: t.BinaryIO, problems: Problems, size: int) -> None:
        self.label = label
        self.size = size
        self.stream = stream
        self.problems = problems
        self.head = stream.read(CHUNK)
        #: what the file begins with, to describe a defect
        self.beginning = self.head[:4096]
        self.offset = 0

    def chunk(self, size: int = CHUNK) -> bytes:
        """The next bytes; empty at the end."""
        data, self.head = self.head or self.stream.read(size), b""
        self.offset += len(data)
        if self.offset > self.size:  # another process writes to it, perhaps without end
            raise FileGrew
        return data

    def add_problem(self, row: int | None, line: int | None, field: str, defect: Message) -> None:
        self.problems.add(Problem(self.label, row, line, field, defect))

    def encoding(self) -> bool:
        """Whether the beginning looks like UTF-8 without a byte order mark."""
        for mark, name in _BYTE_ORDER_MARKS.items():
            if self.head.startswith(mark):
                self.add_problem(1, 1, "", Message("datasets.other_encoding", encoding=name))
                return False
        if b"\0" in self.head[:4]:
            self.add_problem(1, 1, "", Message("datasets.no_text_file"))
            return False
        return True


def not_utf8(error: UnicodeDecodeError, offset: int) -> Message:
    """The defect of an invalid byte; ``offset`` is the file offset of the decoded block."""
    byte = f"0x{error.object[error.start]:02x}"
    return Message("datasets.not_utf8", byte=byte, offset=offset + error.start, reason=error.reason)


def lines(file: SourceFile) -> t.Iterator[tuple[int, str, Message | None]]:
    """Lines without line end: number from 1, text, and its defect (usually None; if not, there is no text)."""
    number = 0
    rest = b""
    while True:
        data = file.chunk()
        block = rest + data
        complete = block.rfind(b"\n") + 1 if data else len(block)
        if not complete:
            if not data:
                return
            if len(block) > ROW_LIMIT:
                yield number + 1, "", Message("datasets.line_too_long", limit=ROW_LIMIT)
                return
            rest = block
            continue
        rest = block[complete:]
        try:
            texts = block[:complete].decode("utf-8").split("\n")
        except UnicodeDecodeError:
            for line in _line_by_line(block[:complete], file.offset - len(block), number):
                number = line[0]
                yield line
        else:
            if data:
                texts.pop()  # the empty string after the last newline
            for text in texts:
                number += 1
                yield number, text, None
        if not data:
            return


def _line_by_line(block: bytes, offset: int, number: int) -> t.Iterator[tuple[int, str, Message | None]]:
    """The lines of a block that contains invalid UTF-8."""
    raw_lines = block.split(b"\n")
    if not raw_lines[-1]:
        raw_lines.pop()
    for raw in raw_lines:
        number += 1
        try:
            yield number, raw.decode("utf-8"), None
        except UnicodeDecodeError as error:
            yield number, "", not_utf8(error, offset)
        offset += len(raw) + 1
