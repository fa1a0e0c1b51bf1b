# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job that loses its supervisor, its command, or both: complete results are kept, running commands are adopted."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import installation, launcher
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import (
    supervisor as engine_supervisor,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.runner import Probe
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs import job_context
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import processes
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab


def starts(lab: Lab, step: str = "a-0") -> list[int]:
    """Return the number from which the command counted at each of its starts."""
    return [entry.number for entry in lab.evidence() if entry.what == "start" and entry.step == step]


def edit(path: Path, **values: object) -> None:
    """Change some keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_next_supervisor_adopts_the_running_command(lab: Lab) -> None:
    run = lab.counting("a", held=True)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    first = lab.identity(run, "supervisor.json")
    lab.kill(first)
    assert processes.alive(command)
    lab.engine.reconcile()
    log = Path(lab.job(run).directory, "supervisor.log")
    lab.wait(lambda: "still runs: following it" in log.read_text())
    lab.release()
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    assert starts(lab) == [0]
    jobs = lab.record(run).jobs
    assert len(jobs) == 2
    record = json.loads(Path(jobs[0].directory, "supervisor.json").read_text())
    assert record["starts"] == 2 and record["pid"] != (first.pid if first else 0)
    assert lab.broken() == []


def test_a_command_that_ended_without_supervisor_is_not_run_again(lab: Lab) -> None:
    run = lab.counting("a", steps=1, held=True)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    lab.kill(lab.identity(run, "supervisor.json"))
    lab.release()
    lab.wait(lambda: not processes.alive(command))
    assert lab.apply(run).state == "succeeded"
    assert starts(lab) == [0]
    assert lab.broken() == []


def test_a_killed_command_fails_and_the_next_submission_resumes(lab: Lab) -> None:
    run = lab.counting("a", steps=1, held=True)
    lab.engine.submit(run)
    lab.kill(lab.wait_for_command(run))
    view = lab.engine.follow(run.id, timeout=120, poll=0.02)
    assert view.state == "failed" and view.error is not None
    assert view.error["message"].startswith("probe was killed by signal 9")
    assert view.error["details"]["exit_code"] == -9
    lab.release()
    assert lab.apply(run).state == "succeeded"
    assert len(starts(lab)) == 2 and starts(lab)[1] > 0
    assert lab.broken() == []


def test_a_submission_right_after_a_kill_starts_a_new_round(lab: Lab) -> None:
    """The supervisor has not detected the kill yet: that failure predates the request and must not end the run."""
    run = lab.counting("a", steps=1, held=True)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    supervisor = lab.identity(run, "supervisor.json")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGSTOP)
    lab.kill(command)
    submission = lab.engine.submit(run)
    os.kill(supervisor.pid, signal.SIGCONT)
    assert submission.attached
    lab.release()
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    assert len(starts(lab)) == 2 and starts(lab)[1] > 0
    assert [(job.outcome or {})["state"] for job in lab.record(run).jobs] == ["failed", "succeeded"]
    assert lab.broken() == []


def test_with_both_killed_the_step_resumes_from_its_checkpoint(lab: Lab) -> None:
    run = lab.counting("a", steps=1, held=True)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    lab.kill(lab.identity(run, "supervisor.json"))
    lab.kill(command)
    lab.release()
    assert lab.apply(run).state == "succeeded"
    assert len(starts(lab)) == 2 and starts(lab)[1] > 0
    assert [job.name for job in lab.record(run).jobs] == ["step-0-1"]
    assert lab.broken() == []


def test_a_job_resumes_after_a_reboot(lab: Lab) -> None:
    """After another boot, the recorded pids belong to foreign processes."""
    run = lab.counting("a", steps=1, held=True)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    directory = Path(lab.job(run).directory)
    lab.kill(lab.identity(run, "supervisor.json"))
    lab.kill(command)
    foreign = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        identity = processes.identify(foreign.pid)
        assert identity is not None
        for name in ("command.json", "supervisor.json", "spawns.json"):
            edit(directory / name, boot="another boot", pid=identity.pid, started=identity.started)
        lab.release()
        assert lab.apply(run).state == "succeeded"
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()
    assert len(starts(lab)) == 2 and starts(lab)[1] > 0
    assert lab.broken() == []


def test_a_reused_pid(lab: Lab) -> None:
    """A foreign process leads a session with the recorded pid but started later: it is neither adopted nor killed."""
    run = lab.counting("a", steps=1, held=True)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    directory = Path(lab.job(run).directory)
    lab.kill(lab.identity(run, "supervisor.json"))
    lab.kill(command)
    foreign = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60"], start_new_session=True)
    try:
        identity = processes.identify(foreign.pid)
        assert identity is not None
        for name in ("command.json", "supervisor.json", "spawns.json"):
            edit(directory / name, pid=identity.pid, started=identity.started - 100)
        lab.release()
        assert lab.apply(run).state == "succeeded"
        assert foreign.poll() is None
    finally:
        os.killpg(foreign.pid, signal.SIGKILL)
        foreign.wait()
    assert lab.broken() == []


def test_a_command_whose_record_was_lost_is_replaced(lab: Lab) -> None:
    run = lab.counting("a", steps=1, held=True)
    lab.engine.submit(run)
    command = lab.wait_for_command(run)
    directory = Path(lab.job(run).directory)
    lab.kill(lab.identity(run, "supervisor.json"))
    edit(directory / "command.json", boot="another boot")
    lab.engine.reconcile()
    lab.wait(lambda: len(starts(lab)) == 2)
    assert not processes.alive(command)
    lab.release()
    assert lab.apply(run).state == "succeeded"
    assert lab.broken() == []


def test_workers_in_their_own_sessions_do_not_outlive_their_launcher(lab: Lab) -> None:
    """Like those of torchrun: they are reparented when the launcher is killed, and are not in its session."""
    run = lab.run("a", f"setsid sh -c 'echo $$ > {lab.root}/worker; exec sleep 1000' & sleep 1000")
    lab.engine.submit(run)
    worker = lab.wait(lambda: (lab.root / "worker").exists() and (lab.root / "worker").read_text())
    lab.kill(lab.identity(run, "command.json"))
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "failed"
    assert processes.identify(int(worker)) is None
    assert lab.broken() == []


def test_a_second_supervisor_does_not_disturb_the_first(lab: Lab) -> None:
    run = lab.counting("a", steps=1, held=True)
    lab.engine.submit(run)
    lab.wait_for_command(run)
    record, job = lab.record(run), lab.job(run)
    before = Path(job.directory, "supervisor.json").read_text()
    assert record.run is not None
    second = subprocess.run(
        [sys.executable, "-m", f"{installation.PACKAGE}.main", "supervise", job.directory],
        env={**os.environ, "PYTHONPATH": record.run.core_dir},
        cwd=record.run.core_dir,
        check=False,
    )
    assert second.returncode == 0
    lab.release()
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    assert starts(lab) == [0]
    assert Path(lab.job(run).directory, "supervisor.json").read_text() == before
    assert lab.broken() == []


def test_killed_between_publishing_and_writing_the_outcome(lab: Lab) -> None:
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
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    assert starts(lab) == [0]
    assert lab.artifact(run).stat().st_ino == inode
    assert lab.broken() == []


@pytest.mark.parametrize("state", ["running", "succeeded", "failed", "cancelled"])
def test_killed_between_the_outcome_and_the_retirement_of_the_run(lab: Lab, state: str) -> None:
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


def test_a_supervisor_that_does_not_start_fails_its_job_and_blocks_no_run(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = lab.root / "python"
    run, other = lab.run("a", "true"), lab.run("b", "true")
    wrapper.write_text(
        f"#!/bin/sh\ncase $4 in */{run.id}/*) echo this interpreter is broken >&2; exit 1 ;; esac\n"
        f'exec {sys.executable} "$@"\n'
    )
    wrapper.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(launcher, "current_python", lambda: str(wrapper))
        lab.engine.submit(run)
        lab.engine.submit(other)
        view = lab.engine.follow(run.id, timeout=120, poll=0.02)
        assert view.state == "failed" and view.error is not None
        assert view.error["message"] == "The supervisor of this job does not start: this interpreter is broken"
        assert lab.engine.follow(other.id, timeout=120, poll=0.02).state == "succeeded"
    assert lab.apply(run).state == "succeeded", "a resubmitted run must use the interpreter of the submitter"
    assert lab.broken() == []


@pytest.mark.parametrize("changed", ["python", "core_dir"])
def test_interpreter_and_core_are_not_taken_from_a_record(lab: Lab, changed: str) -> None:
    """The record could have been written by anyone who may write to the data directory."""
    run, last = lab.run("a", "sleep 0.3", "true"), lab.run("b", "true")
    planted, seen = lab.root / "planted", lab.root / "seen"
    (planted / installation.PACKAGE).mkdir(parents=True)
    (planted / installation.PACKAGE / "__init__.py").touch()
    (planted / installation.PACKAGE / "main.py").write_text(f"open({str(seen)!r}, 'w')\n")
    python = lab.root / "python"
    python.write_text(f"#!/bin/sh\ntouch {seen}\n")
    python.chmod(0o755)
    lab.engine.submit(run)
    lab.engine.submit(last)
    lab.wait(lambda: lab.identity(run, "command.json"))
    value = {"python": str(python), "core_dir": str(planted)}[changed]
    for each in (run, last):
        edit(Path(lab.record(each).directory, "run.json"), **{changed: value})
    lab.kill(lab.identity(run, "supervisor.json"))
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    lab.wait(lambda: not lab.store.is_active(last.id))
    assert lab.engine.observe(last.id).state == "succeeded"
    assert not seen.exists()
    assert lab.broken() == []


def test_a_supervisor_leaves_a_run_to_the_core_that_submitted_it(lab: Lab) -> None:
    """The supervisor may be older than the run, and would ignore options that it does not know."""
    run, later = lab.run("a", "sleep 0.5"), lab.run("b", "true")
    lab.engine.submit(run)
    lab.engine.submit(later)
    own = Path(lab.record(later).run.core_dir)  # type: ignore[union-attr]
    newer = lab.data / "core" / "99.0.0-0123456789ab"
    shutil.copytree(own, newer)
    edit(Path(lab.record(later).directory, "run.json"), core_dir=f"/elsewhere/{newer.name}")
    (newer / installation.PACKAGE / "version.py").write_text('VERSION = "99.0.0"\n')
    lab.wait(lambda: not lab.store.is_active(later.id))
    assert lab.engine.observe(later.id).state == "succeeded"
    supervisor = json.loads(Path(lab.job(later).directory, "supervisor.json").read_text())
    assert supervisor["core_version"] == "99.0.0"
    assert lab.broken() == []


def test_a_job_fails_when_too_many_supervisors_are_lost(lab: Lab) -> None:
    run = lab.run("a", "sleep 60")
    lab.engine.submit(run)
    lab.wait(lambda: lab.identity(run, "command.json"))
    lab.kill(lab.identity(run, "supervisor.json"))
    edit(Path(lab.job(run).directory, "supervisor.json"), starts=engine_supervisor.MAX_STARTS)
    view = lab.engine.follow(run.id, timeout=120, poll=0.02)
    assert view.state == "failed" and view.error is not None
    assert "was lost 20 times" in view.error["message"]
    assert lab.broken() == []


def test_a_job_whose_directory_is_removed_leaves_no_process(lab: Lab) -> None:
    run = lab.run("a", "sleep 60")
    lab.engine.submit(run)
    lab.wait(lambda: lab.identity(run, "command.json"))
    os.rename(lab.record(run).directory, lab.root / "taken")
    lab.wait(lambda: not lab.processes())


def test_a_run_continues_without_a_follower(lab: Lab) -> None:
    """The supervisor itself starts the next job."""
    run = lab.counting("a", steps=3, count=1)
    lab.engine.submit(run)
    lab.wait(lambda: not lab.store.is_active(run.id))
    assert lab.engine.observe(run.id).state == "succeeded"
    assert lab.broken() == []


def test_a_command_can_be_interrupted(lab: Lab) -> None:
    """A shell starts background processes with SIGINT ignored; the command must not inherit that."""
    run = lab.run("a", 'trap "exit 7" INT; echo > begun; while :; do sleep 0.02; done')
    lab.engine.submit(run)
    work = Path(lab.layout.work("probe", run.steps[0].spec.fingerprint))
    lab.wait((work / "begun").exists)
    command = lab.identity(run, "command.json")
    assert command is not None
    os.kill(command.pid, signal.SIGINT)
    view = lab.engine.follow(run.id, timeout=120, poll=0.02)
    assert view.error is not None and "ended with status 7" in view.error["message"]


def test_the_command_does_not_inherit_the_lock_of_its_job(lab: Lab) -> None:
    """flock belongs to the open file: a command that inherits it would keep the lock when the supervisor is killed."""
    run = lab.run("a", f'ls -l /proc/$$/fd > "{lab.root}/fds"; sleep 60')
    lab.engine.submit(run)
    lab.wait(lambda: (lab.root / "fds").exists() and (lab.root / "fds").read_text())
    targets = [line.rpartition(" ")[2] for line in (lab.root / "fds").read_text().splitlines() if "->" in line]
    assert not [target for target in targets if target.endswith("lock")]
    supervisor = lab.identity(run, "supervisor.json")
    assert supervisor is not None
    opened = [os.readlink(f"/proc/{supervisor.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{supervisor.pid}/fd")]
    assert [path for path in opened if path.endswith("/supervisor.lock")], (
        "the supervisor must hold the lock, else this test proves nothing"
    )


# -- messages of failures ------------------------------------------------------------------------------------------


def _supervisor_of_failed_job(lab: Lab, log: str = "") -> engine_supervisor.Supervisor:
    run = lab.run("a", "exit 1")
    lab.apply(run)
    directory = lab.job(run).directory
    Path(directory, "log.txt").write_text(log)
    return engine_supervisor.Supervisor(directory)


def test_a_full_disk_is_reported_with_figures(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = _supervisor_of_failed_job(lab, "cp: error writing 'x': No space left on device\n")
    error = supervisor._failure(Probe("ended", 1))
    assert re.search(r"The disk is full: [\d.]+ [MG]B free", error.message), error.message
    assert error.details["free_bytes"] > 0
    monkeypatch.setattr(engine_supervisor, "free_bytes", lambda path: 500_000)
    supervisor = _supervisor_of_failed_job(lab, "something else\n")
    assert "The disk is full: 0.5 MB free" in supervisor._failure(Probe("ended", 1)).message


def test_lack_of_memory_is_reported(lab: Lab) -> None:
    error = _supervisor_of_failed_job(lab)._failure(Probe("ended", -9, out_of_memory=True))
    assert "killed by signal 9" in error.message and "for want of memory" in error.message
    assert "memory" not in _supervisor_of_failed_job(lab)._failure(Probe("ended", -9)).message


def test_the_error_of_a_worker_takes_precedence_over_its_log(lab: Lab) -> None:
    supervisor = _supervisor_of_failed_job(lab, "noise\n")
    Path(supervisor.job_dir, "error.json").write_text('{"message": "m", "hint": "h", "details": {"a": 1}}')
    error = supervisor._failure(Probe("ended", 1))
    assert (error.message, error.hint, error.details["a"], error.details["exit_code"]) == ("m", "h", 1, 1)


def test_a_job_without_a_record(tmp_path: Path) -> None:
    (tmp_path / "jobs" / "active" / "r" / "j").mkdir(parents=True)
    with pytest.raises(StoreError, match="missing or damaged"):
        job_context.load_run(str(tmp_path / "jobs" / "active" / "r" / "j"))
