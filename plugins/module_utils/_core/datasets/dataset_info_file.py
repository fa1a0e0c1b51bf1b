# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dataset_info.json``, a file that LLaMA-Factory, its WebUI and users also write to.

Only entries of this collection are changed; every other byte of the file is preserved.
"""

from __future__ import annotations

import json
import os
import re
import stat
import typing as t

from ..errors import InputError
from ..system.files import write_atomic
from .json_reader import SPACE

_VERSION_FILE = re.compile(r"versions/([0-9a-f]{64})/data\.jsonl\Z")


def version_of(entry: t.Any) -> str:
    """The version an entry of this collection refers to; empty if another program wrote the entry."""
    name = entry.get("file_name") if isinstance(entry, dict) else None
    match = _VERSION_FILE.match(name) if isinstance(name, str) else None
    return match.group(1) if match else ""


class InfoFile:
    """The file, read once.

    :param path: path of the file; a missing file has no entries.
    :raises InputError: if the file cannot be parsed. It is left unchanged in that case.
    """

    def __init__(self, path: str) -> None:
        # write_atomic replaces its target, so a symbolic link is resolved first and survives
        self.path = os.path.realpath(path)
        self.mode = 0o644
        #: name → (start of the key, start of the value, end of the value)
        self._spans: dict[str, tuple[int, int, int]] = {}
        self.entries: dict[str, t.Any] = {}
        try:
            with open(self.path, "rb") as stream:
                raw = stream.read()
                self.mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        except FileNotFoundError:
            raw = b""
        except OSError as error:
            raise InputError("datasets.info_unreadable", path=path, reason=error.strerror) from error
        self.exists = bool(raw)
        try:
            self.text = raw.decode("utf-8")
            if self.text.strip():
                self._parse()
        except (ValueError, StopIteration, RecursionError) as error:
            defect = f"{error}" if isinstance(error, ValueError) else "a value is missing"
            raise InputError("datasets.info_broken", path=path, reason=defect) from error

    def _parse(self) -> None:
        scan = json.JSONDecoder().raw_decode
        position = self._after_space(0)
        if self.text[position : position + 1] != "{":
            raise ValueError("it is not an object of datasets by name")
        position = self._after_space(position + 1)
        while self.text[position : position + 1] != "}":
            begin = position
            name, position = scan(self.text, position)
            if not isinstance(name, str):
                raise ValueError(f"a name was expected at character {begin + 1}")
            position = self._after_space(position)
            if self.text[position : position + 1] != ":":
                raise ValueError(f"a colon was expected at character {position + 1}")
            value_start = self._after_space(position + 1)
            value, value_end = scan(self.text, value_start)
            if name in self.entries:
                raise ValueError(f"it has the dataset {name!r} twice")
            self.entries[name] = value
            self._spans[name] = (begin, value_start, value_end)
            position = self._after_space(value_end)
            if self.text[position : position + 1] == ",":
                position = self._after_space(position + 1)
                if self.text[position : position + 1] == "}":
                    raise ValueError(f"a comma stands before the last bracket, at character {position + 1}")
            elif self.text[position : position + 1] != "}":
                raise ValueError(f"a comma or the end was expected at character {position + 1}")
        if self.text[position + 1 :].strip():
            raise ValueError(f"something stands after the end, at character {position + 2}")

    def _after_space(self, position: int) -> int:
        return t.cast("re.Match[str]", SPACE.match(self.text, position)).end()

    def _indent(self) -> str:
        """The indentation of names in this file."""
        for begin, _value, _end in self._spans.values():
            preceding_text = self.text[:begin]
            blanks = preceding_text[len(preceding_text.rstrip(" \t")) :]
            if blanks and preceding_text[: -len(blanks)].endswith("\n"):
                return blanks
        return "  "

    def put(self, name: str, entry: t.Mapping[str, t.Any]) -> None:
        """Set an entry in :attr:`text`; the file is not written yet."""
        indent = self._indent()
        value = json.dumps(entry, indent=indent).replace("\n", "\n" + indent)
        if name in self._spans:
            _begin, value_start, end = self._spans[name]
            text = self.text[:value_start] + value + self.text[end:]
        elif self._spans:
            end = max(span[2] for span in self._spans.values())
            text = f"{self.text[:end]},\n{indent}{json.dumps(name)}: {value}{self.text[end:]}"
        else:
            text = f"{{\n{indent}{json.dumps(name)}: {value}\n}}\n"
        self._set_text(text)

    def remove(self, name: str) -> None:
        """Remove an entry from :attr:`text`; the file is not written yet."""
        order = sorted(self._spans, key=lambda other: self._spans[other])
        index = order.index(name)
        begin, _value, end = self._spans[name]
        if index:  # with the preceding comma
            begin = self._spans[order[index - 1]][2]
        elif len(order) > 1:
            end = self._spans[order[1]][0]
        else:  # with the surrounding whitespace
            begin, end = len(self.text[:begin].rstrip()), self._after_space(end)
        self._set_text(self.text[:begin] + self.text[end:])

    def _set_text(self, text: str) -> None:
        self.text = text
        self.entries, self._spans = {}, {}
        self._parse()

    def write(self) -> None:
        """Write the text atomically."""
        write_atomic(self.path, self.text, self.mode)
