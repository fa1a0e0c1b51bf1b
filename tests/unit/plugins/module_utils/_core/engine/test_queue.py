# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue: order, concurrency, cancellation, and a damaged store."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts import layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import make_run, make_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import processes
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Evidence, Lab, forked


def spans(evidence: list[Evidence]) -> list[tuple[int, int, str]]:
    """Return start, end and name of each command, by its own clock, sorted by start."""
    started = {entry.step: entry.at for entry in evidence if entry.what == "start"}
    ended = {entry.step: entry.at for entry in evidence if entry.what == "end"}
    return sorted((started[step], ended[step], step) for step in started)


def test_twenty_concurrent_submissions_of_five_fine_tunes(lab: Lab) -> None:
    """Five runs succeed in the order of their submission, with one exclusive step at a time."""
    runs = [lab.counting(f"tune-{number}", steps=2, count=2, pause=0.01) for number in range(5)]
    gate = lab.root / "gate"

    def apply(number: int) -> None:
        while not gate.exists():
            time.sleep(0.001)
        run = runs[number % 5]
        assert lab.apply(run, timeout=120).state == "succeeded"
        (lab.root / f"finished-{number}").touch()

    children = [forked(lambda number=number: apply(number)) for number in range(20)]  # type: ignore[misc]
    for child in children:
        child.__enter__()
    gate.touch()
    lab.wait(lambda: len(list(lab.root.glob("finished-*"))) == 20, timeout=120)
    for child in children:
        child.__exit__(None, None, None)
    records = sorted(map(lab.record, runs), key=lambda record: record.run.seq if record.run else 0)
    assert [record.state["state"] for record in records] == ["succeeded"] * 5
    assert [len(record.jobs) for record in records] == [2] * 5
    assert [record.run.seq for record in records if record.run] == [1, 2, 3, 4, 5]
    executed = spans(lab.evidence())
    assert all(before[1] <= after[0] for before, after in zip(executed, executed[1:])), "two steps ran concurrently"
    assert [step for _started, _ended, step in executed] == [
        f"{record.run.name}-{index}" for record in records if record.run for index in range(2)
    ]
    assert len(list((lab.data / "jobs" / "done").iterdir())) == 5
    assert lab.broken() == []


def test_a_shared_step_runs_beside_an_exclusive_one(lab: Lab) -> None:
    exclusive = lab.run("heavy", "sleep 60")
    other = lab.run("other", "true")
    light = lab.run("light", "true", kind="light_probe")
    lab.engine.submit(exclusive)
    lab.engine.submit(other)
    assert lab.apply(light).state == "succeeded"
    assert lab.engine.observe(other.id).state == "queued"
    assert lab.engine.observe(exclusive.id).state == "running"


def test_a_step_of_two_runs_is_executed_once(lab: Lab) -> None:
    """Also if the step is not exclusive, so that the two runs could execute it concurrently."""
    shared = make_step("light_probe", {}, {}, {"argv": ["sh", "-c", f"echo made >> '{lab.root}/made'; sleep 0.5"]}, "s")
    runs = []
    for name in "ab":
        own = make_step(
            "light_probe", {"name": name}, {"light_probe": shared.spec.fingerprint}, {"argv": ["true"]}, "own"
        )
        runs.append(make_run(name, [shared, own], ["own"], Toolchain()))
    for run in runs:
        lab.engine.submit(run)
    for run in runs:
        assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    assert (lab.root / "made").read_text() == "made\n"
    assert [job.label for job in lab.record(runs[1]).jobs] == ["own"]
    assert lab.broken() == []


