# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker process of a step: ``python -m PACKAGE.main perform JOB_DIR`` (see ``steps.worker_command``)."""

from __future__ import annotations

import contextlib
import os

from ..errors import CoreError, as_error
from ..runs.job_context import data_dir_of, load_context
from ..runs.names import ERROR_FILE
from ..steps.registry import get_step
from ..system.disk import disk_errors
from ..system.files import write_json
from ..system.log import log_line
from ..system.ownership import become_owner
from .ollama_access import holder_of
from .ollama_use import OllamaUse


def main(job_dir: str) -> int:
    """Perform the step of a job and write its error to the job's directory, where the supervisor reads it.

    :returns: the exit status; 1 after an error.
    """
    job_dir = os.path.abspath(job_dir)
    become_owner(data_dir_of(job_dir))
    ctx = load_context(job_dir)
    step = get_step(ctx.spec.kind)
    try:
        with disk_errors(ctx.work), contextlib.ExitStack() as stack:
            if step.uses_ollama:
                # shares the access of its supervisor, and keeps it if that is killed
                use = OllamaUse(ctx.layout, holder_of(job_dir), ctx.toolchain.ollama_address)
                stack.enter_context(use.waiting())
            step.perform(ctx)
    except CoreError as error:
        log_line(f"ERROR: {error}")
        write_json(os.path.join(job_dir, ERROR_FILE), as_error(error))
        return 1
    return 0
