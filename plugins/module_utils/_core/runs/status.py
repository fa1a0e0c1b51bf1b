# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The displayed status of a run: the one form that modules, the status table and the service use."""

from __future__ import annotations

import dataclasses
import typing as t

from .run import FAILED, RUNNING

#: States of a step, beside ``RUNNING`` and ``FAILED``, which a run has as well.
WHOLE = "whole"
NEEDED = "needed"
IDLE = "idle"


@dataclasses.dataclass
class StepView:
    """The current status of one step of a run.

    :param label: its name within the run.
    :param kind: kind of the step.
    :param fingerprint: fingerprint of its artifact.
    :param state: ``whole`` (complete); ``idle`` (incomplete, but not required by a goal); ``needed`` (pending);
        ``running``; ``failed``.
    :param reason: why the artifact is incomplete, in English; empty when it is complete.
    :param path: path of its artifact, whether it exists or not.
    :param cause: the reason as a message (:meth:`Message.as_dict`); empty when it is complete.
    """

    label: str
    kind: str
    fingerprint: str
    state: str
    reason: str
    path: str
    cause: dict[str, t.Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class RunView:
    """The current status of one run.

    :param id: id of the run.
    :param name: name of the fine-tune.
    :param state: queued, running, succeeded, failed, cancelled, or ``absent`` (never submitted).
    :param position: position in the queue, 0 for the next run; None when it is not queued.
    :param steps: its steps in order.
    :param current: label of the current step.
    :param job: directory of the current job, or of the last one.
    :param job_started_at: when that job started.
    :param progress: progress of that job.
    :param error: why it failed: message, hint, details, step.
    :param waiting_for: description of what it waits for.
    :param submitted_at: time of the last submission.
    :param submitted_by: ansible, rest, openai or mcp.
    :param finished_at: when it ended.
    :param cancelling: whether its cancellation was requested and it has not ended.
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
        """Return plain values."""
        return dataclasses.asdict(self)

    @property
    def pending(self) -> list[str]:
        """Labels of the steps that have not completed and are required by a goal."""
        return [step.label for step in self.steps if step.state in (NEEDED, RUNNING, FAILED)]
