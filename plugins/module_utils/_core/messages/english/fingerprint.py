# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts about fingerprints."""

from __future__ import annotations

from ..text import Texts

TEXTS: Texts = {
    "fingerprint.no_number": "{value} is not a number that can be declared.",
    "fingerprint.type_invalid": "A {type} cannot be declared: {value!r}.",
    "fingerprint.lone_surrogate": "Half a character (a lone surrogate) cannot be declared: {text}.",
}
