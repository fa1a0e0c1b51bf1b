# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths below the data directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.kinds import KINDS, PARENTS
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, StoreError

FINGERPRINT = "0123456789abcdef" * 4


def test_paths_of_the_documented_tree() -> None:
    layout = Layout("/data/llamafactory/")
    assert layout.root == "/data/llamafactory"
    assert layout.artifact("base", FINGERPRINT) == f"/data/llamafactory/models/base/{FINGERPRINT}"
    assert layout.work("train", FINGERPRINT) == f"/data/llamafactory/outputs/adapters/.work-{FINGERPRINT}"
    assert layout.jobs == "/data/llamafactory/jobs"
    assert layout.datasets == "/data/llamafactory/datasets"
    assert layout.cache == "/data/llamafactory/cache/huggingface"
    assert {kind: layout.parent(kind)[len(layout.root) + 1 :] for kind in KINDS} == {
        "base": "models/base",
        "dataset": "datasets/versions",
        "train": "outputs/adapters",
        "train_node": "outputs/nodes",
        "merge": "models/merged",
        "imatrix": "models/imatrix",
        "gguf": "models/gguf",
        "likelihood": "outputs/likelihood",
        "gguf_adapter": "models/gguf_adapters",
        "projector": "models/projectors",
        "register": "outputs/models",
        "evaluate": "outputs/evaluations",
        "promote": "outputs/promotions",
        "retain": "outputs/retained",
    }


def test_the_document_shows_the_same_tree() -> None:
    document = (Path(__file__).parents[6] / "docs" / "architecture.md").read_text(encoding="utf-8")
    for kind in KINDS:
        assert f"    {PARENTS[kind]}/<fp>/" in document


@pytest.mark.parametrize("path", ["relative/path", "", "/with a blank", "/with\ttab", "/with\nnewline"])
def test_invalid_data_directories_are_refused(path: str) -> None:
    with pytest.raises(InputError):
        Layout(path)


@pytest.mark.parametrize(
    "text", ["", "abc", FINGERPRINT[:-1] + "g", FINGERPRINT.upper(), FINGERPRINT + "\n", "../" * 20]
)
def test_invalid_fingerprints_have_no_path(text: str) -> None:
    with pytest.raises(StoreError, match="not a fingerprint"):
        Layout("/data").artifact("train", text)


def test_create_is_idempotent(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "data"))
    layout.create()
    created = {str(path.relative_to(layout.root)) for path in Path(layout.root).rglob("*")}
    assert {*PARENTS.values(), "jobs/active", "jobs/done", "core", "cache/huggingface"} <= created
    (tmp_path / "data" / "models").chmod(0o700)
    layout.create()
    assert (tmp_path / "data" / "models").stat().st_mode & 0o777 == 0o700


def test_receipts(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    assert layout.receipt("train", FINGERPRINT) is None
    path = Path(layout.artifact("train", FINGERPRINT))
    path.mkdir(parents=True)
    assert layout.receipt("train", FINGERPRINT) is None
    (path / "receipt.json").write_text('{"schema": 1}')
    assert layout.receipt("train", FINGERPRINT) == {"schema": 1}
    (path / "receipt.json").write_text("[]")
    assert layout.receipt("train", FINGERPRINT) is None
    (path / "receipt.json").write_text("{")
    with pytest.raises(StoreError):
        layout.receipt("train", FINGERPRINT)
