# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time stamps in UTC. Every file of the core stores them in this format."""

from __future__ import annotations

import datetime
import time


def utc_now() -> str:
    """Return the current time as RFC 3339 in UTC, to the millisecond: ``2026-01-31T12:00:00.000Z``."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"


def parse_utc(text: str) -> float:
    """Return the seconds since the epoch of a time stamp written by :func:`utc_now`."""
    parsed = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    return parsed.replace(tzinfo=datetime.timezone.utc).timestamp()


def age_seconds(stamp: str) -> float:
    """Return the seconds since a time stamp written by :func:`utc_now`; 0 for a time in the future."""
    return max(0.0, time.time() - parse_utc(stamp))
