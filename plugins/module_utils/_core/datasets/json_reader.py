# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows from JSON: a list of objects, or one object per line. Rows are decoded one by one to bound memory."""

from __future__ import annotations

import json
import math
import re
import typing as t

from ..messages.message import Message
from .problems import kind_of
from .rules.unread_fields import is_field_of_rows
from .source_text import BLANK, BYTE_ORDER_MARK, CHUNK, ROW_LIMIT, Row, SourceFile, lines, not_utf8

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
#: As strict about keys, but not about NaN.
_UNIQUE = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_unique_keys)
#: The C scanner, which does not accept surrounding whitespace; raises StopIteration where there is no value.
_scan: t.Callable[[str, int], tuple[t.Any, int]] = _LENIENT.scan_once  # type: ignore[attr-defined]
_scan_strict: t.Callable[[str, int], tuple[t.Any, int]] = _STRICT.scan_once  # type: ignore[attr-defined]
_scan_unique: t.Callable[[str, int], tuple[t.Any, int]] = _UNIQUE.scan_once  # type: ignore[attr-defined]
_NOT_JSON = (StopIteration, ValueError, RecursionError)


def strict_fault(text: str, start: int, row: t.Any, ignored: t.Container[t.Any] = ()) -> tuple[str, Message] | None:
    """The defect in the JSON value at ``start`` that lenient parsing ignores, with its field; None if valid.

    :param row: the value as lenient parsing reads it.
    :param ignored: fields of the row that are left out: NaN does no harm there.
    """
    try:
        try:
            _scan_strict(text, start)
        except _NotFinite as error:
            kept = {name: value for name, value in row.items() if name not in ignored} if isinstance(row, dict) else row
            place = _place_of_constant(kept, "")
            if place is not None:
                return place, Message("datasets.no_json_value", value=error)
            _scan_unique(text, start)
    except _Repeated as error:
        return str(error), Message("datasets.key_given_twice")
    except _NOT_JSON:
        return "", Message("datasets.no_json")
    return None


def _place_of_constant(value: t.Any, place: str) -> str | None:
    """The place of the first NaN or infinity in a value (``turns[1].weight``); None if there is none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else place
    items: t.Iterable[tuple[str, t.Any]] = ()
    if isinstance(value, dict):
        items = ((f"{place}.{name}" if place else str(name), item) for name, item in value.items())
    elif isinstance(value, list):
        items = ((f"{place}[{index}]", item) for index, item in enumerate(value))
    return next((found for name, item in items if (found := _place_of_constant(item, name)) is not None), None)


def _describe_error(error: BaseException, text: str, start: int) -> Message:
    """A parser's error as a clause.

    :param text: the parsed text; :param start: position of the value in it.
    """
    if text.startswith(BYTE_ORDER_MARK, start):
        return Message("datasets.mark_inside")
    if isinstance(error, RecursionError):
        return Message("datasets.nested_too_deeply")
    if isinstance(error, json.JSONDecodeError):
        return Message("datasets.no_json_at", reason=error.msg.lower(), position=error.pos - start + 1)
    if isinstance(error, StopIteration):
        return Message("datasets.value_expected", position=int(error.value) - start + 1)
    return Message("datasets.no_json_because", reason=error)


def read_lines(file: SourceFile) -> t.Iterator[Row]:
    """JSON lines: one object per line; blank lines are skipped."""
    row_number = 0
    for number, line, defect in lines(file):
        if defect:
            row_number += 1
            file.add_problem(row_number, number, "", defect)
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
                file.add_problem(row_number, number, *_line_fault(file, error, line, start, row_number))
                if row_number == 1 and stripped in ("{", "["):
                    return  # the lines of an indented object: no later line is a row either
                continue
        else:
            row_number += 1
        if len(line) > ROW_LIMIT:
            file.add_problem(row_number, number, "", Message("datasets.row_too_long", limit=ROW_LIMIT))
        elif end != len(line) and line[end:].strip(BLANK):
            rest = kind_of(line[end:].strip(BLANK))
            file.add_problem(row_number, number, "", Message("datasets.more_after_row", rest=rest))
        else:
            yield row_number, number, row, line, start, end


#: The beginning of a list of objects in a field, and the first field of the first of them.
_FIELD_OF_OBJECTS = re.compile(rb'"([^"\\]+)"\s*:\s*\[\s*\{\s*"([^"\\]*)"')


def _line_fault(file: SourceFile, error: BaseException, line: str, start: int, row: int) -> tuple[str, Message]:
    """The field and the defect of a line that is not JSON; ``start`` is its first character that is no blank."""
    problem = _describe_error(error, line, start)
    if problem.code == "datasets.mark_inside":
        return "", problem
    if row == 1 and line[start] == "{":
        inside = _FIELD_OF_OBJECTS.search(file.beginning)
        name, first_field = (part.decode("utf-8", "replace") for part in inside.groups()) if inside else ("", "")
        if is_field_of_rows(name, {first_field: ""}):
            return name, Message("datasets.rows_in_field", field=name)
        return "", Message("datasets.defect", problem=problem, fix=Message("datasets.forms_of_json"))
    return "", Message("datasets.defect", problem=problem, fix=Message("datasets.check_line"))


class _Window:
    """A sliding window over a file's text, for values that cross the end of a chunk."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.text = ""
        self.position = 0
        self.at_end = False
        self.defect: Message | None = None
        self._tail = b""
        self._line, self._counted = 1, 0  # line of the file at a position that lies before all that is asked for

    def line(self, position: int | None = None) -> int:
        """The line of the file, from 1, at a position that is not before the window's; by default at that one."""
        self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line + (0 if position is None else self.text.count("\n", self.position, position))

    def read_more(self) -> bool:
        """Read at least as much text as is still unparsed; False at the end of the file."""
        if self.at_end:
            return False
        self.line()
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
        self.position = self._counted = 0
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
            yield number, window.line(), value[0], window.text, window.position, value[1]
            window.position = value[1]
            separator = window.skip()
            line = window.line()
            window.position += 1
            if separator == "]":
                break
            if separator != ",":
                end = Message("datasets.ends_after_row")
                if separator:
                    end = Message("datasets.comma_expected", character=separator)
                if separator == BYTE_ORDER_MARK:
                    end = Message("datasets.mark_inside")
                file.add_problem(number, line, "", window.defect or end)
                return
            if window.skip() == "]":
                file.add_problem(number, line, "", Message("datasets.comma_after_last"))
                return
    after = window.skip()
    if after or window.defect:
        end = Message("datasets.mark_inside" if after == BYTE_ORDER_MARK else "datasets.more_after_list")
        file.add_problem(number or None, window.line(), "", window.defect or end)


