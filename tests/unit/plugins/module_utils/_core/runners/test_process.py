# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A runner: its command is started once, looked at by anybody, and nothing of it is left.

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
def test_how_it_ended_is_written_down(kit: ProcessKit, job_dir: str, script: str, code: int) -> None:
    runner = kit.runner()
    assert runner.probe(job_dir) == Probe("absent")
    runner.start(kit.shell(script), job_dir)
    assert kit.until_it_ends(runner, job_dir) == Probe("ended", code)
    assert json.loads(Path(job_dir, "exit.json").read_text())["exit_code"] == code
    assert kit.runner().probe(job_dir) == Probe("ended", code), "anybody may ask"
    assert runner.refresh(job_dir) == Probe("ended", code)


def test_output_is_appended_and_the_environment_is_the_command_s_own(kit: ProcessKit, job_dir: str) -> None:
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


def test_who_it_is_is_known_before_it_runs(kit: ProcessKit, job_dir: str) -> None:
    runner = kit.runner()
    script = f"cd '{job_dir}'; {{ cat command.json; echo $$; }} > .seen; mv .seen seen; sleep 60"
    runner.start(kit.shell(script), job_dir)
    while not os.path.exists(os.path.join(job_dir, "seen")):
        time.sleep(0.01)
    told, _line, pid = Path(job_dir, "seen").read_text().rstrip().rpartition("\n")
    assert kit.was_written_down(json.loads(told), int(pid))


def test_others_look_and_change_nothing(kit: ProcessKit, job_dir: str) -> None:
    runner = kit.runner()
    runner.start(kit.shell("sleep 60"), job_dir)
    before = sorted(os.listdir(job_dir))
    assert kit.runner().probe(job_dir) == Probe("running")
    kit.runner().clear(job_dir)
    assert kit.runner().probe(job_dir) == Probe("ended"), "nobody but its parent knows how"
    assert sorted(os.listdir(job_dir)) == before
    assert runner.refresh(job_dir) == Probe("ended", -9)


def test_what_it_leaves_running_is_ended_with_it(kit: ProcessKit, job_dir: str) -> None:
    runner = kit.runner()
    runner.start(kit.shell("sleep 1000 & setsid sleep 1000 & env -i sleep 1000 & sleep 2"), job_dir)
    identity = kit.leader(job_dir)
    assert identity is not None
    end = time.monotonic() + 5
    found = processes.members(identity, job_marker(job_dir))
    while len(found) < 4 and time.monotonic() < end:
        found = processes.members(identity, job_marker(job_dir))
    assert len(found) >= 4
    assert kit.until_it_ends(runner, job_dir) == Probe("ended", 0)
    assert not [one for one in found if processes.alive(one)]


def test_signals_reach_all_of_it_and_are_noted(kit: ProcessKit, job_dir: str) -> None:
    runner = kit.runner()
    runner.start(kit.shell(f"trap 'exit 4' USR1; echo > '{job_dir}/ready'; while :; do sleep 0.01; done"), job_dir)
    while not os.path.exists(os.path.join(job_dir, "ready")):
        time.sleep(0.01)
    kit.runner().signal(job_dir, signal.SIGUSR1)
    assert kit.until_it_ends(runner, job_dir).exit_code == 4
    assert json.loads(Path(job_dir, "signals.jsonl").read_text())["signal"] == signal.SIGUSR1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (Command(["/nowhere/x"], ENV, "/"), "/nowhere/x could not be started: /nowhere/x: No such file"),
        (Command(["/etc/passwd"], ENV, "/"), "/etc/passwd could not be started: /etc/passwd: Permission denied"),
        (Command(["/bin/sh"], ENV, "/nowhere"), "/bin/sh could not be started: /nowhere: No such file"),
        (Command(["/bin/sh", "a\0b"], ENV, "/"), "could not be started: /bin/sh: embedded null byte"),
    ],
)
def test_what_cannot_be_started(kit: ProcessKit, job_dir: str, command: Command, words: str) -> None:
    runner = kit.runner()
    with pytest.raises(NotReadyError, match=words):
        runner.start(command, job_dir)
    assert runner.probe(job_dir) == Probe("absent")


def test_a_command_that_cannot_be_written_down_is_not_started(
    kit: ProcessKit, job_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: str, value: object) -> None:
        raise NotReadyError("The disk is full: told with figures.")

    monkeypatch.setattr(kit.module, "write_json", fails)
    with pytest.raises(NotReadyError, match="told with figures"):
        kit.runner().start(kit.shell(f"echo > '{job_dir}/ran'"), job_dir)
    time.sleep(0.05)
    assert not os.path.exists(os.path.join(job_dir, "ran"))


def test_a_lost_command_is_forgotten(kit: ProcessKit, job_dir: str) -> None:
    runner = kit.runner()
    runner.start(kit.shell("exit 1"), job_dir)
    kit.until_it_ends(runner, job_dir)
    runner.forget(job_dir)
    assert runner.probe(job_dir) == Probe("absent")
    runner.forget(job_dir)


def test_want_of_memory_is_told_when_the_kernel_killed_for_it(
    kit: ProcessKit, job_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = kit.runner()
    for script, later, starved in (("exit 1", 7, False), ("exit 1", 8, True), ("exit 0", 8, False)):
        monkeypatch.setattr(processes, "oom_kills", lambda: 7)
        runner.start(kit.shell(script), job_dir)
        monkeypatch.setattr(processes, "oom_kills", lambda later=later: later)
        assert kit.until_it_ends(runner, job_dir).out_of_memory is starved
        assert runner.probe(job_dir).out_of_memory is starved
        runner.forget(job_dir)


def test_the_mark_of_a_job_stays_when_its_run_moves(tmp_path: Path) -> None:
    one = job_marker(str(tmp_path / "jobs" / "active" / "run" / "step-1"))
    assert one == job_marker(str(tmp_path / "jobs" / "done" / "run" / "step-1"))
    assert one != job_marker(str(tmp_path / "jobs" / "active" / "run" / "step-2"))
    assert one != job_marker(str(tmp_path / "elsewhere" / "jobs" / "active" / "run" / "step-1"))
