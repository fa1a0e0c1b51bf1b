# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option ``evaluation`` of a fine-tune: what is asked, of whom, and what the answers must be like."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ..errors import InputError
from ..messages.message import Message
from ..releases.gate import Gate, boolean
from ..releases.gate_calls import check_keys
from . import judge, requirements
from .items import MEASURES
from .judge import Judge
from .requirements import Requirements
from .shares import LARGEST_SHARE

#: The shipped set of general questions.
GENERAL = "general"

SERVED, BASE = "served", "base"
#: The models that a new version can be compared with: the one that is served now, and its base model.
AGAINST = (SERVED, BASE)

DECLARED, SMALLEST = "declared", "smallest"
#: Which quantization gets the aliases: the one declared first, or the smallest that meets the requirements.
CHOICES = (DECLARED, SMALLEST)

#: Requirements by what has to be asked for them.
_OF_GATE = ("gate", *requirements.OF_GATE)
_OF_GUARD = ("guard", "guard_drop_at_most")
_OF_ROWS = tuple(measure for measure in MEASURES if measure not in ("gate", "guard"))

_KEYS = ("held_out", "rows", "against", "guard", "judge", "require", "choose", "likelihood")
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A declared evaluation.

    :param held_out: share of the questions that no training reads and that are asked; None for none.
    :param rows: name of a published dataset that is asked and not trained on; empty for none.
    :param against: the models to compare with, of :data:`AGAINST`.
    :param guard: :data:`GENERAL` or the name of a published dataset, which the model must still be able to answer;
        empty for none.
    :param judge: None for none.
    :param require: what the answers must be like.
    :param choose: one of :data:`CHOICES`.
    :param likelihood: whether perplexity and divergence of the quantizations are computed, too.
    """

    held_out: float | None = None
    rows: str = ""
    against: tuple[str, ...] = (SERVED,)
    guard: str = ""
    judge: Judge | None = None
    require: Requirements = dataclasses.field(default_factory=Requirements)
    choose: str = DECLARED
    likelihood: bool = False

    @property
    def asks_nothing(self) -> bool:
        """Whether it has no questions of its own."""
        return self.held_out is None and not self.rows and not self.guard

    def as_settings(self) -> dict[str, t.Any]:
        """The evaluation in canonical form, without values that equal the defaults."""
        settings: dict[str, t.Any] = {}
        if self.held_out is not None:
            settings["held_out"] = self.held_out
        if self.rows:
            settings["rows"] = self.rows
        if self.against != (SERVED,):
            settings["against"] = list(self.against)
        if self.guard:
            settings["guard"] = self.guard
        if self.judge is not None:
            settings["judge"] = self.judge.as_settings()
        require = self.require.as_settings()
        if require:
            settings["require"] = require
        if self.choose != DECLARED:
            settings["choose"] = self.choose
        if self.likelihood:
            settings["likelihood"] = True
        return settings

    @classmethod
    def from_settings(cls, settings: t.Mapping[str, t.Any]) -> Evaluation:
        """The evaluation from the settings that :meth:`as_settings` returned."""
        return cls(
            settings.get("held_out"),
            str(settings.get("rows") or ""),
            tuple(settings.get("against", (SERVED,))),
            str(settings.get("guard") or ""),
            judge.read(settings.get("judge"), place_of("judge")),
            requirements.read(settings.get("require"), place_of("require")),
            str(settings.get("choose") or DECLARED),
            bool(settings.get("likelihood")),
        )


def read_evaluation(raw: t.Any, gate: Gate | None = None) -> Evaluation | None:
    """Validate a declared evaluation; None if none is declared.

    :param gate: the gate of the same fine-tune, whose questions are asked as well.
    :raises InputError: with the defect and its place.
    """
    if raw is None or raw == {}:
        return None
    place = Message("evaluations.place")
    if not isinstance(raw, t.Mapping):
        raise InputError("evaluations.no_dictionary", place=place, value=raw)
    check_keys(raw, _KEYS, place)
    held_out, rows = _share(raw.get("held_out")), _dataset(raw.get("rows"), "rows")
    if held_out is not None and rows:
        raise InputError("evaluations.held_out_and_rows")
    evaluation = Evaluation(
        held_out,
        rows,
        _against(raw.get("against")),
        _dataset(raw.get("guard"), "guard"),
        judge.read(raw.get("judge"), place_of("judge")),
        requirements.read(raw.get("require"), place_of("require")),
        _one_of(raw.get("choose", DECLARED), CHOICES, "choose"),
        boolean(raw.get("likelihood", False), place_of("likelihood")),
    )
    if evaluation.asks_nothing and gate is None:
        raise InputError("evaluations.asks_nothing")
    _check_required(evaluation, gate)
    _check_judge(evaluation)
    return evaluation


def place_of(option: str) -> Message:
    """Where an option of an evaluation is declared."""
    return Message("evaluations.place_option", option=option)


def _check_required(evaluation: Evaluation, gate: Gate | None) -> None:
    """Check that what is required is asked, and of the models that it is compared with.

    :raises InputError: for a requirement that would stop nothing, or everything.
    """
    place, declared = place_of("require"), dict.fromkeys(evaluation.require.as_settings())
    rows = evaluation.held_out is not None or bool(evaluation.rows)
    for name in declared:
        if name in _OF_GATE and gate is None:
            raise InputError("evaluations.required_without_gate", place=place, name=name)
        if name in _OF_GUARD and not evaluation.guard:
            raise InputError("evaluations.required_without_guard", place=place, name=name)
        if name in _OF_ROWS and not rows:
            raise InputError("evaluations.required_without_rows", place=place, name=name)
    compared = {"not_worse_than_served": (SERVED,), "guard_drop_at_most": AGAINST, "no_regression": (SERVED,)}
    if gate is not None and gate.no_regression:
        declared["no_regression"] = None
    for name, models in compared.items():
        if name in declared and not set(models).intersection(evaluation.against):
            raise InputError("evaluations.required_not_compared", name=name, models=list(models))


def _check_judge(evaluation: Evaluation) -> None:
    """Check that a judge has something to compare: it reads answers to rows, of two models.

    :raises InputError: for a judge that would never be asked.
    """
    if evaluation.judge is None:
        return
    if evaluation.held_out is None and not evaluation.rows:
        raise InputError("evaluations.judge_without_rows", place=place_of("judge"))
    if not evaluation.against:
        raise InputError("evaluations.judge_without_models", place=place_of("judge"), models=list(AGAINST))


def _share(value: t.Any) -> float | None:
    if value is None:
        return None
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = 0.0
    if isinstance(value, bool) or not 0 < share <= LARGEST_SHARE:
        raise InputError("evaluations.no_share", place=place_of("held_out"), largest=LARGEST_SHARE, value=value)
    return share


def _dataset(value: t.Any, option: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not _DATASET.match(value):
        if option == "guard":
            raise InputError("evaluations.no_guard", place=place_of(option), value=value)
        raise InputError("evaluations.no_dataset", place=place_of(option), value=value)
    return value


def _against(value: t.Any) -> tuple[str, ...]:
    if value is None:
        return (SERVED,)
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise InputError("evaluations.no_list", place=place_of("against"), choices=list(AGAINST), value=value)
    chosen = [_one_of(item, AGAINST, "against") for item in items]
    return tuple(name for name in AGAINST if name in chosen)


def _one_of(value: t.Any, choices: t.Sequence[str], option: str) -> str:
    name = str(value).strip().lower()
    if name not in choices:
        raise InputError("evaluations.no_choice", place=place_of(option), choices=list(choices), value=value)
    return name
