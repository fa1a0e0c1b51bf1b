# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time stamps in UTC."""

from __future__ import annotations

import datetime
import re
import time

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import clock


def test_a_time_stamp_is_read_back() -> None:
    before = time.time()
    stamp = clock.utc_now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    assert before - 0.001 <= clock.parse_utc(stamp) <= time.time()


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
def test_the_zone_of_the_host_has_no_effect(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert clock.parse_utc("2026-01-31T12:00:00.250Z") == 1769860800.25
        assert abs(clock.parse_utc(clock.utc_now()) - time.time()) < 60
    finally:
        monkeypatch.undo()
        time.tzset()


def test_milliseconds_have_three_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamps are sorted as texts."""

    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return cls(2026, 1, 2, 3, 4, 5, 6999, tz)

    monkeypatch.setattr(clock.datetime, "datetime", Fixed)
    assert clock.utc_now() == "2026-01-02T03:04:05.006Z"


def test_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock.time, "time", lambda: 1769860900.0)
    assert clock.age_seconds("2026-01-31T12:00:00.000Z") == 100
    assert clock.age_seconds("2027-01-31T12:00:00.000Z") == 0, "the clock of another host may be ahead"


@pytest.mark.parametrize("text", ["", "now", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000+01:00"])
def test_other_texts_are_no_time_stamps(text: str) -> None:
    with pytest.raises(ValueError):
        clock.parse_utc(text)
