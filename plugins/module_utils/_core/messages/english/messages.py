# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts about messages themselves."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "messages.stored": Text("{text}", "{hint}"),
}
