# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of this checkout on recorded runs of trivial commands: at every point of its first contact with the old
store it can be killed, and supervisors of the old core that still run are neither doubled nor broken.

A command counts to six, and waits at three until a file exists (see ``probe_runs``). So each test decides how long
a step is at work. ``IA_UPGRADE_EVERY`` (5): one of so many points is a kill; with 1 all of them, in two minutes.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import installation
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.schema import SCHEMA
from ansible_collections.ia_homelab.llamafactory.tests.kill import faults
from ansible_collections.ia_homelab.llamafactory.tests.kill.scenarios import at_once, started_over
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab, forked
from ansible_collections.ia_homelab.llamafactory.tests.upgrade import store_lab
from ansible_collections.ia_homelab.llamafactory.tests.upgrade.probe_runs import probe_runs

EXPECTED: dict[str, t.Any] = json.loads(store_lab.EXPECTED.read_text(encoding="utf-8"))

STATES = {
    "cancelled": "cancelled",
    "failed": "failed",
    "done": "succeeded",
    "interrupted": "running",
    "light": "running",
    "queued": "queued",
}
#: One of so many points is chosen to be killed at; of those in the files of an installed core one of so many of these.
EVERY = int(os.environ.get("IA_UPGRADE_EVERY", "5"))
EVERY_OF_CORE = 10
_SECONDS = 60.0