def test_a_shared_step_that_fails_in_one_run_is_retried_by_the_other(lab: Lab) -> None:
    script = f"echo tried >> '{lab.root}/tries'; sleep 0.3; test $(wc -l < '{lab.root}/tries') -gt 1"
    shared = make_step("probe", {}, {}, {"argv": ["sh", "-c", script]}, "shared")
    runs = []
    for name in "ab":
        own = make_step("probe", {"name": name}, {"probe": shared.spec.fingerprint}, {"argv": ["true"]}, "own")
        runs.append(make_run(name, [shared, own], ["own"], Toolchain()))
    for run in runs:
        lab.engine.submit(run)
    assert lab.engine.follow(runs[0].id, timeout=120, poll=0.02).state == "failed"
    assert lab.engine.follow(runs[1].id, timeout=120, poll=0.02).state == "succeeded"
    assert lab.broken() == []


# -- cancel --------------------------------------------------------------------------------------------------------


def test_cancelling_a_running_job(lab: Lab) -> None:
    """The command saves a checkpoint and exits with status 0, like LLaMA-Factory; that must not count as a result."""
    script = 'trap "echo saved > checkpoint; exit 0" TERM; echo begun > begun; while :; do sleep 0.02; done'
    run = lab.run("a", script, "true", expects=["result"])
    lab.engine.submit(run)
    work = Path(lab.layout.work("probe", run.steps[0].spec.fingerprint))
    lab.wait((work / "begun").exists)
    assert lab.engine.cancel(run.id) is True
    view = lab.engine.observe(run.id)
    assert view.cancelling or view.state == "cancelled"
    view = lab.engine.follow(run.id, timeout=120, poll=0.02)
    assert (view.state, view.error) == ("cancelled", None)
    assert (work / "checkpoint").read_text() == "saved\n"
    assert [job.label for job in lab.record(run).jobs] == ["step-0"]
    assert lab.engine.cancel(run.id) is False
    assert lab.broken() == []


def test_a_command_that_does_not_stop_is_killed(lab: Lab) -> None:
    run = lab.run("a", 'trap "" TERM; echo > begun; while :; do sleep 0.02; done', grace=0.3)
    lab.engine.submit(run)
    lab.wait((Path(lab.layout.work("probe", run.steps[0].spec.fingerprint)) / "begun").exists)
    lab.engine.cancel(run.id)
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "cancelled"
    assert lab.broken() == []


def test_cancelling_a_queued_run(lab: Lab) -> None:
    first, second = lab.run("a", "sleep 60"), lab.run("b", "true")
    lab.engine.submit(first)
    lab.engine.submit(second)
    assert lab.engine.cancel(second.id) is True
    view = lab.engine.observe(second.id)
    assert (view.state, view.job) == ("cancelled", "")
    assert lab.engine.observe(first.id).state == "running"


def test_cancelling_between_two_steps(lab: Lab) -> None:
    run = lab.run("a", "true", "true")
    lab.engine.submit(run)
    lab.wait(lambda: lab.identity(run, "supervisor.json"))
    # the supervisor notices it at its next poll; by then the first step may have completed
    lab.engine.cancel(run.id)
    view = lab.engine.follow(run.id, timeout=120, poll=0.02)
    assert view.state in ("cancelled", "succeeded")
    assert lab.broken() == []


def test_cancelling_a_run_that_lost_its_supervisor(lab: Lab) -> None:
    run = lab.run("a", "sleep 60", expects=["out"])
    lab.engine.submit(run)
    command = lab.wait(lambda: lab.identity(run, "command.json"))
    lab.kill(lab.identity(run, "supervisor.json"))
    assert lab.engine.cancel(run.id) is True
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "cancelled"
    assert command.pid not in lab.processes()
    assert lab.broken() == []


def test_cancelling_a_completed_command_is_a_success(lab: Lab) -> None:
    go = lab.root / "go"
    run = lab.run("a", f"until [ -e '{go}' ]; do sleep 0.02; done")
    lab.engine.submit(run)
    directory = Path(lab.record(run).directory)
    command = lab.wait(lambda: lab.identity(run, "command.json"))
    supervisor = lab.identity(run, "supervisor.json")
    lab.kill(supervisor)
    go.touch()
    lab.wait(lambda: not processes.alive(command))
    (directory / "cancel.json").write_text("{}")
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"


