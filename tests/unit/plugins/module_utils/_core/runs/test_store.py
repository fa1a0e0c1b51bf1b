# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job store on the disk."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.states import RunState
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.store import Store
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab, forked
from ansible_collections.ia_homelab.llamafactory.tests.support.modules import call


@pytest.fixture
def plain(tmp_path: Path) -> Lab:
    """A lab that starts no process."""
    lab = Lab(tmp_path)
    lab.store.prepare()
    return lab


def queued(lab: Lab, name: str, round_: int = 1) -> Run:
    run = dataclasses.replace(lab.run(name, "true"), seq=lab.store.next_seq(), round=round_)
    lab.store.enqueue(run)
    return run


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def test_a_store_is_created_once(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.store.prepare()
    assert json.loads((lab.data / "jobs" / "schema.json").read_text()) == {"schema": 1}
    before = lab.tree()
    lab.store.prepare()
    assert lab.tree() == before


@pytest.mark.parametrize("text", ['{"schema": 2}', '{"schema": "x"}', "3", "[]", "{"])
def test_an_unknown_schema_is_refused(plain: Lab, text: str) -> None:
    (plain.data / "jobs" / "schema.json").write_text(text)
    with pytest.raises(StoreError):
        plain.store.prepare()


@pytest.mark.parametrize(
    "module, arguments",
    [
        ("dataset", {"name": "rows", "records": [{"instruction": "a", "output": "b"}]}),
        ("job", {"finetunes": []}),
        ("ollama_model", {"name": "model", "state": "released"}),
    ],
)
def test_no_module_writes_into_a_newer_store(plain: Lab, module: str, arguments: dict[str, t.Any]) -> None:
    (plain.data / "jobs" / "schema.json").write_text('{"schema": 2}')
    before = plain.tree()
    answer = call(module, {"data_dir": str(plain.data), **arguments})
    assert "has schema 2, this core writes 1" in answer["msg"] and "upgrade" in answer["hint"]
    assert plain.tree() == before
    assert "runs" in call("job_info", {"data_dir": str(plain.data)}), "what only reads is not refused"


def test_the_queue_is_in_order_of_submission(plain: Lab) -> None:
    runs = [queued(plain, name) for name in ("c", "a", "b")]
    assert [record.run for record in plain.store.active()] == runs
    assert [run.seq for run in runs] == [1, 2, 3]
    (plain.data / "jobs" / "seq.json").write_text("{")
    assert plain.store.next_seq() == 4
    (plain.data / "jobs" / "seq.json").unlink()
    assert plain.store.next_seq() == 4
    assert plain.store.next_seq() == 5


def test_the_life_cycle_of_a_run(plain: Lab) -> None:
    store = plain.store
    run = queued(plain, "a")
    record = plain.record(run)
    assert (record.state, record.active, record.is_unfinished, record.jobs) == (
        {"state": RunState.QUEUED},
        True,
        True,
        (),
    )
    job = store.add_job(record, run, "step-0", exclusive=True)
    assert (job.name, job.order, job.round, job.outcome) == ("step-0-1", 1, 1, None)
    assert plain.record(run).current_job == job
    (Path(job.directory) / "outcome.json").write_text('{"state": "failed"}')
    assert plain.record(run).current_job is None
    assert store.add_job(plain.record(run), run, "step-0", exclusive=True).name == "step-0-2"
    store.request_cancel(run.id)
    assert plain.record(run).cancelling
    store.set_state(run.id, RunState.FAILED, {"message": "m"})
    assert not plain.record(run).is_unfinished
    store.retire(run.id)
    record = plain.record(run)
    assert (record.active, record.state["state"], record.state["error"]) == (False, RunState.FAILED, {"message": "m"})
    assert store.done_ids(10) == [run.id]
    again = dataclasses.replace(run, round=record.round + 1, seq=9)
    store.enqueue(again)
    record = plain.record(run)
    assert (record.run, record.state, record.cancelling, record.active) == (
        again,
        {"state": RunState.QUEUED},
        False,
        True,
    )
    assert [job.name for job in record.jobs] == ["step-0-1", "step-0-2"]
    assert store.done_ids(10) == []
    assert plain.leftovers() == []


def test_ended_runs_are_listed_latest_first(plain: Lab) -> None:
    for number, name in enumerate("abc"):
        run = queued(plain, name)
        plain.store.set_state(run.id, RunState.SUCCEEDED)
        plain.store.retire(run.id)
        os.utime(plain.data / "jobs" / "done" / run.id / "state.json", (number, number))
    assert [run_id[0] for run_id in plain.store.done_ids(2)] == ["c", "b"]


@pytest.mark.parametrize("run_id", ["", ".", "..", "../x", "a/b", ".hidden", "a b", "a\n", "x" * 200])
def test_invalid_run_ids_are_refused(plain: Lab, run_id: str) -> None:
    with pytest.raises(InputError):
        plain.store.record(run_id)


def test_a_run_that_moves_during_a_read(plain: Lab) -> None:
    """A reader without the lock sees the run completely, either in the queue or ended."""
    store = plain.store
    run = queued(plain, "a")
    store.add_job(plain.record(run), run, "step-0", exclusive=True)
    stop = plain.root / "stop"

    def move() -> None:
        round_ = 1
        while not stop.exists():
            store.set_state(run.id, RunState.SUCCEEDED)
            store.retire(run.id)
            round_ += 1
            store.enqueue(dataclasses.replace(run, round=round_))

    with forked(move):
        begin = time.monotonic()
        active_states: set[bool] = set()
        # on a busy machine the other process may not be executed for a while
        while time.monotonic() < begin + 2 or (len(active_states) < 2 and time.monotonic() < begin + 60):
            record = plain.record(run)
            assert record.damage == "" and record.run is not None and len(record.jobs) == 1
            assert record.active or record.state["state"] == RunState.SUCCEEDED
            active_states.add(record.active)
        stop.touch()
    assert active_states == {True, False}, "the run did not move"


def test_a_kill_during_a_resubmission(plain: Lab) -> None:
    """An ended run stays ended until the new request is completely written."""
    store = plain.store
    run = queued(plain, "a")
    store.set_state(run.id, RunState.FAILED, {"message": "m"})
    store.retire(run.id)
    os.rename(plain.data / "jobs" / "done" / run.id, plain.data / "jobs" / "active" / run.id)
    record = plain.record(run)
    assert record.active and not record.is_unfinished
    plain.engine.reconcile()
    assert plain.store.done_ids(1) == [run.id]
    assert plain.engine.observe(run.id).state == RunState.FAILED


def test_a_foreign_copy_of_an_ended_run_is_replaced(plain: Lab) -> None:
    run = queued(plain, "a")
    copy = plain.data / "jobs" / "done" / run.id
    copy.mkdir()
    (copy / "run.json").write_text("{}")
    plain.store.set_state(run.id, RunState.SUCCEEDED)
    plain.store.retire(run.id)
    assert plain.record(run).state["state"] == RunState.SUCCEEDED
    assert plain.leftovers() == []


@pytest.mark.parametrize(
    ("name", "text", "damage"),
    [
        ("run.json", "{", "run.json: "),
        ("run.json", '{"id": "other"}', "run.json: It is not the record of a run"),
        ("run.json", None, "run.json: It is missing."),
        ("step-0-1/job.json", "[]", "step-0-1/job.json: It is not the record of a job"),
        ("step-0-1/job.json", None, "step-0-1/job.json: "),
    ],
)
def test_damage_is_reported(plain: Lab, name: str, text: str | None, damage: str) -> None:
    run = queued(plain, "a")
    plain.store.add_job(plain.record(run), run, "step-0", exclusive=True)
    path = plain.data / "jobs" / "active" / run.id / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert plain.record(run).damage.startswith(damage)
    other = queued(plain, "b")
    assert {record.id for record in plain.store.active()} == {run.id, other.id}


def test_the_record_of_another_run(plain: Lab) -> None:
    one, other = queued(plain, "a"), queued(plain, "b")
    folder = plain.data / "jobs" / "active"
    (folder / one.id / "run.json").write_bytes((folder / other.id / "run.json").read_bytes())
    assert plain.record(one).damage == f"run.json: It belongs to the run {other.id}."


def test_a_damaged_state_is_damage_only_for_an_ended_run(plain: Lab) -> None:
    run = queued(plain, "a")
    state = Path(plain.record(run).directory, "state.json")
    state.write_text('{"state": "?"}')
    record = plain.record(run)
    assert (record.state["state"], record.damage) == (RunState.QUEUED, "")
    plain.store.set_state(run.id, RunState.RUNNING)
    plain.store.retire(run.id)
    record = plain.record(run)
    assert record.state["state"] == RunState.FAILED
    assert "how the run ended" in record.damage


def test_a_resubmission_moves_damaged_jobs_aside(plain: Lab) -> None:
    run = queued(plain, "a")
    job = plain.store.add_job(plain.record(run), run, "step-0", exclusive=True)
    Path(job.directory, "job.json").write_text("{")
    plain.store.set_state(run.id, RunState.FAILED)
    plain.store.retire(run.id)
    record = plain.record(run)
    assert record.damage
    plain.store.enqueue(dataclasses.replace(run, round=record.round + 1))
    record = plain.record(run)
    assert (record.damage, record.jobs) == ("", ())
    assert ".damaged-step-0-1" in names(Path(record.directory))
    assert plain.store.add_job(record, run, "step-0", exclusive=True).name == "step-0-2"


def test_leftovers_of_a_crash_are_removed(plain: Lab) -> None:
    run = queued(plain, "a")
    jobs = plain.data / "jobs"
    for folder in (jobs, jobs / "active", jobs / "active" / run.id):
        (folder / ".new-1.2-file").touch()
        (folder / ".gone-1.2-tree").mkdir()
        (folder / ".gone-1.2-tree" / "x").touch()
    plain.store.sweep()
    assert plain.leftovers() == []
    assert Store(plain.layout).record(run.id) is not None


def test_a_missing_store_reads_as_empty(tmp_path: Path) -> None:
    store = Lab(tmp_path).store
    assert (store.active(), store.done_ids(5), store.record("a-000000000000"), store.is_idle()) == ([], [], None, True)
    assert list(tmp_path.iterdir()) == []
