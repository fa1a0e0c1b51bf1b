# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language of a response."""

from __future__ import annotations

from ia_homelab_core.messages.formatting import ENGLISH, FRENCH

#: Languages that there are texts in.
LANGUAGES = (ENGLISH, FRENCH)


def preferred_language(accept: str | None) -> str:
    """Return the supported language that a client prefers, or English.

    :param accept: the header ``Accept-Language`` (RFC 9110).
    """
    best, quality = ENGLISH, 0.0
    for part in (accept or "").split(","):
        tag, _semicolon, weight = part.partition(";")
        language = tag.strip().lower().split("-", 1)[0]
        try:
            q = float(weight.strip()[2:]) if weight.strip().startswith("q=") else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and q > quality:
            best, quality = language, q
    return best
