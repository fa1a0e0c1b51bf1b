# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions of a gate, with limits of time and memory.

Python's ``re`` can take exponential time for an expression such as ``(a+)+$``, and cannot be interrupted in a thread.
So a child process compiles and searches; the kernel ends it at its limit, even if the process that started it is
killed.
"""

from __future__ import annotations

import functools
import json

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import sys
import typing as t

from ..errors import InputError
from ..messages.message import Message

#: Processor time in seconds, and memory in bytes, for all expressions about one answer.
_CPU_SECONDS = 5
_MEMORY_BYTES = 1 << 30

#: The machine may be busy: elapsed seconds after which the child is ended whatever time it had.
_ELAPSED_SECONDS = 120.0

_MAX_CHARS = 10_000

#: Prints a line for each expression: whether it is found, or why it cannot be compiled.
_PROGRAM = r"""
import json, re, resource, sys
cpu, memory = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
work = json.load(sys.stdin)
for pattern in work["patterns"]:
    try:
        found = bool(re.search(pattern, work["text"], re.IGNORECASE if work["ignore_case"] else 0))
    except RecursionError:
        found = "it is nested too deeply"
    except MemoryError:
        found = "it needs too much memory"
    except (re.error, OverflowError, ValueError) as error:
        found = str(error)
    print(json.dumps(found), flush=True)
"""


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
    (answer,) = _run([pattern], "", False)
    if answer is None:
        return f"it is not compiled within {_CPU_SECONDS} seconds"
    return "" if isinstance(answer, bool) else str(answer)


def search(patterns: t.Sequence[str], text: str, ignore_case: bool) -> dict[str, bool]:
    """Search a text for expressions; whether each of them is found.

    :raises InputError: for one that cannot be compiled, or exceeds the limits.
    """
    found = {}
    for pattern, answer in zip(patterns, _run(patterns, text, ignore_case)):
        if answer is None:
            raise InputError("releases.regex_too_slow", pattern=_short(pattern), seconds=_CPU_SECONDS)
        if not isinstance(answer, bool):
            place = Message("releases.place_gate")
            raise InputError("releases.no_regex", place=place, pattern=_short(pattern), reason=answer)
        found[pattern] = answer
    return found


def _run(patterns: t.Sequence[str], text: str, ignore_case: bool) -> list[bool | str | None]:
    """Return for each expression whether it is found, or its defect; None from the one that exceeds the limits on."""
    if not patterns:
        return []
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(_CPU_SECONDS), str(_MEMORY_BYTES)]
    work = json.dumps({"patterns": list(patterns), "text": text, "ignore_case": ignore_case}).encode()
    try:
        output = subprocess.run(
            argv, input=work, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_ELAPSED_SECONDS, check=False
        ).stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
    answers: list[bool | str | None] = [json.loads(line) for line in output.splitlines()]
    return answers + [None] * (len(patterns) - len(answers))


def _short(pattern: str) -> str:
    return pattern if len(pattern) <= 200 else f"{pattern[:200]}…"
