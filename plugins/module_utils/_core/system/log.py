# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the processes of a job tell: their standard output is the job's log."""

from __future__ import annotations

import sys


def log_line(text: str) -> None:
    """Write a line into the log at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
