# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source's bytes in pieces and its lines, with a place to complain about them."""

from __future__ import annotations

import typing as t

from .problems import Problem, Problems

#: Largest row and largest line, in characters (and bytes, where bytes are counted): more is a mistake, not a prompt.
ROW_LIMIT = 16 * 1024 * 1024
#: Bytes read at once.
CHUNK = 1024 * 1024
#: What JSON takes for blank.
BLANK = " \t\r\n"
#: What to do about a wrong encoding.
SAVE_AS_UTF8 = "Save the file as UTF-8 without a byte order mark."

_MARKS = {b"\xef\xbb\xbf": "UTF-8 with a byte order mark", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

#: Row number from 1, line number from 1 (None where there are no lines), the row, and the text it was read from with
#: its span (None where it was not JSON). The span lets a caller see what a dict no longer shows: a key given twice.
Row = tuple[int, t.Optional[int], t.Any, t.Optional[str], int, int]


class Grown(Exception):
    """There is more of a file than there was when it was opened."""


class SourceFile:
    """One source being read: its bytes in pieces, and a place to complain.

    :param size: bytes that are in it.
    """

    def __init__(self, label: str, stream: t.BinaryIO, problems: Problems, size: int) -> None:
        self.label = label
        self.size = size
        self.stream = stream
        self.problems = problems
        self.head = stream.read(CHUNK)
        self.offset = 0

    def chunk(self, size: int = CHUNK) -> bytes:
        """The next bytes; empty at the end."""
        data, self.head = self.head or self.stream.read(size), b""
        self.offset += len(data)
        if self.offset > self.size:  # somebody writes to it, perhaps without end
            raise Grown
        return data

    def wrong(self, row: int | None, line: int | None, field: str, what: str, fix: str) -> None:
        self.problems.add(Problem(self.label, row, line, field, what, fix))

    def encoding(self) -> bool:
        """Whether the beginning looks like UTF-8 without a mark."""
        for mark, name in _MARKS.items():
            if self.head.startswith(mark):
                self.wrong(1, 1, "", f"the file is {name}", SAVE_AS_UTF8)
                return False
        if b"\0" in self.head[:4]:
            self.wrong(1, 1, "", "the file is UTF-16, UTF-32 or not text at all", SAVE_AS_UTF8)
            return False
        return True


def not_utf8(error: UnicodeDecodeError, offset: int) -> str:
    """The complaint about a byte; ``offset`` is the place in the file of what was decoded."""
    return f"byte 0x{error.object[error.start]:02x} at offset {offset + error.start} is not UTF-8 ({error.reason})"


def lines(file: SourceFile) -> t.Iterator[tuple[int, str, str]]:
    """Lines without their end: number from 1, text, and what is wrong with it (empty mostly; there is no text then)."""
    number = 0
    rest = b""
    while True:
        data = file.chunk()
        block = rest + data
        cut = block.rfind(b"\n") + 1 if data else len(block)
        if not cut:
            if not data:
                return
            if len(block) > ROW_LIMIT:
                yield number + 1, "", f"the line is longer than {ROW_LIMIT} bytes"
                return
            rest = block
            continue
        rest = block[cut:]
        try:
            found = block[:cut].decode("utf-8").split("\n")
        except UnicodeDecodeError:
            for complaint in _line_by_line(block[:cut], file.offset - len(block), number):
                number = complaint[0]
                yield complaint
        else:
            if data:
                found.pop()  # what stands after the last newline: nothing
            for text in found:
                number += 1
                yield number, text, ""
        if not data:
            return


def _line_by_line(block: bytes, offset: int, number: int) -> t.Iterator[tuple[int, str, str]]:
    """The lines of a block that holds something else than UTF-8."""
    found = block.split(b"\n")
    if not found[-1]:
        found.pop()
    for raw in found:
        number += 1
        try:
            yield number, raw.decode("utf-8"), ""
        except UnicodeDecodeError as error:
            yield number, "", not_utf8(error, offset)
        offset += len(raw) + 1
