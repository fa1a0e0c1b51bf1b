# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One evaluation from its questions to its report, in a directory: ``questions.jsonl``, ``answers.jsonl`` and, last,
``report.json``. Called again after a kill, it asks what has no answer yet."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
import typing as t

from ..artifacts.layout import ANSWERS_FILE, QUESTIONS_FILE, REPORT_FILE
from ..errors import NotReadyError, RemoteError
from ..json_text import parse_json
from ..messages.message import Message
from ..ollama.client import Ollama
from ..ollama.syntax import same_name
from ..system.clock import utc_now
from ..system.files import read_record, write_chunks, write_json
from .answers import AnswerStore
from .asking import Interview, Limits, OnAnswer
from .items import Item
from .report import BASE, CANDIDATE, SERVED, Facts, Model, build
from .requirements import Requirements

#: The answers of the models, by label.
Answers = t.Mapping[str, t.Mapping[str, t.Mapping[str, t.Any]]]
#: What only an evaluation with the right tools can say: returns fields of :class:`.report.Facts`.
Measure = t.Callable[[t.Callable[[], t.Iterable[Item]], Answers], t.Mapping[str, t.Any]]


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is evaluated.

    :param name: of the fine-tune, or of the model.
    :param candidates: full names of the new models by label, in declared order.
    :param declared: label of the one that gets the aliases unless the rule chooses another.
    :param served: name of the model that is served now; it is left out if it does not exist or is a candidate.
    :param base: full name of the base model; empty if it is not asked.
    :param required: what the answers must be like.
    :param rule: which candidate is chosen (:data:`.report.RULES`).
    """

    name: str
    candidates: t.Mapping[str, str]
    declared: str
    served: str = ""
    base: str = ""
    required: Requirements = dataclasses.field(default_factory=Requirements)
    rule: str = "declared"


def models_of(ollama: Ollama, subject: Subject) -> list[Model]:
    """The models to ask, the candidates first.

    :raises NotReadyError: if a candidate, or the base model, does not exist.
    """
    known = ollama.tags()

    def find(label: str, role: str, name: str) -> Model | None:
        found = next((each for each in known if same_name(str(each.get("name", "")), name)), None)
        return Model(label, role, name, str(found["digest"]), int(found.get("size") or 0)) if found else None

    models = []
    for label, name in subject.candidates.items():
        candidate = find(label, CANDIDATE, name)
        if candidate is None:
            raise NotReadyError("releases.candidate_missing", model=name, url=ollama.url)
        models.append(candidate)
    served = find(SERVED, SERVED, subject.served) if subject.served else None
    if served is not None and all(served.digest != each.digest for each in models):
        models.append(served)
    if subject.base:
        base = find(BASE, BASE, subject.base)
        if base is None:
            raise NotReadyError("releases.candidate_missing", model=subject.base, url=ollama.url)
        models.append(base)
    return models


def evaluate(
    ollama: Ollama,
    directory: str,
    items: t.Iterable[Item],
    subject: Subject,
    *,
    earlier: t.Iterable[str] = (),
    notes: t.Sequence[Message] = (),
    measure: Measure | None = None,
    on_answer: OnAnswer | None = None,
    limits: Limits | None = None,
) -> dict[str, t.Any]:
    """Ask the models and write the report.

    :param directory: exists; what an earlier attempt left there is continued.
    :param items: the questions, read once and not kept in memory; equal ones are asked once.
    :param earlier: directories of earlier evaluations, whose answers of these models to these questions are taken.
    :param notes: what the report is to say beside what follows from the answers; read when all are there.
    :param measure: computes what needs other programs; called when all answers are there.
    :returns: the report.
    :raises NotReadyError: if a candidate does not exist.
    :raises RemoteError: if a candidate does not answer.
    :raises JobError: if it takes too long.
    """
    began, asked_at = time.monotonic(), utc_now()
    limits = limits or Limits()
    models = models_of(ollama, subject)
    ids = _write_questions(directory, items)
    store = AnswerStore(os.path.join(directory, ANSWERS_FILE), repair=True)
    for other in earlier:
        take_over(store, other, ids, models)
    bounded = ollama.with_slow_timeout(limits.answer)
    interview = Interview(bounded, store, limits, on_answer)
    problems = interview.ask_all(_in_order(ollama, models), lambda: read_questions(directory), len(ids))
    complete = [each for each in models if all((each.digest, item) in store for item in ids)]
    answers = {each.label: store.of_model(each.digest, each.label) for each in complete}
    measured = measure(lambda: read_questions(directory), answers) if measure is not None else {}
    facts = Facts(
        subject.name,
        subject.declared,
        complete,
        asked_at,
        time.monotonic() - began,
        ollama.version(),
        subject.rule,
        notes=(*notes, *problems, *measured.get("notes", ())),
        **{name: value for name, value in measured.items() if name != "notes"},
    )
    report = build(facts, read_questions(directory), answers, subject.required)
    # also of models that were left out
    report["digests"] = {each.label: each.digest for each in models}
    write_json(os.path.join(directory, REPORT_FILE), report)
    for each in models:
        if each.role == BASE:  # it is registered for evaluations only
            with contextlib.suppress(RemoteError):
                ollama.unload(each.model)
    return report


def _write_questions(directory: str, items: t.Iterable[Item]) -> set[str]:
    """Write ``questions.jsonl``, each question once; returns their ids."""
    ids: set[str] = set()

    def lines() -> t.Iterator[bytes]:
        for item in items:
            if item.id not in ids:
                ids.add(item.id)
                yield (json.dumps(item.as_dict(), ensure_ascii=False) + "\n").encode("utf-8")

    write_chunks(os.path.join(directory, QUESTIONS_FILE), lines())
    return ids


def _in_order(ollama: Ollama, models: t.Sequence[Model]) -> list[Model]:
    """The models in the order in which they are asked: what is in memory first, the declared candidate last."""
    try:
        loaded = [str(each.get("name") or "") for each in ollama.ps()]
    except RemoteError:
        loaded = []
    others = [each for each in models if each.role != CANDIDATE]
    candidates = [each for each in models if each.role == CANDIDATE]
    ordered = [*others, *reversed(candidates)]
    return sorted(ordered, key=lambda each: not any(same_name(each.model, name) for name in loaded))


def take_over(store: AnswerStore, directory: str, ids: t.Container[str], models: t.Sequence[Model]) -> None:
    """Take the answers of the same models to the same questions from another evaluation."""
    path = os.path.join(directory, ANSWERS_FILE)
    if not os.path.exists(path):
        return
    source = AnswerStore(path)
    labels = {model.digest: model.label for model in models}
    wanted = [key for key in source if key[0] in labels and key[1] in ids and key not in store]
    lines = (source.get(*key) for key in wanted)
    store.add_all({**line, "model": labels[line["digest"]]} for line in lines if line is not None)


def read_questions(directory: str) -> t.Iterator[Item]:
    """The questions of an evaluation, one at a time."""
    with open(os.path.join(directory, QUESTIONS_FILE), encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield Item.from_dict(parse_json(line))


def read_report(directory: str) -> dict[str, t.Any] | None:
    """The report of an evaluation; None if it is missing or damaged."""
    return read_record(os.path.join(directory, REPORT_FILE))


def answers_of(directory: str, report: t.Mapping[str, t.Any]) -> Answers:
    """The answers of the models of a report, by label, each read when it is looked up."""
    store = AnswerStore(os.path.join(directory, ANSWERS_FILE))
    return {
        str(model["label"]): store.of_model(str(model["digest"]), str(model["label"])) for model in report["models"]
    }


def is_complete(directory: str) -> bool:
    """Whether there is a report, and every model of it has answered every question."""
    report = read_report(directory)
    if report is None or not os.path.exists(os.path.join(directory, QUESTIONS_FILE)):
        return False
    answers = answers_of(directory, report)
    return all(item.id in lines for item in read_questions(directory) for lines in answers.values())
