# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of the job store: an older core does not write to a newer store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.schema import (
    SCHEMA,
    check_schema,
    prepare_schema,
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "data"))


def write(layout: Layout, text: str) -> Path:
    path = Path(layout.jobs, "schema.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_checking_creates_nothing(layout: Layout) -> None:
    assert check_schema(layout) is None
    assert not Path(layout.root).exists()


def test_a_new_store_gets_the_schema_of_this_core(layout: Layout) -> None:
    prepare_schema(layout)
    assert check_schema(layout) == SCHEMA
    assert Path(layout.jobs, "active").is_dir()


@pytest.mark.parametrize("text", ['{"schema": 1}', "1", '{"schema": 0}', '{"schema": 1, "note": "of a later core"}'])
def test_a_store_of_this_core_or_an_older_one_is_kept(layout: Layout, text: str) -> None:
    path = write(layout, text)
    prepare_schema(layout)
    assert path.read_text() == text


def test_a_newer_store_is_refused_before_anything_is_written(layout: Layout) -> None:
    path = write(layout, json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(StoreError, match=f"has schema {SCHEMA + 1}, this core writes {SCHEMA}") as caught:
        prepare_schema(layout)
    assert "upgrade" in caught.value.hint
    assert [entry.name for entry in path.parent.iterdir()] == ["schema.json"]


@pytest.mark.parametrize("text", ['{"schema": "1"}', "[1]", '"x"', '{"schema": 1'])
def test_a_damaged_schema_is_refused(layout: Layout, text: str) -> None:
    path = write(layout, text)
    with pytest.raises(StoreError, match=str(path)):
        prepare_schema(layout)
    assert path.read_text() == text
