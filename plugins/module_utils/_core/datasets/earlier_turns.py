# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether rows hold conversations of several turns, for templates that are exact in a single turn only."""

from __future__ import annotations

import json

from ..artifacts.layout import Layout
from . import published_rows


def first_row(layout: Layout, fingerprint: str) -> int | None:
    """Return the number (from 1) of the first row of a version with an earlier turn; None if there is none.

    Calls of tools and their results are turns, too. A pair of answers to the first question is none.

    :param fingerprint: of the dataset version; one that is not published yet has no rows.
    """
    for number, line in published_rows.lines(layout, fingerprint):
        turns = json.loads(line).get("conversations")
        if isinstance(turns, list) and len(turns) > 2:
            return number
    return None
