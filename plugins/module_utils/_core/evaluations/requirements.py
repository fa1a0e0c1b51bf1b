# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an evaluation requires of a model before it is promoted. Pure functions.

* A measure (``calls: 0.8``): the share of right answers, or the mean chrF from 0 to 100, is at least that.
* ``not_worse_than_served``: of every measure, the difference to the model served now is not negative. Where texts are
  measured by chrF, ``exact`` and ``same``, which measure the same answers more coarsely, do not count.
* ``guard_drop_at_most``: the share of guard questions is at most that much lower than the base model's, or than that
  of the model served now if the base is not asked.
* ``allowed_failures``: number of gate questions whose answer may fail. ``no_regression``: no gate question that the
  model served now answers as expected may fail.

The first three compare the values as measured. With ``confidence``, they compare bounds of intervals instead: the lower
bound of a measure must reach what is required, and the lower bound of the guard difference must be above the drop: the
model is proven good. ``not_worse_than_served`` compares the upper bound of the difference with 0: the model is not
proven worse.
"""

from __future__ import annotations

import dataclasses
import math
import typing as t

from ..errors import InputError
from ..messages.message import Message
from ..messages.suggestions import nearest
from ..releases.gate import boolean
from .comparison import find
from .intervals import CONFIDENCE, DEGREES, fewest_for, wilson
from .items import MEASURES

_DIFFERENCES = ("not_worse_than_served", "guard_drop_at_most")
#: Conditions on the questions of a gate.
OF_GATE = ("allowed_failures", "no_regression")
KEYS = (*MEASURES, *_DIFFERENCES, *OF_GATE, "confidence")

#: Rounding of means; a share that equals what is required meets it.
_ROUNDING = 1e-9
#: Questions below which a plan and a report say what a share can show.
FEW = 50


@dataclasses.dataclass(frozen=True)
class Requirements:
    """What is required; nothing by default.

    :param least: least value by measure: a share above 0 and at most 1, for ``text`` above 1 and at most 100.
    :param guard_drop_at_most: from 0 to 1; None if nothing is required.
    :param allowed_failures: at least 0; None if nothing is required.
    :param confidence: one of :data:`.intervals.DEGREES`; None compares the values as measured.
    """

    least: t.Mapping[str, float] = dataclasses.field(default_factory=dict)
    not_worse_than_served: bool = False
    guard_drop_at_most: float | None = None
    allowed_failures: int | None = None
    no_regression: bool = False
    confidence: float | None = None

    def as_settings(self) -> dict[str, t.Any]:
        """The requirements in canonical form, as :func:`read` takes them; only those that are declared."""
        settings: dict[str, t.Any] = {measure: self.least[measure] for measure in MEASURES if measure in self.least}
        if self.not_worse_than_served:
            settings["not_worse_than_served"] = True
        if self.guard_drop_at_most is not None:
            settings["guard_drop_at_most"] = self.guard_drop_at_most
        if self.allowed_failures is not None:
            settings["allowed_failures"] = self.allowed_failures
        if self.no_regression:
            settings["no_regression"] = True
        if self.confidence is not None:
            settings["confidence"] = self.confidence
        return settings

    def __bool__(self) -> bool:
        return bool(self.as_settings())


# -- what is declared --------------------------------------------------------------------------------------------------


def read(raw: t.Any, place: Message) -> Requirements:
    """Validate declared requirements.

    :param raw: a dictionary; None requires nothing.
    :param place: where they are declared.
    :raises InputError: with the defect and its place.
    """
    if raw is None:
        return Requirements()
    if not isinstance(raw, t.Mapping):
        raise InputError("evaluations.require_invalid", place=place, value=raw)
    for key in raw:
        if key not in KEYS:
            raise InputError(
                "evaluations.requirement_unknown",
                place=place,
                key=str(key),
                suggestion=nearest(str(key), KEYS),
                names=list(KEYS),
            )
    given = {key: value for key, value in raw.items() if value is not None}
    least = {measure: _least(measure, given[measure], place) for measure in MEASURES if measure in given}
    confidence = None
    if "confidence" in given:
        confidence = _number(given["confidence"])
        if confidence not in DEGREES:
            raise InputError(
                "evaluations.confidence_unknown", place=place, value=given["confidence"], degrees=list(DEGREES)
            )
    drop = None
    if "guard_drop_at_most" in given:
        drop = _number(given["guard_drop_at_most"])
        if drop is None or not 0 <= drop < 1:
            raise InputError("evaluations.drop_invalid", place=place, value=given["guard_drop_at_most"])
    failures = None
    if "allowed_failures" in given:
        number = _number(given["allowed_failures"])
        if number is None or number < 0 or number != int(number):
            raise InputError("evaluations.failures_invalid", place=place, value=given["allowed_failures"])
        failures = int(number)
    made = Requirements(
        least,
        _boolean("not_worse_than_served", given, place),
        drop,
        failures,
        _boolean("no_regression", given, place),
        confidence,
    )
    if confidence is not None and not (least or made.not_worse_than_served or drop is not None):
        raise InputError("evaluations.confidence_without_effect", place=place)
    return made


def _least(measure: str, value: t.Any, place: Message) -> float:
    number = _number(value)
    if measure == "text":
        if number is None or not 1 < number <= 100:  # a share, meant as one, would require nothing
            raise InputError("evaluations.text_invalid", place=place, value=value)
    elif number is None or not 0 < number <= 1:
        raise InputError("evaluations.share_invalid", place=place, name=measure, value=value)
    return number


def _number(value: t.Any) -> float | None:
    """A number, or the text of one, which templates make of it; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _boolean(name: str, given: t.Mapping[str, t.Any], place: Message) -> bool:
    return boolean(given.get(name, False), Message("releases.place_option", option=name, place=place))


