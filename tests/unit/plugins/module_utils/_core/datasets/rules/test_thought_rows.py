# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thoughts in rows: in a field of their own, and what a dataset says of them."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rendering import render
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

THOUGHT = "<think>\nJe pense.\n</think>\n\n"
CALLS = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
TOOL = {"name": "f", "parameters": {"type": "object", "properties": {}}}


def published(tmp_path: Path, *rows: t.Any) -> tuple[list[dict[str, t.Any]], dict[str, t.Any]]:
    path = tmp_path / "data.jsonl"
    made = render("d", [Source("records", records=list(rows))], path=str(path))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()], made.results


def chat(*said: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {"messages": [{"role": "user", "content": "Salut ?"}, *said], **more}


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_field_of_an_answer(tmp_path: Path, key: str) -> None:
    rows, results = published(tmp_path, chat({"role": "assistant", "content": "Oui.", key: " Je pense.\n"}))
    assert rows[0]["conversations"][1] == {"from": "gpt", "value": THOUGHT + "Oui."}
    assert results["thoughts"] == {"rows": 1, "spellings": [["<think>\n", "\n</think>\n\n"]]}


@pytest.mark.parametrize("content", [None, "", "Je regarde."])
def test_field_beside_calls(tmp_path: Path, content: str | None) -> None:
    said = {"role": "assistant", "content": content, "reasoning_content": "Je pense.", "tool_calls": CALLS}
    rows, results = published(tmp_path, chat(said, tools=[TOOL]))
    turn = rows[0]["conversations"][1]
    assert turn["from"] == "function_call" and turn["value"].startswith(
        THOUGHT + (content or "") + ("<" if content else "{")
    )
    assert results["thoughts"]["rows"] == 1


@pytest.mark.parametrize("value", [None, "", "  ", []])
def test_field_without_a_thought(tmp_path: Path, value: t.Any) -> None:
    rows, results = published(tmp_path, chat({"role": "assistant", "content": "Oui.", "reasoning_content": value}))
    assert rows[0]["conversations"][1]["value"] == "Oui."
    assert results["thoughts"] == {"rows": 0}


def test_same_thought_in_two_fields_is_one(tmp_path: Path) -> None:
    said = {"role": "assistant", "content": "Oui.", "reasoning": "Je pense.", "reasoning_content": "Je pense."}
    assert published(tmp_path, chat(said))[0][0]["conversations"][1]["value"] == THOUGHT + "Oui."


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"content": "Oui.", "reasoning": "A", "thinking": "B"}, "two thoughts, in reasoning and thinking"),
        ({"content": THOUGHT + "Oui.", "thinking": "A"}, "two thoughts, in thinking and content"),
        ({"content": "Oui.", "thinking": "A</think>B"}, "the thought has </think> in it"),
        ({"content": "Oui.", "thinking": {"a": 1}}, r"messages\[1\].thinking"),
    ],
)
def test_refused_with_row_and_field(tmp_path: Path, said: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        published(tmp_path, chat({"role": "assistant", **said}))


def test_field_of_a_question_is_refused(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "A ?", "thinking": "B"}, {"role": "assistant", "content": "C"}]}
    with pytest.raises(InputError, match=r"messages\[0\].thinking"):
        published(tmp_path, row)


def test_statistics(tmp_path: Path) -> None:
    def row(*answers: str) -> dict[str, t.Any]:
        turns = [
            turn
            for answer in answers
            for turn in ({"from": "human", "value": answer + "?"}, {"from": "gpt", "value": answer})
        ]
        return {"conversations": turns}

    _rows, results = published(
        tmp_path,
        row("Oui."),
        row("<think>A</think>Oui.", "Non."),
        row("<think></think>Oui."),
        row("A\n</think>\n\nOui."),
        row("Oui.", "<think>A"),
        row("<think>B"),
    )
    assert results["thoughts"] == {
        "rows": 2,
        "partly": 1,
        "spellings": [["<think>", "</think>"], ["", "\n</think>\n\n"]],
        "empty": ["<think></think>"],
        "unclear": [
            {
                "kind": "open",
                "marker": "<think>",
                "count": 2,
                "file": "records",
                "row": 5,
                "field": "conversations[3].value",
            }
        ],
    }


def test_plain_text_has_no_thoughts(tmp_path: Path) -> None:
    assert "thoughts" not in published(tmp_path, {"text": "<think>A</think>Oui."})[1]
