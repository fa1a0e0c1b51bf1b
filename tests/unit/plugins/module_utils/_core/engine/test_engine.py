# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of the engine: submit, observe and follow runs, with real supervisors and trivial real commands."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine, raise_if_failed
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    InputError,
    JobError,
    NotReadyError,
    StoreError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import make_run, make_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab, in_child

MAKE = "echo made > out"


def test_steps_run_in_order_and_use_earlier_results(lab: Lab) -> None:
    run = lab.run("a", "echo one > out", 'test "$(cat ../*/out)" = one && echo two > out', expects=["out"])
    submission = lab.engine.submit(run)
    assert submission.pending == ("step-0", "step-1")
    assert not submission.attached
    view = lab.engine.follow(run.id, timeout=120, poll=0.02)
    assert (view.state, view.error, view.pending) == ("succeeded", None, [])
    assert (lab.artifact(run, 0) / "out").read_text() == "one\n"
    assert (lab.artifact(run, 1) / "out").read_text() == "two\n"
    assert lab.broken() == []


def test_receipt_records_inputs_command_and_files(lab: Lab) -> None:
    run = lab.run("a", MAKE)
    lab.apply(run)
    receipt = json.loads((lab.artifact(run) / "receipt.json").read_text())
    spec = run.steps[0].spec
    assert receipt["fingerprint"] == spec.fingerprint
    assert receipt["settings"] == spec.settings
    assert receipt["command"] == spec.options["argv"]
    assert receipt["files"]["out"]["bytes"] == 5
    assert receipt["run"] == run.id
    assert receipt["started_at"] <= receipt["finished_at"]


def test_resubmitting_a_complete_run_writes_nothing(lab: Lab) -> None:
    run = lab.run("a", MAKE, MAKE)
    lab.apply(run)
    assert lab.broken() == []
    before = lab.tree()
    submission = lab.engine.submit(run)
    assert (submission.pending, submission.attached, submission.view.state) == ((), False, "succeeded")
    assert lab.tree() == before


def test_a_new_run_with_complete_results_writes_nothing(lab: Lab) -> None:
    run = lab.run("a", MAKE)
    lab.apply(run)
    assert lab.broken() == []
    other = make_run("other name", run.steps, run.goals, Toolchain())
    before = lab.tree()
    submission = lab.engine.submit(other)
    assert (submission.pending, submission.view.state, submission.view.pending) == ((), "succeeded", [])
    assert lab.engine.preview(other).state == "succeeded", "a poll must report the end, whichever run produced it"
    assert lab.tree() == before


def test_reading_a_missing_store_creates_nothing(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "not" / "there"))
    run = Lab(tmp_path / "not").run("a", MAKE)
    view = engine.preview(run)
    assert (view.state, view.pending) == ("absent", ["step-0"])
    assert engine.observe_all() == []
    assert engine.cancel("whatever-run") is False
    with pytest.raises(InputError):
        engine.observe(run.id)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["running", "queued", "failed", "succeeded", "cancelled", "orphaned"])
def test_read_operations_write_nothing(lab: Lab, state: str) -> None:
    run = lab.run("a", "true" if state == "succeeded" else "exit 3" if state == "failed" else "sleep 60")
    other = lab.run("b", "sleep 60")
    lab.engine.submit(run)
    if state in ("running", "orphaned", "cancelled", "queued"):
        lab.wait(lambda: lab.identity(run, "command.json"))
    if state == "queued":
        lab.engine.submit(other)
    if state == "orphaned":
        lab.kill(lab.identity(run, "supervisor.json"))
    if state == "cancelled":
        assert lab.engine.cancel(run.id)
    if state in ("failed", "succeeded", "cancelled"):
        assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == state
        assert lab.broken() == []
    before = lab.tree()
    for view in (lab.engine.observe(run.id), lab.engine.preview(run), lab.engine.preview(other)):
        assert view.steps
    assert lab.engine.pending_steps(run).keys() == ({"step-0"} if state != "succeeded" else set())
    assert lab.engine.observe_all()
    assert lab.tree() == before


def test_the_same_request_attaches_to_the_active_run(lab: Lab) -> None:
    run = lab.counting("a", steps=1, count=10)
    lab.engine.submit(run)
    lab.wait_for_command(run)
    submission = lab.engine.submit(run)
    assert (submission.attached, submission.pending) == (True, ("step-0",))
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    assert [entry.what for entry in lab.evidence()].count("start") == 1
    assert len(lab.record(run).jobs) == 1


