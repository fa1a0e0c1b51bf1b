# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the texts of the service known to the core, which renders all messages."""

from __future__ import annotations

from ia_homelab_core.messages import catalogue
from ia_homelab_core.messages.formatting import ENGLISH, FRENCH

from . import english, french


def add_catalogues() -> None:
    """Add the texts of the service in all its languages."""
    catalogue.add(ENGLISH, english.TEXTS)
    catalogue.add(FRENCH, french.TEXTS)
