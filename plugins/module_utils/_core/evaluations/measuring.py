# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an evaluation measures with the help of other programs once all answers are there: chrF, and a judge's verdicts.

Verdicts are kept one by one in ``verdicts.jsonl`` beside the answers, so that after a kill at most one pair is judged
again. They belong to the judge, its rubric and both models.
"""

from __future__ import annotations

import os
import time
import typing as t

from ..errors import RemoteError
from ..fingerprint import digest
from ..messages.message import Message
from ..ollama.client import Ollama
from ..runs.spec import Toolchain
from . import chrf
from . import judge as judges
from .answers import AnswerStore
from .items import Item
from .judge import Judge, Judgement
from .report import BASE, SERVED

VERDICTS_FILE = "verdicts.jsonl"

#: Seconds that a server which restarts is waited for, and between two attempts to reach it.
_AWAY, _PAUSE = 300.0, 1.0

#: The questions, each time from the first on.
Items = t.Callable[[], t.Iterable[Item]]
#: Lines of ``answers.jsonl`` by label and question, the candidates first.
Answers = t.Mapping[str, t.Mapping[str, t.Mapping[str, t.Any]]]
#: Called after each verdict with the number of pairs that are judged.
OnPair = t.Callable[[int], None]


class Measuring:
    """Returns fields of :class:`.report.Facts` for the answers of an evaluation.

    :param toolchain: where the converter's environment is, which computes chrF; without it texts are only compared for
        equality, and a note says so.
    :param directory: existing directory of the evaluation, for the verdicts and for temporary files.
    :param ollama: the server; needed for a judge.
    :param judge: None for none.
    :param on_pair: called after each verdict.
    :param earlier: directories of earlier evaluations, whose verdicts of this judge about these models are taken.
    :param away: seconds that a server which restarts is waited for.
    """

    def __init__(
        self,
        toolchain: Toolchain,
        directory: str,
        ollama: Ollama | None = None,
        judge: Judge | None = None,
        on_pair: OnPair | None = None,
        earlier: t.Iterable[str] = (),
        away: float = _AWAY,
    ) -> None:
        self._toolchain = toolchain
        self._directory = directory
        self._ollama = ollama
        self._judge = judge
        self._on_pair = on_pair
        self._earlier = list(earlier)
        self._away = away

    def __call__(self, items: Items, answers: Answers) -> dict[str, t.Any]:
        """``texts``, ``corpora``, ``judge`` and ``notes``; what does not apply is left out.

        :raises NotReadyError: if a program fails, or the judge is not in Ollama.
        :raises RemoteError: if Ollama does not answer.
        """
        notes: list[Message] = []
        made = self._texts(items, answers, notes)
        if self._judge is not None and self._ollama is not None:
            made.update(self._judged(self._ollama, self._judge, items, answers, notes))
        return {**made, "notes": notes}

    def _texts(self, items: Items, answers: Answers, notes: list[Message]) -> dict[str, t.Any]:
        if not any(judges.is_judged(item) for item in items()):
            return {}
        reason = chrf.unavailable(self._toolchain)
        if reason is not None:
            notes.append(reason)
            return {}
        python = os.path.join(self._toolchain.converter_venv, "bin", "python")
        found = {label: chrf.of_answers(python, items(), lines, self._directory) for label, lines in answers.items()}
        corpora = {label: texts.corpus for label, texts in found.items() if texts.corpus is not None}
        return {"texts": {label: texts.scores for label, texts in found.items()}, "corpora": corpora}

    def _judged(
        self, ollama: Ollama, judge: Judge, items: Items, answers: Answers, notes: list[Message]
    ) -> dict[str, t.Any]:
        candidates = [label for label in answers if label not in (SERVED, BASE)]
        labels = [(label, other) for label in candidates for other in (SERVED, BASE) if other in answers]
        if not labels:
            notes.append(Message("evaluations.judge_without_other", judge=judge.model))
            return {}
        judge_digest = judges.require(ollama, judge)
        stores = [AnswerStore(os.path.join(self._directory, VERDICTS_FILE), repair=True)]
        stores += [AnswerStore(os.path.join(directory, VERDICTS_FILE)) for directory in self._earlier]
        found: list[Judgement] = []
        for item, model, answer, against, other in judges.pairs(labels, items(), answers):
            models = [str(answers[label][item.id].get("digest") or label) for label in (model, against)]
            key = digest([judge_digest, judge.rubric, *models])
            known = next((line["verdicts"] for line in (each.get(key, item.id) for each in stores) if line), None)
            found.append(self._ask(ollama, judge, item, model, answer, against, other, known))
            if known is None and found[-1].verdicts:
                stores[0].add({"digest": key, "item": item.id, "verdicts": list(found[-1].verdicts)})
            if self._on_pair is not None:
                self._on_pair(len(found))
        summary = {**judges.summary(judge, found), "digest": judge_digest}
        notes += judges.notes(summary)
        return {"judge": summary}

    def _ask(self, *pair: t.Any) -> Judgement:
        """Ask the judge (:func:`.judge.ask_pair`); if the server restarts meanwhile, wait for it and ask once more."""
        ollama: Ollama = pair[0]
        try:
            return judges.ask_pair(*pair)
        except RemoteError:
            ends = time.monotonic() + self._away
            while not _answers(ollama):
                if time.monotonic() > ends:
                    raise
                time.sleep(_PAUSE)
        return judges.ask_pair(*pair)


def _answers(ollama: Ollama) -> bool:
    try:
        return bool(ollama.version())
    except RemoteError:
        return False
