# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times in UTC, as every file of the core has them."""

from __future__ import annotations

import datetime
import time


def utc_now() -> str:
    """The time now as RFC 3339 in UTC, to the millisecond: ``2026-01-31T12:00:00.000Z``."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"


def parse_utc(text: str) -> float:
    """Seconds since the epoch of a time that :func:`utc_now` wrote."""
    parsed = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    return parsed.replace(tzinfo=datetime.timezone.utc).timestamp()


def age_seconds(stamp: str) -> float:
    """Seconds that have passed since a time that :func:`utc_now` wrote; 0 for one in the future."""
    return max(0.0, time.time() - parse_utc(stamp))
