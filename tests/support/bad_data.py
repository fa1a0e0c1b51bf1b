# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Invalid data with the expected refusal, and helpers to define it."""

from __future__ import annotations

import dataclasses
import json
import typing as t

GOOD = {"instruction": "Qui es-tu ?", "output": "L'assistant."}
GOOD_LINE = json.dumps(GOOD)


@dataclasses.dataclass(frozen=True)
class Bad:
    """A file (or rows) that is refused, and the expected message.

    :param name: of the file; ``records`` for rows.
    :param data: bytes, text, or rows.
    """

    name: str
    data: bytes | str | list[t.Any]
    row: int | None
    field: str
    what: str
    format: str = "auto"


def alpaca(row: t.Any, field: str, what: str) -> Bad:
    """A bad alpaca row after a good one."""
    return Bad("records", [GOOD, row], 2, field, what, "alpaca")


def turns(*messages: t.Any, field: str, what: str, **more: t.Any) -> Bad:
    """A bad sharegpt row after a good one."""
    good = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    row = {"conversations": [say(*one) if isinstance(one, tuple) else one for one in messages], **more}
    return Bad("records", [good, row], 2, field, what, "sharegpt")


def say(role: t.Any, text: t.Any) -> dict[str, t.Any]:
    """A turn of sharegpt."""
    return {"from": role, "value": text}


def chat(*messages: t.Any, field: str, what: str, **more: t.Any) -> Bad:
    """A bad row in OpenAI's format after a good one."""
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    row = {"messages": [{"role": one[0], "content": one[1]} if isinstance(one, tuple) else one for one in messages]}
    return Bad("records", [good, {**row, **more}], 2, field, what, "openai")


def lines(second: str, row: int | None, field: str, what: str) -> Bad:
    """A bad line after a good one."""
    return Bad("a.jsonl", f"{GOOD_LINE}\n{second}\n{GOOD_LINE}\n", row, field, what)


def listed(second: str, row: int | None, field: str, what: str) -> Bad:
    """A bad element of a list after a good one."""
    return Bad("a.json", f"[{GOOD_LINE}, {second}, {GOOD_LINE}]", row, field, what)


def call(**function: t.Any) -> dict[str, t.Any]:
    """An assistant's turn that calls a tool."""
    return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}


DEEP = "[" * 100_000
TOOL = {"name": "f", "parameters": {"type": "object", "properties": {}}}
