# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts of prompts and tools that make_tiny_base.py learns a vocabulary from."""

from __future__ import annotations

import json
import typing as t

#: What LLaMA-Factory's template ``qwen`` writes around tools, calls and results.
TOOL_PROMPT = (
    "# Tools",
    "You may call one or more functions to assist with the user query.",
    "You are provided with function signatures within <tools></tools> XML tags:",
    "<tools>",
    "</tools>",
    "For each function call, return a json object with function name and arguments within <tool_call></tool_call> "
    "XML tags:",
    "<tool_call>",
    '{"name": <function-name>, "arguments": <args-json-object>}',
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)


class TinyBaseError(Exception):
    """The base cannot be created; the message is shown to the user."""


def load_list(path: str) -> list[dict[str, t.Any]]:
    """The objects of a JSON list.

    :raises TinyBaseError: unreadable, or not a list of objects.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            rows = json.load(stream)
    except (OSError, ValueError) as error:
        raise TinyBaseError(f"Cannot read the prompts in {path}: {error}.") from error
    if not isinstance(rows, list) or not rows:
        raise TinyBaseError(f"{path} is not a list of rows.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise TinyBaseError(f"Row {number} of {path} is not an object.")
    return rows


def load_texts(path: str) -> list[str]:
    """The texts of the rows of a file: alpaca rows, or OpenAI's messages with calls of tools.

    :raises TinyBaseError: unreadable, or a row of neither form.
    """
    texts: list[str] = []
    for number, row in enumerate(load_list(path), 1):
        if "messages" in row:
            texts += message_texts(row["messages"], f"Row {number} of {path}")
            continue
        if not all(isinstance(value, str) for value in row.values()):
            raise TinyBaseError(f"Row {number} of {path} is not an object whose fields are all strings.")
        if not row.get("instruction") or not row.get("output"):
            raise TinyBaseError(f"Row {number} of {path} has no instruction or no output.")
        texts += [row[field] for field in ("system", "instruction", "input", "output") if row.get(field)]
    return texts


def message_texts(messages: t.Any, place: str) -> list[str]:
    """What is said in a conversation, and its calls as a chat template writes them.

    :param place: the row, for messages.
    """
    texts = []
    try:
        for message in messages:
            texts.append(str(message.get("content") or ""))
            for call in message.get("tool_calls") or ():
                arguments = call["function"]["arguments"]
                value = json.loads(arguments) if isinstance(arguments, str) else arguments
                texts.append(as_json({"name": call["function"]["name"], "arguments": value}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TinyBaseError(f"{place} is not a list of messages with calls ({error!r}).") from error
    return [text for text in texts if text]


def as_json(value: t.Any) -> str:
    """A value as a chat template writes it."""
    return json.dumps(value, ensure_ascii=False)
