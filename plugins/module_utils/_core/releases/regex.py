# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions of a gate, with limits of time and memory (``system.limited_regex``)."""

from __future__ import annotations

import functools
import typing as t

from ..errors import InputError
from ..messages.message import Message
from ..system import limited_regex

#: Processor time in seconds for all expressions about one answer.
_CPU_SECONDS = 5

_MAX_CHARS = 10_000


def check(pattern: str, place: Message) -> None:
    """Check that an expression can be compiled.

    :param place: where it is declared.
    :raises InputError: with the reason.
    """
    reason = _defect(pattern)
    if reason:
        raise InputError("releases.no_regex", place=place, pattern=_short(pattern), reason=reason)


@functools.lru_cache(maxsize=1024)
def _defect(pattern: str) -> str:
    if len(pattern) > _MAX_CHARS:
        return f"it has more than {_MAX_CHARS} characters"
    (answer,) = limited_regex.run([pattern], "", False, _CPU_SECONDS)
    if answer is None:
        return f"it is not compiled within {_CPU_SECONDS} seconds"
    return "" if isinstance(answer, bool) else str(answer)


def search(patterns: t.Sequence[str], text: str, ignore_case: bool) -> dict[str, bool]:
    """Search a text for expressions; whether each of them is found.

    :raises InputError: for one that cannot be compiled, or exceeds the limits.
    """
    found = {}
    # most expressions are simple and most answers short: a child process for each would take longer than the search
    answers = {pattern: limited_regex.search_quickly(pattern, text, ignore_case) for pattern in patterns}
    others = [pattern for pattern, answer in answers.items() if answer is None]
    answers.update(zip(others, limited_regex.run(others, text, ignore_case, _CPU_SECONDS)))
    for pattern, answer in answers.items():
        if answer is None:
            raise InputError("releases.regex_too_slow", pattern=_short(pattern), seconds=_CPU_SECONDS)
        if not isinstance(answer, bool):
            place = Message("releases.place_gate")
            raise InputError("releases.no_regex", place=place, pattern=_short(pattern), reason=answer)
        found[pattern] = answer
    return found


def _short(pattern: str) -> str:
    return pattern if len(pattern) <= 200 else f"{pattern[:200]}…"
