# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that ``extra`` names are part of a training by their content."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import extra_files
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp

UPSTREAM = {"base": "b" * 64, "dataset": "d" * 64}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "data"))


def settings(layout: Layout, **extra: t.Any) -> dict[str, t.Any]:
    """The settings of a training with these arguments."""
    return extra_files.settings(
        layout, extra_files.with_contents(layout, hp.normalise({"extra": extra}), write=True), UPSTREAM
    )


def test_the_content_counts_and_not_the_path(layout: Layout, tmp_path: Path) -> None:
    one, other = tmp_path / "a.json", tmp_path / "b.json"
    one.write_text('{"zero": 3}')
    other.write_text('{"zero": 3}')
    first = settings(layout, deepspeed=str(one), optim="sgd")
    assert first == settings(layout, deepspeed=str(other), optim="sgd")
    assert first["extra"]["optim"] == "sgd"
    assert first["extra"]["deepspeed"].startswith("sha256:")
    one.write_text('{"zero": 2}')
    assert settings(layout, deepspeed=str(one), optim="sgd") != first


def test_directories_and_lists_count_by_their_content(layout: Layout, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "weights").write_text(name)
    a, b, c = (str(tmp_path / name) for name in ("a", "b", "c"))
    first = settings(layout, ref_model_adapters=f"{a}, {b}")
    assert first != settings(layout, ref_model_adapters=f"{b},{a}") != settings(layout, ref_model_adapters=a)
    (tmp_path / "c" / "sub" / "weights").write_text("b")
    assert settings(layout, ref_model_adapters=f"{a},{c}") == first
    os.rename(tmp_path / "c" / "sub" / "weights", tmp_path / "c" / "sub" / "other")
    assert settings(layout, ref_model_adapters=f"{a},{c}") != first


def test_large_files_are_hashed_once(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.extra_files._LARGE_BYTES", 3
    )
    (tmp_path / "a").write_text("weights")
    settings(layout, ref_model=str(tmp_path / "a"))
    assert str(tmp_path / "a") in Path(layout.path("cache", "hashes.json")).read_text()


@pytest.mark.parametrize(
    "extra",
    [
        {"ref_model": "Qwen/Qwen2.5-7B"},
        {"deepspeed": {"zero_optimization": {"stage": 3}}},
        {"default_system": "/etc"},
        {"profiler_output_dir": "/tmp"},
        {"optim": "sgd", "max_steps": 3},
    ],
)
def test_other_values_stay_as_they_are(extra: dict[str, t.Any], layout: Layout) -> None:
    """So the fingerprint of such a training does not change."""
    extra_files.check(extra)
    assert settings(layout, **extra) == hp.settings(hp.normalise({"extra": extra})) == {"extra": extra}


@pytest.mark.parametrize("name", ["deepspeed", "ref_model", "reward_model_adapters"])
def test_a_missing_file_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"extra\.{name} names /nowhere/x, which does not exist"):
        extra_files.check({name: "/nowhere/x"})
    with pytest.raises(InputError):
        extra_files.check({name: "/tmp, /nowhere/x"})


def test_a_training_of_an_earlier_version_is_kept_until_the_file_changes(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text("{}")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    earlier = {"extra": {"deepspeed": str(path)}}
    name = fingerprint("train", earlier, UPSTREAM)
    os.makedirs(layout.artifact("train", name))
    receipt = {"schema": 1, "kind": "train", "fingerprint": name, "started_at": "2024-01-01T00:00:00Z"}
    write_json(os.path.join(layout.artifact("train", name), "receipt.json"), receipt)
    assert settings(layout, deepspeed=str(path)) == earlier
    os.utime(path, (1_750_000_000, 1_750_000_000))
    assert settings(layout, deepspeed=str(path))["extra"]["deepspeed"].startswith("sha256:")


def test_a_training_of_several_hosts_of_an_earlier_version_is_kept(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text("{}")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    earlier = {"extra": {"deepspeed": str(path)}, "nodes": 2}
    name = fingerprint("train", earlier, UPSTREAM)
    os.makedirs(layout.artifact("train", name))
    receipt = {"schema": 1, "kind": "train", "fingerprint": name, "started_at": "2024-01-01T00:00:00Z"}
    write_json(os.path.join(layout.artifact("train", name), "receipt.json"), receipt)
    hyper = extra_files.with_contents(layout, hp.normalise({"extra": {"deepspeed": str(path)}}))
    assert extra_files.settings(layout, hyper, UPSTREAM, 2) == earlier
    assert extra_files.settings(layout, hyper, UPSTREAM, 3)["extra"]["deepspeed"].startswith("sha256:")


def test_a_change_after_the_plan_is_refused(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text("{}")
    extra = {"deepspeed": str(path), "optim": "sgd"}
    planned = settings(layout, **extra)
    extra_files.require_unchanged(layout, planned, extra)
    extra_files.require_unchanged(layout, {"extra": extra}, extra)  # planned by an earlier version
    path.write_text('{"zero": 2}')
    with pytest.raises(InputError, match="has changed since the training was planned"):
        extra_files.require_unchanged(layout, planned, extra)
    path.unlink()
    with pytest.raises(InputError, match="has changed since the training was planned"):
        extra_files.require_unchanged(layout, planned, extra)


def test_the_difference_of_two_trainings_names_the_argument(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text("{}")
    before = settings(layout, deepspeed=str(path))
    path.write_text('{"zero": 2}')
    (difference,) = hp.differences(before, settings(layout, deepspeed=str(path)))
    assert difference.startswith("extra.deepspeed sha256:44136fa") and " → sha256:" in difference
