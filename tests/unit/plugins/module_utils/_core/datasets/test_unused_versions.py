# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of a publisher: their size, and the removal of those that nothing uses."""

from __future__ import annotations

import dataclasses
import os

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import Declaration, apply
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.unused_versions import (
    remove_unused,
    versions_of,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import make_run, make_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.store import Store
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.dataset_lab import records, row

SERVICE = "the service"


@dataclasses.dataclass
class Published:
    """A dataset with two versions, of which a name refers to the second.

    :ivar old, new: their fingerprints.
    """

    layout: Layout
    old: str
    new: str


def publish(layout: Layout, *numbers: int, publisher: str = SERVICE) -> str:
    done = apply(layout, Declaration("a"), records(*map(row, numbers)), publisher=publisher).dataset
    assert done is not None
    return done.fingerprint


@pytest.fixture
def published(layout: Layout) -> Published:
    Store(layout).prepare()
    return Published(layout, publish(layout, 1), publish(layout, 1, 2))


def test_sizes_are_those_of_the_versions_of_a_publisher(published: Published) -> None:
    other = publish(published.layout, 3, publisher="")
    sizes = versions_of(published.layout, SERVICE)
    assert sorted(sizes) == sorted([published.old, published.new]) and other not in sizes
    path = published.layout.artifact("dataset", published.old)
    assert sizes[published.old] == sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))
    assert versions_of(Layout(f"{published.layout.root}/nowhere"), SERVICE) == {}


def test_only_a_version_without_a_name_is_removed(published: Published) -> None:
    assert not remove_unused(published.layout, published.new, SERVICE)
    assert remove_unused(published.layout, published.old, SERVICE)
    assert list(versions_of(published.layout, SERVICE)) == [published.new]
    assert not remove_unused(published.layout, published.old, SERVICE), "it is gone"


def test_versions_of_another_publisher_stay(published: Published) -> None:
    for fingerprint, publisher in ((published.old, "another"), ("../../etc", SERVICE)):
        assert not remove_unused(published.layout, fingerprint, publisher)
    assert os.path.isdir(published.layout.artifact("dataset", published.old))


@pytest.mark.parametrize("kind", ["train", "train_node"])
def test_a_version_that_was_trained_on_stays(published: Published, kind: str) -> None:
    receipt = {"kind": kind, "fingerprint": "f" * 64, "upstream": {"dataset": published.old}}
    directory = published.layout.artifact(kind, "f" * 64)
    os.makedirs(directory)
    write_json(f"{directory}/receipt.json", receipt)
    assert not remove_unused(published.layout, published.old, SERVICE)


def test_a_version_that_an_active_run_reads_stays(published: Published) -> None:
    step = make_step("train", {"epochs": 1}, {"dataset": published.old}, {})
    store = Store(published.layout)
    with store.lock():
        store.enqueue(make_run("m", [step], [step.label], Toolchain()))
    assert not remove_unused(published.layout, published.old, SERVICE)
