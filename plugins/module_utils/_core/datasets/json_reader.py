# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows from JSON: a list of objects, or one object per line. Rows are decoded one by one to bound memory."""

from __future__ import annotations

import json
import re
import typing as t

from .problems import kind_of
from .source_text import BLANK, CHUNK, ROW_LIMIT, SAVE_AS_UTF8, Row, SourceFile, lines, not_utf8

#: White space of JSON (RFC 8259).
SPACE = re.compile(r"[ \t\r\n]*")


class _Repeated(ValueError):
    """An object that contains a key twice."""


class _NotFinite(ValueError):
    """NaN or an infinity, which are not valid JSON."""


def _unique_keys(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys: set[str] = set()
        for key, _item in pairs:
            if key in keys:
                raise _Repeated(key)
            keys.add(key)
    return value


def _refuse_constant(name: str) -> t.NoReturn:
    raise _NotFinite(name)


def _integer(text: str) -> t.Any:
    # int() refuses numbers of more than some thousand digits with an error that has no position
    return int(text) if len(text) < 400 else float(text)


_LENIENT = json.JSONDecoder(parse_int=_integer)
_STRICT = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
#: The C scanner, which does not accept surrounding whitespace; raises StopIteration where there is no value.
_scan: t.Callable[[str, int], tuple[t.Any, int]] = _LENIENT.scan_once  # type: ignore[attr-defined]
_scan_strict: t.Callable[[str, int], tuple[t.Any, int]] = _STRICT.scan_once  # type: ignore[attr-defined]
_NOT_JSON = (StopIteration, ValueError, RecursionError)


def strict_fault(text: str, start: int) -> tuple[str, str, str] | None:
    """The defect in the JSON value at ``start`` that lenient parsing ignores: field, defect, fix; None if valid."""
    try:
        _scan_strict(text, start)
    except _Repeated as error:
        return str(error), "it is given twice in one object", "Keep one of them."
    except _NotFinite as error:
        return "", f"{error} is not a value of JSON", "Write text in quotes."
    except _NOT_JSON:
        return "", "it is not valid JSON", "Check quotes, commas and brackets."
    return None


def _describe_error(error: BaseException, start: int) -> str:
    """A parser's error as a clause."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not valid JSON ({error.msg.lower()}, {error.pos - start + 1} characters into the row)"
    if isinstance(error, StopIteration):
        return f"it is not valid JSON (a value was expected {int(error.value) - start + 1} characters into the row)"
    return f"it is not valid JSON ({error})"


def read_lines(file: SourceFile) -> t.Iterator[Row]:
    """JSON lines: one object per line; blank lines are skipped."""
    row_number = 0
    for number, line, defect in lines(file):
        if defect:
            row_number += 1
            fix = SAVE_AS_UTF8 if "UTF-8" in defect else "Write one row a line."
            file.add_problem(row_number, number, "", defect, fix)
            continue
        start = 0
        try:
            row, end = _scan(line, 0)
        except _NOT_JSON as error:
            stripped = line.strip(BLANK)
            if not stripped:
                continue
            row_number += 1
            start = line.index(stripped[0])
            try:
                row, end = _scan(line, start)
            except _NOT_JSON:
                file.add_problem(row_number, number, "", _describe_error(error, 0), _line_fix(stripped, row_number))
                if row_number == 1 and stripped in ("{", "["):
                    return  # the lines of an indented object: no later line is a row either
                continue
        else:
            row_number += 1
        if len(line) > ROW_LIMIT:
            file.add_problem(row_number, number, "", f"the row is longer than {ROW_LIMIT} characters", "Split it.")
        elif end != len(line) and line[end:].strip(BLANK):
            rest = kind_of(line[end:].strip(BLANK))
            file.add_problem(row_number, number, "", f"something stands after the row: {rest}", "Write one row a line.")
        else:
            yield row_number, number, row, line, start, end


def _line_fix(stripped: str, row: int) -> str:
    if row == 1 and stripped[0] == "{":
        return "A JSON file is a list of rows, [{…}, {…}], or one complete row per line."
    return "Check quotes, commas and brackets; one complete row per line."


class _Window:
    """A sliding window over a file's text, for values that cross the end of a chunk."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.text = ""
        self.position = 0
        self.at_end = False
        self.defect = ""
        self._tail = b""

    def read_more(self) -> bool:
        """Read at least as much text as is still unparsed; False at the end of the file."""
        if self.at_end:
            return False
        data = self._tail + self.file.chunk(min(max(CHUNK, len(self.text) - self.position), 4 * CHUNK))
        self.at_end = len(data) == len(self._tail)
        offset = self.file.offset - len(data)
        self._tail = b""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            text = data[: error.start].decode("utf-8")
            if not self.at_end and len(data) - error.start < 4 and error.reason == "unexpected end of data":
                self._tail = data[error.start :]
            else:
                self.defect = not_utf8(error, offset)
                self.at_end = True
        self.text = self.text[self.position :] + text
        self.position = 0
        return True

    def skip(self) -> str:
        """Skip whitespace; returns the next character, or an empty string at the end."""
        while True:
            self.position = t.cast("re.Match[str]", SPACE.match(self.text, self.position)).end()
            if self.position < len(self.text):
                return self.text[self.position]
            if not self.read_more():
                return ""


def read_list(file: SourceFile) -> t.Iterator[Row]:
    """One JSON list of objects, decoded row by row from a sliding window."""
    window = _Window(file)
    window.skip()
    window.position += 1
    number = 0
    if window.skip() == "]":
        window.position += 1
    else:
        while True:
            number += 1
            value = _next_value(window, number)
            if value is None:
                return
            yield number, None, value[0], window.text, window.position, value[1]
            window.position = value[1]
            separator = window.skip()
            window.position += 1
            if separator == "]":
                break
            if separator != ",":
                defect = window.defect or (
                    f"a comma or ] was expected after it, not {separator!r}"
                    if separator
                    else "the file ends in the list"
                )
                file.add_problem(
                    number, None, "", defect, SAVE_AS_UTF8 if window.defect else "Check the end of the row."
                )
                return
            if window.skip() == "]":
                file.add_problem(number, None, "", "a comma stands after the last row", "Remove it.")
                return
    if window.skip() or window.defect:
        defect = window.defect or "something stands after the end of the list"
        fix = SAVE_AS_UTF8 if window.defect else "A JSON file is one list of rows."
        file.add_problem(number or None, None, "", defect, fix)


def _next_value(window: _Window, number: int) -> tuple[t.Any, int] | None:
    """The value at the window's position and its end; None if it is invalid, after the problem was recorded."""
    while True:
        try:
            row, end = _scan(window.text, window.position)
        except _NOT_JSON as error:
            # the error is not stored: it references the whole window
            unrecoverable, defect = _is_unrecoverable(error, len(window.text)), _describe_error(error, window.position)
        else:
            if end - window.position > ROW_LIMIT:
                window.file.add_problem(number, None, "", f"the row is longer than {ROW_LIMIT} characters", "Split it.")
                return None
            # a number at the end of the window may continue in the next chunk
            if end < len(window.text) or not window.read_more():
                return row, end
            continue
        length = len(window.text) - window.position
        if length > ROW_LIMIT:
            defect = f"the row is longer than {ROW_LIMIT} characters, or its end is missing"
            window.file.add_problem(number, None, "", defect, "Check its quotes and brackets, or split it.")
            return None
        if unrecoverable or not window.read_more():
            if window.defect:
                defect = window.defect
            elif not length:
                defect = "the file ends in the list"
            elif not unrecoverable:
                defect = f"the file ends in the row; {defect}"
            window.file.add_problem(
                number, None, "", defect, SAVE_AS_UTF8 if window.defect else "Check quotes, commas and brackets."
            )
            return None


def _is_unrecoverable(error: BaseException, length: int) -> bool:
    """Whether the value stays invalid even with more text."""
    if isinstance(error, RecursionError):
        return True
    if isinstance(error, json.JSONDecodeError):
        return not error.msg.startswith("Unterminated string") and error.pos < length - 16
    return isinstance(error, StopIteration) and int(error.value) < length - 16