def test_a_failure_reports_details_and_the_end_of_the_log(lab: Lab) -> None:
    run = lab.run("fine", "echo a first line; echo what is wrong >&2; exit 7")
    view = lab.apply(run)
    assert view.state == "failed"
    assert view.error is not None
    assert view.error["message"] == "probe ended with status 7: what is wrong"
    assert view.error["step"] == "step-0"
    assert view.error["details"]["exit_code"] == 7
    assert view.error["details"]["log_tail"] == ["a first line", "what is wrong"]
    assert Path(view.error["details"]["log"]).read_text().endswith("what is wrong\n")
    assert [step.state for step in view.steps] == ["failed"]
    with pytest.raises(JobError, match="fine: probe ended with status 7"):
        raise_if_failed(view)
    assert lab.broken() == []


def test_later_steps_do_not_run_after_a_failure(lab: Lab) -> None:
    run = lab.run("a", "exit 1", MAKE)
    assert lab.apply(run).state == "failed"
    assert [job.label for job in lab.record(run).jobs] == ["step-0"]


def test_exit_status_0_without_output_is_a_failure(lab: Lab) -> None:
    run = lab.run("a", "true", expects=["out"])
    view = lab.apply(run)
    assert view.state == "failed"
    assert view.error is not None and "left no out" in view.error["message"]
    assert not lab.artifact(run).exists()


def test_a_resubmitted_run_resumes_after_its_complete_steps(lab: Lab) -> None:
    run = lab.run("a", MAKE, f'test -e "{lab.root}/allowed" && echo two > out', expects=["out"])
    assert lab.apply(run).state == "failed"
    first = lab.artifact(run, 0).stat()
    (lab.root / "allowed").touch()
    submission = lab.engine.submit(run)
    assert submission.pending == ("step-1",)
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    record = lab.record(run)
    assert (record.run.round if record.run else 0) == 2
    assert [job.name for job in record.jobs] == ["step-0-1", "step-1-1", "step-1-2"]
    assert lab.artifact(run, 0).stat().st_ino == first.st_ino
    assert lab.broken() == []


def test_a_missing_program(lab: Lab) -> None:
    run = lab.run("a", "true", argv=["/nowhere/program"])
    view = lab.apply(run)
    assert view.error is not None
    assert "/nowhere/program could not be started" in view.error["message"]
    assert "No such file" in view.error["message"]


def test_follow_until_a_step_is_complete(lab: Lab) -> None:
    run = lab.run("a", MAKE, "sleep 60")
    lab.engine.submit(run)
    states = []
    view = lab.engine.follow(run.id, until={"step-0"}, timeout=120, poll=0.02, on_view=lambda v: states.append(v.state))
    assert (view.state, view.pending) == ("running", ["step-1"])
    assert states


def test_follow_times_out_and_the_run_continues(lab: Lab) -> None:
    run = lab.run("a", "sleep 0.5")
    lab.engine.submit(run)
    assert lab.engine.follow(run.id, timeout=0, poll=0.02).state == "running"
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"


def test_a_complete_result_does_not_require_its_inputs(lab: Lab) -> None:
    run = lab.run("a", MAKE, MAKE)
    lab.apply(run)
    shutil.rmtree(lab.artifact(run, 0))
    assert lab.engine.submit(run).pending == ()
    shutil.rmtree(lab.artifact(run, 1))
    assert lab.apply(run).state == "succeeded"
    assert lab.artifact(run, 0).is_dir() and lab.artifact(run, 1).is_dir()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "out").unlink(), "out is gone"),
        (lambda path: (path / "out").write_text("much longer\n"), "out has 12 bytes instead of 5"),
        (lambda path: (path / "receipt.json").write_text("{"), "its receipt is damaged"),
        (lambda path: (path / "receipt.json").write_text('{"files": 3}'), "its receipt belongs to another result"),
        (lambda path: (path / "receipt.json").unlink(), "not made yet"),
    ],
)
def test_a_damaged_result_is_rebuilt(lab: Lab, damage, reason: str) -> None:  # type: ignore[no-untyped-def]
    run = lab.run("a", MAKE)
    lab.apply(run)
    assert lab.broken() == []
    damage(lab.artifact(run))
    assert {label: str(why) for label, why in lab.engine.pending_steps(run).items()} == {"step-0": reason}
    assert lab.engine.preview(run).steps[0].reason == reason
    assert lab.apply(run).state == "succeeded"
    assert lab.broken() == []


