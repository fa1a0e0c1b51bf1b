# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unique identification of processes, and signals to them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import processes
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.processes import Identity


@pytest.fixture
def start(tmp_path: Path) -> t.Iterator[t.Callable[..., tuple[subprocess.Popen[bytes], Identity]]]:
    """Start a shell script as a session leader with the environment marker of this test; end leftover processes."""
    started: list[Identity] = []

    def begin(script: str, ready: int = 1, marker: str = "") -> tuple[subprocess.Popen[bytes], Identity]:
        env = {"PATH": os.environ["PATH"], processes.JOB_MARKER: marker or str(tmp_path), "DIR": str(tmp_path)}
        process = subprocess.Popen(["/bin/sh", "-c", script], env=env, start_new_session=True)
        identity = processes.identify(process.pid)
        assert identity is not None
        started.append(identity)
        end = time.monotonic() + 60
        while len(processes.members(identity, env[processes.JOB_MARKER])) < ready and time.monotonic() < end:
            time.sleep(0.01)
        return process, identity

    yield begin
    for identity in started:
        processes.end(identity, str(tmp_path))
        with contextlib.suppress(ChildProcessError):
            os.waitpid(identity.pid, os.WNOHANG)


def test_identity_of_this_process() -> None:
    me = processes.this_process()
    assert me.pid == os.getpid()
    assert processes.alive(me)
    assert Identity.from_dict(me.as_dict()) == me
    assert not processes.alive(Identity(me.pid, me.started + 1, me.boot)), "a pid alone does not identify a process"
    assert not processes.alive(Identity(me.pid, me.started, "another boot"))
    assert not processes.alive(None)


@pytest.mark.parametrize("value", [None, [], {}, {"pid": 1}, {"pid": "x", "started": 1, "boot": ""}, "text", 3])
def test_invalid_records_are_no_identity(value: object) -> None:
    assert Identity.from_dict(value) is None


def test_a_zombie_has_ended(start: t.Any) -> None:
    process, identity = start("sleep 0.2; exit 0", ready=0)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert os.path.exists(f"/proc/{process.pid}")
    assert processes.identify(process.pid) is None
    assert not processes.alive(identity)
    process.wait()


def test_program_name_with_parentheses_and_spaces(start: t.Any, tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (b"
    os.symlink("/bin/sleep", odd)
    _process_, identity = start('exec "$DIR/a) R 1 (b" 60')
    end = time.monotonic() + 60
    while ") R 1" not in Path(f"/proc/{identity.pid}/stat").read_text() and time.monotonic() < end:
        time.sleep(0.01)
    assert processes.identify(identity.pid) == identity


def test_members_are_the_session_and_the_processes_with_the_marker(start: t.Any, tmp_path: Path) -> None:
    _leader, identity = start("sleep 60 & setsid sleep 61 & env -i sleep 62 & sleep 63")

    def command_lines() -> list[bytes]:
        members = processes.members(identity, str(tmp_path))
        return sorted(Path(f"/proc/{member.pid}/cmdline").read_bytes()[:9] for member in members)

    expected = [b"/bin/sh\0-", b"sleep\x0060\0", b"sleep\x0061\0", b"sleep\x0062\0", b"sleep\x0063\0"]
    end = time.monotonic() + 60
    while command_lines() != expected and time.monotonic() < end:
        time.sleep(0.01)
    assert command_lines() == expected
    without_leader = processes.members(None, str(tmp_path))
    assert len(without_leader) == 4, "all except the process that cleared its environment"
    assert processes.members(None, str(tmp_path) + "/other") == []


def test_an_ended_leader_identifies_no_processes(start: t.Any) -> None:
    """Its session id may have been reused by a foreign session."""
    _process, foreign = start("sleep 60 & sleep 61", ready=3, marker="foreign")
    ended = Identity(foreign.pid, foreign.started - 1, foreign.boot)
    assert processes.members(ended, "own") == []
    assert processes.end(ended, "own") == []
    assert processes.members(Identity(foreign.pid, foreign.started, "another boot"), "own") == []
    assert processes.alive(foreign)
    assert len(processes.members(foreign, "own")) == 3
    processes.end(foreign, "foreign")


def test_end_kills_all_processes_and_the_leader_last(start: t.Any, tmp_path: Path) -> None:
    process, identity = start('trap "" TERM; while :; do env -i sleep 60 & setsid sleep 61 & wait; done', ready=3)
    assert processes.end(identity, str(tmp_path)) == []
    assert processes.members(None, str(tmp_path)) == []
    assert process.wait() == -signal.SIGKILL


def test_end_terminates_gracefully_within_the_grace_period(start: t.Any, tmp_path: Path) -> None:
    process, identity = start('trap "exit 5" TERM; echo > "$DIR/ready"; while :; do sleep 0.01; done')
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    assert processes.end(identity, str(tmp_path), grace=5) == []
    assert process.wait() == 5


def test_signal_reaches_only_the_identified_process(start: t.Any) -> None:
    process, identity = start("exec sleep 60")
    processes.send([Identity(identity.pid, identity.started + 1, identity.boot)], signal.SIGKILL)
    time.sleep(0.05)
    assert process.poll() is None
    processes.send([identity], signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    processes.send([identity], signal.SIGTERM)


def test_signals_without_pidfd(start: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fallback for a kernel or a Python that is too old for pidfd."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    process, identity = start("exec sleep 60")
    processes.send([Identity(identity.pid, identity.started + 1, identity.boot)], signal.SIGKILL)
    assert process.poll() is None
    processes.send([identity], signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM


def test_oom_kill_counter() -> None:
    count = processes.oom_kills()
    assert count is None or count >= 0
