# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletion of one version: what goes with it, what stays, and when it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.integrity import artifact_defect
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import Releases
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.retention import delete_version
from ansible_collections.ia_homelab.llamafactory.tests.unit.plugins.module_utils._core.releases import (
    test_retention_of_live_runs as live,
)


@pytest.fixture
def versions(tmp_path: Path) -> live.Versions:
    """Four versions of one model; the last is served."""
    return live.Versions(tmp_path)


def tag_of(versions: live.Versions, version: int) -> str:
    """Return the tag of a version."""
    fingerprint = versions.of(version, "register-q4_K_M")
    return next(
        name for name, digest in versions.store.shelf.models.items() if digest == fingerprint and ":latest" not in name
    )


def delete(versions: live.Versions, tag: str) -> list[str]:
    """Delete a version; return the tags that were removed."""
    removed = delete_version(versions.lab.layout, live.NAME, tag, versions.store.shelf.ollama)
    return [item.name for item in removed if item.kind == "tag"]


def test_a_version_goes_with_its_files(versions: live.Versions) -> None:
    tag, layout = tag_of(versions, 2), versions.lab.layout
    before = dict(versions.store.shelf.models)
    assert delete(versions, tag) == [tag]
    assert {**versions.store.shelf.models, tag: before[tag]} == before
    for label in ("train", "merge", "gguf-q4_K_M"):
        kind = label.partition("-")[0]
        assert artifact_defect(layout, kind, versions.of(2, label)), label
        assert (layout.receipt(kind, versions.of(2, label)) or {})["pruned_at"]
        assert not artifact_defect(layout, kind, versions.of(3, label)), label
    # the base is that of all versions
    assert not artifact_defect(layout, "base", versions.of(2, versions.runs[2].steps[0].label))


def test_what_is_served_held_declared_or_used_stays(versions: live.Versions) -> None:
    releases, shelf = Releases(versions.lab.layout, live.NAME), versions.store.shelf
    before = dict(shelf.models)
    with pytest.raises(InputError, match="is served as homelab-model:latest"):
        delete(versions, tag_of(versions, 4))
    with pytest.raises(InputError, match="is no version"):
        delete(versions, "homelab-model:no-such-tag")
    releases.rollback(shelf.ollama, tag_of(versions, 3))
    with pytest.raises(InputError, match="is served as"):
        delete(versions, tag_of(versions, 3))
    with pytest.raises(InputError, match="is the declared version"):
        delete(versions, tag_of(versions, 4))
    declared = {"name": live.NAME, "base_model": "qwen2.5:0.5b", "dataset": "homelab", "epochs": 1}
    request = Request.export({**declared, "quantizations": ["q4_K_M", "q5_K_M"]}, versions.of(1, "train"))
    run = plan(versions.lab.layout, request, live.HOST)
    versions.submit(run)
    with pytest.raises(InputError, match="used by a run"):
        delete(versions, tag_of(versions, 1))
    assert {name: digest for name, digest in shelf.models.items() if ":latest" not in name} == {
        name: digest for name, digest in before.items() if ":latest" not in name
    }