def _next_value(window: _Window, number: int) -> tuple[t.Any, int] | None:
    """The value at the window's position and its end; None if it is invalid, after the problem was recorded."""
    line: int | None = None
    is_cut = False
    while True:
        try:
            row, end = _scan(window.text, window.position)
        except _NOT_JSON as error:
            # the error is not stored: it references the whole window
            unrecoverable = _is_unrecoverable(error, len(window.text))
            is_cut = _is_cut(error, window.text)
            defect, line = _describe_error(error, window.text, window.position), window.line(_position_of(error))
        else:
            if end - window.position > ROW_LIMIT:
                defect = Message("datasets.row_too_long", limit=ROW_LIMIT)
                window.file.add_problem(number, window.line(), "", defect)
                return None
            # a number at the end of the window may continue in the next chunk
            if end < len(window.text) or not window.read_more():
                return row, end
            continue
        length = len(window.text) - window.position
        if length > ROW_LIMIT:
            window.file.add_problem(number, window.line(), "", Message("datasets.row_without_end", limit=ROW_LIMIT))
            return None
        if unrecoverable or not window.read_more():
            if not length:
                defect = Message("datasets.ends_in_list")
            elif is_cut:
                defect = Message("datasets.ends_in_row", problem=defect)
            if defect.code != "datasets.mark_inside":
                defect = Message("datasets.defect", problem=defect, fix=Message("datasets.check_json"))
            window.file.add_problem(number, line, "", window.defect or defect)
            return None


def _position_of(error: BaseException) -> int | None:
    """The position of a parser's error in the text; None if it has none."""
    if isinstance(error, json.JSONDecodeError):
        return error.pos
    return int(error.value) if isinstance(error, StopIteration) else None


def _is_cut(error: BaseException, text: str) -> bool:
    """Whether the text ends where the parser needs more of it."""
    if isinstance(error, json.JSONDecodeError) and error.msg.startswith("Unterminated string"):
        return True
    position = _position_of(error)
    return position is not None and position >= len(text.rstrip())


def _is_unrecoverable(error: BaseException, length: int) -> bool:
    """Whether the value stays invalid even with more text."""
    if isinstance(error, RecursionError):
        return True
    if isinstance(error, json.JSONDecodeError):
        return not error.msg.startswith("Unterminated string") and error.pos < length - 16
    return isinstance(error, StopIteration) and int(error.value) < length - 16