class OldLab(Lab):
    """The recorded data directory of the probes, unpacked elsewhere."""

    def __init__(self) -> None:
        self.site = store_lab.unpack("probes")
        super().__init__(self.site.root / "probes")
        self.runs: dict[str, Run] = probe_runs(self)
        (self.old_core,) = (self.data / "core").iterdir()

    def go(self) -> None:
        """Let the commands continue to count."""
        (self.root / "go").touch()

    def states(self) -> dict[str, str]:
        """The state of each recorded run."""
        return {name: self.engine.observe(run.id).state for name, run in self.runs.items()}

    def start_old_supervisor(self, name: str) -> subprocess.Popen[bytes]:
        """Start the recorded core on the last job of a run, and wait until its command is at work."""
        job, said = self.job(self.runs[name]), len(self.evidence())
        started = subprocess.Popen(
            [sys.executable, "-m", EXPECTED["supervisor"], job.directory],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(self.old_core), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=self.old_core,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.wait(lambda: len(self.evidence()) > said)
        return started

    def problems(self) -> list[str]:
        """Deviations after each run was applied once more, without a disturbance."""
        self.go()
        found = []
        for name, run in self.runs.items():
            view = self.apply(run, timeout=_SECONDS)
            if view.state != "succeeded":
                found.append(f"{name}: {view.state}: {view.error}")
        made = hashlib.sha256(b"6\n").hexdigest()
        artifacts = {f"outputs/probes/{step.spec.fingerprint}" for run in self.runs.values() for step in run.steps}
        if self.artifacts() != dict.fromkeys(artifacts, {"result": made}):
            found.append(f"artifacts: {self.artifacts()}")
        return found + self.broken() + started_over(self) + at_once(self)

    def close(self) -> None:
        super().close()
        self.site.close()


@pytest.fixture
def lab() -> t.Iterator[OldLab]:
    made = OldLab()
    yield made
    made.close()


def supervisors(lab: Lab, run: Run) -> list[str]:
    """Command lines of the processes that supervise a job of a run."""
    return [line for line in lab.processes().values() if run.id in line and "supervisor" in line]


def test_recorded_runs_are_observed(lab: OldLab) -> None:
    before = lab.tree()
    assert lab.states() == STATES
    assert lab.tree() == before


def test_every_run_ends(lab: OldLab) -> None:
    """Each run continues where it was; a second request afterwards writes nothing."""
    done = lab.artifact(lab.runs["done"]).stat().st_ino
    assert lab.problems() == []
    assert lab.artifact(lab.runs["done"]).stat().st_ino == done
    before = lab.tree()
    assert [lab.engine.submit(run).pending for run in lab.runs.values()] == [()] * len(lab.runs)
    assert lab.tree() == before


# -- killed on first contact -----------------------------------------------------------------------------------


def first_contact(lab: OldLab) -> None:
    """What the first apply of a new version does: submit every run, and so start what can be started."""
    faults.arm(str(lab.root), "controller")
    for run in lab.runs.values():
        lab.engine.submit(run)


def points() -> list[str]:
    """All changes that an undisturbed first contact makes, in their order."""
    lab = OldLab()
    try:
        faults.interpreter(str(lab.root))
        (lab.root / "fault.json").write_text("{}")
        lab.go()
        with forked(lambda: first_contact(lab)) as pid:
            assert os.waitpid(pid, 0)[1] == 0
        return (lab.root / "points" / "controller").read_text().splitlines()
    finally:
        lab.close()


def killed_at(point: int) -> tuple[bool, list[str]]:
    """A first contact that is killed just before one change, then an undisturbed apply: whether it was killed, and
    what is wrong then."""
    lab = OldLab()
    try:
        faults.interpreter(str(lab.root))
        (lab.root / "fault.json").write_text(json.dumps({"role": "controller", "point": point}))
        lab.go()
        with forked(lambda: first_contact(lab)) as pid:
            os.waitpid(pid, 0)
        fired = (lab.root / "fired").exists()
        (lab.root / "fault.json").unlink()
        return fired, [f"point {point}: {problem}" for problem in lab.problems()]
    finally:
        lab.close()


def test_killed_before_every_change_of_first_contact() -> None:
    found = points()
    of_core = [number for number, what in enumerate(found, 1) if "/data/core/" in what]
    others = [number for number in range(1, len(found) + 1) if number not in of_core]
    chosen = others[::EVERY] + of_core[:: EVERY * EVERY_OF_CORE]
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        results = list(pool.map(killed_at, chosen))
    problems = [problem for _fired, each in results for problem in each]
    fired = sum(fired for fired, _problems in results)
    print(f"{fired} kills at {len(chosen)} of {len(found)} points, {len(of_core)} of them of the installed core")
    assert problems == []
    assert fired > 0.8 * len(chosen) and fired >= 10


# -- a newer store ---------------------------------------------------------------------------------------------


def test_every_write_refuses_a_newer_store(lab: OldLab) -> None:
    """By everything that changes something; the message names both schemas and what to do."""
    (lab.data / "jobs" / "schema.json").write_text(json.dumps({"schema": SCHEMA + 1}))
    before, engine = lab.tree(), lab.engine
    attempts: dict[str, t.Callable[[], t.Any]] = {
        "reconcile": engine.reconcile,
        "cancel": lambda: engine.cancel(lab.runs["interrupted"].id),
        "submit": lambda: engine.submit(lab.runs["failed"]),
        "submit what is active": lambda: engine.submit(lab.runs["queued"]),
    }
    for name, attempt in attempts.items():
        with pytest.raises(StoreError) as caught:
            attempt()
        assert f"has schema {SCHEMA + 1}, this core writes {SCHEMA}" in caught.value.message, name
        assert "upgrade this one" in caught.value.hint, name
        assert lab.tree() == before, name


# -- supervisors and directories of the old core ---------------------------------------------------------------


def test_live_supervisor_of_the_old_core_is_joined(lab: OldLab) -> None:
    """No second one is started beside it; and what this version queues behind it is made too, with no process waiting.

    When its job has ended, the old supervisor starts what is next. It does so from the core that the next run names,
    and under the name that a supervisor has in its own version: the current core has to answer to that name.
    """
    run = lab.runs["interrupted"]
    old = lab.start_old_supervisor("interrupted")
    records = [Path(lab.job(run).directory, name) for name in ("supervisor.json", "spawns.json")]
    before = [path.read_bytes() for path in records]
    view = lab.engine.observe(run.id)
    assert (view.state, view.current) == ("running", "step-0") and "supervisor" not in view.waiting_for
    joined = lab.engine.submit(run)
    assert joined.attached and joined.pending == ("step-0", "step-1")
    later = lab.run("later", "true", "true")
    lab.engine.submit(later)
    lab.engine.reconcile()
    assert len(supervisors(lab, run)) == 1 and old.poll() is None
    assert [path.read_bytes() for path in records] == before
    lab.go()
    for each in (run, later):  # without following them, because that would reconcile
        lab.wait(lambda each=each: not lab.store.is_active(each.id), timeout=_SECONDS)  # type: ignore[misc]
        found = lab.engine.observe(each.id)
        assert found.state == "succeeded", found.error
    assert old.wait(_SECONDS) == 0
    lab.runs["later"] = later
    assert [entry for entry in lab.problems() if "artifacts" not in entry] == []
    assert [entry.number for entry in lab.evidence() if entry[:2] == ("done", "interrupted-0")] == [1, 2, 3, 4, 5, 6]


def test_live_supervisor_of_the_old_core_is_cancelled(lab: OldLab) -> None:
    """It stops its command, and the next apply resumes from the checkpoint."""
    run = lab.runs["interrupted"]
    old = lab.start_old_supervisor("interrupted")
    assert lab.engine.cancel(run.id)
    assert lab.engine.follow(run.id, timeout=_SECONDS).state == "cancelled"
    assert old.wait(_SECONDS) == 0
    assert supervisors(lab, run) == []
    assert lab.problems() == []


@pytest.mark.parametrize("core", ["kept", "deleted", "without its supervisor", "empty"])
def test_queued_run_of_an_old_core_ends(lab: OldLab, core: str) -> None:
    """Its record names the core that was current when it was queued. Where that cannot supervise a job of this
    version (it is gone, or its modules have other names), the current core does."""
    if core == "deleted":
        shutil.rmtree(lab.old_core)
    elif core == "without its supervisor":
        package, module = EXPECTED["supervisor"].split(".")
        (lab.old_core / package / f"{module}.py").unlink()
    elif core == "empty":
        shutil.rmtree(lab.old_core)
        lab.old_core.mkdir()
    lab.go()
    lab.engine.reconcile()
    for name in ("interrupted", "light", "queued"):
        view = lab.engine.follow(lab.runs[name].id, timeout=_SECONDS)
        assert view.state == "succeeded", view.error
    if core != "kept":
        assert Path(installation.install(lab.layout)).name in os.listdir(lab.data / "core")
    assert lab.problems() == []
