# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plans of all fine-tunes declared for a host: creation, comparison with saved plans, and text form."""

from __future__ import annotations

import os
import typing as t

from ..artifacts.layout import Layout
from ..estimates import host
from ..messages.message import Message
from ..runs.run import Run
from ..runs.status import RunView
from . import plan as planning_plan
from . import plan_text, saved_plan
from .planner import warnings_of


def plans_of(
    layout: Layout,
    runs: t.Sequence[tuple[Run, RunView]],
    accelerator: str = "auto",
    datasets: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
    saved: t.Sequence[t.Mapping[str, t.Any]] | None = None,
    obstacles: t.Sequence[Message] = (),
) -> list[dict[str, t.Any]]:
    """Make the plan of each run, as plain values.

    :param runs: each run with its state if it were submitted now (:meth:`engine.engine.Engine.preview`).
    :param accelerator: auto, cuda or cpu.
    :param datasets: results of the module ``dataset`` for versions that may not be published yet, by name.
    :param saved: saved plans, which must still be current.
    :param obstacles: what keeps the runs from reaching their end (:meth:`engine.engine.Engine.obstacles`): warnings of
        the first plan that changes anything.
    :raises InputError: if a saved plan is stale, with the changes.
    """
    provisional = saved_plan.provisional_datasets(layout, datasets or {})
    if saved is not None:
        saved_plan.check_saved(layout, saved, runs, provisional)
    machine = host.inspect_machine(accelerator)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    plans = []
    for run, view in runs:
        plan = planning_plan.make_plan(layout, run, view, machine, provisional, cores)
        added = list(obstacles) if plan["changed"] else []
        obstacles = () if added else obstacles
        plans.append(planning_plan.add_warnings(plan, [*warnings_of(run, layout), *added]))
    return plans


def text_of(plans: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Format plans for display."""
    return "\n".join(plan_text.text(plan) for plan in plans)
