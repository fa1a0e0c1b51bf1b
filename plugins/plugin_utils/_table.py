# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text tables for the terminal."""

from __future__ import annotations

import typing as t

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message


def table(rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    """Return lines with aligned columns, separated by two spaces.

    :param rows: header row first; all rows have the same length.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def finding_lines(findings: t.Sequence[t.Any]) -> list[str]:
    """Return what a training found out about itself as lines in English, each with its hint.

    :param findings: stored messages.
    """
    return [str(Message.from_stored(finding)) for finding in findings]
