# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An apply does not join a job whose command was killed before it, even if the kernel has not ended it yet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import processes
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab

#: Computes, and ends by itself if the tests are killed.
BUSY = "import time; end = time.monotonic() + 60\nwhile time.monotonic() < end: pass"

#: The first time it fails as soon as it notices that its child was killed, which it does late; later it succeeds.
NOTICES_LATE = """
import os, subprocess, sys, time
first, child_file, delay = sys.argv[1:]
if os.path.exists(first):
    sys.exit(0)
open(first, "w").close()
child = subprocess.Popen(["sleep", "600"])
with open(child_file + ".new", "w") as stream:
    stream.write(str(child.pid))
os.rename(child_file + ".new", child_file)
os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
time.sleep(float(delay))
sys.exit(128 - child.wait())
"""


def test_a_command_that_is_about_to_notice_a_kill_is_not_joined(lab: Lab) -> None:
    program, first, child = lab.root / "late.py", lab.root / "first", lab.root / "child"
    program.write_text(NOTICES_LATE)
    run = lab.run("a", f"exec '{sys.executable}' '{program}' '{first}' '{child}' 0.3")
    lab.engine.submit(run)
    lab.wait(child.exists)
    os.kill(int(child.read_text()), signal.SIGKILL)
    assert lab.apply(run).state == "succeeded"
    assert lab.broken() == []


def test_a_command_whose_leader_is_slow_to_die_is_not_joined(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel has noted the kill, and the process looks alive until it is scheduled: here after two looks."""
    first = lab.root / "first"
    run = lab.run("a", f"[ ! -e '{first}' ] || exit 0; touch '{first}'; sleep 600")
    lab.engine.submit(run)
    lab.wait(first.exists)
    leader = lab.identity(run, "command.json")
    assert leader is not None
    looks: list[int] = []
    is_dying = processes.is_dying

    def dies_at_the_second_look(pid: int) -> bool:
        if pid != leader.pid:
            return is_dying(pid)
        looks.append(pid)
        if len(looks) == 2:
            lab.kill(leader)
        return len(looks) < 3

    monkeypatch.setattr(processes, "is_dying", dies_at_the_second_look)
    assert lab.apply(run).state == "succeeded"
    assert len(looks) >= 2


def alive_and_not_dying(pid: int) -> bool:
    return processes.identify(pid) is not None and not processes.is_dying(pid)


@pytest.mark.parametrize("program", [["sleep", "600"], [sys.executable, "-c", "x = bytearray(2**28); input()"]])
def test_a_killed_process_is_never_taken_for_one_that_lives(program: list[str]) -> None:
    """However busy the machine is: four other processes compute on it."""
    load = [subprocess.Popen([sys.executable, "-c", BUSY]) for _number in range(4)]
    try:
        for _attempt in range(15):
            process = subprocess.Popen(program, stdin=subprocess.PIPE)
            time.sleep(0.02)
            assert alive_and_not_dying(process.pid)
            process.send_signal(signal.SIGKILL)
            seen = [alive_and_not_dying(process.pid) for _look in range(20)]
            process.wait()
            assert not any(seen)
            assert not processes.is_dying(process.pid), "it was reaped"
    finally:
        for each in load:
            each.kill()
            each.wait()


def test_a_command_without_dying_processes_is_not_waited_for(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        began = time.monotonic()
        processes.settle(processes.identify(process.pid), "none", 600)
        processes.settle(None, "none", 600)
        assert time.monotonic() - began < 300, "generous for a busy machine"
    finally:
        process.kill()
        process.wait()


def test_a_zombie_that_stays_is_waited_for_only_so_long() -> None:
    leader = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, time; child = subprocess.Popen(['true']); time.sleep(600)"],
        start_new_session=True,
    )
    try:
        identity = processes.identify(leader.pid)

        def has_zombie() -> t.Any:
            return any(processes.is_dying(pid) for pid in processes._session_members(identity))

        end = time.monotonic() + 120
        while not has_zombie():
            assert time.monotonic() < end
            time.sleep(0.01)
        began = time.monotonic()
        processes.settle(identity, "none", 0.3)
        assert 0.3 <= time.monotonic() - began < 60
    finally:
        leader.kill()
        leader.wait()
