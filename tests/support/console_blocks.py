# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of a document: the lines that begin with ``$`` in its blocks of the language ``console``."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What follows ``#`` after white space.
_COMMENT = re.compile(r"\s+# .*\Z")


class Shown(t.NamedTuple):
    """A command, and the lines that the document shows below it."""

    command: str
    output: tuple[str, ...]


def commands(document: Path) -> list[Shown]:
    """Return the commands in the order of the document, without their comments."""
    found: list[Shown] = []
    for block in _BLOCK.findall(document.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Shown(_COMMENT.sub("", line[2:]), ()))
            elif line:
                assert found, f"{document}: a block of commands begins with output"
                found[-1] = found[-1]._replace(output=(*found[-1].output, line))
    return found
