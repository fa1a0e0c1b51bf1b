# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A runner: it starts its command once, any process can observe it, and no process of it remains.

tests/docker runs the same tests against containers.
"""

from __future__ import annotations

import json
import os
import signal
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.command import Command
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.runner import Probe, job_marker
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import processes
from ansible_collections.ia_homelab.llamafactory.tests.support.runner_kit import ProcessKit

ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def job_dir(tmp_path: Path, kit: ProcessKit) -> t.Iterator[str]:
    path = tmp_path / "jobs" / "active" / "run-1" / "step-1"
    path.mkdir(parents=True)
    yield str(path)
    kit.runner().clear(str(path))


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -15 $$", -15)])
def test_the_exit_status_is_recorded(kit: ProcessKit, job_dir: str, script: str, code: int) -> None:
    runner = kit.runner()
    assert runner.probe(job_dir) == Probe("absent")
    runner.start(kit.shell(script), job_dir)
    assert kit.until_it_ends(runner, job_dir) == Probe("ended", code)
    assert json.loads(Path(job_dir, "exit.json").read_text())["exit_code"] == code
    assert kit.runner().probe(job_dir) == Probe("ended", code), "another runner must see it as well"
    assert runner.refresh(job_dir) == Probe("ended", code)


def test_output_is_appended_and_the_environment_is_not_inherited(kit: ProcessKit, job_dir: str) -> None:
    Path(job_dir, "log.txt").write_text("before\n")
    runner = kit.runner()
    os.environ["A_SECRET"] = "canary"
    try:
        runner.start(kit.command(["/usr/bin/env"], {"ONE": "1"}), job_dir)
        kit.until_it_ends(runner, job_dir)
    finally:
        del os.environ["A_SECRET"]
    lines = Path(job_dir, "log.txt").read_text().splitlines()
    assert lines[0] == "before"
    own = [line for line in lines[1:] if line.partition("=")[0] not in kit.given]
    assert sorted(own) == [f"{processes.JOB_MARKER}={job_marker(job_dir)}", "ONE=1"]


def test_the_identity_is_recorded_before_the_command_runs(kit: ProcessKit, job_dir: str) -> None:
    runner = kit.runner()
    script = f"cd '{job_dir}'; {{ cat command.json; echo $$; }} > .seen; mv .seen seen; sleep 60"
    runner.start(kit.shell(script), job_dir)
    while not os.path.exists(os.path.join(job_dir, "seen")):
        time.sleep(0.01)
    record, _line, pid = Path(job_dir, "seen").read_text().rstrip().rpartition("\n")
    assert kit.was_written_down(json.loads(record), int(pid))


def test_other_processes_observe_and_write_nothing(kit: ProcessKit, job_dir: str) -> None:
    runner = kit.runner()
    runner.start(kit.shell("sleep 60"), job_dir)
    before = sorted(os.listdir(job_dir))
    assert kit.runner().probe(job_dir) == Probe("running")
    kit.runner().clear(job_dir)
    assert kit.runner().probe(job_dir) == Probe("ended"), "only the parent knows the exit status"
    assert sorted(os.listdir(job_dir)) == before
    assert runner.refresh(job_dir) == Probe("ended", -9)


def test_remaining_processes_are_killed_with_the_command(kit: ProcessKit, job_dir: str) -> None:
    runner = kit.runner()
    go = Path(f"{job_dir}.go")
    wait = f"until [ -e '{go}' ]; do sleep 0.05; done"
    runner.start(kit.shell(f"sleep 1000 & setsid sleep 1000 & env -i sleep 1000 & {wait}"), job_dir)
    identity = kit.leader(job_dir)
    assert identity is not None
    end = time.monotonic() + 60
    members = processes.members(identity, job_marker(job_dir))
    while len(members) < 4 and time.monotonic() < end:
        members = processes.members(identity, job_marker(job_dir))
    assert len(members) >= 4
    go.touch()
    assert kit.until_it_ends(runner, job_dir) == Probe("ended", 0)
    assert not [one for one in members if processes.alive(one)]


def test_signals_reach_all_processes_and_are_recorded(kit: ProcessKit, job_dir: str) -> None:
    runner = kit.runner()
    runner.start(kit.shell(f"trap 'exit 4' USR1; echo > '{job_dir}/ready'; while :; do sleep 0.01; done"), job_dir)
    while not os.path.exists(os.path.join(job_dir, "ready")):
        time.sleep(0.01)
    kit.runner().signal(job_dir, signal.SIGUSR1)
    assert kit.until_it_ends(runner, job_dir).exit_code == 4
    assert json.loads(Path(job_dir, "signals.jsonl").read_text())["signal"] == signal.SIGUSR1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Command(["/nowhere/x"], ENV, "/"), "/nowhere/x could not be started: /nowhere/x: No such file"),
        (Command(["/etc/passwd"], ENV, "/"), "/etc/passwd could not be started: /etc/passwd: Permission denied"),
        (Command(["/bin/sh"], ENV, "/nowhere"), "/bin/sh could not be started: /nowhere: No such file"),
        (Command(["/bin/sh", "a\0b"], ENV, "/"), "could not be started: /bin/sh: embedded null byte"),
    ],
)
def test_commands_that_cannot_be_started(kit: ProcessKit, job_dir: str, command: Command, message: str) -> None:
    runner = kit.runner()
    with pytest.raises(NotReadyError, match=message):
        runner.start(command, job_dir)
    assert runner.probe(job_dir) == Probe("absent")


def test_a_command_that_cannot_be_recorded_is_not_started(
    kit: ProcessKit, job_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: str, value: object) -> None:
        raise NotReadyError("The disk is full: 0.5 MB free.")

    monkeypatch.setattr(kit.module, "write_json", fails)
    with pytest.raises(NotReadyError, match=r"0\.5 MB free"):
        kit.runner().start(kit.shell(f"echo > '{job_dir}/ran'"), job_dir)
    time.sleep(0.05)
    assert not os.path.exists(os.path.join(job_dir, "ran"))


def test_a_forgotten_command_counts_as_never_started(kit: ProcessKit, job_dir: str) -> None:
    runner = kit.runner()
    runner.start(kit.shell("exit 1"), job_dir)
    kit.until_it_ends(runner, job_dir)
    runner.forget(job_dir)
    assert runner.probe(job_dir) == Probe("absent")
    runner.forget(job_dir)


def test_lack_of_memory_is_reported_after_an_oom_kill(
    kit: ProcessKit, job_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = kit.runner()
    for script, later, out_of_memory in (("exit 1", 7, False), ("exit 1", 8, True), ("exit 0", 8, False)):
        monkeypatch.setattr(processes, "oom_kills", lambda: 7)
        runner.start(kit.shell(script), job_dir)
        monkeypatch.setattr(processes, "oom_kills", lambda later=later: later)
        assert kit.until_it_ends(runner, job_dir).out_of_memory is out_of_memory
        assert runner.probe(job_dir).out_of_memory is out_of_memory
        runner.forget(job_dir)


def test_the_marker_of_a_job_is_stable_when_its_run_moves(tmp_path: Path) -> None:
    marker = job_marker(str(tmp_path / "jobs" / "active" / "run" / "step-1"))
    assert marker == job_marker(str(tmp_path / "jobs" / "done" / "run" / "step-1"))
    assert marker != job_marker(str(tmp_path / "jobs" / "active" / "run" / "step-2"))
    assert marker != job_marker(str(tmp_path / "elsewhere" / "jobs" / "active" / "run" / "step-1"))
