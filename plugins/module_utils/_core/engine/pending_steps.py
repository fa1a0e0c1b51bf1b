# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which steps of a run are pending: whether the result of a step is complete, and which artifacts it requires."""

from __future__ import annotations

import dataclasses

from ..artifacts.integrity import artifact_defect, step_defect
from ..artifacts.kinds import module_of
from ..artifacts.layout import Layout
from ..errors import NotReadyError
from ..messages.message import Message
from ..runs.run import Run, RunStep
from ..steps.registry import get_step
from .drift_checks import DriftChecks

#: Precedes the reason why the drift of a step is unknown.
NOT_CHECKED = "not checked"


@dataclasses.dataclass(frozen=True)
class PendingSteps:
    """The steps of a run that must run, and those of which that is unknown. Each mapping is in the order of the run.

    :param reasons: labels of the steps that must run, each with its reason.
    :param unknown: labels of the steps with complete artifacts that may have drifted, each with the reason why that
        cannot be determined now.
    :param unchecked: labels of the steps whose receipts are trusted, each with the reason why they are not checked.
    :param next: label of the first step that must run and has all its inputs; empty when there is none now.
    """

    reasons: dict[str, Message]
    unknown: dict[str, Message]
    unchecked: dict[str, Message]
    next: str

    @property
    def is_undetermined(self) -> bool:
        """Whether the run can neither continue nor end until a server answers."""
        return bool(self.unknown) and not self.next

    @property
    def labels(self) -> dict[str, Message]:
        """The steps that must run or may have to, each with its reason."""
        return {**self.reasons, **self.unknown}


def find_pending_steps(layout: Layout, run: Run, checks: DriftChecks) -> PendingSteps:
    """Return the steps of a run that must run.

    The search starts at the goals: if a result is complete, the steps before it are not checked.

    :raises NotReadyError: when an artifact is required that no step of the run produces.
    :raises CoreError: when a step fails to determine its drift with an error that does not pass by itself.
    :raises NotAskedError: when the checks are closed and lack an answer.
    """
    by_fingerprint = {(step.spec.kind, step.spec.fingerprint): step for step in run.steps}
    reasons: dict[str, Message] = {}
    unknown: dict[str, Message] = {}
    unchecked: dict[str, Message] = {}
    blocked: set[str] = set()
    visited: set[str] = set()

    def visit(step: RunStep) -> None:
        if step.label in visited:
            return
        visited.add(step.label)
        reason = step_defect(layout, step.spec.kind, step.spec.fingerprint, step.spec.options)
        if reason is None:
            answer = checks.check(step.spec, run.toolchain)
            if answer.drift.unknown is not None:
                note = Message("engine.not_checked", cause=answer.excuse or answer.drift.unknown)
                (unchecked if answer.excuse else unknown)[step.label] = note
                return
            drifted = answer.drift.reasons
            reason = Message("engine.drift", problems=list(drifted)) if drifted else None
        if reason is None:
            return
        reasons[step.label] = reason
        for kind, fingerprint in get_step(step.spec.kind).inputs(layout, step.spec):
            producer = by_fingerprint.get((kind, fingerprint))
            if producer is not None:
                visit(producer)
                if producer.label in reasons or producer.label in unknown:
                    blocked.add(step.label)
                continue
            defect = artifact_defect(layout, kind, fingerprint)
            if defect:
                raise NotReadyError(
                    "engine.input_missing",
                    name=run.name,
                    step=step.label,
                    kind=kind,
                    fingerprint=fingerprint[:12],
                    reason=defect,
                    module=module_of(kind),
                )

    for label in run.goals:
        visit(run.step(label))

    def in_order(found: dict[str, Message]) -> dict[str, Message]:
        return {step.label: found[step.label] for step in run.steps if step.label in found}

    ordered = in_order(reasons)
    startable = next((label for label in ordered if label not in blocked), "")
    return PendingSteps(ordered, in_order(unknown), in_order(unchecked), startable)
