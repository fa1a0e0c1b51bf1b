# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log lines of a job: the standard output of its processes is the job's log."""

from __future__ import annotations

import sys


def log_line(text: str) -> None:
    """Write a line to the log without buffering."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def log_problem(text: str) -> None:
    """Write a line to the standard error of a process that is no job: the journal of the service, for example."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
