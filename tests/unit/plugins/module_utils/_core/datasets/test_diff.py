# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The differences of two versions of a dataset, by question and answer."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import diff
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.diff import SHOWN, Changes

Row = dict[str, t.Any]


def row(question: str, answer: str, system: str = "", text: str = "") -> Row:
    return {"instruction": question, "input": text, "output": answer, "system": system}


@pytest.fixture
def compare(tmp_path: Path) -> t.Callable[..., dict[str, t.Any]]:
    def compare(old: t.Sequence[Row] | None, new: t.Sequence[Row]) -> dict[str, t.Any]:
        path = tmp_path / "data.jsonl"
        if old is not None:
            path.write_text("".join(json.dumps(each) + "\n" for each in old))
        changes = Changes(str(path) if old is not None else "")
        for each in new:
            changes.add_line(json.dumps(each))
        return changes.result()

    return compare


def test_added_removed_and_changed(compare: t.Callable[..., dict[str, t.Any]]) -> None:
    old = [row("a", "1"), row("b", "2"), row("c", "3")]
    new = [row("c", "3"), row("b", "two\n2"), row("d", "4")]
    assert compare(old, new) == {
        "compared": True,
        "added": 1,
        "removed": 1,
        "changed": 1,
        "before": ["changed: b → 2", "removed: a → 1"],
        "after": ["changed: b → two 2", "added: d → 4"],
    }


@pytest.mark.parametrize("old", [None, []])
def test_a_first_version_only_adds(compare: t.Callable[..., dict[str, t.Any]], old: list[Row] | None) -> None:
    result = compare(old, [row("a", "1"), row("a", "1")])
    assert (result["added"], result["changed"], result["removed"], result["before"]) == (2, 0, 0, [])


def test_another_order_is_no_difference(compare: t.Callable[..., dict[str, t.Any]]) -> None:
    rows = [row("a", "1"), row("a", "2"), row("b", "1")]
    result = compare(rows, rows[::-1])
    assert (result["added"], result["removed"], result["changed"]) == (0, 0, 0)


def test_of_repeated_questions_each_answer_counts_once(compare: t.Callable[..., dict[str, t.Any]]) -> None:
    result = compare([row("a", "1"), row("a", "1")], [row("a", "1")])
    assert (result["removed"], result["changed"]) == (1, 0)
    result = compare([row("a", "1"), row("a", "2")], [row("a", "1"), row("a", "3"), row("a", "4")])
    assert (result["changed"], result["added"]) == (1, 1)
    assert result["before"] == ["changed: a → 2"] and result["after"] == ["changed: a → 3", "added: a → 4"]


def test_system_prompt_and_input_belong_to_the_question(compare: t.Callable[..., dict[str, t.Any]]) -> None:
    result = compare([row("a", "1", "Tu aides."), row("b", "1", text="x")], [row("a", "1"), row("b", "1", text="y")])
    assert (result["changed"], result["added"], result["removed"]) == (0, 2, 2)
    assert result["before"] == ["removed: a → 1", "removed: b x → 1"], "the system prompt is not shown"


def test_of_a_conversation_the_last_answer_is_compared(compare: t.Callable[..., dict[str, t.Any]]) -> None:
    def conversation(*turns: str, **more: t.Any) -> Row:
        return {"conversations": [{"value": turn} for turn in turns], "system": "", "tools": "", **more}

    result = compare([conversation("Hi", "Yes?", "NAS", "10")], [conversation("Hi", "Yes?", "NAS", "11")])
    assert result["changed"] == 1 and result["after"] == ["changed: NAS → 11"]
    result = compare([conversation("Hi", "Yes?", "NAS", "10")], [conversation("Hi", "No?", "NAS", "10")])
    assert (result["added"], result["removed"]) == (1, 1), "an earlier turn makes it another question"
    result = compare([conversation("q", "a", kto_tag=True)], [conversation("q", "a", kto_tag=False)])
    assert result["before"] == ["changed: q → a (liked)"] and result["after"] == ["changed: q → a (not liked)"]
    pairs = [{"chosen": {"value": one}, "rejected": {"value": "r"}} for one in ("c", "d")]
    result = compare([conversation("q", **pairs[0])], [conversation("q", **pairs[1])])
    assert result["after"] == ["changed: q → d (rather than r)"]


def test_plain_text(compare: t.Callable[..., dict[str, t.Any]]) -> None:
    result = compare([{"text": "one"}], [{"text": "one"}, {"text": "two"}])
    assert (result["added"], result["after"]) == (1, ["added: two → "])


def test_long_texts_and_many_rows_are_shortened(compare: t.Callable[..., dict[str, t.Any]]) -> None:
    result = compare([], [row(f"{n} " + "x" * 200, "a") for n in range(SHOWN + 7)])
    assert len(result["after"]) == SHOWN + 1 and result["after"][-1] == "added: 7 more"
    assert result["after"][0] == f"added: 0 {'x' * 157}… → a"


def test_rendering_can_start_again(tmp_path: Path) -> None:
    changes = Changes("")
    changes.add_line(json.dumps(row("a", "1")))
    changes.restart()
    assert changes.result()["added"] == 0
    changes.add_line(json.dumps(row("b", "1")))
    assert changes.result()["after"] == ["added: b → 1"]
    assert changes.result() == changes.result(), "reading the result changes nothing"


def test_too_many_rows_are_not_compared(
    compare: t.Callable[..., dict[str, t.Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "COMPARED", 2)
    rows = [row(str(n), "a") for n in range(3)]
    assert compare(rows[:2], rows[1:])["compared"] is True
    refused = {"compared": False, "added": 0, "removed": 0, "changed": 0, "before": [], "after": []}
    assert compare(rows, rows[:1]) == refused
    assert compare(rows[:1], rows) == refused
