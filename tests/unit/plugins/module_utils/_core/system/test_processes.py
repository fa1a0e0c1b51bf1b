# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes known for certain."""

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
    """Starts a shell script as the leader of a session, with the mark of this test; what is left is ended."""
    started: list[Identity] = []

    def begin(script: str, ready: int = 1, mark: str = "") -> tuple[subprocess.Popen[bytes], Identity]:
        env = {"PATH": os.environ["PATH"], processes.JOB_MARKER: mark or str(tmp_path), "DIR": str(tmp_path)}
        process = subprocess.Popen(["/bin/sh", "-c", script], env=env, start_new_session=True)
        identity = processes.identify(process.pid)
        assert identity is not None
        started.append(identity)
        end = time.monotonic() + 10
        while len(processes.members(identity, env[processes.JOB_MARKER])) < ready and time.monotonic() < end:
            time.sleep(0.01)
        return process, identity

    yield begin
    for identity in started:
        processes.end(identity, str(tmp_path))
        with contextlib.suppress(ChildProcessError):
            os.waitpid(identity.pid, os.WNOHANG)


def test_who_we_are() -> None:
    me = processes.this_process()
    assert me.pid == os.getpid()
    assert processes.alive(me)
    assert Identity.from_dict(me.as_dict()) == me
    assert not processes.alive(Identity(me.pid, me.started + 1, me.boot)), "the pid alone says nothing"
    assert not processes.alive(Identity(me.pid, me.started, "another boot"))
    assert not processes.alive(None)


@pytest.mark.parametrize("value", [None, [], {}, {"pid": 1}, {"pid": "x", "started": 1, "boot": ""}, "text", 3])
def test_what_is_no_identity(value: object) -> None:
    assert Identity.from_dict(value) is None


def test_a_zombie_has_ended(start: t.Any) -> None:
    process, identity = start("sleep 0.2; exit 0", ready=0)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert os.path.exists(f"/proc/{process.pid}")
    assert processes.identify(process.pid) is None
    assert not processes.alive(identity)
    process.wait()


def test_a_name_with_brackets_and_blanks(start: t.Any, tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (b"
    os.symlink("/bin/sleep", odd)
    _process_, identity = start('exec "$DIR/a) R 1 (b" 60')
    end = time.monotonic() + 5
    while ") R 1" not in Path(f"/proc/{identity.pid}/stat").read_text() and time.monotonic() < end:
        time.sleep(0.01)
    assert processes.identify(identity.pid) == identity


def test_members_are_those_of_the_session_and_those_that_carry_the_mark(start: t.Any, tmp_path: Path) -> None:
    _leader, identity = start("sleep 60 & setsid sleep 61 & env -i sleep 62 & sleep 63")

    def told() -> list[bytes]:
        found = processes.members(identity, str(tmp_path))
        return sorted(Path(f"/proc/{member.pid}/cmdline").read_bytes()[:9] for member in found)

    expected = [b"/bin/sh\0-", b"sleep\x0060\0", b"sleep\x0061\0", b"sleep\x0062\0", b"sleep\x0063\0"]
    end = time.monotonic() + 10
    while told() != expected and time.monotonic() < end:
        time.sleep(0.01)
    assert told() == expected
    without_leader = processes.members(None, str(tmp_path))
    assert len(without_leader) == 4, "all but the one that dropped its environment"
    assert processes.members(None, str(tmp_path) + "/other") == []


def test_a_leader_that_is_gone_vouches_for_nobody(start: t.Any) -> None:
    """Its number may be another session's by now."""
    _stranger, stranger = start("sleep 60 & sleep 61", ready=3, mark="strangers")
    gone = Identity(stranger.pid, stranger.started - 1, stranger.boot)
    assert processes.members(gone, "ours") == []
    assert processes.end(gone, "ours") == []
    assert processes.members(Identity(stranger.pid, stranger.started, "another boot"), "ours") == []
    assert processes.alive(stranger)
    assert len(processes.members(stranger, "ours")) == 3
    processes.end(stranger, "strangers")


def test_ending_reaches_all_and_takes_the_leader_last(start: t.Any, tmp_path: Path) -> None:
    process, identity = start('trap "" TERM; while :; do env -i sleep 60 & setsid sleep 61 & wait; done', ready=3)
    assert processes.end(identity, str(tmp_path)) == []
    assert processes.members(None, str(tmp_path)) == []
    assert process.wait() == -signal.SIGKILL


def test_ending_asks_first_when_there_is_time(start: t.Any, tmp_path: Path) -> None:
    process, identity = start('trap "exit 5" TERM; echo > "$DIR/ready"; while :; do sleep 0.01; done')
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    assert processes.end(identity, str(tmp_path), grace=5) == []
    assert process.wait() == 5


def test_a_signal_is_for_that_very_process(start: t.Any) -> None:
    process, identity = start("exec sleep 60")
    processes.send([Identity(identity.pid, identity.started + 1, identity.boot)], signal.SIGKILL)
    time.sleep(0.05)
    assert process.poll() is None
    processes.send([identity], signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    processes.send([identity], signal.SIGTERM)


def test_signals_without_pidfd(start: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel or Python is too old for it."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    process, identity = start("exec sleep 60")
    processes.send([Identity(identity.pid, identity.started + 1, identity.boot)], signal.SIGKILL)
    assert process.poll() is None
    processes.send([identity], signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM


def test_the_kernel_counts_what_it_kills_for_memory() -> None:
    count = processes.oom_kills()
    assert count is None or count >= 0
