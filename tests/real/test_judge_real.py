# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A judge on real Ollama servers: a toy model answers by the schema, and is exposed as one that does not judge."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import judge as judges
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.items import Item
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.judge import Judge
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import old_server_in_full

pytestmark = old_server_in_full


def test_a_toy_answers_by_the_schema_whatever_it_is_asked(ollama: Ollama, make: t.Any, tmp_path: Path) -> None:
    """Its only likely token is the end: without the schema, it would say nothing."""
    judge = Judge("toy-judge:latest")
    with pytest.raises(NotReadyError, match="ollama pull toy-judge"):
        judges.require(ollama, judge)
    gguf = make.small(tmp_path / "judge.gguf", False, "judge")
    ollama.push_blob(gguf.path, gguf.digest)
    ollama.create(judge.model, files={"model.gguf": gguf.digest}, template="{{ .System }} {{ .Prompt }}")
    assert judges.require(ollama, judge) == ollama.digest(judge.model)
    items = [
        Item(str(number), "held_out", ({"role": "user", "content": f"Question {number}?"},), reference={"content": "x"})
        for number in range(2)
    ]
    answers = {
        label: {item.id: {"answer": {"text": f"{label} {item.id} " * length, "ended": True}} for item in items}
        for label, length in (("new", 2), ("served", 3))
    }
    pairs = judges.pairs([("new", "served")], items, answers)
    found = [judges.ask_pair(ollama, judge, *pair) for pair in pairs]
    assert len({each.verdicts for each in found}) == 1 and found[0].verdicts[0] == found[0].verdicts[1]
    summary = judges.summary(judge, found)
    (pair,) = summary["pairs"]
    assert pair["asked"] == 2 and pair["unread"] == 0 and pair["wins"] == pair["losses"] == 0
    if found[0].verdicts[0] == judges.TIE:
        assert pair["ties"] == 2
    else:
        assert pair["disagreements"] == 2 and "evaluations.judge_disagrees" in [
            note.code for note in judges.notes(summary)
        ]
    ollama.delete(judge.model)