def unattainable(required: Requirements, counts: t.Mapping[str, int]) -> list[Message]:
    """The requirements that no model can meet, even with every answer right, or that stop nothing.

    :param counts: the number of questions by measure (:func:`.scores.counts`).
    :returns: for each of them why, and what to do: the questions needed, where more of them help.
    """
    found: list[Message] = []
    for measure, least in required.least.items():
        asked = counts.get(measure, 0)
        if not asked:
            found.append(Message("evaluations.requirement_without_questions", name=measure))
        elif required.confidence is not None and measure != "text":
            facts = {"name": measure, "wanted": least, "asked": asked, "confidence": required.confidence}
            if least == 1:
                found.append(Message("evaluations.requirement_unprovable", **facts))
            elif wilson(asked, asked, required.confidence).low < least:
                needed = fewest_for(least, required.confidence)
                reached = wilson(asked, asked, required.confidence).low
                found.append(Message("evaluations.requirement_unattainable", needed=needed, reached=reached, **facts))
    if required.guard_drop_at_most is not None and not counts.get("guard"):
        found.append(Message("evaluations.requirement_without_questions", name="guard_drop_at_most"))
    if required.not_worse_than_served and not any(counts.values()):
        found.append(Message("evaluations.requirement_without_questions", name="not_worse_than_served"))
    gate = counts.get("gate", 0)
    if required.no_regression and not gate:
        found.append(Message("evaluations.requirement_without_questions", name="no_regression"))
    if required.allowed_failures is not None:
        if not gate:
            found.append(Message("evaluations.requirement_without_questions", name="allowed_failures"))
        elif required.allowed_failures >= gate:
            facts = {"allowed_failures": required.allowed_failures, "count": gate}
            found.append(Message("releases.gate_allows_all", **facts))
    return found


def notes(counts: t.Mapping[str, int], met: t.Mapping[str, int] | None = None) -> list[Message]:
    """What few questions can show: the interval of a share, for each measure with fewer than 50 questions.

    :param counts: the number of questions by measure.
    :param met: the number of right answers by measure; by default nine tenths of them, as an example.
    """
    made = []
    for measure in MEASURES:
        asked = counts.get(measure, 0)
        if 0 < asked < FEW and measure != "text":
            right = round(0.9 * asked) if met is None else met.get(measure, 0)
            share = wilson(right, asked)
            facts = {"name": measure, "asked": asked, "met": right, "low": share.low, "high": share.high}
            made.append(Message("evaluations.few_questions", confidence=round(CONFIDENCE * 100), **facts))
    return made


# -- what was measured -------------------------------------------------------------------------------------------------


