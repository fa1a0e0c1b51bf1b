# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows out of JSON: a list of objects, or one object a line; decoded one by one, never the whole."""

from __future__ import annotations

import json
import re
import typing as t

from .problems import kind_of
from .source_text import BLANK, CHUNK, ROW_LIMIT, SAVE_AS_UTF8, Row, SourceFile, lines, not_utf8

_SPACE = re.compile(r"[ \t\r\n]*")


class _Repeated(ValueError):
    """An object that has a key twice."""


class _NotFinite(ValueError):
    """NaN or an infinity, which JSON does not have."""


def _pairs(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _item in pairs:
            if key in seen:
                raise _Repeated(key)
            seen.add(key)
    return value


def _constant(name: str) -> t.NoReturn:
    raise _NotFinite(name)


def _integer(text: str) -> t.Any:
    # Python refuses to read integers beyond some thousand digits, with an error that has no place in it
    return int(text) if len(text) < 400 else float(text)


_LENIENT = json.JSONDecoder(parse_int=_integer)
_STRICT = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_pairs, parse_constant=_constant)
#: The C scanner without the blanks around it; raises StopIteration where there is no value.
_scan: t.Callable[[str, int], tuple[t.Any, int]] = _LENIENT.scan_once  # type: ignore[attr-defined]
_scan_strictly: t.Callable[[str, int], tuple[t.Any, int]] = _STRICT.scan_once  # type: ignore[attr-defined]
_NOT_JSON = (StopIteration, ValueError, RecursionError)


def strictly(text: str, start: int) -> tuple[str, str, str] | None:
    """What a lenient reading passes over in the JSON value at ``start``: field, what, fix; None when it is fine."""
    try:
        _scan_strictly(text, start)
    except _Repeated as error:
        return str(error), "it is given twice in one object", "Keep one of them."
    except _NotFinite as error:
        return "", f"{error} is not a value of JSON", "Write text in quotes."
    except _NOT_JSON:
        return "", "it is not valid JSON", "Check quotes, commas and brackets."
    return None


def _why(error: BaseException, start: int) -> str:
    """A parser's complaint as a clause."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not valid JSON ({error.msg.lower()}, {error.pos - start + 1} characters into the row)"
    if isinstance(error, StopIteration):
        return f"it is not valid JSON (a value was expected {int(error.value) - start + 1} characters into the row)"
    return f"it is not valid JSON ({error})"


def read_lines(file: SourceFile) -> t.Iterator[Row]:
    """JSON lines: one object a line; blank lines are passed over."""
    row_number = 0
    for number, line, wrong in lines(file):
        if wrong:
            row_number += 1
            file.wrong(row_number, number, "", wrong, SAVE_AS_UTF8 if "UTF-8" in wrong else "Write one row a line.")
            continue
        start = 0
        try:
            row, end = _scan(line, 0)
        except _NOT_JSON as error:
            bare = line.strip(BLANK)
            if not bare:
                continue
            row_number += 1
            start = line.index(bare[0])
            try:
                row, end = _scan(line, start)
            except _NOT_JSON:
                file.wrong(row_number, number, "", _why(error, 0), _line_fix(bare, row_number))
                if row_number == 1 and bare in ("{", "["):
                    return  # the lines of an indented object: nothing that follows would be a row either
                continue
        else:
            row_number += 1
        if len(line) > ROW_LIMIT:
            file.wrong(row_number, number, "", f"the row is longer than {ROW_LIMIT} characters", "Split it.")
        elif end != len(line) and line[end:].strip(BLANK):
            file.wrong(row_number, number, "", f"something stands after the row: {kind_of(line[end:].strip(BLANK))}",
                       "Write one row a line.")  # fmt: skip
        else:
            yield row_number, number, row, line, start, end


def _line_fix(bare: str, row: int) -> str:
    if row == 1 and bare[0] == "{":
        return "A JSON file is a list of rows, [{…}, {…}], or one whole row a line."
    return "Check quotes, commas and brackets; one whole row a line."


class _Text:
    """A window over a file's text, for values that may be cut by the end of a piece."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.text = ""
        self.at = 0
        self.ended = False
        self.broken = ""
        self._tail = b""

    def more(self) -> bool:
        """Read on, at least as much as is waiting; False at the end."""
        if self.ended:
            return False
        data = self._tail + self.file.chunk(min(max(CHUNK, len(self.text) - self.at), 4 * CHUNK))
        self.ended = len(data) == len(self._tail)
        begin = self.file.offset - len(data)
        self._tail = b""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            text = data[: error.start].decode("utf-8")
            if not self.ended and len(data) - error.start < 4 and error.reason == "unexpected end of data":
                self._tail = data[error.start :]
            else:
                self.broken = not_utf8(error, begin)
                self.ended = True
        self.text = self.text[self.at :] + text
        self.at = 0
        return True

    def skip(self) -> str:
        """Pass over blanks; the character that follows, or nothing at the end."""
        while True:
            self.at = t.cast("re.Match[str]", _SPACE.match(self.text, self.at)).end()
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""


