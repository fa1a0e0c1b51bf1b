# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares what a server renders for a probe with what LLaMA-Factory rendered in training."""

from __future__ import annotations

import dataclasses
import typing as t

from ..messages.message import Message

#: Characters that a message shows before and after a difference.
_BEFORE, _AFTER = 40, 60


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first difference between the prompt of the training and that of a server.

    :param probe: name of the probe.
    :param position: character at which the texts differ, from 0; None if the texts are equal, and the tokens are not.
    :param expected: text of the training, or its number of tokens.
    :param got: text of the server, or its number of tokens.
    """

    probe: str
    position: int | None
    expected: str
    got: str

    @property
    def content(self) -> Message:
        """What differs, as a message."""
        if self.position is None:
            return Message("chat_formats.tokens_differ", probe=self.probe, expected=self.expected, got=self.got)
        return Message(
            "chat_formats.prompt_differs",
            probe=self.probe,
            position=self.position,
            expected=_around(self.expected, self.position),
            got=_around(self.got, self.position),
        )

    def __str__(self) -> str:
        return str(self.content)


def compare(
    probe: str,
    expected: t.Mapping[str, t.Any],
    rendered: str,
    prompt_tokens: int | None = None,
    server_bos: str = "",
) -> Difference | None:
    """Compare a prompt.

    :param probe: name of the probe.
    :param expected: ``text`` and ``ids`` of the training, from ``programs/render_probes.py``.
    :param rendered: text that the server renders (``_debug_render_only``).
    :param prompt_tokens: number of tokens that the server has counted (``prompt_eval_count``); None if it is unknown.
    :param server_bos: text of the BOS token that the server puts before a prompt, which is not in its text; empty if
        it adds none.
    :returns: the difference; None if there is none.
    """
    text, got = str(expected["text"]), server_bos + rendered
    if text != got:
        return Difference(probe, _first_difference(text, got), text, got)
    count = len(expected["ids"])
    if prompt_tokens is not None and prompt_tokens != count:
        return Difference(probe, None, str(count), str(prompt_tokens))
    return None


def _first_difference(first: str, second: str) -> int:
    shorter = min(len(first), len(second))
    return next((index for index in range(shorter) if first[index] != second[index]), shorter)


def _around(text: str, position: int) -> str:
    begin, end = max(0, position - _BEFORE), position + _AFTER
    return f"{'…' if begin else ''}{text[begin:end]!r}{'…' if end < len(text) else ''}"
