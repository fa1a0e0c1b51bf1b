# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plans of all that is declared for a host: made together, compared with saved ones, told."""

from __future__ import annotations

import os
import typing as t

from ..artifacts.layout import Layout
from ..estimates import host
from ..runs.run import Run
from ..runs.status import RunView
from . import plan as planning_plan
from . import plan_text, saved_plan
from .finetune import warnings_of


def plans_of(
    layout: Layout,
    runs: t.Sequence[tuple[Run, RunView]],
    accelerator: str = "auto",
    datasets: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
    saved: t.Sequence[t.Mapping[str, t.Any]] | None = None,
) -> list[dict[str, t.Any]]:
    """The plan of each run, as plain values.

    :param runs: each with what asking for it would find (:meth:`engine.engine.Engine.preview`).
    :param accelerator: auto, cuda or cpu.
    :param datasets: what the module ``dataset`` has told of versions that may not be published yet, by name.
    :param saved: plans made before, which must still be true.
    :raises InputError: when they are not, with what changed.
    """
    known = saved_plan.known_datasets(layout, datasets or {})
    if saved is not None:
        saved_plan.check_saved(layout, saved, runs, known)
    machine = host.inspect_machine(accelerator)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = []
    for run, view in runs:
        plan = planning_plan.make_plan(layout, run, view, machine, known, cores)
        found.append({**plan, "warnings": [*warnings_of(run, layout), *plan["warnings"]]})
    return found


def text_of(plans: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The plans for people to read."""
    return "\n".join(plan_text.text(plan) for plan in plans)