def read_list(file: SourceFile) -> t.Iterator[Row]:
    """One JSON list of objects, decoded row by row out of a sliding window."""
    text = _Text(file)
    text.skip()
    text.at += 1
    number = 0
    if text.skip() == "]":
        text.at += 1
    else:
        while True:
            number += 1
            found = _value(text, number)
            if found is None:
                return
            yield number, None, found[0], text.text, text.at, found[1]
            text.at = found[1]
            follows = text.skip()
            text.at += 1
            if follows == "]":
                break
            if follows != ",":
                what = text.broken or (
                    f"a comma or ] was expected after it, not {follows!r}" if follows else "the file ends in the list"
                )
                file.wrong(number, None, "", what, SAVE_AS_UTF8 if text.broken else "Check the end of the row.")
                return
            if text.skip() == "]":
                file.wrong(number, None, "", "a comma stands after the last row", "Remove it.")
                return
    if text.skip() or text.broken:
        file.wrong(number or None, None, "", text.broken or "something stands after the end of the list",
                   SAVE_AS_UTF8 if text.broken else "A JSON file is one list of rows.")  # fmt: skip


def _value(text: _Text, number: int) -> tuple[t.Any, int] | None:
    """The value at the window's place and its end; None when there is none, which has been noted."""
    while True:
        try:
            row, end = _scan(text.text, text.at)
        except _NOT_JSON as error:
            # kept no longer than this: the error holds the whole window
            final, what = _is_final(error, len(text.text)), _why(error, text.at)
        else:
            if end - text.at > ROW_LIMIT:
                text.file.wrong(number, None, "", f"the row is longer than {ROW_LIMIT} characters", "Split it.")
                return None
            # a number that touches the end of the window may go on behind it
            if end < len(text.text) or not text.more():
                return row, end
            continue
        length = len(text.text) - text.at
        if length > ROW_LIMIT:
            what = f"the row is longer than {ROW_LIMIT} characters, or its end is missing"
            text.file.wrong(number, None, "", what, "Check its quotes and brackets, or split it.")
            return None
        if final or not text.more():
            if text.broken:
                what = text.broken
            elif not length:
                what = "the file ends in the list"
            elif not final:
                what = f"the file ends in the row; {what}"
            text.file.wrong(
                number, None, "", what, SAVE_AS_UTF8 if text.broken else "Check quotes, commas and brackets."
            )
            return None


def _is_final(error: BaseException, length: int) -> bool:
    """Whether more text could not make it right."""
    if isinstance(error, RecursionError):
        return True
    if isinstance(error, json.JSONDecodeError):
        return not error.msg.startswith("Unterminated string") and error.pos < length - 16
    return isinstance(error, StopIteration) and int(error.value) < length - 16
