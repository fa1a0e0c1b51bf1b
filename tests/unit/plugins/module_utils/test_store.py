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

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._errors import InputError, StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._run import (
    FAILED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    Run,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._store import Store
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab, forked
from ansible_collections.ia_homelab.llamafactory.tests.support.modules import call


@pytest.fixture
def plain(tmp_path: Path) -> Lab:
    """A lab in which nothing is started."""
    made = Lab(tmp_path)
    made.store.prepare()
    return made


def queued(lab: Lab, name: str, round_: int = 1) -> Run:
    run = dataclasses.replace(lab.run(name, "true"), seq=lab.store.next_seq(), round=round_)
    lab.store.enqueue(run)
    return run


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def test_a_store_is_made_once(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.store.prepare()
    assert json.loads((lab.data / "jobs" / "schema.json").read_text()) == {"schema": 1}
    before = lab.tree()
    lab.store.prepare()
    assert lab.tree() == before


@pytest.mark.parametrize("text", ['{"schema": 2}', '{"schema": "x"}', "3", "[]", "{"])
def test_a_schema_that_is_not_ours_is_refused(plain: Lab, text: str) -> None:
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


def test_the_queue_is_in_the_order_it_came(plain: Lab) -> None:
    runs = [queued(plain, name) for name in ("c", "a", "b")]
    assert [record.run for record in plain.store.active()] == runs
    assert [run.seq for run in runs] == [1, 2, 3]
    (plain.data / "jobs" / "seq.json").write_text("{")
    assert plain.store.next_seq() == 4
    (plain.data / "jobs" / "seq.json").unlink()
    assert plain.store.next_seq() == 4
    assert plain.store.next_seq() == 5


def test_the_life_of_a_run(plain: Lab) -> None:
    store = plain.store
    run = queued(plain, "a")
    record = plain.record(run)
    assert (record.state, record.active, record.at_work, record.jobs) == ({"state": QUEUED}, True, True, ())
    job = store.add_job(record, run, "step-0", heavy=True)
    assert (job.name, job.order, job.round, job.outcome) == ("step-0-1", 1, 1, None)
    assert plain.record(run).unfinished == job
    (Path(job.directory) / "outcome.json").write_text('{"state": "failed"}')
    assert plain.record(run).unfinished is None
    assert store.add_job(plain.record(run), run, "step-0", heavy=True).name == "step-0-2"
    store.request_cancel(run.id)
    assert plain.record(run).cancelling
    store.set_state(run.id, FAILED, {"message": "m"})
    assert not plain.record(run).at_work
    store.retire(run.id)
    record = plain.record(run)
    assert (record.active, record.state["state"], record.state["error"]) == (False, FAILED, {"message": "m"})
    assert store.done_ids(10) == [run.id]
    again = dataclasses.replace(run, round=record.round + 1, seq=9)
    store.enqueue(again)
    record = plain.record(run)
    assert (record.run, record.state, record.cancelling, record.active) == (again, {"state": QUEUED}, False, True)
    assert [job.name for job in record.jobs] == ["step-0-1", "step-0-2"]
    assert store.done_ids(10) == []
    assert plain.leftovers() == []


def test_the_latest_ended_first(plain: Lab) -> None:
    for number, name in enumerate("abc"):
        run = queued(plain, name)
        plain.store.set_state(run.id, SUCCEEDED)
        plain.store.retire(run.id)
        os.utime(plain.data / "jobs" / "done" / run.id / "state.json", (number, number))
    assert [run_id[0] for run_id in plain.store.done_ids(2)] == ["c", "b"]


@pytest.mark.parametrize("run_id", ["", ".", "..", "../x", "a/b", ".hidden", "a b", "a\n", "x" * 200])
def test_what_is_no_id_is_no_path(plain: Lab, run_id: str) -> None:
    with pytest.raises(InputError):
        plain.store.record(run_id)


def test_a_run_that_moves_while_it_is_read(plain: Lab) -> None:
    """Never half of it, never missing: a reader without the lock sees it in the queue or ended."""
    store = plain.store
    run = queued(plain, "a")
    store.add_job(plain.record(run), run, "step-0", heavy=True)
    stop = plain.root / "stop"

    def move() -> None:
        round_ = 1
        while not stop.exists():
            store.set_state(run.id, SUCCEEDED)
            store.retire(run.id)
            round_ += 1
            store.enqueue(dataclasses.replace(run, round=round_))

    with forked(move):
        end = time.monotonic() + 2
        seen = set()
        while time.monotonic() < end:
            record = plain.record(run)
            assert record.damage == "" and record.run is not None and len(record.jobs) == 1
            assert record.active or record.state["state"] == SUCCEEDED
            seen.add(record.active)
        stop.touch()
    assert seen == {True, False}, "it did move"


def test_asked_for_again_and_killed_half_way(plain: Lab) -> None:
    """What was ended stays ended until all of the new request is written."""
    store = plain.store
    run = queued(plain, "a")
    store.set_state(run.id, FAILED, {"message": "m"})
    store.retire(run.id)
    os.rename(plain.data / "jobs" / "done" / run.id, plain.data / "jobs" / "active" / run.id)
    record = plain.record(run)
    assert record.active and not record.at_work
    plain.engine.reconcile()
    assert plain.store.done_ids(1) == [run.id]
    assert plain.engine.observe(run.id).state == FAILED


def test_a_copy_in_the_way_of_an_ended_run(plain: Lab) -> None:
    run = queued(plain, "a")
    copy = plain.data / "jobs" / "done" / run.id
    copy.mkdir()
    (copy / "run.json").write_text("{}")
    plain.store.set_state(run.id, SUCCEEDED)
    plain.store.retire(run.id)
    assert plain.record(run).state["state"] == SUCCEEDED
    assert plain.leftovers() == []


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("run.json", "{", "run.json: "),
        ("run.json", '{"id": "other"}', "run.json: It is not the record of a run"),
        ("run.json", None, "run.json: It is missing."),
        ("step-0-1/job.json", "[]", "step-0-1/job.json: It is not the record of a job"),
        ("step-0-1/job.json", None, "step-0-1/job.json: "),
    ],
)
def test_damage_is_told(plain: Lab, name: str, text: str | None, told: str) -> None:
    run = queued(plain, "a")
    plain.store.add_job(plain.record(run), run, "step-0", heavy=True)
    path = plain.data / "jobs" / "active" / run.id / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert plain.record(run).damage.startswith(told)
    other = queued(plain, "b")
    assert {record.id for record in plain.store.active()} == {run.id, other.id}


