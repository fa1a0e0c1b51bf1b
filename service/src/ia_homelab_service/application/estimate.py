# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimated memory, disk space and time of a fine-tune, compared with the machine. The core computes the figures."""

from __future__ import annotations

import typing as t

from ia_homelab_core.artifacts.layout import Layout
from ia_homelab_core.base_models.catalogue import Shape
from ia_homelab_core.estimates import host, memory
from ia_homelab_core.planning.plans import plans_of
from ia_homelab_core.runs.run import Run
from ia_homelab_core.runs.status import RunView
from ia_homelab_core.system.disk import free_bytes

from ..settings import Settings
from .jobs import step_spec
from .schemas import Estimate


def core_plan(settings: Settings, layout: Layout, run: Run, view: RunView) -> dict[str, t.Any]:
    """Return the core's plan of a run: the one that check mode shows."""
    return plans_of(layout, [(run, view)], settings.accelerator)[0]


def estimate(settings: Settings, layout: Layout, run: Run, plan: t.Mapping[str, t.Any]) -> Estimate:
    """Return what a run would need; None where no estimate is possible.

    :param plan: the plan of the run, with the duration of each step.
    """
    base, train = step_spec(run, "base"), step_spec(run, "train")
    machine = host.inspect_machine(settings.accelerator)
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
    needs = memory.estimate(shape, train.options["resolved"], machine.accelerator)
    disk = sum(needs.disk.get(step.label, needs.disk.get(step.spec.kind, 0)) for step in run.steps)
    vram = needs.vram.planned if needs.vram is not None else None
    return Estimate(
        vram_bytes=vram,
        vram_total_bytes=largest.total_bytes if largest else None,
        vram_free_bytes=largest.free_bytes if largest else None,
        fits=None if vram is None or largest is None else vram <= largest.total_bytes,
        disk_bytes=disk,
        disk_free_bytes=free,
        seconds=seconds,
        details=needs.as_dict(),
    )


def _shape(plain: t.Any) -> Shape | None:
    try:
        return Shape(**plain) if plain else None
    except TypeError:
        return None
