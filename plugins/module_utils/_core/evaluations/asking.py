# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks models in Ollama the questions of an evaluation, one after the other, and keeps every answer at once.

The only effect in Ollama is that models are loaded and unloaded. A server that is away for a moment, because it
restarts, is waited for; what was answered before is not asked again.
"""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ..errors import JobError, RemoteError
from ..messages.message import Message
from ..ollama.client import Ollama
from ..releases.gate import OPTIONS, Answer
from ..releases.gate_calls import calls_of
from . import scores
from .answers import AnswerStore
from .items import Item
from .report import CANDIDATE, Model

#: Part of the error with which Ollama reports a call that its parser cannot read.
_MALFORMED_CALL = "failed to parse"

#: Codes of the errors of a server that does not run at the moment.
_AWAY = ("ollama.no_server", "ollama.connection_ended", "ollama.unreachable")

Reply = t.TypeVar("Reply")

#: Called after each answer with the number of answers so far, the total, and the model that is asked.
OnAnswer = t.Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of the time that an evaluation takes, in seconds.

    :param answer: for one answer, with the loading of the model.
    :param whole: for all answers. What was answered is kept, so the next attempt continues.
    :param away: how long a server that does not run is waited for.
    :param pause: between two attempts to reach it.
    """

    answer: float = 900.0
    whole: float = 6 * 3600.0
    away: float = 60.0
    pause: float = 1.0


def ask(ollama: Ollama, model: str, item: Item) -> Answer:
    """The answer of a model to one question. A call that the server cannot read is an answer, too.

    :param ollama: its ``slow_timeout`` bounds the answer.
    :raises RemoteError: if the server gives no answer.
    """
    offered = {"tools": list(item.tools)} if item.tools else {}
    try:
        reply = ollama.chat(model, item.messages, {**OPTIONS, **item.options}, **offered)
    except RemoteError as error:
        # A server that reads the calls itself fails on a malformed one: that is the model's answer, not an outage.
        if not item.tools or _MALFORMED_CALL not in str(error):
            raise
        return Answer("", False, 0, malformed_call=True)
    message = reply.get("message") or {}
    return Answer(
        text=str(message.get("content") or ""),
        ended=reply.get("done_reason") == "stop",
        tokens=int(reply.get("eval_count") or 0),
        seconds=round((float(reply.get("total_duration") or 0) - float(reply.get("load_duration") or 0)) / 1e9, 3),
        calls=calls_of(message),
    )


def line_of(asked: Model, item: Item, answer: Answer) -> dict[str, t.Any]:
    """The line of ``answers.jsonl`` for an answer, with its scores.

    :raises InputError: for a regular expression that exceeds its limits.
    """
    scored, unmet = scores.score(item, answer)
    return {
        "item": item.id,
        "model": asked.label,
        "digest": asked.digest,
        "answer": {**dataclasses.asdict(answer), "calls": [dict(call) for call in answer.calls]},
        "scores": scored,
        "unmet": [message.as_dict() for message in unmet],
    }


class Interview:
    """All questions to all models.

    :param ollama: the server.
    :param store: keeps the answers; what it has is not asked.
    :param on_answer: called after each answer, and once for those that were there before.
    """

    def __init__(
        self, ollama: Ollama, store: AnswerStore, limits: Limits | None = None, on_answer: OnAnswer | None = None
    ) -> None:
        self._limits = limits or Limits()
        self._ollama = ollama
        self._store = store
        self._on_answer = on_answer
        self._count = 0
        self._total = 0
        self._ends = 0.0

    def ask_all(self, models: t.Sequence[Model], items: t.Callable[[], t.Iterable[Item]], count: int) -> list[Message]:
        """Ask each model every question, one model after the other, so that each is loaded once.

        A model to compare with that cannot answer must not block a better candidate: it is left out.

        :param items: returns the questions.
        :param count: number of the questions.
        :returns: why models were left out.
        :raises RemoteError: if a candidate does not answer.
        :raises JobError: if it takes too long.
        """
        self._ends = time.monotonic() + self._limits.whole
        self._total = len(models) * count
        notes = []
        for place, asked in enumerate(models):
            try:
                for item in items():
                    self._ask_once(asked, item)
            except RemoteError as error:
                if asked.role == CANDIDATE:
                    raise
                notes.append(Message("evaluations.not_compared", model=asked.model, problem=error.content))
                self._count = (place + 1) * count
        return notes

    def _ask_once(self, asked: Model, item: Item) -> None:
        if (asked.digest, item.id) not in self._store:
            if time.monotonic() > self._ends:
                raise JobError(
                    "evaluations.takes_too_long", answers=self._count, total=self._total, seconds=self._limits.whole
                )
            answer = self._answer(asked, item)
            self._store.add(line_of(asked, item, answer))
        self._count += 1
        if self._on_answer is not None:
            self._on_answer(self._count, self._total, asked.label)

    def _answer(self, asked: Model, item: Item) -> Answer:
        """Ask one question, while the model stays the one that was found."""
        return persist(
            lambda: ask(self._ollama, asked.model, item),
            self._ollama,
            self._limits,
            self._ends,
            lambda: self._ollama.digest(asked.model) == asked.digest,
        )


def persist(
    request: t.Callable[[], Reply],
    ollama: Ollama,
    limits: Limits,
    ends: float,
    is_same: t.Callable[[], bool] = lambda: True,
) -> Reply:
    """The reply to a request; if the server goes away, wait for it and ask again.

    :param ends: time of the monotonic clock at which waiting ends in any case.
    :param is_same: whether the request still means the same after the server was away.
    :raises RemoteError: if the server stays away, or fails on the request twice.
    """
    failed = 0
    while True:
        try:
            return request()
        except RemoteError as error:
            is_away = error.code in _AWAY
            # a server that is stopped in mid-answer may report an error before it ends
            failed += not is_away
            status = int(error.details.get("status") or 0)
            if failed > 1 or (not is_away and status < 500):
                raise
            if not _wait_for_server(ollama, limits, ends, is_same, error):
                raise


def _wait_for_server(
    ollama: Ollama, limits: Limits, ends: float, is_same: t.Callable[[], bool], error: RemoteError
) -> bool:
    """Wait until the server answers; returns whether the request still means the same.

    :raises RemoteError: the error because of which it is waited for, if it stays away.
    """
    ends = min(ends, time.monotonic() + limits.away)
    while True:
        time.sleep(limits.pause)
        try:
            ollama.version()
            return is_same()
        except RemoteError:
            if time.monotonic() > ends:
                raise error from None