def test_resubmitting_a_run_that_is_being_cancelled_resumes_it(lab: Lab) -> None:
    run = lab.counting("a", steps=1, held=True)
    lab.engine.submit(run)
    lab.wait_for_command(run)
    supervisor = lab.identity(run, "supervisor.json")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGSTOP)
    lab.engine.cancel(run.id)
    submission = lab.engine.submit(run)
    os.kill(supervisor.pid, signal.SIGCONT)
    assert submission.attached
    lab.release()
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    starts = [entry.number for entry in lab.evidence() if entry.what == "start"]
    assert starts[0] == 0 and all(number > 0 for number in starts[1:])
    assert lab.broken() == []


def test_a_cancelled_run_resumes_from_its_checkpoint(lab: Lab) -> None:
    run = lab.counting("a", held=True)
    lab.engine.submit(run)
    lab.wait_for_command(run)
    lab.engine.cancel(run.id)
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "cancelled"
    lab.release()
    assert lab.apply(run).state == "succeeded"
    starts = [entry.number for entry in lab.evidence() if entry.what == "start" and entry.step == "a-0"]
    assert len(starts) == 2 and starts[1] > 0
    assert lab.broken() == []


def test_cancelling_an_unknown_run(lab: Lab) -> None:
    before = lab.tree()
    assert lab.engine.cancel("unknown-000000000000") is False
    assert lab.tree() == before


# -- a damaged store -----------------------------------------------------------------------------------------------

GARBAGE = ["", "{", "[1, 2]", "null", '"text"', "\x00\xff", '{"unknown": 1}']


def test_damaged_queued_runs_fail_and_other_runs_continue(lab: Lab) -> None:
    running = lab.run("running", "sleep 60", expects=["out"])
    damaged = {text: lab.run(f"damaged-{number}", "true") for number, text in enumerate(GARBAGE)}
    stateless, healthy = lab.run("stateless", "true"), lab.run("healthy", "true")
    for run in (running, *damaged.values(), stateless, healthy):
        lab.engine.submit(run)
    for text, run in damaged.items():
        Path(lab.record(run).directory, "run.json").write_text(text, encoding="latin-1")
    Path(lab.record(stateless).directory, "state.json").write_text("{")
    views = {view.id: view for view in lab.engine.observe_all()}
    for run in damaged.values():
        assert (views[run.id].state, views[run.id].steps) == ("failed", [])
    lab.engine.cancel(running.id)
    assert lab.engine.follow(healthy.id, timeout=120, poll=0.02).state == "succeeded"
    assert lab.engine.observe(stateless.id).state == "succeeded", "the records of its jobs are enough"
    for run in damaged.values():
        view = lab.engine.observe(run.id)
        assert view.state == "failed" and view.error is not None
        assert "damaged: run.json" in view.error["message"] and "Apply again" in view.error["hint"]
    again = damaged["{"]
    assert lab.apply(again).state == "succeeded"
    assert lab.broken(damaged=["run.json"]) == []


@pytest.mark.parametrize(("name", "text"), [("run.json", "{"), ("state.json", "{"), ("JOB/job.json", '{"unknown": 1}')])
def test_a_damaged_running_run_ends_when_its_job_has_ended(lab: Lab, name: str, text: str) -> None:
    first, second = (lab.counting(word, steps=1, held=True) for word in ("a", "b"))
    for run in (first, second):
        lab.engine.submit(run)
    lab.wait_for_command(first)
    record = lab.record(first)
    Path(record.directory, name.replace("JOB", record.jobs[-1].name)).write_text(text)
    assert lab.engine.observe(first.id).state == "running"
    assert lab.engine.submit(first).attached
    lab.release()
    assert lab.engine.follow(second.id, timeout=120, poll=0.02).state == "succeeded"
    assert lab.engine.observe(first.id).state == ("succeeded" if name == "state.json" else "failed")
    assert lab.engine.submit(first).pending == (), "the artifact was produced in spite of the damage"
    executed = spans(lab.evidence())
    assert all(before[1] <= after[0] for before, after in zip(executed, executed[1:])), "two steps ran concurrently"
    (lab.artifact(first) / "receipt.json").unlink()
    assert lab.apply(first).state == "succeeded"
    assert lab.broken(damaged=["job.json"]) == []


