# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps and the runners by their names, whether what a step made is whole, and what is needed for a run."""

from __future__ import annotations

from ..artifacts.integrity import artifact_defect
from ..artifacts.layout import Layout
from ..errors import NotReadyError
from ..runs.job_context import step_context
from ..runs.run import Run, RunStep
from ..runs.spec import StepSpec, Toolchain
from ..steps.registry import get_step


def step_defect(layout: Layout, spec: StepSpec, toolchain: Toolchain) -> str:
    """Why a step's result is not as it should be, in a few words; empty when it is."""
    reason = artifact_defect(layout, spec.kind, spec.fingerprint)
    if reason:
        return reason
    return "; ".join(get_step(spec.kind).drift(step_context(layout, spec, toolchain)))


def required_artifacts(spec: StepSpec) -> dict[str, str]:
    """What must be whole before the step can run: kind → fingerprint.

    A quantized file is made from the f16 one alone, though its name is derived from the merged weights.
    """
    half = spec.options.get("f16")
    return {"gguf": str(half)} if spec.kind == "gguf" and half else dict(spec.upstream)


def find_pending_steps(layout: Layout, run: Run) -> dict[str, str]:
    """Labels of the steps of a run that must be made, in order, and why.

    Found backwards from the goals: where a result is whole, nothing before it is looked at.

    :raises NotReadyError: when something is needed that the run itself cannot make.
    """
    by_fingerprint = {(step.spec.kind, step.spec.fingerprint): step for step in run.steps}
    reasons: dict[str, str] = {}
    seen: set[str] = set()

    def visit(step: RunStep) -> None:
        if step.label in seen:
            return
        seen.add(step.label)
        reason = step_defect(layout, step.spec, run.toolchain)
        if not reason:
            return
        reasons[step.label] = reason
        for kind, fingerprint in required_artifacts(step.spec).items():
            source = by_fingerprint.get((kind, fingerprint))
            if source is not None:
                visit(source)
                continue
            gone = artifact_defect(layout, kind, fingerprint)
            if gone:
                raise NotReadyError(
                    f"{run.name}: {step.label} needs the {kind} {fingerprint[:12]}: {gone}.",
                    f"Make it first, with the module ia_homelab.llamafactory.{kind}.",
                )

    for label in run.goals:
        visit(run.step(label))
    return {step.label: reasons[step.label] for step in run.steps if step.label in reasons}
