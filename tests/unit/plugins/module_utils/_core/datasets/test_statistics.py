# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Duplicates, contradictions and lengths of rows: found in bounded memory, reported with their places."""

from __future__ import annotations

import collections
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import statistics
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rendering import render
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.statistics import (
    Lengths,
    lower_bound,
    warnings,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.dataset_lab import file_of


def statistics_of(*rows: t.Any) -> dict[str, t.Any]:
    """Statistics of rows."""
    return render("prompts", [Source("records", records=list(rows))]).results


def alpaca(question: str, answer: str, **more: t.Any) -> dict[str, t.Any]:
    return {"instruction": question, "output": answer, **more}


def test_no_warnings() -> None:
    results = statistics_of(alpaca("a", "b"), alpaca("a", "b", system="s"), alpaca("b", "b"), alpaca("a\nb", "c"))
    assert results["repeats"] == {"exact": True, "duplicates": 0, "contradictions": 0, "examples": {}}
    assert warnings("prompts", results) == []


def test_duplicates_and_contradictions_have_a_place() -> None:
    rows = [alpaca("a", "1"), alpaca("b", "1"), alpaca("a", "2"), alpaca("a", "1"), alpaca("a", "2"), alpaca("a", "3")]
    repeats = statistics_of(*rows)["repeats"]
    place = {"file": "records"}
    assert repeats == {
        "exact": True,
        "duplicates": 2,
        "contradictions": 2,
        "examples": {
            "duplicates": [[{**place, "row": 1}, {**place, "row": 4}], [{**place, "row": 3}, {**place, "row": 5}]],
            "contradictions": [[{**place, "row": 1}, {**place, "row": 3}], [{**place, "row": 1}, {**place, "row": 6}]],
        },
    }
    messages = [str(each) for each in warnings("prompts", statistics_of(*rows))]
    assert "prompts: 2 rows answer the same question otherwise" in messages[0]
    assert "records row 3 and row 1; records row 6 and row 1" in messages[0]
    assert "prompts: 2 rows say the same as an earlier one" in messages[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (alpaca("a", "x", input="b"), alpaca("a\nb", "y")),
        (alpaca("", "x", input="b"), alpaca("b", "y")),
        (alpaca("q", "x", history=[["a", "b"]]), alpaca("q", "y", history=[["a", "b"]])),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "x"}], "system": "s"},
            {
                "conversations": [
                    {"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "y"}
                ]
            },
        ),
        (alpaca("q", "x", kto_tag=True), alpaca("q", "x", kto_tag=False)),
        (
            {"instruction": "q", "chosen": "x", "rejected": "y"},
            {"instruction": "q", "chosen": "y", "rejected": "x"},
        ),
    ],
)  # fmt: skip
def test_contradictions(one: t.Any, other: t.Any) -> None:
    repeats = statistics_of(one, other, one)["repeats"]
    assert (repeats["duplicates"], repeats["contradictions"]) == (1, 1)
    assert len(warnings("prompts", statistics_of(one, other, one))) == 2


def test_no_contradictions() -> None:
    """Several answers to choose from, or of which one is liked, are normal in such data."""
    pairs = [{"instruction": "q", "chosen": "x", "rejected": other} for other in "yz"]
    liked = [alpaca("q", answer, kto_tag=answer == "x") for answer in "xy"]
    for rows in (pairs, liked, [{"text": "a"}, {"text": "b"}]):
        assert statistics_of(*rows)["repeats"]["contradictions"] == 0
    assert statistics_of({"text": "a"}, {"text": "a"})["repeats"]["duplicates"] == 1


def test_rows_of_several_files(tmp_path: Path) -> None:
    row = {"instruction": "a", "output": "b"}
    sources = [file_of(tmp_path / name, row) for name in ("one.jsonl", "two.jsonl")]
    results = render("prompts", sources).results
    assert results["repeats"]["examples"]["duplicates"] == [
        [{"file": "one.jsonl", "row": 1}, {"file": "two.jsonl", "row": 1}]
    ]
    assert "two.jsonl row 1 and row 1 of one.jsonl" in str(warnings("prompts", results)[0])


def test_a_single_kind_of_tag_is_reported() -> None:
    results = statistics_of(alpaca("a", "b", kto_tag=True), alpaca("c", "d", kto_tag=True))
    assert results["liked"] == {"true": 2, "false": 0}
    assert "every kto_tag is the same" in str(warnings("prompts", results)[0])
    assert warnings("prompts", statistics_of(alpaca("a", "b", kto_tag=True), alpaca("c", "d", kto_tag=False))) == []


def test_warnings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    results = statistics_of(*[alpaca("a", "b")] * 500, *[alpaca("a", str(number)) for number in range(500)])
    assert (results["repeats"]["duplicates"], results["repeats"]["contradictions"]) == (499, 500)
    assert all(len(pairs) == statistics.SHOWN for pairs in results["repeats"]["examples"].values())
    assert all(len(str(message)) < 500 for message in warnings("prompts", results))
    monkeypatch.setattr(statistics, "COMPARED", 10)
    repeats = statistics_of(*[alpaca("a", "b")] * 11)["repeats"]
    assert (repeats["exact"], repeats["duplicates"]) == (False, 0)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
def test_counts_agree_with_a_pairwise_comparison(pairs: list[tuple[int, int]]) -> None:
    """The counts are those of a comparison of each row with all rows before it."""
    repeats = statistics_of(*[alpaca(f"q{question}", f"r{answer}") for question, answer in pairs])["repeats"]
    before: collections.Counter[tuple[int, int]] = collections.Counter()
    questions: set[int] = set()
    duplicates = contradictions = 0
    for question, answer in pairs:
        duplicates += (question, answer) in before
        contradictions += (question, answer) not in before and question in questions
        before[question, answer] += 1
        questions.add(question)
    assert (repeats["duplicates"], repeats["contradictions"]) == (duplicates, contradictions)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=50))
@settings(max_examples=80, deadline=None)
def test_lengths(sizes: list[int]) -> None:
    lengths = Lengths()
    lengths.add([b"x" * size for size in sizes])
    counted = lengths.result()
    assert sum(count for _top, count in counted) == len(sizes)
    low = 0
    for top, count in counted:
        assert sum(low <= size < top for size in sizes) == count
        assert all(top - size <= size // 4 + 1 for size in sizes if low <= size < top)
        assert all(lower_bound(top) <= size for size in sizes if low <= size < top)
        low = top
