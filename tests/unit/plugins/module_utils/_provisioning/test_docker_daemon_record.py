# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Undoing recorded changes of daemon.json, and the module that makes them."""

from __future__ import annotations

import copy
import json
import os
import typing as t
from pathlib import Path

import pytest
from hypothesis import given

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import docker_daemon_config as d
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import docker_daemon_record as r
from ansible_collections.ia_homelab.llamafactory.tests.support import modules

from .test_docker_daemon_config import CORPUS, WANTED, configs

#: As nvidia-docker2 has left it.
FORMER: dict[str, t.Any] = {
    "default-runtime": "nvidia",
    "runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime", "runtimeArgs": []}},
    "exec-opts": ["a=1", "native.cgroupdriver=systemd"],
    "live-restore": False,
}


def change(before: d.Config, wanted: d.Config, known: t.Sequence[r.Change] = ()) -> tuple[d.Config, list[r.Change]]:
    after = d.merged(before, wanted)
    return after, r.recorded(known, before, after, wanted, adopt=False)


@pytest.mark.parametrize("name", CORPUS)
def test_everything_is_given_back(name: str) -> None:
    before = d.parse(CORPUS[name].encode("utf-8"), "daemon.json")
    kept = copy.deepcopy(before)
    after, changes = change(before, WANTED)
    assert r.undone(after, changes) == kept
    assert r.undone(kept, changes) == kept, "undoing again changes nothing"


@given(configs, configs, configs)
def test_two_changes_are_undone_together(existing: d.Config, one: d.Config, two: d.Config) -> None:
    after, changes = change(existing, one)
    after, changes = change(after, two, changes)
    assert r.undone(after, changes) == existing


def test_replaced_settings_are_given_back() -> None:
    after, changes = change(FORMER, WANTED)
    assert after["exec-opts"] == ["a=1", "native.cgroupdriver=cgroupfs"] and after["live-restore"] is True
    assert r.undone(after, changes) == FORMER
    after["exec-opts"] = ["b=2", *after["exec-opts"]]
    assert r.undone(after, changes)["exec-opts"] == ["b=2", "a=1", "native.cgroupdriver=systemd"]


def test_what_somebody_changed_since_then_is_kept() -> None:
    after, changes = change({}, WANTED)
    mine = {**after, "live-restore": False, "runtimes": {"nvidia": {"path": "/opt/other", "args": []}}}
    found = r.undone(mine, changes)
    assert found == {"live-restore": False, "runtimes": {"nvidia": {"path": "/opt/other", "args": []}}}


def test_a_setting_that_was_there_is_not_recorded() -> None:
    after, changes = change({"live-restore": True}, WANTED)
    assert r.undone(after, changes) == {"live-restore": True}
    after, changes = change({"live-restore": True}, {"live-restore": True})
    assert changes == []


def test_what_somebody_set_between_two_changes_is_given_back() -> None:
    after, changes = change({}, {"live-restore": True, "debug": True})
    after["live-restore"] = False
    after, changes = change(after, {"live-restore": True}, changes)
    assert r.undone(after, changes) == {"live-restore": False}


def test_settings_of_an_earlier_version_are_adopted_whole() -> None:
    there = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": [], "args": []}}, "mtu": 1400}
    wanted = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}
    changes = r.recorded((), there, d.merged(there, wanted), wanted, adopt=True)
    assert r.undone(there, changes) == {"mtu": 1400}