def check(required: Requirements, report: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Compare every candidate of a report with what is required.

    :param report: with ``models`` and ``comparisons`` (:func:`.report.build`).
    :returns: for each candidate and requirement: ``model``, ``name``, ``wanted``, ``value`` (None if there is nothing
        to compare with: no model was served, so that none can be worse), ``bound`` (None without ``confidence``) and
        ``met``. A candidate that has not answered every question has an entry ``answers``. ``not_worse_than_served``
        has an entry for each ``measure``. ``value`` of ``no_regression`` is the number of questions that regressed.
    """
    made: list[dict[str, t.Any]] = []
    for model in report["models"]:
        if model["role"] == "candidate":
            if model.get("missing"):
                made.append(_entry(model, "answers", report["items"], report["items"] - model["missing"], None, False))
            made += _of_measures(required, model)
            made += _of_differences(required, model, report)
            made += _of_gate(required, model, report)
    return made


def passed(entries: t.Iterable[t.Mapping[str, t.Any]], candidates: t.Iterable[str]) -> dict[str, bool]:
    """Whether each candidate meets everything.

    :param entries: of :func:`check`; :param candidates: their labels.
    """
    made = dict.fromkeys(candidates, True)
    for entry in entries:
        made[entry["model"]] = made.get(entry["model"], True) and bool(entry["met"])
    return made


def describe(entry: t.Mapping[str, t.Any]) -> Message:
    """What an entry of :func:`check` that is not met lacks, in one sentence."""
    name, value, wanted, bound = entry["name"], entry["value"], entry["wanted"], entry["bound"]
    facts = {"model": entry["model"], "name": name, "wanted": wanted}
    if value is None:
        return Message("evaluations.lacks_measure", **facts)
    if name == "not_worse_than_served":
        return Message("evaluations.lacks_served", model=entry["model"], name=entry["measure"], value=-value)
    if name == "guard_drop_at_most":
        if bound is None:
            return Message("evaluations.lacks_guard", value=max(0.0, -value), **facts)
        return Message("evaluations.lacks_guard_bound", value=max(0.0, -value), bound=max(0.0, -bound), **facts)
    if name == "answers":
        return Message("evaluations.answers_missing", model=entry["model"], count=wanted - value)
    if name == "allowed_failures":
        return Message("evaluations.lacks_gate", model=entry["model"], value=value, wanted=wanted)
    if name == "no_regression":
        return Message("evaluations.lacks_regression", model=entry["model"], value=value)
    if bound is None:
        return Message("evaluations.lacks_value", value=value, **facts)
    return Message("evaluations.lacks_bound", value=value, bound=bound, **facts)


def _of_measures(required: Requirements, model: t.Mapping[str, t.Any]) -> t.Iterator[dict[str, t.Any]]:
    for measure, least in required.least.items():
        found = model["measures"].get(measure)
        if found is None:
            yield _entry(model, measure, least, None, None, False)
            continue
        value, bound = found["value"], None
        if required.confidence is not None:
            if "met" in found:
                bound = wilson(found["met"], found["asked"], required.confidence).low
            else:
                bound = found["bounds"][str(required.confidence)][0]
        yield _entry(model, measure, least, value, bound, (value if bound is None else bound) >= least - _ROUNDING)


def _of_differences(
    required: Requirements, model: t.Mapping[str, t.Any], report: t.Mapping[str, t.Any]
) -> t.Iterator[dict[str, t.Any]]:
    label, comparisons = model["label"], report["comparisons"]
    if required.not_worse_than_served:
        served = _label_of("served", report)
        found = [each for each in comparisons if (each["model"], each["against"]) == (label, served)]
        if not found:
            yield _entry(model, "not_worse_than_served", 0.0, None, None, True)
        has_text = any(each["measure"] == "text" for each in found)
        for each in found:
            if has_text and each["measure"] in ("exact", "same"):
                continue
            bound = None if required.confidence is None else each["bounds"][str(required.confidence)][1]
            met = (each["difference"] if bound is None else bound) >= -_ROUNDING
            entry = _entry(model, "not_worse_than_served", 0.0, each["difference"], bound, met)
            yield {**entry, "measure": each["measure"]}
    if required.guard_drop_at_most is not None:
        against = _label_of("base", report) or _label_of("served", report)
        drop = find(comparisons, label, against, "guard")
        if drop is None:
            # with nothing to compare with, none can be lower; without answers of its own, a candidate did not show it
            met = "guard" in model["measures"] and not against
            yield _entry(model, "guard_drop_at_most", required.guard_drop_at_most, None, None, met)
            return
        bound = None if required.confidence is None else drop["bounds"][str(required.confidence)][0]
        met = (drop["difference"] if bound is None else bound) >= -required.guard_drop_at_most - _ROUNDING
        yield _entry(model, "guard_drop_at_most", required.guard_drop_at_most, drop["difference"], bound, met)


def _of_gate(
    required: Requirements, model: t.Mapping[str, t.Any], report: t.Mapping[str, t.Any]
) -> t.Iterator[dict[str, t.Any]]:
    gate = model["measures"].get("gate")
    if required.allowed_failures is not None:
        failed = None if gate is None else gate["asked"] - gate["met"]
        met = failed is not None and failed <= required.allowed_failures
        yield _entry(model, "allowed_failures", required.allowed_failures, failed, None, met)
    if required.no_regression:
        difference = find(report["comparisons"], model["label"], _label_of("served", report), "gate")
        regressed = None if difference is None else len(difference["worse"])
        yield _entry(model, "no_regression", 0, regressed, None, not regressed)


def _entry(
    model: t.Mapping[str, t.Any], name: str, wanted: float, value: float | None, bound: float | None, met: bool
) -> dict[str, t.Any]:
    facts = {"name": name, "wanted": wanted, "value": value, "bound": bound, "met": met}
    return {"model": model["label"], **facts}


def _label_of(role: str, report: t.Mapping[str, t.Any]) -> str:
    """The label of the model in a role; empty if none was asked."""
    return next((str(model["label"]) for model in report["models"] if model["role"] == role), "")
