# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random tools and arguments of calls, with characters and values that printers of JSON differ in."""

from __future__ import annotations

import random
import typing as t

_CHARACTERS = (
    *("a", "é", "œ", "<", ">", "&", "'", '"', "\\", "\n", "\t", "\r", "\b", "\f", "\x01", "\x7f", "\u00a0", "\u2028"),
    *("\u2029", "\u200b", "日", "🚀", "{", "}", "{{", "}}", " ", "/", "\u00ad", "\ufeff", "\ue000", "\u0301"),
)
_NUMBERS = (0, 1, -1, 42, 2**53, -(2**53), 10**15, 1.5, 0.1, -2.25, 3.0, 1e15 + 0.5, 0.0001, 123456.789)
_KEYS = (
    *("type", "description", "enum", "items", "anyOf", "properties", "required"),
    *("default", "minimum", "format", "title", "additionalProperties"),
)


def random_text(chance: random.Random, most: int = 8) -> str:
    """A text of difficult characters."""
    return "".join(chance.choice(_CHARACTERS) for _number in range(chance.randint(0, most)))


def random_value(chance: random.Random, depth: int = 0) -> t.Any:
    """Any JSON value whose numbers Python and Go write alike."""
    kind = chance.randint(0, 6 if depth < 3 else 4)
    if kind in (0, 1):
        return random_text(chance)
    if kind == 2:
        return chance.choice(_NUMBERS)
    if kind == 3:
        return chance.choice([True, False])
    if kind == 4:
        return None
    if kind == 5:
        return [random_value(chance, depth + 1) for _number in range(chance.randint(0, 3))]
    return {f"k{random_text(chance, 3)}": random_value(chance, depth + 1) for _number in range(chance.randint(0, 3))}


def random_arguments(chance: random.Random) -> dict[str, t.Any]:
    """Arguments of a call."""
    return {f"q{random_text(chance, 2)}": random_value(chance) for _number in range(chance.randint(0, 4))}


def random_property(chance: random.Random, depth: int = 0) -> dict[str, t.Any]:
    """A property of a schema, with keys that Ollama's API has and keys that it drops."""
    made: dict[str, t.Any] = {}
    for key in chance.sample(_KEYS, chance.randint(1, 6)):
        if key == "type":
            made[key] = chance.choice(["string", "integer", ["string", "null"], ["number"], "object"])
        elif key in ("description", "format", "title"):
            made[key] = random_text(chance)
        elif key == "enum":
            made[key] = [random_value(chance, 3) for _number in range(chance.randint(0, 3))]
        elif key == "items":
            inner = {"b": {"type": "string"}, "a": {"type": "integer"}}
            made[key] = chance.choice([{}, {"type": "string"}, {"type": "object", "properties": inner}])
        elif key == "anyOf" and depth < 2:
            made[key] = [random_property(chance, depth + 1) for _number in range(chance.randint(1, 2))]
        elif key == "properties" and depth < 2:
            made[key] = {
                f"z{random_text(chance, 2)}": random_property(chance, depth + 1)
                for _number in range(chance.randint(0, 3))
            }
        elif key == "required":
            made[key] = chance.choice([[], ["a"], ["b", "a"]])
        elif key in ("default", "minimum", "additionalProperties"):
            made[key] = {"default": "x", "minimum": 3, "additionalProperties": False}[key]
    return made


def random_tool(chance: random.Random, name: str) -> dict[str, t.Any]:
    """A tool as a client or a row may hold it."""
    schema = {
        "type": "object",
        "properties": {
            f"p{random_text(chance, 3)}": random_property(chance) for _number in range(chance.randint(0, 4))
        },
        "required": chance.choice([[], ["x"], ["y", "x"]]),
        "additionalProperties": False,
    }
    function = {"name": name, "description": random_text(chance, 12), "strict": True, "parameters": schema}
    return {"type": "function", "function": function}
