# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quota of uploads: concurrent ones share it, what was published counts, and unused versions are removed."""

from __future__ import annotations

import concurrent.futures
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ia_homelab_core.artifacts.layout import RECEIPT, Layout
from ia_homelab_core.datasets import registry
from ia_homelab_core.datasets.sources import Source
from ia_homelab_core.datasets.unused_versions import remove_unused, versions_of
from ia_homelab_core.system.files import make_dirs, write_json
from ia_homelab_service.application.datasets import Datasets
from ia_homelab_service.application.errors import TooLargeError
from ia_homelab_service.settings import Settings

QUOTA = 300_000


def rows(number: int, size: int = 250_000) -> bytes:
    row = b'{"instruction": "%06d", "output": "' + b"x" * 900 + b'"}\n'
    return b"".join(row % (number * 1000 + index) for index in range(size // len(row % 0)))


def stored(data: Path) -> int:
    """Bytes of all uploads, files and versions of datasets."""
    folders = [data / "service" / "uploads", data / "service" / "files", data / "datasets" / "versions"]
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("as_form", [True, False])
def test_concurrent_uploads_share_the_quota(start: t.Callable[..., Service], as_form: bool) -> None:
    service = start(upload_quota_bytes=QUOTA)

    def upload(number: int) -> int:
        content = rows(number)
        with service.client() as client:
            if as_form:
                return client.post(f"/api/datasets/d{number}", files={"file": ("d.jsonl", content)}).status_code
            headers = {"Content-Type": "application/octet-stream"}
            return client.post(f"/api/datasets/d{number}", content=content, headers=headers).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = sorted(pool.map(upload, range(8)))
    assert found.count(201) <= 1 and set(found) <= {201, 413}
    if not found.count(201):  # they may all have kept each other out
        assert upload(9) == 201
    assert upload(10) == 413, "what was published counts"
    assert stored(service.root / "data") <= QUOTA
    with service.client() as client:
        name = client.get("/api/datasets").json()["datasets"][0]["name"]
        assert client.delete(f"/api/datasets/{name}").status_code == 204
    assert upload(11) == 201, "the version has gone with its name"


@pytest.fixture
def datasets(tmp_path: Path) -> Datasets:
    layout = Layout(str(tmp_path / "data"))
    layout.create()
    return Datasets(Settings(data_dir=layout.root, no_token=True, upload_quota_bytes=QUOTA), layout)


def publish(datasets: Datasets, name: str, number: int) -> str:
    change = datasets.apply(name, [Source("d.jsonl", records=[{"instruction": str(number), "output": "b"}])])
    assert change.dataset is not None
    return change.dataset.digest


def exists(datasets: Datasets, version: str) -> bool:
    return os.path.isdir(datasets.layout.artifact("dataset", version))


def test_reservations_are_exact(datasets: Datasets) -> None:
    with datasets.quota.reservation() as one, datasets.quota.reservation() as other:
        one.reach(200_000)
        one.reach(100_000)
        with pytest.raises(TooLargeError, match="100000 bytes"):
            other.reach(100_001)
        other.reach(100_000)
    with datasets.quota.reservation() as later:
        later.reach(QUOTA)


def test_a_version_goes_with_its_last_name(datasets: Datasets) -> None:
    version = publish(datasets, "a", 1)
    assert publish(datasets, "b", 1) == version
    datasets.delete("a")
    assert exists(datasets, version), "b refers to it"
    datasets.delete("b")
    assert not exists(datasets, version)


def test_a_version_goes_when_its_name_gets_another(datasets: Datasets) -> None:
    first, second = publish(datasets, "a", 1), publish(datasets, "a", 2)
    assert (exists(datasets, first), exists(datasets, second)) == (False, True)


def test_a_version_that_was_trained_on_stays(datasets: Datasets) -> None:
    version = publish(datasets, "a", 1)
    training = datasets.layout.artifact("train", "e" * 64)
    make_dirs(training)
    write_json(os.path.join(training, RECEIPT), {"fingerprint": "e" * 64, "upstream": {"dataset": version}})
    datasets.delete("a")
    assert exists(datasets, version)


def test_a_version_of_an_active_run_stays(datasets: Datasets, start: t.Callable[..., Service]) -> None:
    service = start()
    service.publish()
    service.occupy()
    with service.client() as client:
        assert client.post("/api/train", json=service.request()).status_code == 202
        version = client.get("/api/datasets/homelab_prompts").json()["digest"]
        assert client.delete("/api/datasets/homelab_prompts").status_code == 204
    assert os.path.isdir(service.lab.layout.artifact("dataset", version))


def test_versions_of_ansible_are_neither_counted_nor_removed(datasets: Datasets) -> None:
    source = Source("d.jsonl", records=[{"instruction": "a", "output": "b"}])
    outcome = registry.apply(datasets.layout, registry.Declaration("a"), [source])
    assert outcome.dataset is not None
    assert versions_of(datasets.layout, "service") == {}
    datasets.delete("a")
    assert exists(datasets, outcome.dataset.fingerprint)
    assert not remove_unused(datasets.layout, "", "service") and not remove_unused(datasets.layout, "f" * 64, "service")
