# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON that another program wrote: whatever is wrong with it is a ValueError."""

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
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


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