def test_a_missing_external_input_is_reported_before_anything_starts(lab: Lab) -> None:
    step = make_step("probe", {}, {"dataset": "d" * 64}, {"argv": ["true"]})
    run = make_run("a", [step], ["probe"], Toolchain())
    with pytest.raises(NotReadyError, match="a: probe needs the dataset dddddddddddd: not made yet") as caught:
        lab.engine.submit(run)
    assert "ia_homelab.llamafactory.dataset" in caught.value.hint
    assert not (lab.data / "jobs").exists()
    view = lab.engine.preview(run)
    assert (view.state, view.pending) == ("absent", ["probe"])
    assert "needs the dataset" in view.steps[0].reason


def test_an_external_drift_is_repaired_once(lab: Lab) -> None:
    drift_file = lab.root / "drift"
    run = lab.run("a", f"rm -f '{drift_file}'; echo made > out", drift=str(drift_file))
    lab.apply(run)
    drift_file.write_text("the copy has changed\n")
    assert {label: str(why) for label, why in lab.engine.pending_steps(run).items()} == {
        "step-0": "the copy has changed"
    }
    assert lab.apply(run).state == "succeeded"
    assert len(lab.record(run).jobs) == 2
    assert lab.broken() == []


def test_a_permanent_drift_does_not_cause_a_loop(lab: Lab) -> None:
    drift_file = lab.root / "drift"
    drift_file.write_text("another program changes it\n")
    run = lab.run("a", MAKE, drift=str(drift_file))
    view = lab.apply(run)
    assert view.state == "failed"
    assert view.error is not None
    expected = "step-0 succeeded, but its result is incomplete or has drifted: another program changes it."
    assert view.error["message"] == expected
    assert len(lab.record(run).jobs) == 1
    assert lab.broken() == []


def test_an_unknown_run(lab: Lab) -> None:
    run = lab.run("my-model", "true")
    lab.apply(run)
    with pytest.raises(InputError, match="There is no run") as caught:
        lab.engine.observe(run.id[:-1] + "x")
    assert run.id in caught.value.hint
    with pytest.raises(InputError, match="not the id of a run"):
        lab.engine.observe("../../etc")


def test_observe_all_lists_active_runs_first_then_the_latest_ended(lab: Lab) -> None:
    for name in "ab":
        lab.apply(lab.run(name, "true"))
    waiting = [lab.run(name, "sleep 60") for name in "cd"]
    for run in waiting:
        lab.engine.submit(run)
    views = lab.engine.observe_all()
    assert [view.name for view in views] == ["c", "d", "b", "a"]
    assert [view.state for view in views] == ["running", "queued", "succeeded", "succeeded"]
    assert (views[1].position, views[1].waiting_for, views[1].current) == (1, f"the run {waiting[0].id}", "step-0")
    code, parameters = "engine.run_awaited", {"run": waiting[0].id}
    assert views[1].waiting_for_message == {"code": code, "parameters": parameters, "text": views[1].waiting_for}
    assert [view.name for view in lab.engine.observe_all(1)] == ["c", "d", "b"]


def test_a_lost_supervisor_is_reported(lab: Lab) -> None:
    run = lab.run("a", "sleep 60")
    lab.engine.submit(run)
    lab.wait(lambda: lab.identity(run, "command.json"))
    lab.kill(lab.identity(run, "supervisor.json"))
    view = lab.engine.observe(run.id)
    assert view.state == "running"
    assert "supervisor" in view.waiting_for


def test_what_an_older_version_waits_for_is_shown(lab: Lab) -> None:
    run = lab.run("a", "sleep 60")
    lab.engine.submit(run)
    lab.wait(lambda: lab.identity(run, "command.json"))
    waiting = Path(lab.job(run).directory, "waiting.json")
    waiting.write_text(json.dumps({"for": "the node pc-b", "since": "2026-01-01T00:00:00Z"}))
    view = lab.engine.observe(run.id)
    assert view.waiting_for == view.waiting_for_message["text"] == "the node pc-b"


def test_progress_comes_from_the_step(lab: Lab) -> None:
    run = lab.run("a", """echo '{"current": 2, "total": 5}' > progress.json; sleep 60""")
    lab.engine.submit(run)
    lab.wait(lambda: lab.engine.observe(run.id).progress)
    view = lab.engine.observe(run.id)
    assert (view.progress["current"], view.progress["total"], view.current) == (2, 5, "step-0")
    assert view.job_started_at


