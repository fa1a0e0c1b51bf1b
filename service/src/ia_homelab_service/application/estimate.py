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
    """Return what the steps still to be made need, as estimated when they were planned; None where that is unknown.

    :param plan: the plan of the run, with the duration of each step.
    """
    to_be_made = {step["kind"] for step in plan["steps"] if step["runs"]}
    train = step_spec(run, "train")
    options = train.options if train else {}
    machine = host.inspect_machine(settings.accelerator)
    count = int((options.get("resolved") or {}).get("gpus") or 1)
    total, trains = plan["needs"], "train" in to_be_made
    needs = options.get("estimate") or {}
    fits = None
    if needs and trains:
        fits = host.fits(needs, machine, count, step_spec(run, "merge") is not None)
    elif machine.ram is not None and total.get("ram_bytes"):
        fits = total["ram_bytes"] <= machine.ram.total + machine.ram.swap
    return Estimate(
        vram_bytes=total.get("vram_bytes"),
        vram_total_bytes=machine.gpu_total(count),
        vram_free_bytes=machine.gpu_free(count),
        fits=fits,
        ram_bytes=total.get("ram_bytes"),
        disk_bytes=total["disk_bytes"] if needs or not to_be_made else None,
        disk_free_bytes=free_bytes(layout.root),
        optimizer_steps=options.get("optimizer_steps") if trains else None,
        seconds=total.get("seconds"),
        details=dict(needs),
    )
