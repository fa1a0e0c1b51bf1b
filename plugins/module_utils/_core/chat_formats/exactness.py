# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For each chat template, whether a server can give the model the tokens that it was trained with.

The text is the same for every template here (``served.py``). The tokens can still differ: LLaMA-Factory tokenizes each
message by itself and joins the tokens, a server tokenizes the whole prompt. Where two messages meet without a special
token or a line break between them (a *seam*: ``questions.USER:``, ``[/INST]answer``), a byte-pair vocabulary merges
across the border. ``tests/real/test_chat_formats_real.py`` finds the seams again in a vocabulary that has a merge
across each of them, in which the markers of a template (``<|x|>``, ``[INST]``, ``<start_of_turn>``) are single tokens,
as in the vocabularies of its models.

Further limits that hold for every template: an answer that begins with a line break is tokenized with the line break
before it; SentencePiece vocabularies that put a blank before a text (Llama 2, Mistral before 0.3) do so for each
message in training, and once in a server.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import InputError
from ..messages.message import Message
from ..messages.suggestions import did_you_mean
from .facts import facts_of, names, nearest, version

EXACT, SINGLE_TURN, INEXACT, UNSERVABLE = "exact", "single turn", "inexact", "unservable"

_HISTORY = Message("chat_formats.history_merges")
_THOUGHT = Message("chat_formats.thought_merges")
_MARKER = Message("chat_formats.markers_merge")
_EVERYWHERE = Message("chat_formats.questions_merge")
_FORCED = Message("chat_formats.renderer_forced")


@dataclasses.dataclass(frozen=True)
class Exactness:
    """How exactly a template can be served.

    :param level: :data:`EXACT`; :data:`SINGLE_TURN`, exact in a conversation of one question; :data:`INEXACT`, in none;
        :data:`UNSERVABLE`, not even the text is the same.
    :param reason: why it is not exact; None if it is.
    """

    level: str
    reason: Message | None = None


#: Every template that is not exact. The others are.
_NOT_EXACT: dict[str, Exactness] = {
    **dict.fromkeys(
        ("breeze", "deepseek", "default", "ernie_nothink", "ernie_vl", "solar", "yi_vl", "youtu"),
        Exactness(SINGLE_TURN, _HISTORY),
    ),
    **dict.fromkeys(("glm4_5v", "glm4_moe", "glm4v", "glmz1"), Exactness(SINGLE_TURN, _THOUGHT)),
    **dict.fromkeys(("llama2", "llama2_zh"), Exactness(SINGLE_TURN, _MARKER)),
    **dict.fromkeys(
        (
            "alpaca",
            "deepseekcoder",
            "empty",
            "falcon",
            "fewshot",
            "llava",
            "llava_next",
            "llava_next_video",
            "openchat",
            "vicuna",
            "video_llava",
            "xuanyuan",
            "yuan",
        ),
        Exactness(INEXACT, _EVERYWHERE),
    ),
    **dict.fromkeys(("gemma4", "gemma4n"), Exactness(UNSERVABLE, _FORCED)),
}


def exactness_of(name: str) -> Exactness:
    """How exactly a template can be served.

    :raises InputError: if LLaMA-Factory has no template of that name.
    """
    facts_of(name)
    return _NOT_EXACT.get(name, Exactness(EXACT))


def exactness_of_known(name: str) -> Exactness:
    """How exactly a template can be served; :data:`UNSERVABLE` without a reason if there is no such template."""
    return exactness_of(name) if name in names() else Exactness(UNSERVABLE)


def servable() -> tuple[str, ...]:
    """The names of the templates that can be served as they were trained, sorted."""
    return tuple(name for name in names() if name not in _NOT_EXACT)


def check(name: str, several_turns: bool = True) -> None:
    """Check that a template can be served as it was trained.

    :param several_turns: whether conversations of several turns were trained, or may have been.
    :raises InputError: if it cannot, with the reason, or there is no such template; the hint has the nearest that can.
    """
    known = servable()
    if name in known or (not several_turns and exactness_of_known(name).level == SINGLE_TURN):
        return
    facts: dict[str, t.Any] = {"template": name, "suggestion": did_you_mean(nearest(name, known)), "known": known}
    details = {"template": name, "known": list(known)}
    if name not in names():
        raise InputError("chat_formats.unknown_to_serve", **facts, version=version(), details=details)
    found = _NOT_EXACT[name]
    code = "chat_formats.several_questions_inexact" if found.level == SINGLE_TURN else "chat_formats.inexact"
    raise InputError(code, **facts, reason=found.reason, details={**details, "level": found.level})
