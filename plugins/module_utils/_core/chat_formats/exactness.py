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

from ..errors import InputError
from .facts import facts_of, names, nearest, version

EXACT, SINGLE_TURN, INEXACT, UNSERVABLE = "exact", "single turn", "inexact", "unservable"

_HISTORY = "an earlier answer runs into the next question without a token between them"
_THOUGHT = "an empty thought of an earlier answer runs into the text before it"
_MARKER = "its markers are no single tokens, and merge with the answer beside them"
_EVERYWHERE = (
    "a question or the system prompt runs into the text around it without a token or a line break between them"
)
_FORCED = "Ollama renders models of this architecture with a built-in renderer, whatever TEMPLATE says"


@dataclasses.dataclass(frozen=True)
class Exactness:
    """How exactly a template can be served.

    :param level: :data:`EXACT`; :data:`SINGLE_TURN`, exact in a conversation of one question; :data:`INEXACT`, in none;
        :data:`UNSERVABLE`, not even the text is the same.
    :param reason: why it is not exact; empty if it is.
    """

    level: str
    reason: str = ""


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


def servable() -> tuple[str, ...]:
    """The names of the templates that can be served as they were trained, sorted."""
    return tuple(name for name in names() if name not in _NOT_EXACT)


def check(name: str) -> None:
    """Check that a template can be served as it was trained.

    :raises InputError: if it cannot, with the reason, or there is no such template; the hint has the nearest that can.
    """
    known = servable()
    if name in known:
        return
    similar = nearest(name, known)
    suggestion = f"Did you mean {' or '.join(similar)}? " if similar else ""
    hint = f"{suggestion}These can be served as they were trained: {', '.join(known)}."
    details = {"template": name, "known": list(known)}
    if name not in names():
        raise InputError(f"LLaMA-Factory {version()} has no chat template {name!r}.", hint, details)
    found = _NOT_EXACT[name]
    limit = " in a conversation of several questions" if found.level == SINGLE_TURN else ""
    raise InputError(
        f"A model trained with the chat template {name!r} cannot be served as it was trained{limit}: {found.reason}.",
        hint,
        {**details, "level": found.level},
    )
