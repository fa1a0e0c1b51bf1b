# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a step's own work: ``python -m PACKAGE._perform JOB_DIR`` (see ``_worker``)."""

from __future__ import annotations

import os
import sys

from ._console import say
from ._errors import CoreError
from ._files import disk_errors, write_json
from ._flow import get_step
from ._reconcile import as_error
from ._supervisor import load_context


def main(job_dir: str) -> int:
    """Perform the step of a job; its error goes to the job's directory, where the supervisor finds it."""
    ctx = load_context(job_dir)
    try:
        with disk_errors(ctx.work):
            get_step(ctx.spec.kind).perform(ctx)
    except CoreError as error:
        say(f"ERROR: {error}")
        write_json(os.path.join(job_dir, "error.json"), as_error(error))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
