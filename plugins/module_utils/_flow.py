# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps and the runners by their names, whether what a step made is whole, and what is needed for a run."""

from __future__ import annotations

import os
import typing as t

from ._errors import InputError, NotReadyError, StoreError
from ._layout import Layout
from ._run import Run, RunStep
from ._runner import Runner
from ._steps import Step, StepContext, StepSpec, Toolchain, artifact_path


def get_step(kind: str) -> Step:
    """The step of that kind.

    :raises InputError: when there is none that runs as a job.
    """
    if kind == "base":
        from ._step_base import BaseStep

        return BaseStep()
    if kind == "train":
        from ._step_train import TrainStep

        return TrainStep()
    if kind == "train_node":
        from ._step_train_node import TrainNodeStep

        return TrainNodeStep()
    if kind == "merge":
        from ._step_merge import MergeStep

        return MergeStep()
    if kind == "gguf":
        from ._step_gguf import GgufStep

        return GgufStep()
    if kind == "gguf_adapter":
        from ._step_gguf_adapter import GgufAdapterStep

        return GgufAdapterStep()
    if kind == "register":
        from ._step_register import RegisterStep

        return RegisterStep()
    if kind == "promote":
        from ._step_promote import PromoteStep

        return PromoteStep()
    if kind == "retain":
        from ._step_retain import RetainStep

        return RetainStep()
    if kind == "probe":
        from ._step_probe import ProbeStep

        return ProbeStep()
    if kind == "light_probe":
        from ._step_probe import LightProbeStep

        return LightProbeStep()
    raise InputError(f"There is no step {kind!r} that runs as a job.")


def get_runner(name: str) -> Runner:
    """The runner of that name.

    :raises InputError: when there is none.
    """
    if name == "process":
        from ._runner_process import ProcessRunner

        return ProcessRunner()
    if name == "docker":
        from ._runner_docker import DockerRunner

        return DockerRunner()
    raise InputError(f"There is no runner {name!r}.", "Known runners: process, docker.")


def runner_of(run: Run, spec: StepSpec) -> str:
    """Name of the runner of a step's command: a container only where its tools are in an image."""
    return "docker" if get_step(spec.kind).image(run.toolchain) else "process"


def context(layout: Layout, spec: StepSpec, toolchain: Toolchain, job_dir: str = "") -> StepContext:
    """What a step works on."""
    return StepContext(layout, spec, toolchain, layout.work(spec.kind, spec.fingerprint), job_dir)


def missing(layout: Layout, kind: str, fingerprint: str) -> str:
    """Why an artifact is not whole, in a few words; empty when it is.

    Sizes are compared, content is not read: files of a published artifact are never written again.
    """
    try:
        receipt = layout.receipt(kind, fingerprint)
        if receipt is None:
            return "not made yet"
        if receipt.get("fingerprint") != fingerprint:
            return "its receipt belongs to another result"
        if receipt.get("pruned_at"):
            return "pruned"
        root = layout.artifact(kind, fingerprint)
        for name, facts in receipt["files"].items():
            try:
                size = os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                return f"{name} is gone"
            if size != facts["bytes"]:
                return f"{name} has {size} bytes instead of {facts['bytes']}"
        location = artifact_path(layout, kind, fingerprint)
    except (StoreError, KeyError, TypeError, AttributeError):
        return "its receipt is damaged"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return "" if os.path.isdir(location) else f"{location} is gone"


def not_whole(layout: Layout, spec: StepSpec, toolchain: Toolchain) -> str:
    """Why a step's result is not as it should be, in a few words; empty when it is."""
    reason = missing(layout, spec.kind, spec.fingerprint)
    if reason:
        return reason
    return "; ".join(get_step(spec.kind).drift(context(layout, spec, toolchain)))


def depends_on(spec: StepSpec) -> dict[str, str]:
    """What must be whole before the step can run: kind → fingerprint.

    A quantized file is made from the f16 one alone, though its name is derived from the merged weights.
    """
    half = spec.options.get("f16")
    return {"gguf": str(half)} if spec.kind == "gguf" and half else dict(spec.upstream)


def results_of(layout: Layout, kind: str, fingerprint: str) -> dict[str, t.Any]:
    """What a step found out, from its receipt; empty when it was never made."""
    receipt = layout.receipt(kind, fingerprint) or {}
    return dict(receipt.get("results") or {})


def need(layout: Layout, run: Run) -> dict[str, str]:
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
        reason = not_whole(layout, step.spec, run.toolchain)
        if not reason:
            return
        reasons[step.label] = reason
        for kind, fingerprint in depends_on(step.spec).items():
            source = by_fingerprint.get((kind, fingerprint))
            if source is not None:
                visit(source)
                continue
            gone = missing(layout, kind, fingerprint)
            if gone:
                raise NotReadyError(
                    f"{run.name}: {step.label} needs the {kind} {fingerprint[:12]}: {gone}.",
                    f"Make it first, with the module ia_homelab.llamafactory.{kind}.",
                )

    for label in run.goals:
        visit(run.step(label))
    return {step.label: reasons[step.label] for step in run.steps if step.label in reasons}
