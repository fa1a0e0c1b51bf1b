# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a message in one language."""

from __future__ import annotations

import typing as t


class Text(t.NamedTuple):
    """A text of a catalogue, or a rendered one.

    :param message: what is wrong or happens, and where.
    :param hint: what the reader can do about it; empty when nothing.
    """

    message: str
    hint: str = ""

    def __str__(self) -> str:
        # the hint of a text of several lines would be lost at the end of the last one
        between = "\n" if "\n" in self.message else " "
        return f"{self.message}{between}{self.hint}" if self.hint else self.message


#: Texts of a catalogue by code; a plain string is a text without a hint.
Texts = t.Mapping[str, t.Union[str, Text]]
