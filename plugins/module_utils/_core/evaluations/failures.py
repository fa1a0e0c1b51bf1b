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

Report = t.Mapping[str, t.Any]


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
    return [describe(entry) for entry in entries if entry["model"] == label and not entry["met"]]


def failure_lines(
    directory: str, report: Report, label: str, max_questions: int = 10, max_chars: int = 300
) -> list[Message]:
    """Lines that describe the answers of a model that are not as expected, those that were better before first.

    :param directory: of the evaluation.
    :param max_questions: maximum number of questions.
    :param max_chars: maximum length of an answer, in characters.
    """
    answers = answers_of(directory, report)
    own, before = answers.get(label) or {}, answers.get(SERVED) or {}
    regressed: list[list[Message]] = []
    others: list[list[Message]] = []
    count = 0
    for number, item in enumerate(read_questions(directory), 1):
        line, old = own.get(item.id), before.get(item.id)
        if line is None or not _is_failed(line):
            continue
        count += 1
        worse = old is not None and not _is_failed(old)
        chosen = regressed if worse else others
        if len(chosen) < max_questions:
            chosen.append(_lines(number, item, line, old, max_chars))
    shown = [*regressed, *others][:max_questions]
    lines = [line for each in shown for line in each]
    if count > max_questions:
        lines.append(Message("releases.further_failures", count=count - max_questions))
    return lines


def _is_failed(line: t.Mapping[str, t.Any]) -> bool:
    """Whether an answer is not as expected. A text that is not that of the reference is no failure by itself."""
    return bool(line.get("unmet"))


def _lines(
    number: int, item: Item, line: t.Mapping[str, t.Any], old: t.Mapping[str, t.Any] | None, max_chars: int
) -> list[Message]:
    lines = [
        Message("releases.failed_question", number=number, question=_short(_question(item), max_chars)),
        Message("releases.failed_answer", answer=_shown(line["answer"], max_chars)),
        Message("releases.failed_because", reasons=_unmet_of(line)),
    ]
    if old is not None:
        answer, reasons = _shown(old["answer"], max_chars), _unmet_of(old)
        lines.append(
            Message("releases.served_failed", answer=answer, reasons=reasons)
            if reasons
            else Message("releases.served_met", answer=answer)
        )
    return lines


def _question(item: Item) -> str:
    return str(item.messages[-1].get("content") or "")


def _shown(answer: t.Mapping[str, t.Any], max_chars: int) -> str:
    """Text and calls of an answer, for display."""
    text = _short(str(answer["text"]), max_chars)
    return f"{text} calls {calls_text(answer['calls'])[:max_chars]}" if answer.get("calls") else text


def _unmet_of(line: t.Mapping[str, t.Any]) -> list[Message]:
    return [Message.from_stored(failure) for failure in line["unmet"]]


def _short(text: str, max_chars: int) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= max_chars else shown[: max_chars - 1] + "…")
