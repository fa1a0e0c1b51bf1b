# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applying a declaration: the second time changes nothing; check mode writes nothing and predicts the result."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry, sources
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import (
    Declaration,
    Outcome,
    apply,
    load,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import sha256_file
from ansible_collections.ia_homelab.llamafactory.tests.support.dataset_lab import (
    HOMELAB,
    file_of,
    quartet,
    records,
    row,
    tree,
)


def test_first_version(layout: Layout, tmp_path: Path) -> None:
    done = quartet(layout, [file_of(tmp_path / "a.jsonl", row(1), row(2))])
    assert done.changed
    assert done.reasons == ["the rows are new"]
    assert done.dataset is not None
    assert done.dataset.rows == 2
    assert done.dataset.sources[0]["label"] == "a.jsonl"
    assert done.dataset.sources[0]["sha256"] == sha256_file(str(tmp_path / "a.jsonl"))
    receipt = layout.receipt("dataset", done.dataset.fingerprint)
    assert receipt is not None
    assert receipt["kind"] == "dataset"
    assert receipt["results"] == done.dataset.results
    data = receipt["files"]["data.jsonl"]
    assert data["sha256"] == sha256_file(done.dataset.data_file) == receipt["settings"]["content"]
    assert sorted(os.listdir(done.dataset.path)) == ["data.jsonl", "dataset_info.json", "receipt.json"]
    assert os.stat(done.dataset.path).st_mode & 0o777 == 0o755


def test_a_new_version_keeps_the_previous_one(layout: Layout) -> None:
    first = quartet(layout, records(row(1))).dataset
    done = quartet(layout, records(row(1), row(2)))
    assert done.reasons == ["the rows changed"]
    assert first is not None
    assert done.before == first.fingerprint
    assert load(layout, first.fingerprint).path == first.path
    back = quartet(layout, records(row(1)))
    assert back.reasons == ["the name refers to something else"]
    assert back.dataset is not None
    assert back.dataset.fingerprint == first.fingerprint


def test_the_same_rows_from_another_source_change_nothing(layout: Layout, tmp_path: Path) -> None:
    apply(layout, HOMELAB, records(row(1)))
    for source in (file_of(tmp_path / "b.jsonl", row(1)), file_of(tmp_path / "c.json", row(1))):
        assert not apply(layout, HOMELAB, [source]).changed
        assert load(layout, "homelab").sources[0]["label"] == source.label


def test_rows_are_not_read_again_while_the_source_is_the_same(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = file_of(tmp_path / "a.jsonl", row(1))
    apply(layout, HOMELAB, [source])

    def must_not(*_args: t.Any, **_more: t.Any) -> t.NoReturn:
        raise AssertionError("the rows were read again")

    monkeypatch.setattr(registry, "render", must_not)
    assert not apply(layout, HOMELAB, [source]).changed
    with pytest.raises(AssertionError):
        apply(layout, dataclasses.replace(HOMELAB, ignore_fields=("x",)), [source])
    file_of(tmp_path / "a.jsonl", row(2))
    with pytest.raises(AssertionError):
        apply(layout, HOMELAB, [source])


def test_a_large_file_with_the_same_identity_is_not_hashed_again(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_LARGE_BYTES", 10)
    source = file_of(tmp_path / "a.jsonl", row(1))
    old = time.time_ns() - 10**10
    os.utime(source.path, ns=(old, old))
    apply(layout, HOMELAB, [source])
    hashed = []

    def counted(path: str) -> str:
        hashed.append(path)
        return sha256_file(path)

    monkeypatch.setattr(sources, "sha256_file", counted)
    assert not apply(layout, HOMELAB, [source]).changed
    assert hashed == []
    # same size, other content, other mtime
    Path(source.path).write_text(Path(source.path).read_text().replace("question 1", "question 2"))
    os.utime(source.path, ns=(old + 1, old + 1))
    assert apply(layout, HOMELAB, [source]).changed
    assert hashed == [source.path]


def test_a_file_that_was_just_written_is_hashed_again(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mtime may not advance when it changes once more."""
    monkeypatch.setattr(sources, "_LARGE_BYTES", 10)
    source = file_of(tmp_path / "a.jsonl", row(1))
    apply(layout, HOMELAB, [source])
    status = os.stat(source.path)
    Path(source.path).write_text(Path(source.path).read_text().replace("question 1", "question 2"))
    os.utime(source.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert apply(layout, HOMELAB, [source]).changed


def test_unchanged_digests_are_enough(layout: Layout, tmp_path: Path) -> None:
    """The action plugin checks this before it transfers a file."""
    source = file_of(tmp_path / "a.jsonl", row(1))
    digest = sha256_file(source.path)
    digest_only = Source("a.jsonl", sha256=digest, size=3, commit="c" * 40, dirty=True)
    assert apply(layout, HOMELAB, [digest_only]) == Outcome(False, needs_rows=True)
    assert not os.path.exists(layout.root)
    transferred = dataclasses.replace(digest_only, path=source.path, kind="json")
    done = apply(layout, HOMELAB, [transferred])
    assert done.changed
    outcome = apply(layout, HOMELAB, [digest_only])
    assert not outcome.needs_rows
    assert not outcome.changed
    assert outcome.dataset == done.dataset
    assert load(layout, "homelab").sources == [
        {"label": "a.jsonl", "bytes": 3, "sha256": digest, "commit": "c" * 40, "dirty": True}
    ]
    # a commit alone is no change, but the latest one is recorded
    assert not apply(layout, HOMELAB, [dataclasses.replace(digest_only, commit="d" * 40, dirty=False)]).changed
    assert load(layout, "homelab").sources[0]["commit"] == "d" * 40
    # another digest, another number of files, another kind of file: the rows are needed
    for others in (
        [dataclasses.replace(digest_only, sha256="0" * 64)],
        [digest_only, digest_only],
        [dataclasses.replace(digest_only, label="a.csv")],
    ):
        assert apply(layout, HOMELAB, others).needs_rows
    # the version was damaged
    os.unlink(load(layout, "homelab").data_file)
    assert apply(layout, HOMELAB, [digest_only]).needs_rows


@pytest.mark.parametrize("damage", ["removed", "cut", "same size", "receipt", "receipt broken", "info", "directory"])
def test_a_damaged_version_is_rebuilt(damage: str, layout: Layout) -> None:
    dataset = quartet(layout, records(row(1), row(2))).dataset
    assert dataset is not None
    before = tree(dataset.path)
    data = Path(dataset.data_file)
    if damage == "removed":
        data.unlink()
    elif damage == "cut":
        data.write_bytes(data.read_bytes()[:-5])
    elif damage == "same size":
        data.write_bytes(data.read_bytes().replace(b"question 1", b"question 9"))
    elif damage == "receipt":
        Path(dataset.path, "receipt.json").unlink()
    elif damage == "receipt broken":
        Path(dataset.path, "receipt.json").write_text("{")
    elif damage == "info":
        Path(dataset.path, "dataset_info.json").unlink()
    else:
        os.rename(dataset.path, dataset.path + ".away")
    done = quartet(layout, records(row(1), row(2)))
    assert done.reasons == ["the rows are new" if damage == "directory" else "the version is incomplete"]
    assert {path: raw for path, (raw, _at) in tree(dataset.path).items() if path == dataset.data_file} == {
        dataset.data_file: before[dataset.data_file][0]
    }


def test_a_touched_version_is_complete(layout: Layout) -> None:
    dataset = quartet(layout, records(row(1))).dataset
    assert dataset is not None
    os.utime(dataset.data_file)
    assert not apply(layout, HOMELAB, records(row(1))).changed


def test_a_changed_entry_is_corrected(layout: Layout) -> None:
    quartet(layout, records(row(1)))
    path = Path(layout.datasets, "dataset_info.json")
    before = path.read_text()
    entries = json.loads(before)
    entries["homelab"]["num_samples"] = 1
    path.write_text(json.dumps(entries))
    assert quartet(layout, records(row(1))).reasons == ["the entry in dataset_info.json was changed"]
    assert json.loads(path.read_text()) == json.loads(before)
    path.write_text("{}")
    assert quartet(layout, records(row(1))).reasons == ["the name is new"]


def test_two_names_may_share_a_version(layout: Layout) -> None:
    first = quartet(layout, records(row(1))).dataset
    second = quartet(layout, records(row(1)), Declaration("other")).dataset
    assert first is not None
    assert second is not None
    assert first.path == second.path
    assert load(layout, "other").name == "other"
