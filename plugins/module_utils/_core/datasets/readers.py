# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows out of files: JSON lists, JSON lines and CSV, streamed, so that memory stays flat however many rows there are.

A reader yields :data:`Row` and notes in :class:`Problems` what is wrong, with file, row and line. It goes on after a
row that is wrong where it can tell where the next one begins, and stops where it cannot.
"""

from __future__ import annotations

import csv
import os
import typing as t

from .json_reader import read_lines, read_list
from .problems import Problems
from .source_text import BLANK, ROW_LIMIT, SAVE_AS_UTF8, Grown, Row, SourceFile, lines
from .sources import Source, kind_of_file, open_file, refuse


class _CsvLines:
    """Lines for the csv module, with a bound on what one row may take: an open quote would swallow the whole file."""

    def __init__(self, file: SourceFile) -> None:
        self.lines = lines(file)
        self.row_size = 0
        self.number = 0
        self.wrong = ""

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        self.number, line, self.wrong = next(self.lines)
        if "\0" in line:
            self.wrong = "it holds a NUL character"
        self.row_size += len(line) + 1
        if self.row_size > ROW_LIMIT:
            self.wrong = f"the row is longer than {ROW_LIMIT} characters; a quote that is never closed may be why"
        if self.wrong:
            raise StopIteration
        return line + "\n"


def _read_csv(file: SourceFile, header_is_fine: t.Callable[[t.Sequence[str]], bool]) -> t.Iterator[Row]:
    """CSV with a header, separated by commas, semicolons or tabs, quoted by double quotes (RFC 4180)."""
    csv.field_size_limit(max(csv.field_size_limit(), ROW_LIMIT))
    text = _CsvLines(file)
    first_line = file.head.split(b"\n", 1)[0]
    separator = max(",;\t", key=lambda sign: first_line.count(sign.encode()))
    rows = csv.reader(text, delimiter=separator, strict=True)
    header: list[str] = []
    number = 0
    while True:
        begin = text.number + 1
        text.row_size = 0
        row = number + 1 if header else None
        try:
            cells = next(rows, None)
        except csv.Error as error:
            if not text.wrong:
                file.wrong(row, begin, "", f"it is not valid CSV ({error})",
                           'Put a cell with quotes or line breaks in "…", and write " in it as "".')  # fmt: skip
                return
            cells = None
        if text.wrong:
            file.wrong(row, text.number, "", text.wrong, SAVE_AS_UTF8 if "UTF-8" in text.wrong else "Correct it.")
            return
        if cells is None:
            return
        if not cells:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            if not header_is_fine(header):
                return
            continue
        number += 1
        if len(cells) == len(header):
            yield number, begin, dict(zip(header, cells)), None, 0, 0
        else:
            file.wrong(number, begin, "", f"it has {len(cells)} cells, and the header has {len(header)}",
                       'Put cells that hold a separator in "…".')  # fmt: skip


def read(source: Source, problems: Problems, header_is_fine: t.Callable[[t.Sequence[str]], bool]) -> t.Iterator[Row]:
    """The rows of a source.

    :param header_is_fine: looks at the header of a CSV and notes what is wrong with it.
    :raises InputError: when the file cannot be opened, or changes while it is read.
    """
    if source.records is not None:
        for number, row in enumerate(source.records, 1):
            yield number, None, row, None, 0, 0
        return
    kind = source.kind or kind_of_file(source.label)
    changed = False
    with open_file(source.path, source.label) as stream:
        before = os.fstat(stream.fileno())
        file = SourceFile(source.label, stream, problems, before.st_size)
        if not file.encoding():
            return
        try:
            if kind == "csv":
                yield from _read_csv(file, header_is_fine)
            elif file.head.lstrip(BLANK.encode())[:1] == b"[":
                yield from read_list(file)
            else:
                yield from read_lines(file)
        except Grown:
            changed = True
        after = os.fstat(stream.fileno())
    if changed or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise refuse(source.label, "it was changed while it was read", "Run again once nobody writes to it.")
