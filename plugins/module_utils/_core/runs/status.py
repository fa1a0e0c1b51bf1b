# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The displayed status of a run: the one form that modules, the status table and the service use."""

from __future__ import annotations

import dataclasses
import typing as t

from ..messages.message import Message
from .states import RunState, StepState


@dataclasses.dataclass
class StepView:
    """The current status of one step of a run.

    :param label: its name within the run.
    :param kind: kind of the step.
    :param fingerprint: fingerprint of its artifact.
    :param state: ``whole`` (complete); ``idle`` (incomplete, but not required by a goal); ``needed`` (pending);
        ``running``; ``failed``.
    :param reason: why the artifact is incomplete, or why it is not checked whether it has drifted; empty when it is
        complete and checked.
    :param path: path of its artifact, whether it exists or not.
    :param cause: the reason as a message (:meth:`Message.as_dict`); empty when it is complete.
    """

    label: str
    kind: str
    fingerprint: str
    state: StepState
    reason: str
    path: str
    cause: dict[str, t.Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class RunView:
    """The current status of one run.

    :param id: id of the run.
    :param name: name of the fine-tune.
    :param state: its state.
    :param position: position in the queue, 0 for the next run; None when it is not queued.
    :param steps: its steps in order.
    :param current: label of the current step.
    :param job: directory of the current job, or of the last one.
    :param job_started_at: when that job started.
    :param progress: progress of that job.
    :param error: why it failed: message, hint, details, step.
    :param waiting_for: description of what it waits for, in English.
    :param waiting_for_message: the same as a message (:meth:`Message.as_dict`); empty when it waits for nothing.
    :param submitted_at: time of the last submission.
    :param submitted_by: ansible, rest, openai or mcp.
    :param finished_at: when it ended.
    :param cancelling: whether its cancellation was requested and it has not ended.
    :param unchecked: labels of complete steps whose state outside of the data directory cannot be checked now, each
        with the reason, in English.
    :param unchecked_messages: the same labels, each with the reason as a message.
    :param findings: what its finished training found out about itself that a user should know, as messages
        (:meth:`Message.as_dict`).
    :param undetermined: why it cannot be determined now whether it is complete; it waits for that alone. Else empty.
    :param undetermined_message: the same as a message; empty when it is determined.
    """

    id: str
    name: str
    state: RunState
    position: int | None = None
    steps: list[StepView] = dataclasses.field(default_factory=list)
    current: str = ""
    job: str = ""
    job_started_at: str = ""
    progress: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    error: dict[str, t.Any] | None = None
    waiting_for: str = ""
    waiting_for_message: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    submitted_at: str = ""
    submitted_by: str = ""
    finished_at: str = ""
    cancelling: bool = False
    unchecked: dict[str, str] = dataclasses.field(default_factory=dict)
    unchecked_messages: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)
    undetermined: str = ""
    undetermined_message: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    findings: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values."""
        return {
            **dataclasses.asdict(self),
            "state": self.state.value,
            "steps": [{**dataclasses.asdict(step), "state": step.state.value} for step in self.steps],
        }

    def wait_for(self, reason: Message) -> None:
        """Set what the run waits for."""
        self.waiting_for, self.waiting_for_message = str(reason), reason.as_dict()

    def leave_unchecked(self, reasons: t.Mapping[str, Message]) -> None:
        """Set which complete steps cannot be checked now, by label, and why."""
        self.unchecked = {label: str(reason) for label, reason in reasons.items()}
        self.unchecked_messages = {label: reason.as_dict() for label, reason in reasons.items()}

    def leave_undetermined(self, step: str, reason: Message) -> None:
        """Set that it waits for a check of a step alone."""
        self.current = step
        self.undetermined, self.undetermined_message = str(reason), reason.as_dict()
        self.wait_for(Message("engine.check_awaited", step=step, reason=reason))

    @property
    def pending(self) -> list[str]:
        """Labels of the steps that have not completed and are required by a goal."""
        return [step.label for step in self.steps if step.state.pending]
