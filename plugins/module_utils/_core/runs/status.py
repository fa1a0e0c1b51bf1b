# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be seen of a run: the one form that modules, the status table and the service show."""

from __future__ import annotations

import dataclasses
import typing as t

#: States of a step.
WHOLE = "whole"
NEEDED = "needed"
IDLE = "idle"
RUNNING = "running"
FAILED = "failed"


@dataclasses.dataclass
class StepView:
    """One step of a run as it stands now.

    :param label: its name within the run.
    :param kind: which step it is.
    :param fingerprint: names its result.
    :param state: ``whole``; ``idle`` (not whole, and nothing that is wanted needs it); ``needed``;
        ``running``; ``failed``.
    :param reason: why it is not whole.
    :param path: where its result lies, or will lie.
    """

    label: str
    kind: str
    fingerprint: str
    state: str
    reason: str
    path: str


@dataclasses.dataclass
class RunView:
    """One run as it stands now.

    :param id: its id.
    :param name: the fine-tune's name.
    :param state: queued, running, succeeded, failed, cancelled, or ``absent`` (never asked for).
    :param position: place in the queue, 0 for the one whose turn it is; None when it is not queued.
    :param steps: its steps in order.
    :param current: label of the step at work.
    :param job: directory of the job at work, or of the last one.
    :param progress: how far that job is.
    :param error: why it failed: message, hint, details, step.
    :param waiting_for: what it waits for, in words.
    """

    id: str
    name: str
    state: str
    position: int | None = None
    steps: list[StepView] = dataclasses.field(default_factory=list)
    current: str = ""
    job: str = ""
    job_started_at: str = ""
    progress: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    error: dict[str, t.Any] | None = None
    waiting_for: str = ""
    submitted_at: str = ""
    submitted_by: str = ""
    finished_at: str = ""
    cancelling: bool = False

    def as_dict(self) -> dict[str, t.Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    @property
    def pending(self) -> list[str]:
        """Labels of the steps that are still to be made."""
        return [step.label for step in self.steps if step.state in (NEEDED, RUNNING, FAILED)]
