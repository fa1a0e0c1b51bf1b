# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked for in the rows of a published version: earlier turns, and texts that stand for images."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import (
    earlier_turns,
    media_markers,
    published_rows,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.output_formats import DATA_FILE

VERSION = "a" * 64
QUESTION = {"from": "human", "value": "Où est le NAS ?"}
ANSWER = {"from": "gpt", "value": "Dans le garage."}


def published(root: Path, rows: t.Sequence[t.Any]) -> Layout:
    """A data directory with these rows as a version."""
    layout = Layout(str(root))
    file = Path(layout.artifact("dataset", VERSION), DATA_FILE)
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return layout


def test_rows_are_numbered_from_1_and_one_that_is_not_published_has_none(tmp_path: Path) -> None:
    layout = published(tmp_path, ["a", "b"])
    assert list(published_rows.lines(layout, VERSION)) == [(1, b'"a"\n'), (2, b'"b"\n')]
    assert list(published_rows.lines(layout, "b" * 64)) == []


@pytest.mark.parametrize(
    ("more", "row"),
    [
        ([], None),
        ([{"conversations": [QUESTION, ANSWER, QUESTION, ANSWER]}], 3),
        ([{"conversations": [QUESTION], "chosen": ANSWER, "rejected": ANSWER}], None),
        ([{"text": "Le NAS est dans le garage."}, {"conversations": [QUESTION, ANSWER, QUESTION]}], 4),
    ],
)
def test_first_row_with_an_earlier_turn(tmp_path: Path, more: list[t.Any], row: int | None) -> None:
    layout = published(tmp_path, [{"conversations": [QUESTION, ANSWER]}] * 2 + more)
    assert earlier_turns.first_row(layout, VERSION) == row
    assert earlier_turns.first_row(layout, "b" * 64) is None


@pytest.mark.parametrize("marker", ["<image>", "<video>", "<audio>"])
def test_first_row_with_a_text_that_stands_for_an_image(tmp_path: Path, marker: str) -> None:
    rows = [{"text": "image"}, {"text": f"Que montre {marker} ?"}, {"text": "<image>"}]
    assert media_markers.first_marker(published(tmp_path, rows), VERSION) == (2, marker)


def test_no_text_that_stands_for_an_image(tmp_path: Path) -> None:
    layout = published(tmp_path, [{"text": "image"}, {"text": "<img>"}])
    assert media_markers.first_marker(layout, VERSION) is None
    assert media_markers.first_marker(layout, "b" * 64) is None
