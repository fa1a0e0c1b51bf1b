# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparison of a saved plan with the current state: it is applied only if nothing has changed."""

from __future__ import annotations

import contextlib
import typing as t

from ..artifacts.layout import Layout
from ..datasets import registry
from ..errors import InputError
from ..runs.run import Run
from ..runs.status import IDLE, NEEDED, WHOLE, RunView
from .changes import changes, describe_base
from .plan import DERIVED_INPUTS, SCHEMA, aliases, bases

_STATE_TEXTS = {WHOLE: "there", IDLE: "not needed", NEEDED: "needed"}


def differences(
    layout: Layout,
    saved: t.Mapping[str, t.Any],
    run: Run,
    view: RunView,
    provisional: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
) -> list[str]:
    """Return the differences between a saved plan and the current state; empty if the plan can be applied.

    Fewer pending steps than planned are no difference: the plan may already be in progress.

    :raises InputError: if this version cannot read the plan.
    """
    if saved.get("schema") != SCHEMA or not isinstance(saved.get("steps"), list):
        raise InputError("planning.plan_unreadable", name=run.name)
    before = {str(step.get("label")): step for step in saved["steps"]}
    facts = {**(provisional or {}), **_saved_bases(before), **bases(run)}
    current = {step.label: step for step in run.steps}
    reasons = []
    for label in [*current, *(label for label in before if label not in current)]:
        if label not in before:
            reasons.append(f"{label} was not part of it")
        elif label not in current:
            reasons.append(f"{label} is no longer wanted")
        elif before[label].get("fingerprint") != current[label].spec.fingerprint:
            # a change that only follows from an earlier step is reported at that step
            changed = changes(layout, before[label], current[label].spec, facts)
            follows = DERIVED_INPUTS + (("base",) if current[label].spec.kind == "merge" else ())
            inputs = [change.describe() for change in changed if change.input not in follows]
            if inputs or not changed:
                reasons.append(f"{label}: {'; '.join(inputs) or 'its inputs are others'}")
    pending = set(saved.get("pending") or ())
    for step in view.steps:
        if step.label in before and step.label in view.pending and step.label not in pending:
            state = _STATE_TEXTS.get(before[step.label].get("state"), "there")
            reasons.append(f"{step.label} was {state} and is not: {step.reason}")
    if list(saved.get("aliases") or []) != aliases(run):
        reasons.append(
            f"aliases {', '.join(saved.get('aliases') or []) or 'none'} → {', '.join(aliases(run)) or 'none'}"
        )
    return reasons


def _saved_bases(steps: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, dict[str, str]]:
    return {
        str(step.get("fingerprint")): {
            "description": describe_base(step.get("settings") or {}, str(step.get("fingerprint")))
        }
        for step in steps.values()
        if step.get("kind") == "base"
    }


def check_saved(
    layout: Layout,
    saved: t.Sequence[t.Mapping[str, t.Any]],
    runs: t.Sequence[tuple[Run, RunView]],
    provisional: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
) -> None:
    """Check that saved plans are still current.

    :param saved: saved plans, one for each fine-tune.
    :raises InputError: if a plan is stale, with all differences.
    """
    by_name = {str(plan.get("name")): plan for plan in saved}
    reasons = [f"{name} is no longer declared" for name in by_name if name not in {run.name for run, _view in runs}]
    for run, view in runs:
        if run.name not in by_name:
            reasons.append(f"{run.name} was not part of it")
        else:
            changed = differences(layout, by_name[run.name], run, view, provisional)
            reasons += [f"{run.name}: {each}" for each in changed]
    if reasons:
        raise InputError("planning.plan_stale", reasons=list(reasons), details={"stale": reasons})


def provisional_datasets(
    layout: Layout, datasets: t.Mapping[str, t.Mapping[str, t.Any]]
) -> dict[str, dict[str, t.Any]]:
    """Return facts about dataset versions that may not be published yet, by fingerprint.

    :param datasets: results of the module ``dataset``, by name of the dataset.
    """
    provisional = {}
    for name, answer in datasets.items():
        if not answer.get("fingerprint"):
            continue
        entry: dict[str, t.Any] = {"results": dict(answer.get("outcome") or {})}
        if answer.get("changes"):
            with contextlib.suppress(InputError):
                entry.update(changes=dict(answer["changes"]), before=registry.load(layout, name).fingerprint)
        provisional[str(answer["fingerprint"])] = entry
    return provisional
