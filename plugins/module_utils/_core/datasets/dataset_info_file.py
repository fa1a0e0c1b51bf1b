# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dataset_info.json``, which LLaMA-Factory, its WebUI and other people write to as well.

Only our own entries are touched; every other byte of the file stays as it is.
"""

from __future__ import annotations

import json
import os
import re
import stat
import typing as t

from ..errors import InputError
from ..system.files import write_atomic

_SPACE = re.compile(r"[ \t\r\n]*")
_OURS = re.compile(r"versions/([0-9a-f]{64})/data\.jsonl\Z")


def version_of(entry: t.Any) -> str:
    """The fingerprint an entry of ours refers to; empty for an entry of somebody else."""
    name = entry.get("file_name") if isinstance(entry, dict) else None
    found = _OURS.match(name) if isinstance(name, str) else None
    return found.group(1) if found else ""


class InfoFile:
    """The file, read once.

    :param path: where it is; a missing file holds nothing.
    :raises InputError: when it cannot be understood. It is left as it is then.
    """

    def __init__(self, path: str) -> None:
        # a link that somebody put there is kept, what it points to is replaced
        self.path = os.path.realpath(path)
        self.mode = 0o644
        #: name → (where the key begins, where the value begins, where it ends)
        self._spans: dict[str, tuple[int, int, int]] = {}
        self.entries: dict[str, t.Any] = {}
        try:
            with open(self.path, "rb") as stream:
                raw = stream.read()
                self.mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        except FileNotFoundError:
            raw = b""
        except OSError as error:
            raise InputError(
                f"{path} cannot be read: {error.strerror}.", "Check what is there, and its mode."
            ) from error
        self.there = bool(raw)
        try:
            self.text = raw.decode("utf-8")
            if self.text.strip():
                self._read()
        except (ValueError, StopIteration, RecursionError) as error:
            what = f"{error}" if isinstance(error, ValueError) else "a value is missing"
            raise InputError(
                f"{path} is broken, it is left as it is: {what}.",
                "LLaMA-Factory cannot read it either: correct it, or move it away and run again.",
            ) from error

    def _read(self) -> None:
        scan = json.JSONDecoder().raw_decode
        at = self._after_space(0)
        if self.text[at : at + 1] != "{":
            raise ValueError("it is not an object of datasets by name")
        at = self._after_space(at + 1)
        while self.text[at : at + 1] != "}":
            begin = at
            name, at = scan(self.text, at)
            if not isinstance(name, str):
                raise ValueError(f"a name was expected at character {begin + 1}")
            at = self._after_space(at)
            if self.text[at : at + 1] != ":":
                raise ValueError(f"a colon was expected at character {at + 1}")
            value_at = self._after_space(at + 1)
            value, end = scan(self.text, value_at)
            if name in self.entries:
                raise ValueError(f"it has the dataset {name!r} twice")
            self.entries[name] = value
            self._spans[name] = (begin, value_at, end)
            at = self._after_space(end)
            if self.text[at : at + 1] == ",":
                at = self._after_space(at + 1)
                if self.text[at : at + 1] == "}":
                    raise ValueError(f"a comma stands before the last bracket, at character {at + 1}")
            elif self.text[at : at + 1] != "}":
                raise ValueError(f"a comma or the end was expected at character {at + 1}")
        if self.text[at + 1 :].strip():
            raise ValueError(f"something stands after the end, at character {at + 2}")

    def _after_space(self, at: int) -> int:
        return t.cast("re.Match[str]", _SPACE.match(self.text, at)).end()

    def _indent(self) -> str:
        """The blanks that stand before names in this file."""
        for begin, _value, _end in self._spans.values():
            before = self.text[:begin]
            blanks = before[len(before.rstrip(" \t")) :]
            if blanks and before[: -len(blanks)].endswith("\n"):
                return blanks
        return "  "

    def put(self, name: str, entry: t.Mapping[str, t.Any]) -> None:
        """Set an entry in the text; the file is not written yet."""
        indent = self._indent()
        value = json.dumps(entry, indent=indent).replace("\n", "\n" + indent)
        if name in self._spans:
            _begin, value_at, end = self._spans[name]
            text = self.text[:value_at] + value + self.text[end:]
        elif self._spans:
            end = max(span[2] for span in self._spans.values())
            text = f"{self.text[:end]},\n{indent}{json.dumps(name)}: {value}{self.text[end:]}"
        else:
            text = f"{{\n{indent}{json.dumps(name)}: {value}\n}}\n"
        self._take(text)

    def remove(self, name: str) -> None:
        """Take an entry out of the text; the file is not written yet."""
        order = sorted(self._spans, key=lambda other: self._spans[other])
        place = order.index(name)
        begin, _value, end = self._spans[name]
        if place:  # with the comma before it
            begin = self._spans[order[place - 1]][2]
        elif len(order) > 1:
            end = self._spans[order[1]][0]
        else:  # with the blanks around it
            begin, end = len(self.text[:begin].rstrip()), self._after_space(end)
        self._take(self.text[:begin] + self.text[end:])

    def _take(self, text: str) -> None:
        self.text = text
        self.entries, self._spans = {}, {}
        self._read()

    def write(self) -> None:
        """Write the text, at once or not at all."""
        write_atomic(self.path, self.text, self.mode)
