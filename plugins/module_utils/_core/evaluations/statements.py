# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of an evaluation, as messages: the one source for the terminal, the page, REST, MCP and model cards."""

from __future__ import annotations

import typing as t

from ..messages.message import Message
from . import quantizations
from .items import MEASURES
from .requirements import describe
from .store import model_of

#: Measures that are shares, 0 to 1; the others are means from 0 to 100. Differences of both are shown in points of 100.
SHARES = tuple(measure for measure in MEASURES if measure != "text")

#: Measures of a text, the most significant first. A line has the first one that was measured: the others say the same
#: more coarsely.
_TEXTS = ("text", "same", "exact")

#: Models that a line compares with, the preferred one first.
_AGAINST = ("served", "base")


def line(report: t.Mapping[str, t.Any], label: str) -> Message | None:
    """Return what is said of a version in one line: ``calls 48/50, text 71.2, vs served +3.1 ± 2.0``.

    Behind ``±`` is half of the width of the confidence interval. If several measures are compared, each difference
    has the name of its measure.

    :param report: of the evaluation.
    :param label: of the version in it.
    :returns: None if the report has no such model.
    """
    model = model_of(report, label)
    if model is None:
        return None
    measures = model.get("measures") or {}
    shown = _shown(measures)
    parts = [_measured(name, measures[name]) for name in shown]
    compared = _compared(report, label, shown)
    if compared:
        named = len(compared) > 1
        differences = [difference(entry, named) for entry in compared]
        parts.append(Message("evaluations.versus", against=compared[0]["against"], differences=differences))
    unmet = dict.fromkeys(str(each["name"]) for each in _requirements(report, label) if not each["met"])
    if not parts:
        parts.append(Message("evaluations.nothing_measured"))
    if unmet:
        return Message("evaluations.line_unmet", parts=parts, names=list(unmet))
    return Message("evaluations.line", parts=parts)


def difference(entry: t.Mapping[str, t.Any], named: bool = True) -> Message:
    """Return a difference between two models in points of 100, with half of the width of its interval.

    :param entry: a comparison of the report.
    :param named: whether the measure is named.
    """
    scale = 100 if entry["measure"] in SHARES else 1
    value, margin = scale * float(entry["difference"]), scale * (float(entry["high"]) - float(entry["low"])) / 2
    if named:
        return Message("evaluations.difference_of", measure=entry["measure"], difference=value, margin=margin)
    return Message("evaluations.difference", difference=value, margin=margin)


def verdict(entry: t.Mapping[str, t.Any]) -> Message:
    """Return whether a difference is more than chance: better, worse or undecided.

    :param entry: a comparison of the report.
    """
    if entry["low"] > 0:
        return Message("evaluations.better")
    return Message("evaluations.worse" if entry["high"] < 0 else "evaluations.undecided")


def measured(name: str, measure: t.Mapping[str, t.Any]) -> Message:
    """Return a value with the bounds of its interval: ``48/50 = 96.0 % (86.5 to 98.9)``.

    :param name: one of :data:`items.MEASURES`.
    :param measure: its entry in the report.
    """
    scale = 100 if name in SHARES else 1
    low, high = scale * float(measure["low"]), scale * float(measure["high"])
    value = scale * float(measure["value"])
    if "met" in measure:
        return Message(
            "evaluations.share", met=measure["met"], asked=measure["asked"], percent=value, low=low, high=high
        )
    return Message("evaluations.mean", value=value, low=low, high=high, asked=measure["asked"])


def requirements(report: t.Mapping[str, t.Any], label: str = "") -> list[Message]:
    """Return a line for each requirement, those that are not met first.

    :param label: of one model; by default of all.
    """
    entries = sorted(_requirements(report, label), key=lambda entry: bool(entry["met"]))
    return [_requirement(entry) for entry in entries]


