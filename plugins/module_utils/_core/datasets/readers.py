# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows from files: JSON lists, JSON lines and CSV. Files are streamed, so memory does not grow with their size.

A reader yields :data:`Row` and adds defects with file, row and line to :class:`Problems`. After a defective row it
continues if it can find the start of the next one; otherwise it stops.
"""

from __future__ import annotations

import csv
import os
import typing as t

from ..messages.message import Message
from .json_reader import read_lines, read_list
from .problems import Problems
from .source_text import BLANK, BYTE_ORDER_MARK, ROW_LIMIT, FileGrew, Row, SourceFile, lines
from .sources import Source, kind_of_file, refuse

#: Name of a column of a CSV that has none, by its number from 1.
UNNAMED_COLUMN = "column {}"
_QUOTE = ord('"')


class _CsvLines:
    """Lines for the csv module, with a limit per row: otherwise an open quote would consume the rest of the file."""

    def __init__(self, file: SourceFile) -> None:
        self.lines = lines(file)
        self.row_size = 0
        self.number = 0
        self.defect: Message | None = None

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        self.number, line, self.defect = next(self.lines)
        if "\0" in line:
            self.defect = Message("datasets.nul_in_csv")
        self.row_size += len(line) + 1
        if self.row_size > ROW_LIMIT:
            self.defect = Message("datasets.csv_row_too_long", limit=ROW_LIMIT)
        if self.defect:
            raise StopIteration
        return line + "\n"


def _separator(head: bytes) -> str:
    """The separator of a CSV: what stands most often in its header, outside of quotes; a comma if none does."""
    counts = dict.fromkeys(b",;\t", 0)
    quoted = False
    for byte in head.lstrip(b"\r\n"):
        if byte == _QUOTE:
            quoted = not quoted
        elif not quoted and byte in b"\r\n":
            break
        elif not quoted and byte in counts:
            counts[byte] += 1
    return chr(max(counts, key=lambda byte: counts[byte]))


class _Header:
    """The header of a CSV. A column without a name gets one, and has no effect unless a cell of it holds something."""

    def __init__(self, cells: t.Sequence[str], accept: t.Callable[[t.Sequence[str]], bool]) -> None:
        self.names = [cell.strip() or UNNAMED_COLUMN.format(number) for number, cell in enumerate(cells, 1)]
        self._unnamed = [index for index, cell in enumerate(cells) if not cell.strip()]
        self._accept = accept
        named = [name for index, name in enumerate(self.names) if index not in self._unnamed]
        self.accepted = accept(named or self.names)

    def row(self, cells: t.Sequence[str]) -> dict[str, str] | None:
        """The cells by name; None if the header is refused because of a column that has no name, and has a value."""
        if not self._unnamed:
            return dict(zip(self.names, cells))
        if any(cells[index] and not cells[index].isspace() for index in self._unnamed):
            self._unnamed = []
            return dict(zip(self.names, cells)) if self._accept(self.names) else None
        return {name: cell for index, (name, cell) in enumerate(zip(self.names, cells)) if index not in self._unnamed}


def _read_csv(file: SourceFile, accept_header: t.Callable[[t.Sequence[str]], bool]) -> t.Iterator[Row]:
    """CSV with a header, separated by commas, semicolons or tabs, quoted by double quotes (RFC 4180)."""
    csv.field_size_limit(max(csv.field_size_limit(), ROW_LIMIT))
    csv_lines = _CsvLines(file)
    rows = csv.reader(csv_lines, delimiter=_separator(file.head), strict=True)
    header: _Header | None = None
    number = 0
    while True:
        first_line_number = csv_lines.number + 1
        csv_lines.row_size = 0
        row = number + 1 if header is not None else None
        try:
            cells = next(rows, None)
        except csv.Error as error:
            if not csv_lines.defect:
                file.add_problem(row, first_line_number, "", Message("datasets.no_csv", reason=error))
                return
            cells = None
        if csv_lines.defect:
            file.add_problem(row, csv_lines.number, "", csv_lines.defect)
            return
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = _Header(cells, accept_header)
            if not header.accepted:
                return
            continue
        number += 1
        if cells[0].startswith(BYTE_ORDER_MARK):
            file.add_problem(number, first_line_number, header.names[0], Message("datasets.mark_inside"))
        elif len(cells) == len(header.names):
            row_of_cells = header.row(cells)
            if row_of_cells is None:
                return
            yield number, first_line_number, row_of_cells, None, 0, 0
        else:
            defect = Message("datasets.cells_differ", cells=len(cells), columns=len(header.names))
            file.add_problem(number, first_line_number, "", defect)


def read(source: Source, problems: Problems, accept_header: t.Callable[[t.Sequence[str]], bool]) -> t.Iterator[Row]:
    """The rows of a source.

    :param accept_header: checks the header of a CSV, records its defects and returns whether it is valid.
    :raises InputError: if the file cannot be opened, or changes while it is read.
    """
    if source.records is not None:
        for number, row in enumerate(source.records, 1):
            yield number, None, row, None, 0, 0
        return
    kind = source.kind or kind_of_file(source.label)
    changed = False
    with source.open() as stream:
        opened = os.fstat(stream.fileno())
        file = SourceFile(source.label, stream, problems, opened.st_size)
        if not file.encoding():
            return
        try:
            if kind == "csv":
                yield from _read_csv(file, accept_header)
            elif file.head.lstrip(BLANK.encode())[:1] == b"[":
                yield from read_list(file)
            else:
                yield from read_lines(file)
        except FileGrew:
            changed = True
        closed = os.fstat(stream.fileno())
    if changed or (opened.st_size, opened.st_mtime_ns) != (closed.st_size, closed.st_mtime_ns):
        raise refuse(source.label, Message("datasets.changed_meanwhile"))
