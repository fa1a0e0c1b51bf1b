# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a published artifact is complete, and where its content lies."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.integrity import (
    artifact_defect,
    artifact_path,
    receipt_results,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json

NAME = "0123456789abcdef" * 4


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "data"))


def publish(layout: Layout, kind: str = "merge", **receipt: t.Any) -> Path:
    """Publish an artifact with two files, one of them in a directory."""
    path = Path(layout.artifact(kind, NAME))
    (path / "sub").mkdir(parents=True)
    (path / "a").write_bytes(b"12345")
    (path / "sub" / "b").write_bytes(b"")
    files = {"a": {"bytes": 5}, "sub/b": {"bytes": 0}}
    write_json(str(path / "receipt.json"), {"fingerprint": NAME, "files": files, **receipt})
    return path


def test_a_complete_artifact_has_no_defect(layout: Layout) -> None:
    assert str(artifact_defect(layout, "merge", NAME)) == "not made yet"
    publish(layout)
    assert artifact_defect(layout, "merge", NAME) is None


def test_unlisted_files_are_no_defect(layout: Layout) -> None:
    (publish(layout) / "note").touch()
    assert artifact_defect(layout, "merge", NAME) is None


def test_missing_and_changed_files_are_named(layout: Layout) -> None:
    path = publish(layout)
    (path / "a").write_bytes(b"1234")
    assert str(artifact_defect(layout, "merge", NAME)) == "a has 4 bytes instead of 5"
    (path / "a").write_bytes(b"12345")
    (path / "sub" / "b").unlink()
    assert str(artifact_defect(layout, "merge", NAME)) == "sub/b is gone"


@pytest.mark.parametrize(
    ("receipt", "defect"),
    [
        ({"fingerprint": "f" * 64}, "its receipt belongs to another result"),
        ({"pruned_at": "2026-01-01T00:00:00.000Z"}, "pruned"),
        ({"files": None}, "its receipt is damaged"),
        ({"files": {"a": {}}}, "its receipt is damaged"),
        ({"files": ["a"]}, "its receipt is damaged"),
    ],
)
def test_receipts_that_do_not_prove_completeness(layout: Layout, receipt: dict[str, t.Any], defect: str) -> None:
    publish(layout, **receipt)
    assert str(artifact_defect(layout, "merge", NAME)) == defect


def test_a_receipt_that_is_cut_off(layout: Layout) -> None:
    (publish(layout) / "receipt.json").write_text('{"files"')
    assert str(artifact_defect(layout, "merge", NAME)) == "its receipt is damaged"
    with pytest.raises(StoreError):
        receipt_results(layout, "merge", NAME)


def test_a_file_that_cannot_be_reached(layout: Layout) -> None:
    path = publish(layout)
    (path / "sub" / "b").unlink()
    (path / "sub").rmdir()
    (path / "sub").symlink_to("sub")
    assert str(artifact_defect(layout, "merge", NAME)) == f"{path}/sub/b: {os.strerror(40)}"


def test_a_local_base_is_where_its_receipt_says(layout: Layout, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    path = publish(layout, "base", results={"location": str(weights), "architecture": "x"})
    assert artifact_path(layout, "base", NAME) == str(weights)
    assert artifact_defect(layout, "base", NAME) is None
    weights.rmdir()
    assert str(artifact_defect(layout, "base", NAME)) == f"{weights} is gone"
    assert receipt_results(layout, "base", NAME) == {"location": str(weights), "architecture": "x"}
    assert path.is_dir()


def test_other_artifacts_are_in_the_data_directory(layout: Layout) -> None:
    """Although a result of their step is called ``location``."""
    for kind in ("base", "merge"):
        assert artifact_path(layout, kind, NAME) == layout.artifact(kind, NAME)
        assert receipt_results(layout, kind, NAME) == {}
    path = publish(layout, results={"location": "/elsewhere"})
    assert artifact_path(layout, "merge", NAME) == str(path)
