# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the prompts of a gate on models in Ollama. The only effect there is that models are loaded and unloaded."""

from __future__ import annotations

import contextlib
import typing as t

from ..errors import NotReadyError, RemoteError
from ..messages.message import Message
from ..ollama.client import Ollama
from ..system.clock import utc_now
from .gate import Answer, Gate, report
from .gate_calls import calls_of

#: Part of the error with which Ollama reports a call that its parser cannot read.
_MALFORMED_CALL = "failed to parse"

#: Called after each answer with the number of answers so far and the total.
OnAnswer = t.Callable[[int, int], None]


def ask(ollama: Ollama, model: str, gate: Gate, on_answer: t.Callable[[], None] | None = None) -> list[Answer]:
    """A model's answers to all questions of a gate, in order."""
    answers = []
    for question in gate.questions:
        offered = {"tools": list(question.tools)} if question.tools else {}
        try:
            reply = ollama.chat(model, question.messages, gate.options_for(question), **offered)
        except RemoteError as error:
            # A server that reads the calls itself fails on a malformed one: that is the model's answer, not an outage.
            if not question.tools or _MALFORMED_CALL not in str(error):
                raise
            answers.append(Answer("", False, 0, malformed_call=True))
            if on_answer is not None:
                on_answer()
            continue
        message = reply.get("message") or {}
        answers.append(
            Answer(
                text=str(message.get("content") or ""),
                ended=reply.get("done_reason") == "stop",
                tokens=int(reply.get("eval_count") or 0),
                seconds=round(float(reply.get("total_duration") or 0) / 1e9, 3),
                calls=calls_of(message),
            )
        )
        if on_answer is not None:
            on_answer()
    return answers


def evaluate(
    ollama: Ollama, gate: Gate, candidate: str, served: str = "", on_answer: OnAnswer | None = None
) -> dict[str, t.Any]:
    """Run the gate on a candidate, and on the model served now if it is a different one.

    :param candidate: full name of the candidate.
    :param served: name under which a model is served now; ignored if it does not exist or is the candidate.
    :param on_answer: called after each answer.
    :returns: the report of :func:`releases.gate.report`, with ``asked_at``.
    :raises NotReadyError: if the candidate does not exist.
    """
    digest = ollama.digest(candidate)
    if not digest:
        raise NotReadyError("releases.candidate_missing", model=candidate, url=ollama.url)
    served_digest = ollama.digest(served) if served else ""
    compare = bool(served_digest) and served_digest != digest
    total = len(gate.questions) * (2 if compare else 1)
    count = 0

    def count_answer() -> None:
        nonlocal count
        count += 1
        if on_answer is not None:
            on_answer(count, total)

    asked_at = utc_now()
    before: list[Answer] = []
    served_error: Message | None = None
    if compare:
        # The served model comes first because it is probably loaded. Its failure must not block a better candidate.
        try:
            before = ask(ollama, served, gate, count_answer)
        except RemoteError as error:
            served_error, compare = error.content, False
    after = ask(ollama, candidate, gate, count_answer)
    result = report(
        gate,
        {"model": candidate, "digest": digest},
        after,
        {"model": served, "digest": served_digest} if compare else None,
        before,
    )
    if served_error is not None:
        result |= {"served_error": str(served_error), "served_error_message": served_error.as_dict()}
    if served_digest and served_digest != digest and not result["passed"]:
        # free the memory for the model that stays in use
        with contextlib.suppress(RemoteError):
            ollama.unload(candidate)
    return {**result, "asked_at": asked_at}
