# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which steps of a run are pending: whether the result of a step is complete, and which artifacts it requires."""

from __future__ import annotations

from ..artifacts.integrity import artifact_defect
from ..artifacts.kinds import module_of
from ..artifacts.layout import Layout
from ..errors import NotReadyError
from ..messages.message import Message
from ..runs.job_context import step_context
from ..runs.run import Run, RunStep
from ..runs.spec import StepSpec, Toolchain
from ..steps.registry import get_step


def step_defect(layout: Layout, spec: StepSpec, toolchain: Toolchain) -> Message | None:
    """Return why the result of a step is incomplete or has drifted; None when it is intact."""
    reason = artifact_defect(layout, spec.kind, spec.fingerprint)
    if reason is not None:
        return reason
    drift = get_step(spec.kind).drift(step_context(layout, spec, toolchain))
    return Message("engine.drift", problems=drift) if drift else None


def required_artifacts(spec: StepSpec) -> dict[str, str]:
    """Return the artifacts that must be complete before the step can run: kind → fingerprint.

    A quantized file is produced from the f16 file alone, although its fingerprint is derived from the merged weights.
    """
    f16 = spec.options.get("f16")
    return {"gguf": str(f16)} if spec.kind == "gguf" and f16 else dict(spec.upstream)


def find_pending_steps(layout: Layout, run: Run) -> dict[str, Message]:
    """Return the labels of the steps of a run that must run, in order, each with its reason.

    The search starts at the goals: if a result is complete, the steps before it are not checked.

    :raises NotReadyError: when an artifact is required that no step of the run produces.
    """
    by_fingerprint = {(step.spec.kind, step.spec.fingerprint): step for step in run.steps}
    reasons: dict[str, Message] = {}
    visited: set[str] = set()

    def visit(step: RunStep) -> None:
        if step.label in visited:
            return
        visited.add(step.label)
        reason = step_defect(layout, step.spec, run.toolchain)
        if reason is None:
            return
        reasons[step.label] = reason
        for kind, fingerprint in required_artifacts(step.spec).items():
            producer = by_fingerprint.get((kind, fingerprint))
            if producer is not None:
                visit(producer)
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
    return {step.label: reasons[step.label] for step in run.steps if step.label in reasons}
