# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of the rows of a dataset, as LLaMA-Factory's templates take them."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import held_out_rows, sampled_rows
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.validation_split import (
    position,
    question_of,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json


def alpaca(number: int) -> dict[str, t.Any]:
    return {"instruction": f"Question {number} ?", "input": "", "output": f"Réponse {number}.", "system": "Sois bref."}


def publish(directory: Path, rows: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    directory.mkdir()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (directory / "data.jsonl").write_text(lines, encoding="utf-8")
    write_json(str(directory / "dataset_info.json"), {"homelab": {"file_name": "data.jsonl"}})
    return str(directory)


def sample(source: str, target: Path, count: int, wanted: sampled_rows.Filter = sampled_rows.every) -> list[t.Any]:
    written = sampled_rows.write(source, str(target), count, wanted)
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == written
    return rows


def answers(rows: t.Iterable[t.Any]) -> set[str]:
    return {row["messages"][-1]["content"] for row in rows}


def test_row_as_a_conversation(tmp_path: Path) -> None:
    (row,) = sample(publish(tmp_path / "d", [alpaca(1)]), tmp_path / "s", 5)
    messages = [{"role": "user", "content": "Question 1 ?"}, {"role": "assistant", "content": "Réponse 1."}]
    assert row == {"system": "Sois bref.", "tools": "", "messages": messages}
    with_input = sampled_rows.as_conversation({**alpaca(1), "input": "Ici."})
    assert with_input["messages"][0]["content"] == "Question 1 ?\nIci."


def test_preferred_answer_and_plain_text() -> None:
    turns = [{"from": "human", "value": "Ça va ?"}]
    row = {"conversations": turns, "chosen": {"from": "gpt", "value": "Oui."}, "system": "", "tools": ""}
    preferred = sampled_rows.as_conversation({**row, "rejected": {"from": "gpt", "value": "Non."}})
    assert [message["content"] for message in preferred["messages"]] == ["Ça va ?", "Oui."]
    assert sampled_rows.as_conversation({"text": "Il pleut."}) == {"text": "Il pleut."}


def test_disliked_answers_are_left_out(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Ça va ?"}]
    rows = [
        {"conversations": [*turns, {"from": "gpt", "value": text}], "system": "", "tools": "", "kto_tag": liked}
        for text, liked in (("Oui.", True), ("Non.", False))
    ]
    assert answers(sample(publish(tmp_path / "d", rows), tmp_path / "s", 5)) == {"Oui."}


def test_sample_does_not_depend_on_the_order_and_changes_little(tmp_path: Path) -> None:
    rows = [alpaca(number) for number in range(200)]
    first = answers(sample(publish(tmp_path / "a", rows), tmp_path / "1", 40))
    turned = answers(sample(publish(tmp_path / "b", reversed(rows)), tmp_path / "2", 40))
    more = answers(sample(publish(tmp_path / "c", [*rows, alpaca(200), alpaca(201)]), tmp_path / "3", 40))
    assert first == turned and len(first) == 40
    assert len(first - more) <= 2
    numbers = sorted(int(answer.split()[1][:-1]) for answer in first)
    assert numbers[0] < 30 and numbers[-1] > 170, "the whole dataset is covered"


def test_sides_of_a_training_are_apart(tmp_path: Path) -> None:
    """Rows that a training validates on or holds out are not among those that it trains on."""
    rows = [alpaca(number) for number in range(200)]
    source = publish(tmp_path / "d", rows)
    held_out = answers(sample(source, tmp_path / "1", 500, sampled_rows.held_out(source, 0.3)))
    sampled_rows.write_some(source, str(tmp_path / "rest"), sampled_rows.not_held_out(source, 0.3))
    rest = str(tmp_path / "rest")
    validation = answers(sample(rest, tmp_path / "2", 500, sampled_rows.in_validation(0.2)))
    training = answers(sample(rest, tmp_path / "3", 500, sampled_rows.in_training(0.2)))
    assert len(held_out) + len(validation) + len(training) == 200
    assert not held_out & validation and not held_out & training and not validation & training
    sides = held_out_rows.Sides(source, 0.3)
    assert held_out == {row["output"] for row in rows if not sides.is_trained(row)}
    assert all(position(question_of(row)) < 0.2 for row in rows if row["output"] in validation)
    assert 30 < len(held_out) < 90 and 15 < len(validation) < 50


def test_rows_of_another_dataset_without_those_that_are_trained_on(tmp_path: Path) -> None:
    trained = publish(tmp_path / "d", [alpaca(number) for number in range(5)])
    others = publish(tmp_path / "o", [{**alpaca(number), "output": "?"} for number in range(3, 8)])
    found = sample(others, tmp_path / "s", 50, sampled_rows.not_trained_on(trained))
    assert {row["messages"][0]["content"] for row in found} == {"Question 5 ?", "Question 6 ?", "Question 7 ?"}


@pytest.mark.parametrize("share", [0, 0.0])
def test_nothing_is_held_out_without_a_share(tmp_path: Path, share: float) -> None:
    assert sampled_rows.not_held_out(str(tmp_path), share) is sampled_rows.every
