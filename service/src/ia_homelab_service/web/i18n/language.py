# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice of a language, and texts, numbers, sizes and times in it."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ia_homelab_core.messages.formatting import ENGLISH, FRENCH

from ...messages.negotiation import preferred_language
from . import en, fr

#: Texts by language and key. A test checks that both languages have the same keys.
TEXTS: dict[str, dict[str, str]] = {ENGLISH: en.TEXTS, FRENCH: fr.TEXTS}
#: Name of each language in itself, for the switch.
NAMES = {ENGLISH: "English", FRENCH: "Français"}
#: Cookie with the chosen language.
LANGUAGE_COOKIE = "language"


def choose_language(chosen: str | None, accept: str | None) -> str:
    """Return the language to use.

    :param chosen: the language in the cookie, if any.
    :param accept: the header ``Accept-Language`` (RFC 9110): its preferred supported language is used, or English.
    """
    if chosen is not None and chosen in TEXTS:
        return chosen
    return preferred_language(accept)


@dataclasses.dataclass(frozen=True)
class Language:
    """Texts and formats of a language.

    :param code: ``en`` or ``fr``.
    """

    code: str

    def __call__(self, key: str, **values: t.Any) -> str:
        """Return the text of a key, with values inserted."""
        text = TEXTS[self.code][key]
        return text.format(**values) if values else text

    def maybe(self, key: str, otherwise: str) -> str:
        """Return the text of a key, or the given English text if there is none."""
        return TEXTS[self.code].get(key, otherwise)

    def number(self, value: float, digits: int = 4) -> str:
        """Format a number with so many significant digits."""
        if isinstance(value, int) or float(value).is_integer() and abs(value) < 1e15:
            text = f"{int(value):,}".replace(",", "\u202f" if self.code == FRENCH else ",")
        else:
            text = f"{value:.{digits}g}"
        if self.code == FRENCH and "." in text:
            text = text.replace(".", ",")
        return text

    def size(self, count: float) -> str:
        """Format a size in decimal units, as for disks: ``4.7 GB``, ``4,7 Go``."""
        octets = self.code == FRENCH
        for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
            if count >= 10**power:
                return f"{self.number(round(count / 10**power, 1))} {letter}{'o' if octets else 'B'}"
        return f"{int(count)} {'o' if octets else 'B'}"

    def memory(self, count: float) -> str:
        """Format a size in binary units, as for GPU memory: ``7.5 GiB``, ``7,5 Gio``."""
        octets = self.code == FRENCH
        for power, letter in ((30, "G"), (20, "M"), (10, "k" if octets else "K")):
            if count >= 2**power:
                return f"{self.number(round(count / 2**power, 1))} {letter}i{'o' if octets else 'B'}"
        return f"{int(count)} {'o' if octets else 'B'}"

    def duration(self, seconds: float) -> str:
        """Format a duration with its two largest units."""
        left = max(0, int(round(seconds)))
        for unit, name, below, below_name in (
            (86400, self("unit.day"), 3600, self("unit.hour")),
            (3600, self("unit.hour"), 60, self("unit.minute")),
            (60, self("unit.minute"), 1, self("unit.second")),
        ):
            if left >= unit:
                rest = left % unit // below
                return f"{left // unit} {name}" + (f" {rest} {below_name}" if rest else "")
        return f"{left} {self('unit.second')}"

    def time(self, utc: str) -> str:
        """Format a UTC time of the store (``2026-01-31T12:00:00Z``); returns other text unchanged."""
        try:
            moment = datetime.datetime.fromisoformat(utc.replace("Z", "+00:00"))
        except ValueError:
            return utc
        pattern = "%d/%m/%Y %H:%M UTC" if self.code == FRENCH else "%Y-%m-%d %H:%M UTC"
        return moment.astimezone(datetime.timezone.utc).strftime(pattern)
