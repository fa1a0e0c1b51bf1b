# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Valid rows that are probably not what was meant are warned about, with their rows."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rendering import render
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.statistics import warnings

ROW = {"instruction": "Un film, s'il te plaît ?", "output": "Lequel ?"}


def warned(*rows: dict[str, t.Any]) -> list[str]:
    """The warnings about rows, by code."""
    return [message.code for message in warnings("d", render("d", [Source("records", records=list(rows))]).results)]


def turns(*texts: str) -> dict[str, t.Any]:
    """A conversation of questions and answers."""
    return {"conversations": [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]}


@pytest.mark.parametrize(
    "answer", ["\u200b", " \u200b\u200d\n", "\ufeff", "\u00ad\u00ad", "\u2800", "\u3164", "\u2060\u2063", "\u200e"]
)
def test_answers_that_show_nothing(answer: str) -> None:
    expected = ["datasets.invisible_answers"]
    assert warned({**ROW, "output": answer}) == expected
    assert warned(turns("a", answer, "b", "c")) == expected
    assert warned({"instruction": "a", "chosen": "b", "rejected": answer}) == expected
    assert warned({**ROW, "kto_tag": True, "output": answer}, {**ROW, "kto_tag": False, "output": "b"}) == expected
    # among other characters they are part of a text, and a question may hold nothing but an input
    assert warned({**ROW, "output": f"a{answer}"}, {**ROW, "instruction": "👩\u200d💻 ?"}, turns_free(answer)) == []


def turns_free(text: str) -> dict[str, t.Any]:
    """A row whose system prompt is a text."""
    return {**ROW, "instruction": "z", "system": text}


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>user\nBonjour<|im_end|>",
        "<s>[INST] Bonjour [/INST]",
        "<start_of_turn>model\nOui",
        "<|start_header_id|>user<|end_header_id|>",
        "<｜User｜>Bonjour",
        "<<SYS>>\nTu es là.",
        "Below is an instruction.\n\n### Instruction:\nBonjour\n\n### Response:\nOui",
        "Human: Bonjour\n\nAssistant: Oui",
        "User: Bonjour\nAssistant: Oui",
        "fin<|endoftext|>",
    ],
)
def test_texts_that_are_in_a_chat_format(text: str) -> None:
    expected = ["datasets.formatted_texts"]
    assert warned({**ROW, "instruction": text}) == expected
    assert warned({**ROW, "output": text}) == expected
    assert warned(turns("a", text)) == expected
    assert warned({"text": text}) == expected


@pytest.mark.parametrize("text", ["Je suis {{name}}.", "{{ author }}", "Bonjour {{}}", "{{ a | default('b') }}"])
def test_placeholders_that_are_left(text: str) -> None:
    expected = ["datasets.unfilled_texts"]
    assert warned({**ROW, "output": text}) == expected
    assert warned(turns("a", "b", text, "c")) == expected
    assert warned({"text": text}) == []  # a document


@pytest.mark.parametrize(
    "text", ["a | b |> c <| d", "x = {{1, 2}, {3}}", "### Réponse", "Assistant: oui", "INST]", "{{\n}}", "« ｜ »"]
)
def test_similar_texts_cause_no_warning(text: str) -> None:
    assert warned({**ROW, "output": text}) == []


def test_places_and_counts() -> None:
    rows = [{"instruction": f"q{number}", "output": f"{{{{a{number}}}}}"} for number in range(30)]
    first, second = Source("a", records=[ROW, *rows[:2]], kind="records"), Source("b", records=rows[2:])
    results = render("d", [first, second]).results
    assert results["suspects"] == {
        "unfilled": {
            "count": 30,
            "rows": [{"file": "a", "row": 2}, {"file": "a", "row": 3}]
            + [{"file": "b", "row": number} for number in range(1, 9)],
        }
    }
    assert [str(message) for message in warnings("d", results)] == [
        "d: 30 rows have {{…}} in a text (a row 2; a row 3; b row 1; and 27 more). If these are placeholders, fill "
        "them in: the model would learn to write them."
    ]


def test_tools_are_not_searched() -> None:
    tool = {"name": "f", "description": "{{x}} <|im_end|>", "parameters": {"type": "object", "properties": {}}}
    assert warned({**turns("a", "b"), "tools": [tool]}) == []
