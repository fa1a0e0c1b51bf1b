# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that does a step's own work in a worker process: ``python -m PACKAGE.main perform JOB_DIR``.

A separate process can be observed, stopped and killed like any other command.
"""

from __future__ import annotations

import os
import sys

from ..runners.command import Command
from ..runs.job_context import StepContext
from ..system.environment import clean_environment


def worker_command(ctx: StepContext) -> Command:
    """Return the command that performs a step in a separate process."""
    package = __package__ or ""
    root = os.path.abspath(__file__)
    for _part in package.split("."):
        root = os.path.dirname(root)
    env = {**clean_environment(), **ctx.toolchain.environment, "PYTHONPATH": os.path.dirname(root)}
    env["PYTHONUNBUFFERED"] = "1"
    return Command(
        [sys.executable, "-m", f"{package.rpartition('.')[0]}.main", "perform", ctx.job_dir], env, os.path.dirname(root)
    )