def notes(report: t.Mapping[str, t.Any]) -> list[Message]:
    """Return the notes of a report: what its numbers cannot show, and what was left out."""
    return [Message.from_stored(note) for note in report.get("notes") or ()]


def judged(report: t.Mapping[str, t.Any], label: str = "") -> list[Message]:
    """Return what a judge has said, with what tells how far it can be trusted; empty without a judge.

    :param label: of one model; by default of all.
    """
    judge = report.get("judge") or {}
    lines = []
    for pair in judge.get("pairs") or ():
        if label and pair["model"] != label:
            continue
        counts = {name: pair[name] for name in ("model", "against", "wins", "losses", "ties", "asked", "disagreements")}
        lines.append(Message("evaluations.judged", judge=judge["model"], **counts))
        shares = {name: pair.get(name) for name in ("position", "longer")}
        if None not in shares.values():
            percents = {name: 100 * float(t.cast(float, share)) for name, share in shares.items()}
            lines.append(Message("evaluations.judge_habits", judge=judge["model"], **percents))
    return lines


def quantization(report: t.Mapping[str, t.Any], label: str) -> list[Message]:
    """Return what a quantization costs against the largest one, and what llama.cpp has measured of its file."""
    entries = [entry for entry in report.get("quantizations") or () if entry["model"] == label]
    return [line for entry in entries for line in quantizations.messages(entry, difference)]


def card(report: t.Mapping[str, t.Any], label: str) -> list[str]:
    """Return the lines of a model card in English: the line of the version, its quantization, requirements, notes."""
    said = line(report, label)
    first = [said] if said is not None else []
    more = (*quantization(report, label), *judged(report, label), *requirements(report, label), *notes(report))
    return [each.text for each in (*first, *more)]


def _shown(measures: t.Mapping[str, t.Any]) -> list[str]:
    text = next((name for name in _TEXTS if name in measures), "")
    return [name for name in MEASURES if name in measures and (name not in _TEXTS or name == text)]


def _measured(name: str, measure: t.Mapping[str, t.Any]) -> Message:
    if "met" in measure:
        return Message("evaluations.met", measure=name, met=measure["met"], asked=measure["asked"])
    scale = 100 if name in SHARES else 1
    return Message("evaluations.value", measure=name, value=scale * float(measure["value"]))


def _compared(report: t.Mapping[str, t.Any], label: str, shown: t.Sequence[str]) -> list[dict[str, t.Any]]:
    """The comparisons of a model with the preferred other one, in the order of the measures."""
    entries = [entry for entry in report.get("comparisons") or () if entry["model"] == label]
    for against in _AGAINST:
        found = {entry["measure"]: dict(entry) for entry in entries if entry["against"] == against}
        if found:
            return [found[name] for name in shown if name in found]
    return []


def _requirements(report: t.Mapping[str, t.Any], label: str) -> list[dict[str, t.Any]]:
    return [dict(entry) for entry in report.get("requirements") or () if not label or entry["model"] == label]


def _requirement(entry: t.Mapping[str, t.Any]) -> Message:
    if not entry["met"]:
        return describe(entry)
    name, value, bound = entry["name"], entry["value"], entry.get("bound")
    if value is None:
        return Message("evaluations.nothing_to_compare", model=entry["model"], name=name)
    if name == "allowed_failures":
        return describe(entry)
    if name == "no_regression":
        return Message("evaluations.no_regression", model=entry["model"])
    facts = {"model": entry["model"], "name": name, "wanted": _number(entry["wanted"]), "value": _number(value)}
    facts["bound"] = None if bound is None else Message("evaluations.bound", bound=_number(bound))
    if name == "not_worse_than_served":
        return Message("evaluations.not_worse", **{**facts, "name": entry["measure"]})
    if name == "guard_drop_at_most":
        return Message("evaluations.guard_kept", **facts)
    return Message("evaluations.requirement_met", **facts)


def _number(value: float) -> str:
    """A number with at most three digits behind the point."""
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
