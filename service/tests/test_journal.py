# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journals of long trainings: few events, little memory, and the same events however often a journal is continued."""

from __future__ import annotations

import json
import tracemalloc
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows
from ia_homelab_core.artifacts.layout import TRAINER_LOG_FILE
from ia_homelab_core.runs.states import RunState
from ia_homelab_core.runs.store import Store
from ia_homelab_service.application.operations import Operations
from ia_homelab_service.openai import jobs as openai_jobs
from ia_homelab_service.settings import Settings

STEPS = 50_000


class Training:
    """A training at work, whose log the test writes."""

    def __init__(self, root: Path) -> None:
        self.lab = PlanLab(root)
        self.lab.publish("homelab", rows(20))
        run = self.lab.plan()
        store = Store(self.lab.layout)
        with store.lock():
            store.enqueue(run)
            record = store.record(run.id)
            assert record is not None
            store.add_job(record, run, "train", True)
            store.set_state(run.id, RunState.RUNNING)
        self.id = run.id
        self.log = Path(self.lab.layout.work("train", run.step("train").spec.fingerprint), TRAINER_LOG_FILE)
        self.log.parent.mkdir(parents=True)
        self.log.touch()

    def operations(self) -> Operations:
        """The operations of another process of the service."""
        return Operations(Settings(data_dir=self.lab.layout.root, accelerator="cpu", ollama_url="http://127.0.0.1:9"))

    def write(self, steps: t.Iterable[int], total: int | None = STEPS, **more: t.Any) -> None:
        """Append a line for each step, as LLaMA-Factory does."""
        with self.log.open("a") as stream:
            for step in steps:
                entry = {"current_steps": step, "loss": 1 / step, "lr": 2e-4, "epoch": step / 1000, **more}
                if total is not None:
                    entry["total_steps"] = total
                stream.write(json.dumps({**entry, "elapsed_time": "0:00:01"}) + "\n")

    def journal(self) -> str:
        return Path(self.lab.layout.root, "service", "events", f"{self.id}.jsonl").read_text()


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def without_times(journal: str) -> list[dict[str, t.Any]]:
    return [{**json.loads(line), "at": ""} for line in journal.splitlines()]


def test_a_long_training_has_few_events_and_takes_little_memory(training: Training) -> None:
    training.write(range(1, STEPS + 1))
    operations = training.operations()
    operations.events(training.id, 0, 1)  # what Python keeps of its own
    operations = training.operations()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        events = operations.events(training.id, 0, 10)
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(events) == 10 and kept < 1024 * 1024, kept
    every = operations.events(training.id, 0, STEPS)
    assert [event.id for event in every] == list(range(1, len(every) + 1))
    steps = [event.data["current"] for event in every if event.type == "metrics"]
    assert 1900 <= len(steps) <= 2002 and steps[0] == 1 and steps[-1] == STEPS
    assert max(after - before for before, after in zip(steps, steps[1:])) <= 26


def test_validation_losses_are_all_kept(training: Training) -> None:
    for step in range(1, 2001):
        training.write([step], eval_loss=0.5 if step % 7 == 0 else None)
    evaluated = [event for event in training.operations().events(training.id, 0, STEPS) if "eval_loss" in event.data]
    assert len(evaluated) == 2000 // 7


@pytest.mark.parametrize("total", [300, None])
def test_a_short_training_has_an_event_for_each_line(training: Training, total: int | None) -> None:
    training.write(range(1, 301), total)
    events = training.operations().events(training.id, 0, STEPS)
    assert [event.data["current"] for event in events if event.type == "metrics"] == list(range(1, 301))


def test_a_journal_that_is_continued_by_other_processes_has_the_same_events(tmp_path: Path) -> None:
    once, often = Training(tmp_path / "once"), Training(tmp_path / "often")
    pieces = [
        range(1, 40),
        range(40, 41),
        range(41, 900),
        range(900, 20_000),
        range(15_000, 15_100),
        range(15_100, 50_001),
    ]
    for piece in pieces:
        often.write(piece)
        often.operations().events(often.id)
        once.write(piece)
    once.operations().events(once.id)
    assert without_times(once.journal()) == without_times(often.journal())


def test_pages_of_events(training: Training) -> None:
    training.write(range(1, 101), 100)
    operations = training.operations()
    count = len(operations.events(training.id, 0, STEPS))
    assert [event.id for event in operations.events(training.id, count - 2)] == [count - 1, count]
    assert operations.events(training.id, count) == operations.events(training.id, count + 7) == []
    first = openai_jobs.events(operations, training.id, limit=2)
    assert [one["id"].rpartition("-")[2] for one in first["data"]] == [str(count), str(count - 1)] and first["has_more"]
    last = openai_jobs.events(operations, training.id, f"ftevent-{training.id}-3", limit=5)
    assert [one["id"].rpartition("-")[2] for one in last["data"]] == ["2", "1"] and not last["has_more"]
    for unknown in ("other", "ftevent-x-y", "ftevent-x-1", "ftevent-x-0", f"ftevent-x-{'9' * 30}"):
        assert openai_jobs.events(operations, training.id, unknown)["data"] == []
