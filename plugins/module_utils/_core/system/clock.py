# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time stamps in UTC, for readers, and points of time that no change of the clock moves, for intervals."""

from __future__ import annotations

import datetime
import time
import typing as t

from .processes import boot_id


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


def monotonic_stamp() -> dict[str, t.Any]:
    """Return this point of time for :func:`seconds_since`: the boot, and the seconds since then."""
    return {"boot": boot_id(), "seconds": time.clock_gettime(time.CLOCK_BOOTTIME)}


def seconds_since(stamp: t.Any) -> float | None:
    """Return the seconds since a point of time from :func:`monotonic_stamp`, however the clock was set meanwhile.

    :returns: None for one before the last boot, and for anything else.
    """
    if not isinstance(stamp, dict) or stamp.get("boot") != boot_id():
        return None
    seconds = stamp.get("seconds")
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - seconds if isinstance(seconds, (int, float)) else -1.0
    return age if age >= 0 else None
