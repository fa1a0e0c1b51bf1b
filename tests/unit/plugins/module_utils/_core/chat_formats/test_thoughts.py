# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The thought before an answer is read in every spelling, and a text that is unclear is told apart."""

from __future__ import annotations

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats import thoughts
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.facts import facts_of

QWEN3, SEED = facts_of("qwen3"), facts_of("seed_oss")


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nJe pense.\n</think>\n\nOui.",
        "<think>Je pense.</think>Oui.",
        "<think>Je pense.</think> Oui.",
        "\n<think>\n\nJe pense.\n\n</think>\n\n\nOui.",
        "<thinking>Je pense.</thinking>\nOui.",
        "<thought>\nJe pense.\n</thought>\nOui.",
        "<seed:think>Je pense.</seed:think>Oui.",
        "◁think▷Je pense.◁/think▷Oui.",
        "<|channel|>analysis<|message|>Je pense.<|end|><|start|>assistant<|channel|>final<|message|>Oui.",
        "Je pense.\n</think>\n\nOui.",
        "Je pense.</think>\nOui.",
    ],
)
def test_every_spelling(text: str) -> None:
    read = thoughts.read(text)
    assert read is not None
    assert (read.text, read.answer) == ("Je pense.", "Oui.")
    assert text.startswith(read.source) and text[len(read.source) :].strip() == "Oui."
    assert read.written(QWEN3) == "<think>\nJe pense.\n</think>\n\n"
    assert read.written(SEED) == "<seed:think>Je pense.</seed:think>"
    assert read.is_written(QWEN3) == (text == "<think>\nJe pense.\n</think>\n\nOui.")
    assert read.is_written(SEED) == text.startswith("<seed:think>")
    assert not read.is_written(facts_of("qwen"))
    assert thoughts.may_have(text.encode())


@pytest.mark.parametrize(
    ("text", "exact"),
    [("<think>\n\n</think>\n\nOui.", True), ("<think></think>Oui.", False), ("<think>\n</think>\nOui.", False)],
)
def test_empty_thought(text: str, exact: bool) -> None:
    read = thoughts.read(text)
    assert read is not None
    assert (read.text, read.answer, read.written(QWEN3), read.is_written(QWEN3)) == ("", "Oui.", "", exact)


@pytest.mark.parametrize("text", ["Oui.", "Une <pensée>.", "", "Écris <thinking deep>."])
def test_no_thought(text: str) -> None:
    assert thoughts.read(text) is None
    assert not thoughts.may_have(text.encode())


@pytest.mark.parametrize(
    ("text", "kind", "marker"),
    [
        ("<think>\nJe pense. Oui.", thoughts.OPEN, "<think>"),
        ("<thinking> est une balise.", thoughts.OPEN, "<thinking>"),
        ("<think>A</think>B<think>C</think>D", thoughts.AGAIN, "<think>"),
        ("<think>A</think>B</think>", thoughts.AGAIN, "</think>"),
        ("<think>A</think>\n\n", thoughts.ALONE, "</think>"),
        ("La balise </think> ferme une réflexion.", thoughts.INSIDE, "</think>"),
        ("Oui. <think>A</think> Non.", thoughts.INSIDE, "<think>"),
    ],
)
def test_unclear(text: str, kind: str, marker: str) -> None:
    with pytest.raises(thoughts.Unclear) as raised:
        thoughts.read(text)
    assert (raised.value.kind, raised.value.marker) == (kind, marker)


@pytest.mark.parametrize("word", [word for pair in thoughts.words() for word in pair])
def test_every_word_is_found_in_rows(word: str) -> None:
    assert thoughts.may_have(f"A {word} B".encode())
    assert not thoughts.may_have(f"A {word[1:-1]} B".encode()) or "|" in word or "thought" in word


def test_templates_with_thoughts() -> None:
    known = thoughts.templates_with()
    assert {"qwen3", "deepseekr1", "glm4_7", "seed_oss"} <= set(known)
    assert not {"qwen", "llama3", "qwen3_nothink", "gemma4"} & set(known)
