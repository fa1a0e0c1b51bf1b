# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fine-tune would take, against what there is. The figures are the core's."""

from __future__ import annotations

import typing as t

from ia_homelab_core import _memory, _sizing
from ia_homelab_core._files import free_bytes
from ia_homelab_core._layout import Layout
from ia_homelab_core._models_data import Shape
from ia_homelab_core._plans import plans_of
from ia_homelab_core._run import Run
from ia_homelab_core._view import RunView

from ..settings import Settings
from .jobs import step_spec
from .schemas import Estimate


def core_plan(settings: Settings, layout: Layout, run: Run, view: RunView) -> dict[str, t.Any]:
    """The core's plan of a run: the same that check mode shows (``_plan.make``)."""
    return plans_of(layout, [(run, view)], settings.accelerator)[0]


def estimate(settings: Settings, layout: Layout, run: Run, plan: t.Mapping[str, t.Any]) -> Estimate:
    """What a run would take; what cannot be told is None.

    :param plan: its plan, which tells how long each step takes.
    """
    base, train = step_spec(run, "base"), step_spec(run, "train")
    machine = _sizing.look(settings.accelerator)
    largest = max(machine.gpus, key=lambda gpu: gpu.total_bytes, default=None)
    shape = _shape(base.options.get("shape")) if base else None
    free = free_bytes(layout.root)
    times = [step["takes"]["seconds"] for step in plan["steps"] if "seconds" in step.get("takes", {})]
    seconds = sum(times) if times else None
    if train is None or shape is None:
        return Estimate(
            vram_total_bytes=largest.total_bytes if largest else None,
            vram_free_bytes=largest.free_bytes if largest else None,
            disk_free_bytes=free,
            seconds=seconds,
        )
    found = _memory.estimate(shape, train.options["resolved"], machine.accelerator)
    disk = sum(found.disk.get(step.label, found.disk.get(step.spec.kind, 0)) for step in run.steps)
    vram = found.vram.planned if found.vram is not None else None
    return Estimate(
        vram_bytes=vram,
        vram_total_bytes=largest.total_bytes if largest else None,
        vram_free_bytes=largest.free_bytes if largest else None,
        fits=None if vram is None or largest is None else vram <= largest.total_bytes,
        disk_bytes=disk,
        disk_free_bytes=free,
        seconds=seconds,
        details=found.as_dict(),
    )


def _shape(plain: t.Any) -> Shape | None:
    try:
        return Shape(**plain) if plain else None
    except TypeError:
        return None
