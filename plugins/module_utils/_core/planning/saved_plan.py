# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A saved plan against what would be done now: applied only when that is the same."""

from __future__ import annotations

import contextlib
import typing as t

from ..artifacts.layout import Layout
from ..datasets import registry
from ..errors import InputError
from ..runs.run import Run
from ..runs.status import IDLE, NEEDED, WHOLE, RunView
from .changes import changes, describe_base
from .plan import FOLLOWS, SCHEMA, aliases, bases

_WORDS = {WHOLE: "there", IDLE: "not needed", NEEDED: "needed"}


def stale(
    layout: Layout,
    saved: t.Mapping[str, t.Any],
    run: Run,
    view: RunView,
    known: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
) -> list[str]:
    """What is no longer as a saved plan saw it; empty when it can be applied.

    Less to do than was planned is no reason: it is being applied already.

    :raises InputError: when it is no plan that this version can read.
    """
    if saved.get("schema") != SCHEMA or not isinstance(saved.get("steps"), list):
        raise InputError(
            f"{run.name}: it is no plan that this version of the collection can read.", "Make the plan again."
        )
    before = {str(step.get("label")): step for step in saved["steps"]}
    told = {**(known or {}), **_saved_bases(before), **bases(run)}
    now = {step.label: step for step in run.steps}
    reasons = []
    for label in [*now, *(label for label in before if label not in now)]:
        if label not in before:
            reasons.append(f"{label} was not part of it")
        elif label not in now:
            reasons.append(f"{label} is no longer wanted")
        elif before[label].get("fingerprint") != now[label].spec.fingerprint:
            # what only follows from a step before it is told there
            found = changes(layout, before[label], now[label].spec, told)
            follows = FOLLOWS + (("base",) if now[label].spec.kind == "merge" else ())
            inputs = [change.words() for change in found if change.input not in follows]
            if inputs or not found:
                reasons.append(f"{label}: {'; '.join(inputs) or 'its inputs are others'}")
    pending = set(saved.get("pending") or ())
    for step in view.steps:
        if step.label in before and step.label in view.pending and step.label not in pending:
            reasons.append(
                f"{step.label} was {_WORDS.get(before[step.label].get('state'), 'there')} and is not: {step.reason}"
            )
    if list(saved.get("aliases") or []) != aliases(run):
        reasons.append(
            f"aliases {', '.join(saved.get('aliases') or []) or 'none'} → {', '.join(aliases(run)) or 'none'}"
        )
    return reasons


def _saved_bases(steps: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, dict[str, str]]:
    return {
        str(step.get("fingerprint")): {"words": describe_base(step.get("settings") or {}, str(step.get("fingerprint")))}
        for step in steps.values()
        if step.get("kind") == "base"
    }


def check_saved(
    layout: Layout,
    saved: t.Sequence[t.Mapping[str, t.Any]],
    runs: t.Sequence[tuple[Run, RunView]],
    known: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
) -> None:
    """See to it that what would be done is what a saved plan said.

    :param saved: its plans, one for each fine-tune.
    :raises InputError: when it is not, with all that differs.
    """
    by_name = {str(plan.get("name")): plan for plan in saved}
    reasons = [f"{name} is no longer declared" for name in by_name if name not in {run.name for run, _view in runs}]
    for run, view in runs:
        if run.name not in by_name:
            reasons.append(f"{run.name} was not part of it")
        else:
            reasons += [f"{run.name}: {each}" for each in stale(layout, by_name[run.name], run, view, known)]
    if reasons:
        raise InputError(
            f"The plan is stale: {'. '.join(reasons)}.",
            "Make the plan again, look at it, and apply that.",
            {"stale": reasons},
        )


def known_datasets(layout: Layout, datasets: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    """What the module ``dataset`` has told of versions that may not be published yet, by their fingerprints.

    :param datasets: its answers, by the dataset's name.
    """
    found = {}
    for name, told in datasets.items():
        if not told.get("fingerprint"):
            continue
        entry: dict[str, t.Any] = {"results": dict(told.get("outcome") or {})}
        if told.get("changes"):
            with contextlib.suppress(InputError):
                entry.update(changes=dict(told["changes"]), before=registry.load(layout, name).fingerprint)
        found[str(told["fingerprint"])] = entry
    return found
