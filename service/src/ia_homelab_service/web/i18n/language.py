# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which language a reader wants, and numbers, sizes and times in it."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from . import en, fr

ENGLISH, FRENCH = "en", "fr"
#: Language to words by key. Both have the same keys: a test holds them to it.
TEXTS: dict[str, dict[str, str]] = {ENGLISH: en.TEXTS, FRENCH: fr.TEXTS}
#: What the switch calls each language: itself.
NAMES = {ENGLISH: "English", FRENCH: "Français"}
#: Cookie with the language a reader has chosen.
LANGUAGE_COOKIE = "language"


def choose_language(chosen: str | None, accept: str | None) -> str:
    """The language to write in.

    :param chosen: what the reader has chosen before, if anything.
    :param accept: the header ``Accept-Language`` (RFC 9110); the best of ours in it, English where there is none.
    """
    if chosen is not None and chosen in TEXTS:
        return chosen
    best, quality = ENGLISH, 0.0
    for part in (accept or "").split(","):
        tag, _semicolon, weight = part.partition(";")
        language = tag.strip().lower().split("-", 1)[0]
        try:
            q = float(weight.strip()[2:]) if weight.strip().startswith("q=") else 1.0
        except ValueError:
            continue
        if language in TEXTS and q > quality:
            best, quality = language, q
    return best


@dataclasses.dataclass(frozen=True)
class Language:
    """Words and figures in one language.

    :param code: ``en`` or ``fr``.
    """

    code: str

    def __call__(self, key: str, **values: t.Any) -> str:
        """The words of a key, values put in."""
        words = TEXTS[self.code][key]
        return words.format(**values) if values else words

    def maybe(self, key: str, otherwise: str) -> str:
        """The words of a key, or what the core says in English where there are none."""
        return TEXTS[self.code].get(key, otherwise)

    def number(self, value: float, digits: int = 4) -> str:
        """A figure with so many significant digits, with the comma of the language."""
        if isinstance(value, int) or float(value).is_integer() and abs(value) < 1e15:
            text = f"{int(value):,}".replace(",", "\u202f" if self.code == FRENCH else ",")
        else:
            text = f"{value:.{digits}g}"
        if self.code == FRENCH and "." in text:
            text = text.replace(".", ",")
        return text

    def size(self, count: float) -> str:
        """Bytes in decimal units, as disks are sold: ``4.7 GB``, ``4,7 Go``."""
        octets = self.code == FRENCH
        for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
            if count >= 10**power:
                return f"{self.number(round(count / 10**power, 1))} {letter}{'o' if octets else 'B'}"
        return f"{int(count)} {'o' if octets else 'B'}"

    def memory(self, count: float) -> str:
        """Bytes of a GPU's memory in binary units, as GPUs are sold: ``7.5 GiB``, ``7,5 Gio``."""
        octets = self.code == FRENCH
        for power, letter in ((30, "G"), (20, "M"), (10, "k" if octets else "K")):
            if count >= 2**power:
                return f"{self.number(round(count / 2**power, 1))} {letter}i{'o' if octets else 'B'}"
        return f"{int(count)} {'o' if octets else 'B'}"

    def duration(self, seconds: float) -> str:
        """A duration in its two greatest units."""
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
        """A UTC time of the store (``2026-01-31T12:00:00Z``) for people; as it stands when it is none."""
        try:
            moment = datetime.datetime.fromisoformat(utc.replace("Z", "+00:00"))
        except ValueError:
            return utc
        pattern = "%d/%m/%Y %H:%M UTC" if self.code == FRENCH else "%Y-%m-%d %H:%M UTC"
        return moment.astimezone(datetime.timezone.utc).strftime(pattern)
