# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local base whose files were touched is read once, and never while the queue is locked."""

from __future__ import annotations

import dataclasses
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import model_files
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.model_files import HashCache
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.reconciler import Reconciler
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import make_run, make_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.base_model import _stamps
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import sha256_file, write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.locks import FileLock


class Host:
    """A data directory with a local base that is complete, and a run that needs it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = Layout(str(root / "data"))
        self.layout.create()
        self.engine = Engine(self.layout.root)
        self.weights = root / "base" / "model.safetensors"
        self.weights.parent.mkdir()
        self.weights.write_bytes(b"weights")
        (root / "base" / "config.json").write_text("{}")
        self.read: list[bool] = []
        monkeypatch.setattr(model_files, "sha256_file", self._sha256)
        base = str(self.weights.parent)
        digest = model_files.directory_digest(base, HashCache(self.layout))
        step = make_step("base", {"directory": digest}, {}, {"location": base})
        self.run: Run = dataclasses.replace(make_run("homelab", [step], ["base"], Toolchain()), seq=1, round=1)
        artifact = self.layout.artifact("base", step.spec.fingerprint)
        os.makedirs(artifact)
        results = {"location": base, "stamps": _stamps(base)}
        receipt = {"fingerprint": step.spec.fingerprint, "files": {}, "results": results}
        write_json(os.path.join(artifact, "receipt.json"), receipt)
        self.another_process()

    def _sha256(self, path: str) -> str:
        """Record whether the queue is locked when a file is read."""
        lock = FileLock(os.path.join(self.layout.jobs, "lock"), timeout=0)
        is_free = lock.acquire()
        if is_free:
            lock.release()
        self.read.append(not is_free)
        return sha256_file(path)

    def touch(self, number: int) -> None:
        """Change the modification time of the weights."""
        os.utime(self.weights, (number, number))

    def enqueue(self) -> None:
        """Put the run into the queue."""
        self.engine.store.prepare()
        with self.engine.store.lock():
            self.engine.store.enqueue(self.run)

    def another_process(self) -> None:
        """Forget what this process has computed, as another one does not know it."""
        HashCache._computed_for.clear()
        self.read.clear()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Host]:
    yield Host(tmp_path, monkeypatch)
    HashCache._computed_for.clear()


def test_a_base_that_was_not_touched_is_not_read(host: Host) -> None:
    host.enqueue()
    Reconciler(host.layout).reconcile()
    assert host.read == [] and host.engine.store.active() == []


def test_a_touched_base_is_read_outside_of_the_lock_and_once(host: Host) -> None:
    host.touch(1)
    host.enqueue()
    Reconciler(host.layout).reconcile()
    assert host.read and not any(host.read), "read, and never while the queue was locked"
    assert host.engine.observe(host.run.id).state == "succeeded"
    host.another_process()
    assert host.engine.preview(host.run).pending == []
    host.enqueue()
    Reconciler(host.layout).reconcile()
    assert host.read == [], "another process finds the stamps"
    host.touch(2)
    assert host.engine.preview(host.run).pending == []
    assert len(host.read) == 1, "only the file that was touched again"


def test_looking_writes_nothing(host: Host) -> None:
    host.touch(1)
    assert host.engine.preview(host.run).pending == []
    assert host.read and not os.path.exists(host.layout.path("cache", "hashes.json"))


def test_following_keeps_the_stamps(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training is followed by many short processes."""
    host.enqueue()
    monkeypatch.setattr(host.engine, "reconcile", lambda: None)
    host.touch(1)
    host.engine.follow(host.run.id, timeout=0)
    assert host.read and not any(host.read)
    host.another_process()
    host.engine.follow(host.run.id, timeout=0)
    assert host.read == []


def test_the_base_of_a_run_whose_job_is_running_is_read_before_the_lock(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job may end before the queue is locked."""
    host.enqueue()
    store = host.engine.store
    record = store.record(host.run.id)
    assert record is not None
    store.add_job(record, host.run, "base", False, "process")
    monkeypatch.setattr(Reconciler, "_reconcile", lambda *_arguments: None)
    host.touch(1)
    Reconciler(host.layout).reconcile()
    assert host.read and not any(host.read)


def test_a_base_with_another_content_has_drifted(host: Host) -> None:
    host.weights.write_bytes(b"others!")
    host.touch(1)
    assert host.engine.preview(host.run).pending == ["base"]
