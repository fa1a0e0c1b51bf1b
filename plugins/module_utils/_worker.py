# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a step's own work as a job's command: ``python -m PACKAGE._worker JOB_DIR``.

So that it can be watched, stopped and killed as any other command.
"""

from __future__ import annotations

import json
import os
import sys

from ._core import clean_environment
from ._errors import CoreError
from ._steps import Command, StepContext


def worker_command(ctx: StepContext) -> Command:
    """The command that performs a step in a process of its own."""
    package = __package__ or ""
    root = os.path.abspath(__file__)
    for _part in package.split("."):
        root = os.path.dirname(root)
    env = {**clean_environment(), **ctx.toolchain.environment, "PYTHONPATH": os.path.dirname(root)}
    env["PYTHONUNBUFFERED"] = "1"
    return Command([sys.executable, "-m", f"{package}._worker", ctx.job_dir], env, "/")


def main(job_dir: str) -> int:
    """Perform the step of a job; its error goes to the job's directory, where the supervisor finds it."""
    from ._files import write_json
    from ._flow import get_step
    from ._supervisor import load_context

    ctx = load_context(job_dir)
    try:
        get_step(ctx.spec.kind).perform(ctx)
    except CoreError as error:
        print(f"ERROR: {error.message} {error.hint}", flush=True)
        value = {"message": error.message, "hint": error.hint, "details": json.loads(json.dumps(error.details))}
        write_json(os.path.join(job_dir, "error.json"), value)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
