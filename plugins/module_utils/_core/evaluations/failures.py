# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a model does not pass its evaluation: what is not met, and the answers behind it, for display."""

from __future__ import annotations

import typing as t

from ..messages.message import Message
from ..releases.gate_calls import calls_text
from .evaluation import answers_of, read_questions
from .items import Item
from .report import SERVED
from .requirements import describe
from .store import model_of

#: Measures of which each answer meets one or not; ``exact`` measures the same answers as ``same``.
_COUNTED = ("gate", "calls", "json", "same", "guard")

#: Measures of how near a text is to the reference.
_OF_TEXTS = ("exact", "same", "text")

Report = t.Mapping[str, t.Any]
Line = t.Mapping[str, t.Any]


def met_of(model: t.Mapping[str, t.Any]) -> tuple[int, int]:
    """How many answers of a model are as expected, and how many were asked.

    :param model: an entry of ``models`` in a report.
    """
    measures = [each for name, each in model["measures"].items() if name in _COUNTED]
    return sum(each["met"] for each in measures), sum(each["asked"] for each in measures)


def summary(report: Report, label: str) -> Message:
    """One sentence that says how many answers of a model are as expected, and how many of the model served now."""
    model, served = model_of(report, label) or {}, model_of(report, SERVED)
    met, asked = met_of(model)
    facts = {"met": met, "asked": asked, "model": model["model"]}
    if not served:
        return Message("releases.answers", **facts)
    return Message("releases.answers_of_both", **facts, served_met=met_of(served)[0], served=served["model"])


def unmet_requirements(entries: t.Iterable[t.Mapping[str, t.Any]], label: str) -> list[Message]:
    """What a model lacks, one sentence for each requirement.

    :param entries: of :func:`.requirements.check`.
    """
    return [describe(entry) for entry in _unmet(entries, label)]


def failure_lines(
    directory: str, report: Report, label: str, max_questions: int = 10, max_chars: int = 300
) -> list[Message]:
    """Lines that describe the answers of a model that are not as expected, those that were better before first.

    A text that is not that of the reference is no failure by itself, as it may say the same. It is shown if a measure
    of texts is not met.

    :param directory: of the evaluation.
    :param max_questions: maximum number of questions.
    :param max_chars: maximum length of an answer, in characters.
    """
    answers = answers_of(directory, report)
    own, before = answers.get(label) or {}, answers.get(SERVED) or {}
    regressed: list[list[Message]] = []
    others: list[list[Message]] = []
    count = 0
    lacking = {str(entry.get("measure") or entry["name"]) for entry in _unmet(report["requirements"], label)}
    with_texts = not lacking.isdisjoint(_OF_TEXTS)
    for number, item in enumerate(read_questions(directory), 1):
        line, old = own.get(item.id), before.get(item.id)
        reasons = _reasons(item, line, with_texts, max_chars)
        if line is None or not reasons:
            continue
        count += 1
        reasons_before = _reasons(item, old, with_texts, max_chars)
        worse = old is not None and not reasons_before
        chosen = regressed if worse else others
        if len(chosen) < max_questions:
            chosen.append(_lines(number, item, (line, reasons), (old, reasons_before), max_chars))
    shown = [*regressed, *others][:max_questions]
    lines = [line for each in shown for line in each]
    if count > max_questions:
        lines.append(Message("releases.further_failures", count=count - max_questions))
    return lines


def _unmet(entries: t.Iterable[t.Mapping[str, t.Any]], label: str) -> list[t.Mapping[str, t.Any]]:
    return [entry for entry in entries if entry["model"] == label and not entry["met"]]


def _reasons(item: Item, line: Line | None, with_texts: bool, max_chars: int) -> list[Message]:
    """Why an answer is not as expected; empty if it is, or if there is no answer.

    :param with_texts: whether a text must be the same as the reference.
    """
    if line is None:
        return []
    reasons = [Message.from_stored(failure) for failure in line.get("unmet") or ()]
    if not reasons and with_texts and line["scores"].get("same", 1.0) < 1:
        reference = " ".join(str((item.reference or {}).get("content") or "").split())
        reasons = [Message("releases.unmet_equals", text=_cut(reference, max_chars))]
    return reasons


def _lines(
    number: int,
    item: Item,
    own: tuple[Line, t.Sequence[Message]],
    before: tuple[Line | None, t.Sequence[Message]],
    max_chars: int,
) -> list[Message]:
    (line, reasons), (old, reasons_before) = own, before
    lines = [
        Message("releases.failed_question", number=number, question=_short(_question(item), max_chars)),
        Message("releases.failed_answer", answer=_shown(line["answer"], max_chars)),
        Message("releases.failed_because", reasons=list(reasons)),
    ]
    if old is not None:
        answer = _shown(old["answer"], max_chars)
        lines.append(
            Message("releases.served_failed", answer=answer, reasons=list(reasons_before))
            if reasons_before
            else Message("releases.served_met", answer=answer)
        )
    return lines


def _question(item: Item) -> str:
    return str(item.messages[-1].get("content") or "")


def _shown(answer: t.Mapping[str, t.Any], max_chars: int) -> str:
    """Text and calls of an answer, for display."""
    text = _short(str(answer["text"]), max_chars)
    return f"{text} calls {calls_text(answer['calls'])[:max_chars]}" if answer.get("calls") else text


def _short(text: str, max_chars: int) -> str:
    return repr(_cut(" ".join(text.split()), max_chars))


def _cut(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"
