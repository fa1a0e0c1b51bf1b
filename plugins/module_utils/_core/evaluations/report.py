# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of an evaluation, from the answers. Pure functions."""

from __future__ import annotations

import collections
import dataclasses
import typing as t

from ..messages.message import Message
from . import comparison, quantizations, requirements
from .comparison import Scores
from .intervals import CONFIDENCE, bounds_of_mean, most_unseen, wilson
from .items import PARTS, Item
from .requirements import Requirements

SCHEMA = 1

CANDIDATE, SERVED, BASE = "candidate", "served", "base"
#: How the promoted quantization is found: the one that is declared, or the smallest that meets the requirements.
RULES = ("declared", "smallest")


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that was asked.

    :param label: how the report calls it: its quantization, ``served`` or ``base``.
    :param role: ``candidate``, ``served`` or ``base``.
    :param model: its full name in Ollama; :param digest: of its manifest.
    :param bytes: size of its file.
    """

    label: str
    role: str
    model: str
    digest: str
    bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a report says beside what follows from the answers.

    :param name: the name of the fine-tune, or of the model.
    :param declared: label of the quantization that is promoted unless ``rule`` chooses another.
    :param models: those that were asked, each with a label of its own.
    :param asked_at: time of the evaluation, ISO 8601.
    :param seconds: its duration.
    :param server_version: of Ollama.
    :param rule: one of :data:`RULES`.
    :param texts: chrF by label and question; :param corpora: chrF of all texts together, by label
        (``evaluations.chrf``).
    :param judge: the summary of the judge's verdicts (``evaluations.judge``); None without one.
    :param likelihood: what llama.cpp has measured of the candidates' files (``evaluations.quantizations``).
    :param notes: what is said beside what :func:`build` finds itself: rows left out, for example, and why.
    """

    name: str
    declared: str
    models: t.Sequence[Model]
    asked_at: str
    seconds: float
    server_version: str
    rule: str = "declared"
    texts: t.Mapping[str, t.Mapping[str, float]] = dataclasses.field(default_factory=dict)
    corpora: t.Mapping[str, float] = dataclasses.field(default_factory=dict)
    judge: t.Mapping[str, t.Any] | None = None
    likelihood: quantizations.Likelihood = dataclasses.field(default_factory=dict)
    notes: t.Sequence[Message] = ()


@dataclasses.dataclass
class _Usage:
    """Sums over the answers of a model; a call that the server could not read has no length."""

    answers: int = 0
    tokens: int = 0
    seconds: float = 0.0
    missing: int = 0


def build(
    facts: Facts,
    items: t.Iterable[Item],
    answers: t.Mapping[str, t.Mapping[str, t.Mapping[str, t.Any]]],
    required: Requirements,
) -> dict[str, t.Any]:
    """The report: measures with intervals, comparisons, requirements, and which candidate is chosen.

    Texts are not kept, so that both arguments may read their files one line at a time.

    :param items: the questions, each once.
    :param answers: by label of a model, its lines of ``answers.jsonl`` by question.
    :param required: what a candidate must meet.
    :returns: JSON values; ``docs/architecture.md`` names the file. A candidate without an answer to every question is
        not ``passed``.
    """
    parts: collections.Counter[str] = collections.Counter()
    usage = {model.label: _Usage() for model in facts.models}

    def questions() -> t.Iterator[Item]:
        for item in items:
            parts[item.part] += 1
            yield item

    def count(label: str, _item: Item, line: t.Mapping[str, t.Any] | None) -> None:
        if line is None:
            usage[label].missing += 1
            return
        answer = line.get("answer") or {}
        if not answer.get("malformed_call"):
            usage[label].answers += 1
            usage[label].tokens += int(answer.get("tokens") or 0)
            usage[label].seconds += float(answer.get("seconds") or 0.0)

    lines = {model.label: answers.get(model.label, {}) for model in facts.models}
    scores = comparison.read(questions(), lines, facts.texts, count)
    models = [_model(model, scores[model.label], usage[model.label], facts) for model in facts.models]
    made: dict[str, t.Any] = {
        "schema": SCHEMA,
        "asked_at": facts.asked_at,
        "seconds": round(facts.seconds, 3),
        "server_version": facts.server_version,
        "items": sum(parts.values()),
        "parts": {part: parts[part] for part in PARTS if parts[part]},
        "name": facts.name,
        "declared": facts.declared,
        "models": models,
        "comparisons": _comparisons(facts.models, scores),
        "judge": facts.judge,
    }
    made["quantizations"] = quantizations.section(made, facts.likelihood)
    made["requirements"] = requirements.check(required, made)
    candidates = [model.label for model in facts.models if model.role == CANDIDATE]
    made["passed"] = requirements.passed(made["requirements"], candidates)
    made["chosen"] = choose(made, facts.rule)
    missing = [
        Message("evaluations.answers_missing", model=label, count=each.missing)
        for label, each in usage.items()
        if each.missing
    ]
    made["notes"] = [note.as_dict() for note in (*facts.notes, *missing, *_notes(made))]
    return made