def test_the_record_of_another_run(plain: Lab) -> None:
    one, other = queued(plain, "a"), queued(plain, "b")
    folder = plain.data / "jobs" / "active"
    (folder / one.id / "run.json").write_bytes((folder / other.id / "run.json").read_bytes())
    assert plain.record(one).damage == f"run.json: It belongs to the run {other.id}."


def test_state_is_found_out_again_in_the_queue_and_missed_where_it_is_all(plain: Lab) -> None:
    run = queued(plain, "a")
    state = Path(plain.record(run).directory, "state.json")
    state.write_text('{"state": "?"}')
    record = plain.record(run)
    assert (record.state["state"], record.damage) == (QUEUED, "")
    plain.store.set_state(run.id, RUNNING)
    plain.store.retire(run.id)
    record = plain.record(run)
    assert record.state["state"] == FAILED
    assert "how the run ended" in record.damage


def test_asking_again_puts_damaged_jobs_aside(plain: Lab) -> None:
    run = queued(plain, "a")
    job = plain.store.add_job(plain.record(run), run, "step-0", heavy=True)
    Path(job.directory, "job.json").write_text("{")
    plain.store.set_state(run.id, FAILED)
    plain.store.retire(run.id)
    record = plain.record(run)
    assert record.damage
    plain.store.enqueue(dataclasses.replace(run, round=record.round + 1))
    record = plain.record(run)
    assert (record.damage, record.jobs) == ("", ())
    assert ".damaged-step-0-1" in names(Path(record.directory))
    assert plain.store.add_job(record, run, "step-0", heavy=True).name == "step-0-2"


def test_what_a_crash_left_in_the_queue_is_swept(plain: Lab) -> None:
    run = queued(plain, "a")
    jobs = plain.data / "jobs"
    for folder in (jobs, jobs / "active", jobs / "active" / run.id):
        (folder / ".new-1.2-file").touch()
        (folder / ".gone-1.2-tree").mkdir()
        (folder / ".gone-1.2-tree" / "x").touch()
    plain.store.sweep()
    assert plain.leftovers() == []
    assert Store(plain.layout).record(run.id) is not None


def test_no_store_is_an_empty_one(tmp_path: Path) -> None:
    store = Lab(tmp_path).store
    assert (store.active(), store.done_ids(5), store.record("a-000000000000"), store.is_idle()) == ([], [], None, True)
    assert list(tmp_path.iterdir()) == []