def test_a_damaged_run_without_supervisor_leaves_no_process(lab: Lab) -> None:
    run = lab.counting("a", steps=1, count=1000)
    lab.engine.submit(run)
    lab.wait_for_command(run)
    Path(lab.record(run).directory, "run.json").write_text("{")
    lab.kill(lab.identity(run, "supervisor.json"))
    lab.engine.reconcile()
    assert lab.engine.observe(run.id).state == "failed"
    assert lab.broken(damaged=["run.json"]) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("supervisor.json", "{"),
        ("spawns.json", "[1]"),
        ("command.json", ""),
        ("command.json", '{"pid": "x"}'),
        ("outcome.json", '{"pid": "x"}'),
        ("exit.json", ""),
    ],
)
def test_other_damaged_records_are_determined_again(lab: Lab, name: str, text: str) -> None:
    run = lab.counting("a", steps=1, held=True)
    lab.engine.submit(run)
    lab.wait_for_command(run)
    directory = Path(lab.job(run).directory)
    supervisor = lab.identity(run, "supervisor.json")
    (directory / name).write_text(text)
    lab.kill(supervisor)
    lab.release()
    view = lab.engine.follow(run.id, timeout=120, poll=0.02)
    assert view.state == "succeeded", view.error
    numbers = [entry.number for entry in lab.evidence() if entry.what == "start"]
    assert all(number > 0 for number in numbers[1:])
    assert lab.broken(damaged=[name]) == []


def test_a_damaged_ended_run_is_reported_and_repaired_by_a_submission(lab: Lab) -> None:
    run = lab.run("a", "true")
    lab.apply(run)
    assert lab.broken() == []
    directory = Path(lab.record(run).directory)
    (directory / "run.json").write_text("{")
    view = lab.engine.observe(run.id)
    assert (view.state, view.name, view.steps) == ("failed", run.id, [])
    assert [view.state for view in lab.engine.observe_all()] == ["failed"]
    assert lab.engine.submit(run).pending == ()
    (lab.artifact(run) / "receipt.json").unlink()
    assert lab.apply(run).state == "succeeded"
    assert lab.engine.observe(run.id).state == "succeeded"
    assert json.loads((directory / "run.json").read_text())["round"] == 2
    assert lab.broken() == []


def test_foreign_files_in_the_queue_are_ignored(lab: Lab) -> None:
    lab.apply(lab.run("a", "true"))
    (lab.data / "jobs" / "active" / "README").write_text("?")
    (lab.data / "jobs" / "active" / "not an id").mkdir()
    (lab.data / "jobs" / "done" / "README").write_text("?")
    assert lab.apply(lab.run("b", "true")).state == "succeeded"
    assert [view.name for view in lab.engine.observe_all()] == ["b", "a"]


def test_a_run_of_another_version_blocks_no_other(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a step that this version does not know: it is shown, and fails with a message that says so."""
    foreign, own = lab.run("foreign", "true", kind="light_probe"), lab.run("own", "true")
    monkeypatch.setattr(lab.engine, "reconcile", lambda: None)
    for run in (foreign, own):
        lab.engine.submit(run)
    monkeypatch.undo()
    monkeypatch.delitem(layout.PARENTS, "light_probe")
    monkeypatch.delitem(registry.STEPS, "light_probe")
    assert {view.id: view.state for view in lab.engine.observe_all()}[foreign.id] == "queued"
    lab.engine.reconcile()
    view = lab.engine.observe(foreign.id)
    assert view.state == "failed"
    assert view.error is not None and "light_probe" in view.error["message"]
    assert lab.engine.follow(own.id, timeout=120).state == "succeeded"
