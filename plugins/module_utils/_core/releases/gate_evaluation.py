# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a gate's questions of models in Ollama. Changes nothing there but what is in memory."""

from __future__ import annotations

import contextlib
import typing as t

from ..errors import NotReadyError, RemoteError
from ..ollama.client import Ollama
from ..system.clock import utc_now
from .gate import Answer, Gate, report

#: Told of each answer: how many were given, of how many.
OnAnswer = t.Callable[[int, int], None]


def ask(ollama: Ollama, model: str, gate: Gate, on_answer: t.Callable[[], None] | None = None) -> list[Answer]:
    """A model's answers to all questions of a gate, in order."""
    answers = []
    for question in gate.questions:
        reply = ollama.chat(model, question.messages, gate.options_for(question))
        message = reply.get("message") or {}
        answers.append(
            Answer(
                text=str(message.get("content") or ""),
                ended=reply.get("done_reason") == "stop",
                tokens=int(reply.get("eval_count") or 0),
                seconds=round(float(reply.get("total_duration") or 0) / 1e9, 3),
            )
        )
        if on_answer is not None:
            on_answer()
    return answers


def evaluate(
    ollama: Ollama, gate: Gate, candidate: str, served: str = "", on_answer: OnAnswer | None = None
) -> dict[str, t.Any]:
    """Ask the gate of a candidate, and of the model now served when that is another one.

    :param candidate: full name of the candidate.
    :param served: name under which a model is served now; passed over where there is none, or it is the candidate.
    :param on_answer: told of each answer.
    :returns: the report of :func:`releases.gate.report`, with ``asked_at``.
    :raises NotReadyError: when there is no such candidate.
    """
    digest = ollama.digest(candidate)
    if not digest:
        raise NotReadyError(f"{candidate} is not in Ollama at {ollama.url}.", "'ollama list' shows what there is.")
    now = ollama.digest(served) if served else ""
    both = bool(now) and now != digest
    total = len(gate.questions) * (2 if both else 1)
    count = 0

    def answered() -> None:
        nonlocal count
        count += 1
        if on_answer is not None:
            on_answer(count, total)

    asked_at = utc_now()
    before: list[Answer] = []
    problem = ""
    if both:
        # first, since it is in memory as likely as not; one that cannot answer must not keep a better one out
        try:
            before = ask(ollama, served, gate, answered)
        except RemoteError as error:
            problem, both = str(error), False
    after = ask(ollama, candidate, gate, answered)
    found = report(
        gate,
        {"model": candidate, "digest": digest},
        after,
        {"model": served, "digest": now} if both else None,
        before,
    )
    if problem:
        found["served_error"] = problem
    if now and now != digest and not found["passed"]:
        # the memory belongs to the model people go on using
        with contextlib.suppress(RemoteError):
            ollama.unload(candidate)
    return {**found, "asked_at": asked_at}
