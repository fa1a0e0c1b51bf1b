# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard set that ships: what a model must still be able to do after a fine-tuning, as items. Pure functions."""

from __future__ import annotations

import typing as t

from ..fingerprint import digest
from ..releases.gate import OPTIONS
from .guard_questions import QUESTIONS
from .items import Item

#: How a declaration calls the set.
NAME = "general"


def items() -> tuple[Item, ...]:
    """The questions of the set in order, the same on every call."""
    return tuple(_item(question) for question in QUESTIONS)


def _item(question: t.Mapping[str, t.Any]) -> Item:
    messages = ({"role": "user", "content": question["prompt"]},)
    # as the gate reads expectations, without its compilation of every expression in a process of its own
    expect = {**{name: value for name, value in question.items() if name != "prompt"}, "ignore_case": True}
    asked = {"part": "guard", "messages": list(messages), "expect": expect}
    return Item(digest(asked), "guard", messages, expect=expect, options=dict(OPTIONS))


#: Digest of the questions, expectations and options; part of the fingerprint of an evaluation that asks them.
DIGEST = digest([item.as_dict() for item in items()])
