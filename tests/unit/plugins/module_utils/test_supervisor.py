# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job whose supervisor, command, or both are lost: what is whole is kept, what runs is followed, the rest goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _core, _process, _supervisor
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._errors import StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._runner import Probe
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab


def starts(lab: Lab, step: str = "a-0") -> list[int]:
    """How far a command had counted each time it was started."""
    return [entry.number for entry in lab.evidence() if entry.what == "start" and entry.step == step]


def edit(path: Path, **values: object) -> None:
    """Change some keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_killed_supervisor_is_followed_by_one_that_adopts_the_command(lab: Lab) -> None:
    run = lab.counting("a", steps=2, count=30, pause=0.1)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    first = lab.identity(run, "supervisor.json")
    lab.kill(first)
    assert _process.alive(command)
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    assert starts(lab) == [0]
    jobs = lab.record(run).jobs
    assert len(jobs) == 2
    told = json.loads(Path(jobs[0].directory, "supervisor.json").read_text())
    assert told["starts"] == 2 and told["pid"] != (first.pid if first else 0)
    assert "still runs: following it" in Path(jobs[0].directory, "supervisor.log").read_text()
    assert lab.broken() == []


def test_a_command_that_ended_while_nobody_looked_is_not_run_again(lab: Lab) -> None:
    run = lab.counting("a", steps=1, count=3, pause=0.1)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    lab.kill(lab.identity(run, "supervisor.json"))
    lab.wait(lambda: not _process.alive(command))
    assert lab.apply(run).state == "succeeded"
    assert starts(lab) == [0]
    assert lab.broken() == []


def test_a_killed_command_fails_clearly_and_the_next_request_goes_on(lab: Lab) -> None:
    run = lab.counting("a", steps=1, count=10, pause=0.05)
    lab.engine.submit(run)
    lab.kill(lab.wait_for_command(run))
    view = lab.engine.follow(run.id, timeout=30, poll=0.02)
    assert view.state == "failed" and view.error is not None
    assert view.error["message"].startswith("probe was killed by signal 9")
    assert view.error["details"]["exit_code"] == -9
    assert lab.apply(run).state == "succeeded"
    assert len(starts(lab)) == 2 and starts(lab)[1] > 0
    assert lab.broken() == []


def test_asking_right_after_a_kill_is_asking_after_it(lab: Lab) -> None:
    """The supervisor has not found out yet; what it will find was before the request."""
    run = lab.counting("a", steps=1, count=10, pause=0.05)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    supervisor = lab.identity(run, "supervisor.json")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGSTOP)
    lab.kill(command)
    submission = lab.engine.submit(run)
    os.kill(supervisor.pid, signal.SIGCONT)
    assert submission.attached
    assert lab.engine.follow(run.id, timeout=30, poll=0.02).state == "succeeded"
    assert len(starts(lab)) == 2 and starts(lab)[1] > 0
    assert [(job.outcome or {})["state"] for job in lab.record(run).jobs] == ["failed", "succeeded"]
    assert lab.broken() == []


def test_both_killed_and_the_step_goes_on_from_its_checkpoint(lab: Lab) -> None:
    run = lab.counting("a", steps=1, count=10, pause=0.05)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    lab.kill(lab.identity(run, "supervisor.json"))
    lab.kill(command)
    assert lab.apply(run).state == "succeeded"
    assert len(starts(lab)) == 2 and starts(lab)[1] > 0
    assert [job.name for job in lab.record(run).jobs] == ["step-0-1"]
    assert lab.broken() == []


def test_after_a_reboot_it_goes_on(lab: Lab) -> None:
    """Another boot: whatever runs under the recorded numbers is somebody else."""
    run = lab.counting("a", steps=1, count=10, pause=0.05)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    directory = Path(lab.job(run).directory)
    lab.kill(lab.identity(run, "supervisor.json"))
    lab.kill(command)
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        who = _process.identify(stranger.pid)
        assert who is not None
        for name in ("command.json", "supervisor.json", "spawns.json"):
            edit(directory / name, boot="another boot", pid=who.pid, started=who.started)
        assert lab.apply(run).state == "succeeded"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert len(starts(lab)) == 2 and starts(lab)[1] > 0
    assert lab.broken() == []


def test_a_pid_that_belongs_to_a_stranger_now(lab: Lab) -> None:
    """The stranger leads a session of that number, and started later: neither followed nor killed."""
    run = lab.counting("a", steps=1, count=6, pause=0.05)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    directory = Path(lab.job(run).directory)
    lab.kill(lab.identity(run, "supervisor.json"))
    lab.kill(command)
    stranger = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60"], start_new_session=True)
    try:
        who = _process.identify(stranger.pid)
        assert who is not None
        for name in ("command.json", "supervisor.json", "spawns.json"):
            edit(directory / name, pid=who.pid, started=who.started - 100)
        assert lab.apply(run).state == "succeeded"
        assert stranger.poll() is None
    finally:
        os.killpg(stranger.pid, signal.SIGKILL)
        stranger.wait()
    assert lab.broken() == []


def test_no_second_command_beside_one_whose_record_was_lost(lab: Lab) -> None:
    run = lab.counting("a", steps=1, count=100, pause=0.05)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    directory = Path(lab.job(run).directory)
    lab.kill(lab.identity(run, "supervisor.json"))
    edit(directory / "command.json", boot="another boot")
    lab.engine.reconcile()
    lab.wait(lambda: len(starts(lab)) == 2)
    assert not _process.alive(command)
    assert lab.apply(run).state == "succeeded"
    assert lab.broken() == []


def test_workers_in_sessions_of_their_own_do_not_outlive_their_launcher(lab: Lab) -> None:
    """As torchrun's: they are nobody's children when the launcher is killed, and not in its session."""
    run = lab.run("a", f"setsid sh -c 'echo $$ > {lab.root}/worker; exec sleep 1000' & sleep 1000")
    lab.engine.submit(run)
    worker = lab.wait(lambda: (lab.root / "worker").exists() and (lab.root / "worker").read_text())
    lab.kill(lab.identity(run, "command.json"))
    assert lab.engine.follow(run.id, timeout=20, poll=0.02).state == "failed"
    assert _process.identify(int(worker)) is None
    assert lab.broken() == []


def test_a_second_supervisor_leaves_the_first_alone(lab: Lab) -> None:
    run = lab.counting("a", steps=1, count=60, pause=0.1)
    lab.engine.submit(run)
    lab.wait_for_command(run)
    record, job = lab.record(run), lab.job(run)
    before = Path(job.directory, "supervisor.json").read_text()
    assert record.run is not None
    second = subprocess.run(
        [sys.executable, "-m", f"{_core.PACKAGE}._supervisor", job.directory],
        env={**os.environ, "PYTHONPATH": record.run.core_dir},
        cwd=record.run.core_dir,
        check=False,
    )
    assert second.returncode == 0
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    assert starts(lab) == [0]
    assert Path(lab.job(run).directory, "supervisor.json").read_text() == before
    assert lab.broken() == []


def test_killed_between_publishing_and_saying_so(lab: Lab) -> None:
    run = lab.counting("a", steps=1)
    lab.apply(run)
    assert lab.broken() == []
    record = lab.record(run)
    inode = lab.artifact(run).stat().st_ino
    active = lab.data / "jobs" / "active" / run.id
    os.rename(record.directory, active)
    (active / "state.json").write_text('{"state": "running"}')
    (active / record.jobs[-1].name / "outcome.json").unlink()
    submission = lab.engine.submit(run)
    assert (submission.attached, submission.pending) == (True, ())
    assert lab.engine.follow(run.id, timeout=20, poll=0.02).state == "succeeded"
    assert starts(lab) == [0]
    assert lab.artifact(run).stat().st_ino == inode
    assert lab.broken() == []


@pytest.mark.parametrize("state", ["running", "succeeded", "failed", "cancelled"])
def test_killed_between_the_outcome_and_the_end_of_the_run(lab: Lab, state: str) -> None:
    run = lab.counting("a", steps=1)
    lab.apply(run)
    assert lab.broken() == []
    active = lab.data / "jobs" / "active" / run.id
    os.rename(lab.record(run).directory, active)
    (active / "state.json").write_text(json.dumps({"state": state}))
    submission = lab.engine.submit(run)
    assert submission.pending == ()
    assert submission.view.state == "succeeded"
    assert lab.broken() == []


def test_a_supervisor_that_does_not_start_is_given_up_and_keeps_nobody_waiting(lab: Lab) -> None:
    wrapper = lab.root / "python"
    wrapper.write_text("#!/bin/sh\necho this interpreter is broken >&2\nexit 1\n")
    wrapper.chmod(0o755)
    run, other = lab.run("a", "true"), lab.run("b", "true")
    lab.engine.submit(lab.run("blocker", "sleep 60", expects=["out"]))
    lab.engine.submit(run)
    edit(Path(lab.record(run).directory, "run.json"), python=str(wrapper))
    lab.engine.cancel(lab.run("blocker", "sleep 60", expects=["out"]).id)
    lab.engine.submit(other)
    view = lab.engine.follow(run.id, timeout=30, poll=0.02)
    assert view.state == "failed" and view.error is not None
    assert view.error["message"] == "The supervisor of this job does not start: this interpreter is broken"
    assert lab.engine.follow(other.id, timeout=20, poll=0.02).state == "succeeded"
    assert lab.apply(run).state == "succeeded", "asked for again, it runs with the interpreter of the asker"
    assert lab.broken() == []


@pytest.mark.parametrize("taken", ["python", "core_dir"])
def test_what_a_run_was_started_with_was_taken_away(lab: Lab, taken: str) -> None:
    run = lab.run("a", "sleep 0.3", "true")
    lab.engine.submit(run)
    lab.wait(lambda: lab.identity(run, "command.json"))
    edit(Path(lab.record(run).directory, "run.json"), **{taken: "/nowhere/at/all"})
    assert lab.engine.follow(run.id, timeout=20, poll=0.02).state == "succeeded"
    assert lab.broken() == []


def test_a_core_without_the_supervisor_s_module_is_not_used(lab: Lab) -> None:
    """Another version may name its modules otherwise: the current core goes on with the run."""
    run = lab.run("a", "sleep 0.3", "true")
    lab.engine.submit(run)
    lab.wait(lambda: lab.identity(run, "command.json"))
    other = lab.root / "other-core"
    (other / _core.PACKAGE).mkdir(parents=True)
    (other / _core.PACKAGE / "__init__.py").touch()
    edit(Path(lab.record(run).directory, "run.json"), core_dir=str(other))
    view = lab.engine.follow(run.id, timeout=20, poll=0.02)
    assert view.state == "succeeded", view.error
    assert lab.broken() == []


def test_a_job_whose_supervisors_keep_dying_is_given_up(lab: Lab) -> None:
    run = lab.run("a", "sleep 60")
    lab.engine.submit(run)
    lab.wait(lambda: lab.identity(run, "command.json"))
    lab.kill(lab.identity(run, "supervisor.json"))
    edit(Path(lab.job(run).directory, "supervisor.json"), starts=_supervisor.MAX_STARTS)
    view = lab.engine.follow(run.id, timeout=20, poll=0.02)
    assert view.state == "failed" and view.error is not None
    assert "was lost 20 times" in view.error["message"]
    assert lab.broken() == []


def test_a_job_whose_directory_is_taken_away_leaves_nothing_running(lab: Lab) -> None:
    run = lab.run("a", "sleep 60")
    lab.engine.submit(run)
    lab.wait(lambda: lab.identity(run, "command.json"))
    os.rename(lab.record(run).directory, lab.root / "taken")
    lab.wait(lambda: not lab.processes())


def test_the_run_goes_on_with_nobody_looking(lab: Lab) -> None:
    """The supervisor itself starts what is next."""
    run = lab.counting("a", steps=3, count=1)
    lab.engine.submit(run)
    lab.wait(lambda: not lab.store.is_active(run.id), timeout=30)
    assert lab.engine.observe(run.id).state == "succeeded"
    assert lab.broken() == []


def test_a_command_can_be_interrupted(lab: Lab) -> None:
    """A shell starts what it leaves in the background with SIGINT ignored; that must not reach the command."""
    run = lab.run("a", 'trap "exit 7" INT; echo > begun; while :; do sleep 0.02; done')
    lab.engine.submit(run)
    work = Path(lab.layout.work("probe", run.steps[0].spec.fingerprint))
    lab.wait((work / "begun").exists)
    command = lab.identity(run, "command.json")
    assert command is not None
    os.kill(command.pid, signal.SIGINT)
    view = lab.engine.follow(run.id, timeout=20, poll=0.02)
    assert view.error is not None and "ended with status 7" in view.error["message"]


def test_the_lock_of_a_job_is_not_its_command_s(lab: Lab) -> None:
    """flock goes with the open file: a command that had it open would keep it when the supervisor is killed."""
    run = lab.run("a", f'ls -l /proc/$$/fd > "{lab.root}/fds"; sleep 60')
    lab.engine.submit(run)
    lab.wait(lambda: (lab.root / "fds").exists() and (lab.root / "fds").read_text())
    targets = [line.rpartition(" ")[2] for line in (lab.root / "fds").read_text().splitlines() if "->" in line]
    assert not [target for target in targets if target.endswith("lock")]
    supervisor = lab.identity(run, "supervisor.json")
    assert supervisor is not None
    opened = [os.readlink(f"/proc/{supervisor.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{supervisor.pid}/fd")]
    assert [path for path in opened if path.endswith("/supervisor.lock")], "it is held, else this proves nothing"


# -- what a failure is called --------------------------------------------------------------------------------------


def _supervisor_of(lab: Lab, log: str = "") -> _supervisor.Supervisor:
    run = lab.run("a", "exit 1")
    lab.apply(run)
    directory = lab.job(run).directory
    Path(directory, "log.txt").write_text(log)
    return _supervisor.Supervisor(directory)


def test_a_full_disk_is_told_with_figures(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = _supervisor_of(lab, "cp: error writing 'x': No space left on device\n")
    error = supervisor._failure(Probe("ended", 1))
    assert re.search(r"The disk is full: [\d.]+ [MG]B free", error.message), error.message
    assert error.details["free_bytes"] > 0
    monkeypatch.setattr(_supervisor, "free_bytes", lambda path: 500_000)
    supervisor = _supervisor_of(lab, "something else\n")
    assert "The disk is full: 0.5 MB free" in supervisor._failure(Probe("ended", 1)).message


def test_want_of_memory_is_told(lab: Lab) -> None:
    error = _supervisor_of(lab)._failure(Probe("ended", -9, out_of_memory=True))
    assert "killed by signal 9" in error.message and "for want of memory" in error.message
    assert "memory" not in _supervisor_of(lab)._failure(Probe("ended", -9)).message


def test_what_a_worker_said_goes_before_its_log(lab: Lab) -> None:
    supervisor = _supervisor_of(lab, "noise\n")
    Path(supervisor.job_dir, "error.json").write_text('{"message": "m", "hint": "h", "details": {"a": 1}}')
    error = supervisor._failure(Probe("ended", 1))
    assert (error.message, error.hint, error.details["a"], error.details["exit_code"]) == ("m", "h", 1, 1)


def test_a_job_without_a_record(tmp_path: Path) -> None:
    (tmp_path / "jobs" / "active" / "r" / "j").mkdir(parents=True)
    with pytest.raises(StoreError, match="missing or damaged"):
        _supervisor.load_run(str(tmp_path / "jobs" / "active" / "r" / "j"))
