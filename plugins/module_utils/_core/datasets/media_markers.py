# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts in rows that stand for a picture, a video or a sound.

With a template of a model that sees, LLaMA-Factory counts them and fails if there are not as many pictures
(``_validate_messages`` in ``data/mm_plugin.py``). Rows here have none.
"""

from __future__ import annotations

from ..artifacts.layout import Layout
from . import published_rows

_MARKERS = (b"<image>", b"<video>", b"<audio>")


def first_marker(layout: Layout, fingerprint: str) -> tuple[int, str] | None:
    """Return the number (from 1) of the first row of a version with such a text, and the text; None if there is none.

    :param fingerprint: of the dataset version; one that is not published yet has no rows.
    """
    for number, line in published_rows.lines(layout, fingerprint):
        for marker in _MARKERS:
            if marker in line:
                return number, marker.decode()
    return None