def test_a_newer_store_is_read_but_not_written(lab: Lab) -> None:
    run = lab.run("a", "true")
    lab.apply(run)
    run_file = Path(lab.record(run).directory, "run.json")
    later = json.loads(run_file.read_text())
    later["toolchain"]["of_the_future"] = later["of_the_future"] = 1
    run_file.write_text(json.dumps(later))
    (lab.data / "jobs" / "schema.json").write_text('{"schema": 2}')
    assert lab.broken() == []
    before = lab.tree()
    assert lab.engine.observe(run.id).state == "succeeded"
    for change in (lambda: lab.engine.submit(lab.run("b", "true")), lab.engine.reconcile):
        with pytest.raises(StoreError, match="schema 2, this core writes 1"):
            change()
    assert lab.tree() == before


def test_resubmitted_between_the_end_of_the_job_and_the_end_of_the_run(lab: Lab) -> None:
    """The job has failed but its run has not been finalized: the failure predates the request and must not end it."""
    run = lab.run("a", f"until [ -e '{lab.root}/go' ]; do sleep 0.02; done; [ -e '{lab.root}/good' ] || exit 3")
    lab.engine.submit(run)
    with lab.store.lock():
        (lab.root / "go").touch()
        lab.wait(lambda: (lab.job(run).outcome or {}).get("state") == "failed")
        lab.kill(lab.identity(run, "supervisor.json"))
        assert lab.record(run).is_unfinished
    (lab.root / "good").touch()
    assert lab.apply(run).state == "succeeded"


def test_a_data_directory_of_another_user(lab: Lab) -> None:
    """Readable but not writable: reading works, and the error of a submission names the required owner."""
    lab.apply(lab.run("a", "true"))
    assert lab.broken() == []
    for path in [lab.root, *lab.root.parents]:
        if path.stat().st_uid == os.getuid() and str(path).startswith("/tmp/"):
            path.chmod(0o755)
    for folder, _dirs, _names in os.walk(lab.data):
        os.chmod(folder, 0o555)
    before = lab.tree()

    def as_unprivileged_user() -> list[str]:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        states = [view.state for view in Engine(str(lab.data)).observe_all()]
        try:
            Engine(str(lab.data)).submit(lab.run("b", "true"))
        except NotReadyError as error:
            return [*states, error.message]
        return states

    messages = in_child(as_unprivileged_user)
    for folder, _dirs, _names in os.walk(lab.data):
        os.chmod(folder, 0o755)
    assert messages[0] == "succeeded"
    assert "cannot be written by the user with id" in messages[1]
    assert lab.tree().keys() == before.keys()


def test_a_restrictive_umask_leaves_the_tree_readable(lab: Lab) -> None:
    def apply() -> str:
        os.umask(0o077)
        return lab.apply(lab.run("a", MAKE)).state

    assert in_child(apply) == "succeeded"
    assert lab.broken() == []
    # records of runs are closed to other users
    runs = {path.parent for name in ("run.json", "job.json") for path in lab.data.rglob(name)}
    assert len(runs) == 2
    wrong_modes = [
        str(path)
        for path in [lab.data, *lab.data.rglob("*")]
        if path.name not in ("lock", "supervisor.lock")
        and path.stat().st_mode & 0o777 != (0o750 if path in runs else 0o755 if path.is_dir() else 0o644)
    ]
    assert wrong_modes == []


def _accessed_paths(lab: Lab, operation: str) -> set[str]:
    """Return the paths of ended runs that an operation opens or lists."""
    run = lab.run("more", "true")

    def record_accesses() -> list[str]:
        paths: list[str] = []

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event in ("open", "os.listdir", "os.scandir"):
                paths.append(str(arguments[0]))

        sys.addaudithook(hook)
        if operation == "submit":
            assert lab.engine.submit(run).pending == ()
        else:
            lab.engine.reconcile()
        return [path for path in paths if path.startswith(str(lab.data / "jobs" / "done"))]

    return set(in_child(record_accesses))


def test_a_thousand_ended_runs_are_not_read(lab: Lab) -> None:
    """Submitting a complete run and reconciling read no ended run, except the submitted one."""
    run = lab.run("more", "true")
    lab.apply(run)
    assert lab.broken() == []
    done = Path(lab.record(run).directory)
    for number in range(1000):
        shutil.copytree(done, done.parent / f"old-{number}")
    assert all(Path(path).is_relative_to(done) for path in _accessed_paths(lab, "submit"))
    assert _accessed_paths(lab, "reconcile") == set()
    assert len(lab.engine.observe_all(5)) == 5
