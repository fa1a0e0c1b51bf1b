# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has a judge compare the texts of an evaluation, and keeps every judgement in ``judgements.jsonl`` at once."""

from __future__ import annotations

import functools
import os
import time
import typing as t

from ..errors import JobError
from ..fingerprint import digest
from ..messages.message import Message
from ..ollama.client import Ollama
from . import judge as judges
from .answers import AnswerStore
from .asking import Limits, OnAnswer, persist
from .items import Item
from .judge import Judge, Judgement

FILE = "judgements.jsonl"

#: The label of the judge in the progress.
LABEL = "judge"


def judge_texts(
    ollama: Ollama,
    directory: str,
    judge: Judge,
    items: t.Callable[[], t.Iterable[Item]],
    answers: t.Mapping[str, t.Mapping[str, t.Mapping[str, t.Any]]],
    *,
    labels: t.Sequence[tuple[str, str]],
    limits: Limits,
    on_answer: OnAnswer | None = None,
    earlier: t.Iterable[str] = (),
) -> dict[str, t.Any]:
    """Ask the judge about every pair of texts that it has not judged yet.

    A judgement belongs to the judge's model, its rubric and both answers, so that a changed one is judged again.

    :param directory: of the evaluation.
    :param labels: the pairs of models.
    :param earlier: directories of earlier evaluations, whose judgements are taken.
    :returns: ``judge`` and ``notes`` of the report.
    :raises NotReadyError: if the judge is not in Ollama.
    :raises RemoteError: if Ollama does not answer.
    :raises JobError: if it takes too long.
    """
    model = judges.require(ollama, judge)
    ends = time.monotonic() + limits.whole
    store = AnswerStore(os.path.join(directory, FILE), repair=True)
    former = [AnswerStore(os.path.join(each, FILE)) for each in earlier]
    total = sum(1 for _pair in judges.pairs(labels, items(), answers))
    bounded = ollama.with_slow_timeout(limits.answer)
    made = []
    for count, (item, one, text, other, other_text) in enumerate(judges.pairs(labels, items(), answers), 1):
        key = digest([judge.rubric, item.id, one, text, other, other_text])
        line = store.get(model, key)
        taken = next((each for each in former if (model, key) in each), None) if line is None else None
        if taken is not None:
            line = taken.get(model, key)
            store.add_all([line] if line is not None else [])
        if line is None:
            if time.monotonic() > ends:
                raise JobError("evaluations.takes_too_long", answers=count - 1, total=total, seconds=limits.whole)
            request = functools.partial(judges.ask_pair, bounded, judge, item, one, text, other, other_text)
            judgement = persist(request, ollama, limits, ends)
            line = {"digest": model, "item": key, "judgement": judgement.as_dict()}
            store.add(line)
        made.append(Judgement.from_dict(line["judgement"]))
        if on_answer is not None:
            on_answer(count, total, LABEL)
    summary = judges.summary(judge, made)
    found: list[Message] = judges.notes(summary)
    return {"judge": summary, "notes": found}
