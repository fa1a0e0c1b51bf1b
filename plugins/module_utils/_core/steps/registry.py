# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of the steps, by kind."""

from __future__ import annotations

from ..errors import InputError
from ..runs.run import Run
from ..runs.spec import StepSpec
from .step import Step

#: The steps that were used before, by kind: a step has no state, so one instance serves all.
STEPS: dict[str, Step] = {}


def get_step(kind: str) -> Step:
    """Return the step of a kind.

    :raises InputError: when no step of that kind runs as a job.
    """
    if kind not in STEPS:
        STEPS[kind] = _create(kind)
    return STEPS[kind]


def _create(kind: str) -> Step:
    """Create the step of a kind. It is imported when it is first needed: most processes need one or two."""
    if kind == "base":
        from .base_model import BaseStep

        return BaseStep()
    if kind == "train":
        from .train import TrainStep

        return TrainStep()
    if kind == "train_node":
        from .train_node import TrainNodeStep

        return TrainNodeStep()
    if kind == "merge":
        from .merge import MergeStep

        return MergeStep()
    if kind == "gguf":
        from .gguf import GgufStep

        return GgufStep()
    if kind == "imatrix":
        from .imatrix import ImatrixStep

        return ImatrixStep()
    if kind == "likelihood":
        from .likelihood import LikelihoodStep

        return LikelihoodStep()
    if kind == "gguf_adapter":
        from .gguf_adapter import GgufAdapterStep

        return GgufAdapterStep()
    if kind == "projector":
        from .projector import ProjectorStep

        return ProjectorStep()
    if kind == "register":
        from .register import RegisterStep

        return RegisterStep()
    if kind == "evaluate":
        from .evaluate import EvaluateStep

        return EvaluateStep()
    if kind == "promote":
        from .promote import PromoteStep

        return PromoteStep()
    if kind == "retain":
        from .retain import RetainStep

        return RetainStep()
    raise InputError("steps.kind_unknown", kind=kind)


def runner_of(run: Run, spec: StepSpec) -> str:
    """Return the name of the runner for a step's command: one for containers only if its tools are in an image."""
    return run.toolchain.runner_for(get_step(spec.kind).image(run.toolchain))
