# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions of others, with limits of time and memory.

Python's ``re`` can take exponential time for an expression such as ``(a+)+$``, and cannot be interrupted in a thread.
So a child process compiles and searches; the kernel ends it at its limit, even if the process that started it is
killed.
"""

from __future__ import annotations

import functools
import json
import re

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import sys
import typing as t

#: Memory in bytes for one call.
_MEMORY_BYTES = 1 << 30

#: The machine may be busy: elapsed seconds after which the child is ended whatever time it had.
_ELAPSED_SECONDS = 120.0

#: Processor time in seconds of a single search.
SEARCH_SECONDS = 2

#: Steps of a search that take no longer than the start of a child process (some 30 ms).
_QUICK_STEPS = 10**6
_QUICK_CHARS = 500

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

#: Length of the shortest text for which an expression exceeded its limits in this process.
_slow: dict[str, int] = {}


def run(patterns: t.Sequence[str], text: str, ignore_case: bool, seconds: int) -> list[bool | str | None]:
    """Return for each expression whether it is found, or its defect; None from the one that exceeds the limits on.

    :param seconds: processor time for all of them.
    """
    if not patterns:
        return []
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(seconds), str(_MEMORY_BYTES)]
    work = json.dumps({"patterns": list(patterns), "text": text, "ignore_case": ignore_case}).encode()
    try:
        output = subprocess.run(
            argv, input=work, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_ELAPSED_SECONDS, check=False
        ).stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
    answers: list[bool | str | None] = [json.loads(line) for line in output.splitlines()]
    return answers + [None] * (len(patterns) - len(answers))


@functools.lru_cache(maxsize=10_000)
def search(pattern: str, text: str) -> bool | str | None:
    """Whether an expression is found in a text, or its defect; None if it exceeds the limits.

    For many short texts: most searches need no child process.
    """
    quick = search_quickly(pattern, text, False)
    if quick is not None:
        return quick
    if len(text) >= _slow.get(pattern, len(text) + 1):
        return None
    (found,) = run([pattern], text, False, SEARCH_SECONDS)
    if found is None:
        if len(_slow) >= 1000:
            _slow.clear()
        _slow[pattern] = len(text)
    return found


def search_quickly(pattern: str, text: str, ignore_case: bool) -> bool | str | None:
    """Whether an expression is found, or its defect, without a child process; None if that could take long."""
    if not _is_quick(pattern, len(text)):
        return None
    try:
        return re.search(pattern, text, re.IGNORECASE if ignore_case else 0) is not None
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)


def _is_quick(pattern: str, size: int) -> bool:
    """Whether a search is bounded by few steps, whatever the text: no repeated group, and few repetitions.

    Each repetition multiplies the ways to match by the size of the text at most, each alternative by two.
    """
    if len(pattern) > _QUICK_CHARS or re.search(r"\)[*+?{]", pattern):
        return False
    repetitions = len(re.findall(r"[*+?]|\{\d*,", pattern))
    alternatives = pattern.count("|")
    return alternatives < 20 and (size + 1) ** (repetitions + 1) * 2**alternatives <= _QUICK_STEPS
