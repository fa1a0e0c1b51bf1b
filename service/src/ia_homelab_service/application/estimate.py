# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimated memory, disk space and time of a fine-tune, compared with the machine. The core computes the figures."""

from __future__ import annotations

import typing as t

from ia_homelab_core.artifacts.layout import Layout
from ia_homelab_core.estimates import host
from ia_homelab_core.messages.message import Message
from ia_homelab_core.planning.plans import plans_of
from ia_homelab_core.runs.run import Run
from ia_homelab_core.runs.status import RunView
from ia_homelab_core.system.disk import free_bytes

from ..settings import Settings
from .jobs import step_spec
from .schemas import Estimate


def core_plan(
    settings: Settings, layout: Layout, run: Run, view: RunView, obstacles: t.Sequence[Message] = ()
) -> dict[str, t.Any]:
    """Return the core's plan of a run: the one that check mode shows.

    :param obstacles: what keeps it from reaching its end, for its warnings.
    """
    return plans_of(layout, [(run, view)], settings.accelerator, obstacles=obstacles)[0]


def estimate(settings: Settings, layout: Layout, run: Run, plan: t.Mapping[str, t.Any]) -> Estimate:
    """Return what a run would need, as estimated when it was planned; None where no estimate is possible.

    :param plan: the plan of the run, with the duration of each step.
    """
    train = step_spec(run, "train")
    machine = host.inspect_machine(settings.accelerator)
    count = int((train.options["resolved"].get("gpus") if train else None) or 1)
    total_bytes, free_vram = machine.gpu_total(count), machine.gpu_free(count)
    free = free_bytes(layout.root)
    total = plan["needs"]
    seconds = total.get("seconds")
    needs = train.options.get("estimate") if train else None
    steps = train.options.get("optimizer_steps") if train else None
    if not needs:
        return Estimate(
            vram_total_bytes=total_bytes,
            vram_free_bytes=free_vram,
            disk_free_bytes=free,
            optimizer_steps=steps,
            seconds=seconds,
        )
    vram = total.get("vram_bytes")
    return Estimate(
        vram_bytes=vram,
        vram_total_bytes=total_bytes,
        vram_free_bytes=free_vram,
        fits=host.fits(needs, machine, count, step_spec(run, "merge") is not None),
        ram_bytes=total.get("ram_bytes"),
        disk_bytes=total["disk_bytes"],
        disk_free_bytes=free,
        optimizer_steps=steps,
        seconds=seconds,
        details=dict(needs),
    )
