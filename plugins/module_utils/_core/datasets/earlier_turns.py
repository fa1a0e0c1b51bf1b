# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether rows hold conversations of several turns, for templates that are exact in a single turn only."""

from __future__ import annotations

import json
import os

from ..artifacts.layout import Layout
from .output_formats import DATA_FILE


def first_row(layout: Layout, fingerprint: str) -> int | None:
    """Return the number (from 1) of the first row of a version with an earlier turn; None if there is none.

    Calls of tools and their results are turns, too. A pair of answers to the first question is none.

    :param fingerprint: of the dataset version; one that is not published yet has no rows.
    """
    try:
        with open(os.path.join(layout.artifact("dataset", fingerprint), DATA_FILE), "rb") as stream:
            for number, raw in enumerate(stream, 1):
                turns = json.loads(raw).get("conversations")
                if isinstance(turns, list) and len(turns) > 2:
                    return number
    except FileNotFoundError:
        pass
    return None
