# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Valid rows whose texts are probably not what was meant: answers that show nothing, texts that are in a chat format
already, and placeholders that were not filled in.

Chunks of published rows are searched for a few byte sequences; only rows that contain one are decoded.
"""

from __future__ import annotations

import json
import re
import typing as t
import unicodedata

#: Maximum number of rows that are named, of each kind.
SHOWN = 10
#: Answers of characters that show nothing; texts with markers of a chat format; texts with ``{{…}}``.
INVISIBLE, FORMATTED, UNFILLED = "invisible", "formatted", "unfilled"

#: Letters that show nothing: fillers of Hangul, the blank Braille pattern.
_BLANK_LETTERS = "\u115f\u1160\u3164\uffa0\u2800\u034f"
_INVISIBLE_CATEGORIES = ("Cf", "Cc", "Zs", "Zl", "Zp")
#: Byte sequences by a byte that all of them contain. Where that byte is missing, which is found out quickly, they are
#: not searched.
_Sequences = dict[bytes, tuple[bytes, ...]]
#: What UTF-8 of such characters begins with: soft hyphen, joiner of graphemes, U+115F and U+1160, U+180E, U+200B to
#: U+200F, U+2060 to U+2064, U+2800, U+3164, U+FEFF, U+FFA0.
_INVISIBLE_BYTES: _Sequences = {
    b"\xc2": (b"\xc2\xad",),
    b"\xcd": (b"\xcd\x8f",),
    b"\xe1": (b"\xe1\x85", b"\xe1\xa0\x8e"),
    b"\xe2": (
        *(b"\xe2\x80\x8b", b"\xe2\x80\x8c", b"\xe2\x80\x8d", b"\xe2\x80\x8e", b"\xe2\x80\x8f", b"\xe2\x81"),
        b"\xe2\xa0\x80",
    ),
    b"\xe3": (b"\xe3\x85\xa4",),
    b"\xef": (b"\xef\xbb\xbf", b"\xef\xbe\xa0"),
}
_FORMATTED_BYTES: _Sequences = {
    b">": (b"|>", b"_of_turn>", b"<SYS>>"),
    b"\xef": ("<｜".encode(),),
    b"]": (b"INST]",),
    b"#": (b"### Response:", b"### Instruction:"),
    b":": (b"Assistant:",),
}
_UNFILLED_BYTES: _Sequences = {b"{": (b"{{",)}
#: Markers of ChatML, Llama 2 and 3, Gemma, DeepSeek and others; headings of Alpaca and others at the start of a line.
_FORMATTED = re.compile(
    r"<\|[A-Za-z][\w.-]{1,40}\|>|<｜[^｜<>]{1,40}｜>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|^### (?:Instruction|Response):|^(?:Human|User): .*^Assistant: ",
    re.MULTILINE | re.DOTALL,
)
_UNFILLED = re.compile(r"\{\{[^{}\n]{0,200}\}\}")
_ANSWERS = ("gpt", "function_call")


class SuspectTexts:
    """Finds such rows.

    :param is_text: whether the rows are plain text, which has no answers, and where ``{{…}}`` is part of a document.
    """

    def __init__(self, is_text: bool) -> None:
        self._kinds = {FORMATTED: _FORMATTED_BYTES}
        if not is_text:
            self._kinds = {INVISIBLE: _INVISIBLE_BYTES, **self._kinds, UNFILLED: _UNFILLED_BYTES}
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[int]] = {}

    def add(self, data: bytes, rows: t.Sequence[bytes], number: int) -> None:
        """Add the next rows.

        :param data: the rows as one; :param number: number of the first of them, from 0.
        """
        found = {
            kind: present
            for kind, by_byte in self._kinds.items()
            if (present := [each for byte, group in by_byte.items() if byte in data for each in group if each in data])
        }
        if not found:
            return
        for offset, row in enumerate(rows):
            kinds = [kind for kind, present in found.items() if any(sequence in row for sequence in present)]
            if kinds:
                self._examine(json.loads(row), kinds, number + offset)

    def _examine(self, row: t.Mapping[str, t.Any], kinds: t.Iterable[str], number: int) -> None:
        texts = list(_texts(row))
        for kind in kinds:
            if any(_is_suspect(kind, text, is_answer) for text, is_answer in texts):
                self._counts[kind] = self._counts.get(kind, 0) + 1
                if self._counts[kind] <= SHOWN:
                    self._first.setdefault(kind, []).append(number)

    def result(self, place: t.Callable[[int], dict[str, t.Any]]) -> dict[str, t.Any]:
        """By kind: the number of rows (``count``), and the places of the first ones (``rows``).

        :param place: returns file and row of a row by its number, from 0.
        """
        return {
            kind: {"count": count, "rows": [place(number) for number in self._first[kind]]}
            for kind, count in self._counts.items()
        }


def _texts(row: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, bool]]:
    """The texts of a published row, and whether each is an answer."""
    for name, value in row.items():
        if name == "tools":
            continue
        if isinstance(value, str):
            yield value, name == "output"
            continue
        for turn in value if isinstance(value, list) else [value]:
            if isinstance(turn, dict):
                yield turn["value"], turn["from"] in _ANSWERS


def _is_suspect(kind: str, text: str, is_answer: bool) -> bool:
    if kind == INVISIBLE:
        return is_answer and all(
            character in _BLANK_LETTERS or unicodedata.category(character) in _INVISIBLE_CATEGORIES
            for character in text
        )
    return bool((_FORMATTED if kind == FORMATTED else _UNFILLED).search(text))