def test_a_runtime_is_removed_whole_or_not_at_all() -> None:
    """Without a record, as for what an earlier version has added."""
    there = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": [], "args": []}}}
    wanted = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}
    assert d.without(there, wanted) == {}
    in_use = {"default-runtime": "nvidia", **there}
    assert d.without(in_use, wanted) == in_use


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"runtimes": {"nvidia": {"runtimeArgs": []}}}, ["provisioning.runtime_without_path"]),
        ({"runtimes": {"x": {"path": "/x", "runtimeType": "io.x"}}}, ["provisioning.runtime_without_path"]),
        ({"default-runtime": "nvidia"}, ["provisioning.default_runtime_missing"]),
        ({"default-runtime": "runc"}, []),
        ({"default-runtime": "io.containerd.runsc.v1"}, []),
        ({"default-runtime": "x.y"}, []),
        (FORMER, []),
    ],
)
def test_faults_that_the_engine_does_not_validate(config: d.Config, found: list[str]) -> None:
    assert [fault.code for fault in d.faults(config)] == found


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"version": 2, "changes": []}', '{"version": 1, "changes": [{"key": []}]}']
)
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "record").write_text(text)
    with pytest.raises(StoreError, match="is not a record of changed settings"):
        r.load(str(tmp_path / "record"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, t.Any]:
    """Arguments of the module, for a file behind a symbolic link that has the former settings."""
    (tmp_path / "owned.json").write_text(json.dumps(FORMER, indent=1))
    (tmp_path / "owned.json").chmod(0o640)
    (tmp_path / "daemon.json").symlink_to("owned.json")
    names = {"path": "daemon.json", "record": "state/record.json", "pending": "pending", "backup": "backup"}
    return {"validate": "", **{name: str(tmp_path / value) for name, value in names.items()}}


def test_the_module_records_and_undoes(files: dict[str, t.Any], tmp_path: Path) -> None:
    original = (tmp_path / "owned.json").read_bytes()
    done = modules.call("docker_daemon_config", {**files, "merge": WANTED})
    assert done["changed"] and os.stat(files["record"]).st_mode & 0o777 == 0o600
    assert not modules.call("docker_daemon_config", {**files, "merge": WANTED})["changed"]
    predicted = modules.call("docker_daemon_config", {**files, "undo": True}, check=True)
    assert (tmp_path / "owned.json").read_bytes() != original
    undone = modules.call("docker_daemon_config", {**files, "undo": True})
    assert undone["config"] == predicted["config"] == FORMER and undone["changed"]
    assert (tmp_path / "owned.json").read_bytes() == original + b"\n"
    assert not modules.call("docker_daemon_config", {**files, "undo": True})["changed"]


@pytest.mark.parametrize("existed", [True, False])
def test_a_put_back_keeps_the_link(files: dict[str, t.Any], tmp_path: Path, existed: bool) -> None:
    if not existed:
        (tmp_path / "owned.json").unlink()
    original = (tmp_path / "owned.json").read_bytes() if existed else b""
    modules.call("docker_daemon_config", {**files, "merge": WANTED})
    put_back = {**files, "restore": True}
    assert modules.call("docker_daemon_config", put_back, check=True)["changed"]
    assert modules.call("docker_daemon_config", put_back)["changed"]
    assert (tmp_path / "daemon.json").is_symlink()
    if existed:
        assert (tmp_path / "owned.json").read_bytes() == original
        assert os.stat(tmp_path / "owned.json").st_mode & 0o777 == 0o640
    else:
        assert not (tmp_path / "owned.json").exists()
    assert not modules.call("docker_daemon_config", put_back)["changed"]


def test_settings_that_the_engine_does_not_start_with_are_refused(files: dict[str, t.Any], tmp_path: Path) -> None:
    (tmp_path / "owned.json").write_text("{}")
    modules.call("docker_daemon_config", {**files, "merge": {"runtimes": {"nvidia": {"path": "nvidia"}}}})
    config = json.loads((tmp_path / "owned.json").read_text())
    (tmp_path / "owned.json").write_text(json.dumps({**config, "default-runtime": "nvidia"}))
    refused = modules.call("docker_daemon_config", {**files, "undo": True})
    assert refused["failed"] and "default-runtime is nvidia" in refused["msg"]
    refused = modules.call("docker_daemon_config", {**files, "merge": {"runtimes": {"x": {"args": []}}}})
    assert refused["failed"] and "the runtime x needs either a path or a runtimeType" in refused["msg"]


def test_an_engine_without_validate_is_named_and_not_the_file(files: dict[str, t.Any], tmp_path: Path) -> None:
    """A stand-in that answers as dockerd 20.10 does."""
    old = tmp_path / "dockerd"
    old.write_text(
        '#!/bin/sh\ncase "$1" in --version) echo "Docker version 20.10.24+dfsg1, build 297e128" ;;\n'
        '*) echo "unknown flag: --validate" >&2; exit 125 ;; esac\n'
    )
    old.chmod(0o755)
    before = (tmp_path / "owned.json").read_text()
    options = {**files, "validate": f"{old} --validate --config-file %s", "merge": WANTED}
    refused = modules.call("docker_daemon_config", options)
    assert refused["failed"] and "version 20.10.24+dfsg1" in refused["msg"] and "23.0 or newer" in refused["msg"]
    assert (tmp_path / "owned.json").read_text() == before and not os.path.exists(files["record"])


@pytest.mark.parametrize(
    "options",
    [{"merge": {"a": 1}, "undo": True}, {"restore": True, "undo": True}, {"merge": {"a": 1}, "restore": True}],
)
def test_one_thing_at_a_time(files: dict[str, t.Any], options: dict[str, t.Any]) -> None:
    assert "only one of merge, undo and restore" in modules.call("docker_daemon_config", {**files, **options})["msg"]
