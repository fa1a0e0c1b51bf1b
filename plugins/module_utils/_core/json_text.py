# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON that another program or a user wrote: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
import typing as t

#: Nesting up to which a value of a request can be written, redacted and compared without exhausting the stack.
MAX_DEPTH = 100


def parse_json(text: str | bytes) -> t.Any:
    """Return the value of a JSON text.

    :raises ValueError: if it is no JSON, or nested so deeply that Python's parser gives up: a RecursionError would pass
        by the handlers of those who read files and answers.
    """
    return _parse(text)


def parse_strict_json(text: str | bytes) -> t.Any:
    """Return the value of a JSON text that a user wrote.

    :raises ValueError: also for NaN, infinities and duplicate keys, which Python's parser accepts.
    """
    return _parse(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)


def _parse(text: str | bytes, **hooks: t.Any) -> t.Any:
    try:
        return json.loads(text, **hooks)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _unique_keys(items: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    value = dict(items)
    if len(value) != len(items):
        raise ValueError("a key is given twice")
    return value


def _refuse_constant(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is not JSON")


def is_too_deep(value: t.Any, limit: int = MAX_DEPTH) -> bool:
    """Whether a value has lists and dictionaries nested more than ``limit`` levels deep."""
    level = [value]
    for _depth in range(limit + 1):
        level = [
            item
            for parent in level
            if isinstance(parent, (list, dict))
            for item in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True
