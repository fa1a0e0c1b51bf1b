# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded output of the real tools. Carriage returns (of progress bars) are kept as ``<CR>``."""

from __future__ import annotations

from pathlib import Path

STEPS = Path(__file__).parents[1] / "unit" / "plugins" / "module_utils" / "recorded" / "steps"


def recorded(name: str) -> bytes:
    """The recorded output of a tool, byte for byte."""
    return (STEPS / name).read_bytes().replace(b"<CR>", b"\r")
