# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked before a promotion: a declared evaluation, or a gate alone, as settings of the step ``evaluate``."""

from __future__ import annotations

import dataclasses
import typing as t

from ..artifacts.layout import Layout
from ..datasets import evaluation_items
from ..errors import InputError, NotReadyError
from ..evaluations import chrf, guard, requirements, scores
from ..evaluations.declaration import BASE, GENERAL, SERVED, SMALLEST, Evaluation
from ..evaluations.gate_items import asked_settings, with_conditions
from ..evaluations.requirements import Requirements
from ..messages.message import Message
from ..releases.gate import Gate
from ..runs.spec import Toolchain


@dataclasses.dataclass(frozen=True)
class Evaluating:
    """An evaluation whose names are resolved.

    :param asked: settings of the step ``evaluate`` without the models.
    :param against: the models to compare with.
    :param require: what the answers must be like, with the conditions of the gate.
    :param choose: which quantization gets the aliases.
    :param every: whether all quantizations are asked; otherwise the one declared first.
    :param promotion: settings of the step ``promote`` beside the gate.
    :param questions: their number; 0 if it is not known yet.
    :param warnings: about what is asked.
    """

    asked: t.Mapping[str, t.Any]
    against: tuple[str, ...] = (SERVED,)
    require: Requirements = dataclasses.field(default_factory=Requirements)
    choose: str = "declared"
    every: bool = True
    promotion: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    questions: int = 0
    warnings: tuple[Message, ...] = ()

    @property
    def needs_base(self) -> bool:
        """Whether the base model is asked."""
        return BASE in self.against


def of_gate(gate: t.Mapping[str, t.Any]) -> Evaluating:
    """A gate alone as an evaluation: its questions, to the quantization declared first and to the served model."""
    require = with_conditions(Requirements(), Gate.from_settings(gate))
    questions = len(gate["prompts"])
    return Evaluating({"gate": asked_settings(gate)}, require=require, every=False, questions=questions)


def of_declaration(
    evaluation: Evaluation,
    gate: t.Mapping[str, t.Any] | None,
    dataset: str,
    resolve: t.Callable[[str, str], str],
    quantizations: t.Sequence[str],
) -> Evaluating:
    """A declared evaluation with its names resolved.

    :param gate: settings of the gate of the same fine-tune; None for none.
    :param dataset: fingerprint of the dataset that is trained on.
    :param resolve: returns the fingerprint of a dataset by the option that names it, and its name.
    :param quantizations: in declared order.
    :raises InputError: if a dataset that is not to be trained on is the one that is.
    """
    asked: dict[str, t.Any] = {}
    promotion = evaluation.as_settings()
    if gate:
        asked["gate"] = asked_settings(gate)
    if evaluation.held_out is not None:
        asked["held_out"] = {"share": evaluation.held_out, "dataset": dataset}
    if evaluation.rows:
        rows = resolve("rows", evaluation.rows)
        if rows == dataset:
            raise InputError("planning.evaluates_trained_rows", name=evaluation.rows)
        asked["rows"] = {"dataset": rows, "trained_on": dataset}
        promotion["rows"] = rows
    if evaluation.guard == GENERAL:
        asked["guard"] = {"digest": guard.DIGEST}
    elif evaluation.guard:
        asked["guard"] = {"dataset": resolve("guard", evaluation.guard)}
        if asked["guard"]["dataset"] == dataset:
            raise InputError("planning.guards_trained_rows", name=evaluation.guard)
        promotion["guard"] = asked["guard"]["dataset"]
    if evaluation.judge is not None:
        asked["judge"] = promotion["judge"]
    if evaluation.choose == SMALLEST:
        promotion["quantizations"] = list(quantizations)
    return Evaluating(
        asked,
        evaluation.against,
        with_conditions(evaluation.require, Gate.from_settings(gate) if gate else None),
        evaluation.choose,
        True,
        {"evaluation": promotion},
    )


def check_questions(layout: Layout, evaluating: Evaluating, toolchain: Toolchain) -> Evaluating:
    """Check that there is something to ask, and that every requirement can be met; return it with their number.

    Of the rows, nothing is checked if they are not on this host yet, as in a first check; a warning says so if
    something is required of them.

    :raises InputError: for a required measure whose tools are not on this host.
    :raises InputError: for a requirement that cannot be met even if every answer is right; it names the rows needed.
    """
    missing = chrf.refusal(toolchain, evaluating.require)
    if missing is not None:
        raise InputError(missing)
    try:
        counts, questions = scores.counted(evaluation_items.each_item(layout, evaluating.asked, []))
    except NotReadyError:
        if not evaluating.require:
            return evaluating
        return dataclasses.replace(evaluating, warnings=(Message("planning.requirements_unchecked"),))
    if not questions:
        raise InputError("planning.nothing_to_ask")
    problems = requirements.unattainable(evaluating.require, counts)
    if problems:
        raise InputError("planning.unattainable", problems=problems, first=problems[0])
    return dataclasses.replace(evaluating, questions=questions)
