# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validation split: each row keeps its side as the dataset grows, in every output format."""

from __future__ import annotations

import json
import os
import random
import tempfile
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import validation_split
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import Declaration, apply
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.validation_split import (
    position,
    question_of,
    split,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError


def publish(folder: Path, rows: t.Sequence[t.Any]) -> str:
    """A published version of these rows."""
    done = apply(Layout(str(folder)), Declaration("rows"), [Source("records", records=list(rows))])
    assert done.dataset is not None
    return done.dataset.path


def sides(folder: Path, rows: t.Sequence[t.Any], share: float) -> tuple[list[str], list[str]]:
    """The questions of the rows on each side."""
    version, target = publish(folder, rows), folder / "split"
    counts = split(version, str(target), share)
    questions = tuple(
        [question_of(json.loads(line)) for line in (target / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "validation")
    )
    assert (counts.train, counts.validation) == tuple(map(len, questions))
    return questions[0], questions[1]


def alpaca(number: int, **more: t.Any) -> dict[str, t.Any]:
    """A unique row."""
    return {"instruction": f"question {number}", "output": f"réponse {number}", **more}


def test_golden_positions() -> None:
    """A changed position of a question would move rows of existing datasets to the other side."""
    assert [round(position(text), 12) for text in ("", "Qui es-tu ?", "question 1")] == GOLDEN


GOLDEN = [0.89316751609, 0.702432418972, 0.368955396491]


def test_the_share_is_respected(tmp_path: Path) -> None:
    train, validation = sides(tmp_path, [alpaca(number) for number in range(4000)], 0.1)
    assert len(train) + len(validation) == 4000
    assert 340 < len(validation) < 460  # three standard deviations


def test_rows_keep_their_side_as_the_dataset_grows(tmp_path: Path) -> None:
    """Also if other rows are removed or reordered, answers and system prompts change, and all become conversations."""
    rows = [alpaca(number) for number in range(200)]
    before = set(sides(tmp_path / "a", rows, 0.2)[1])
    assert len(before) > 20
    grown = [alpaca(number, system="Bref.", output="autre") for number in range(100, 900)]
    random.Random(1).shuffle(grown)
    grown.append(alpaca(1000, history=[["a", "b"]]))
    old = {question_of(row) for row in ({**row, "input": ""} for row in rows[100:])}
    after = set(sides(tmp_path / "b", grown, 0.2)[1])
    assert after & old == before & old
    assert before < set(sides(tmp_path / "c", rows, 0.4)[1])


def test_the_same_question_is_on_one_side(tmp_path: Path) -> None:
    rows = [alpaca(number % 40, output=str(number)) for number in range(400)]
    train, validation = sides(tmp_path, rows, 0.3)
    assert validation
    assert not set(train) & set(validation)


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"instruction": "a", "input": "b", "output": "c"}, "a\nb"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "a"),
        ({"instruction": "q", "output": "r", "history": [["a", "b"]]}, "a\0b\0q"),
        ({"instruction": "a", "chosen": "b", "rejected": "c"}, "a"),
        ({"instruction": "a", "output": "b", "kto_tag": False}, "a"),
        ({"text": "Il était"}, "Il était"),
    ],
)
def test_the_question_in_each_output_format(row: dict[str, t.Any], question: str, tmp_path: Path) -> None:
    version = publish(tmp_path, [row])
    assert question_of(json.loads(Path(version, "data.jsonl").read_text())) == question


def test_both_sides_have_the_same_output_format(tmp_path: Path) -> None:
    rows = [{"instruction": f"q{number}", "chosen": "a", "rejected": "b"} for number in range(50)]
    version = publish(tmp_path, rows)
    split(version, str(tmp_path / "split"), 0.3)
    before = json.loads(Path(version, "dataset_info.json").read_text())["dataset"]
    info = json.loads((tmp_path / "split" / "dataset_info.json").read_text())
    assert info == {name: {**before, "file_name": f"{name}.jsonl"} for name in ("train", "validation")}
    assert info["validation"]["ranking"] is True
    written = b"".join((tmp_path / "split" / f"{name}.jsonl").read_bytes() for name in ("train", "validation"))
    assert sorted(written.splitlines()) == sorted(Path(version, "data.jsonl").read_bytes().splitlines())


def test_no_side_may_be_empty(tmp_path: Path) -> None:
    """The error comes before any training, and names a sufficient share."""
    version = publish(tmp_path, [alpaca(number) for number in range(3)])
    least = min(position(f"question {number}") for number in range(3))
    with pytest.raises(InputError, match="leaves no row to validate on") as caught:
        split(version, str(tmp_path / "split"), least / 2)
    sufficient_share = float(caught.value.hint.split("selects a row is ")[1].split(";")[0])
    assert split(version, str(tmp_path / "split"), sufficient_share).validation
    largest = max(position(f"question {number}") for number in range(3))
    with pytest.raises(InputError, match="leaves no row to train on"):
        split(version, str(tmp_path / "split"), min(1.0, largest + 0.001))


def test_advice_is_a_share_that_can_be_declared(tmp_path: Path) -> None:
    """The largest share is 0.5. The check before the queue says the same as the split."""
    low, high = (
        next(number for number in range(1000) if is_wanted(position(f"question {number}")))
        for is_wanted in (lambda place: 0.2 < place < 0.4, lambda place: place > 0.7)
    )
    for number, advice in ((low, "The smallest share that selects a row is 0."), (high, "no share up to 0.5")):
        version = publish(tmp_path / str(number), [alpaca(number)])
        for body in (
            lambda path: validation_split.check_share(path, 0.1),
            lambda path: split(path, str(tmp_path / "x"), 0.1),
        ):
            with pytest.raises(
                InputError, match="validation_share 0.1 of 1 rows leaves no row to validate on"
            ) as caught:
                body(version)
            assert advice in caught.value.hint
    with pytest.raises(InputError, match="leaves no row to train on"):
        validation_split.check_share(publish(tmp_path / "low", [alpaca(low)]), 0.5)
    both = publish(tmp_path / "both", [alpaca(low), alpaca(high)])
    validation_split.check_share(both, 0.5)
    validation_split.check_share(str(tmp_path / "absent"), 0.5)


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=20), st.floats(0, 0.5))
@settings(max_examples=50, deadline=None)
def test_a_position_is_a_number_from_0_to_1(texts: list[str], share: float) -> None:
    places = [position(text) for text in texts]
    assert all(0 <= place < 1 for place in places)
    assert places == [position(text) for text in texts]


def test_a_full_disk_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        version = publish(Path(folder), [alpaca(1)])

        def full(*_args: t.Any, **_more: t.Any) -> t.NoReturn:
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(validation_split.os, "makedirs", full)
        with pytest.raises(Exception, match="disk is full"):
            split(version, os.path.join(folder, "split"), 0.5)