def choose(report: t.Mapping[str, t.Any], rule: str) -> str:
    """The label of the candidate to promote; empty if none may be.

    :param report: with ``models``, ``passed`` and ``declared``.
    :param rule: ``declared``: the declared quantization, if it meets everything; ``smallest``: of the candidates that
        meet everything the smallest file, and of equal ones the first.
    """
    passed = report["passed"]
    if rule == "smallest":
        fitting = [
            model for model in report["models"] if model["role"] == CANDIDATE and passed.get(model["label"], False)
        ]
        return str(min(fitting, key=lambda model: model["bytes"])["label"]) if fitting else ""
    if rule != "declared":
        raise ValueError(rule)
    return str(report["declared"]) if passed.get(report["declared"], False) else ""


def _model(model: Model, scores: Scores, usage: _Usage, facts: Facts) -> dict[str, t.Any]:
    measures: dict[str, t.Any] = {}
    for measure in scores.measures():
        values = list(scores.of(measure).values())
        if measure == "text":
            mean, bounds = bounds_of_mean(values)
            low, high = bounds[str(CONFIDENCE)]
            measures[measure] = {"value": mean, "low": low, "high": high, "bounds": bounds, "asked": len(values)}
            if model.label in facts.corpora:
                measures[measure]["corpus"] = facts.corpora[model.label]
        else:
            met = round(sum(values))
            measures[measure] = {**wilson(met, len(values))._asdict(), "met": met, "asked": len(values)}
    return {
        **dataclasses.asdict(model),
        "measures": measures,
        "tokens_per_answer": round(usage.tokens / usage.answers, 1) if usage.answers else 0.0,
        "missing": usage.missing,
        "seconds_per_answer": round(usage.seconds / usage.answers, 3) if usage.answers else 0.0,
    }


def _comparisons(models: t.Sequence[Model], scores: t.Mapping[str, Scores]) -> list[dict[str, t.Any]]:
    """Every candidate against the model served now, the base, and the largest candidate."""
    candidates = [model for model in models if model.role == CANDIDATE]
    others = [model for role in (SERVED, BASE) for model in models if model.role == role]
    if len(candidates) > 1:
        others.append(max(candidates, key=lambda model: model.bytes))
    return [
        each
        for model in candidates
        for other in others
        if other is not model
        for each in comparison.compare(model.label, scores[model.label], other.label, scores[other.label])
    ]


def _notes(report: t.Mapping[str, t.Any]) -> list[Message]:
    """What the numbers of a report can show, said of the candidate that is chosen, or else of the declared one."""
    wanted = report["chosen"] or report["declared"]
    candidates = [model for model in report["models"] if model["role"] == CANDIDATE]
    shown = next((model for model in candidates if model["label"] == wanted), candidates[0] if candidates else None)
    if shown is None:
        return []
    shares = {measure: each for measure, each in shown["measures"].items() if "met" in each}
    served = [model["label"] for model in report["models"] if model["role"] == SERVED]
    return [
        *requirements.notes(
            {measure: each["asked"] for measure, each in shares.items()},
            {measure: each["met"] for measure, each in shares.items()},
        ),
        *(
            Message(
                "evaluations.no_difference",
                model=each["model"],
                against=each["against"],
                name=each["measure"],
                asked=each["asked"],
                share=most_unseen(each["asked"]),
                confidence=round(CONFIDENCE * 100),
            )
            for each in report["comparisons"]
            if each["model"] == shown["label"] and each["against"] in served and each["measure"] in shares
            if each["asked"] < requirements.FEW and not each["worse"] and not each["better"]
        ),
    ]
