# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of a published version, as lines of its file."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ..artifacts.layout import Layout
from ..errors import InputError
from ..messages.message import Message
from .output_formats import CALL, DATA_FILE, OBSERVATION
from .rules.calls import Unreadable

#: Parts of a line of which at least one is in every row with tools, calls or results.
_NO_TOOLS = b'"tools":""'
_MARKS = (f'"from":"{CALL}"'.encode("ascii"), f'"from":"{OBSERVATION}"'.encode("ascii"))


def lines(layout: Layout, fingerprint: str) -> t.Iterator[tuple[int, bytes]]:
    """The rows of a version with their numbers, from 1; none of one that is not published yet.

    :raises OSError: if the file cannot be read.
    """
    try:
        with open(os.path.join(layout.artifact("dataset", fingerprint), DATA_FILE), "rb") as stream:
            yield from enumerate(stream, 1)
    except FileNotFoundError:
        return


@contextlib.contextmanager
def errors_of_row(number: int) -> t.Iterator[None]:
    """Raise what is wrong with the tools and calls of a row as an error that names the row.

    :param number: of the row, from 1.
    :raises InputError: with the number.
    """
    try:
        yield
    except (ValueError, InputError, Unreadable) as error:
        problem: Message | str = str(error)
        if isinstance(error, Unreadable):
            problem = error.fault[1]
        elif isinstance(error, InputError):
            problem = error.content
        raise InputError("datasets.training_row_invalid", row=number, problem=problem) from error


def may_use_tools(line: bytes) -> bool:
    """Whether a row may have tools, calls or results, without parsing it; true for every row that has some."""
    return _NO_TOOLS not in line or any(mark in line for mark in _MARKS)
