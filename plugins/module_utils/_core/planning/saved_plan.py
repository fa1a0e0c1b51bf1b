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
from ..messages.message import Message
from ..runs.run import Run
from ..runs.states import StepState
from ..runs.status import RunView
from .changes import changes, describe_base
from .plan import DERIVED_INPUTS, SCHEMA, aliases, bases

#: Code of the difference for a step that would run and would not have, by its state in the plan.
_LOST: dict[str, str] = {
    StepState.WHOLE: "planning.is_not_there",
    StepState.IDLE: "planning.is_needed_now",
    StepState.NEEDED: "planning.is_not_as_needed",
}


def differences(
    layout: Layout,
    saved: t.Mapping[str, t.Any],
    run: Run,
    view: RunView,
    provisional: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
) -> list[Message]:
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
            reasons.append(Message("planning.was_not_part", name=label))
        elif label not in current:
            reasons.append(Message("planning.no_longer_wanted", step=label))
        elif before[label].get("fingerprint") != current[label].spec.fingerprint:
            # a change that only follows from an earlier step is reported at that step
            changed = changes(layout, before[label], current[label].spec, facts)
            follows = DERIVED_INPUTS + (("base",) if current[label].spec.kind == "merge" else ())
            inputs = [change.content() for change in changed if change.input not in follows]
            if inputs:
                reasons.append(Message("planning.step_changed", step=label, changes=inputs))
            elif not changed:
                reasons.append(Message("planning.other_inputs", step=label))
    pending = set(saved.get("pending") or ())
    for step in view.steps:
        if step.label in before and step.label in view.pending and step.label not in pending:
            cause = Message.from_stored(step.cause or step.reason)
            code = _LOST.get(str(before[step.label].get("state")), "planning.is_not_there")
            reasons.append(Message(code, step=step.label, cause=cause))
    if list(saved.get("aliases") or []) != aliases(run):
        before_and_after = {"before": saved.get("aliases") or ["none"], "after": aliases(run) or ["none"]}
        reasons.append(Message("planning.aliases_changed", **before_and_after))
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
    declared = {run.name for run, _view in runs}
    reasons = [Message("planning.no_longer_declared", name=name) for name in by_name if name not in declared]
    for run, view in runs:
        if run.name not in by_name:
            reasons.append(Message("planning.was_not_part", name=run.name))
        else:
            changed = differences(layout, by_name[run.name], run, view, provisional)
            reasons += [Message("planning.stale_finetune", name=run.name, difference=each) for each in changed]
    if reasons:
        raise InputError("planning.plan_stale", reasons=reasons, details={"stale": [str(each) for each in reasons]})


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
