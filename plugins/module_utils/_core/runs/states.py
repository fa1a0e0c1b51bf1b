# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of runs, of their steps, and of ended jobs.

Each state is equal to its text, which is stored and returned: another version, and every client, knows it by that text.
"""

from __future__ import annotations

import enum


class _State(str, enum.Enum):
    """A state that is formatted as its text in every version of Python (``enum.StrEnum`` is new in 3.11)."""

    def __str__(self) -> str:
        return str.__str__(self)

    def __format__(self, format_spec: str) -> str:
        return str.__format__(self, format_spec)


class RunState(_State):
    """The state of a run. The last three are also how a job ended.

    Members: ``ABSENT`` (never submitted; never stored), ``QUEUED`` (none of its jobs has started in this round),
    ``RUNNING``, ``SUCCEEDED``, ``FAILED``, ``CANCELLED``.
    """

    ABSENT = "absent"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether the run does not continue by itself."""
        return self in ENDED


#: States in which a run, or a job, has ended.
ENDED = (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)


class StepState(_State):
    """The displayed state of a step of a run.

    Members: ``WHOLE`` (its result is complete), ``IDLE`` (incomplete, but not required by a goal), ``NEEDED``
    (pending), ``RUNNING``, ``FAILED``.
    """

    WHOLE = "whole"
    IDLE = "idle"
    NEEDED = "needed"
    RUNNING = "running"
    FAILED = "failed"

    @property
    def pending(self) -> bool:
        """Whether the step has not completed and is required by a goal."""
        return self in (StepState.NEEDED, StepState.RUNNING, StepState.FAILED)
