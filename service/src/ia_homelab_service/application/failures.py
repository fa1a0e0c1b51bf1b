# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first causes of failures in logs, found once for each log: views ask for them again every second."""

from __future__ import annotations

import functools
import os

from ia_homelab_core.steps.log_cause import LogCause, first_cause

#: Number of logs whose causes are remembered.
_CACHE_SIZE = 64


def cause_in(path: str) -> LogCause | None:
    """Return the first cause of a failure in a log; None if no line names one."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _cause_in(path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=_CACHE_SIZE)
def _cause_in(path: str, _bytes: int, _mtime_ns: int) -> LogCause | None:
    return first_cause(path)
