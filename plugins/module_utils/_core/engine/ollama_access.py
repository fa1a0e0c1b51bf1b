# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue for Ollama in one data directory: jobs that use it share it, one that stops or restarts it has it alone."""

from __future__ import annotations

import os
import typing as t

from ..artifacts.layout import Layout
from ..messages.message import Message
from ..runs.names import JOB_FILE, RUN_FILE
from ..system.access_queue import Access
from ..system.files import read_record

#: Stands between the run and the job in the name of a holder; neither contains it.
_SEPARATOR = "+"


def ollama_access(layout: Layout, holder: str, *, exclusive: bool = False) -> Access:
    """Return an access to Ollama, not yet requested."""
    return Access(layout.path("jobs", "ollama"), holder, exclusive=exclusive)


def holder_of(job_dir: str) -> str:
    """Return the name of a job as a holder."""
    return _SEPARATOR.join(os.path.abspath(job_dir).split(os.sep)[-2:])


def run_name(layout: Layout, run_id: str) -> str:
    """Return the name of the fine-tune that an active run makes; the id of the run if its record cannot be read."""
    return str((read_record(layout.path("jobs", "active", run_id, RUN_FILE)) or {}).get("name") or run_id)


def describe_holders(layout: Layout, holders: t.Sequence[str]) -> list[Message]:
    """Describe holders for a message: ``register of homelab-model``, ``promote of other-model``."""
    return [_describe(layout, holder) for holder in holders]


def _describe(layout: Layout, holder: str) -> Message:
    run_id, separator, job = holder.partition(_SEPARATOR)
    if not separator:
        return Message("engine.ollama_user", name=holder)
    record = read_record(layout.path("jobs", "active", run_id, job, JOB_FILE)) or {}
    return Message("engine.ollama_user_job", step=record.get("label") or job, run=run_name(layout, run_id))
