# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drift that cannot be determined now is no failure: runs wait, and a lease of Ollama makes their receipts count."""

from __future__ import annotations

import dataclasses
import os
import time
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.drift_checks import (
    DriftChecks,
    NotAskedError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.reconciler import Reconciler
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import make_run, make_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.step import Drift
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.locks import FileLock
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.lease_record import LeaseRecord
from ansible_collections.ia_homelab.llamafactory.tests.support.probe_step import OllamaProbeStep

AWAY = "{url} could not list its models: told to fail."


@pytest.fixture
def ollama() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models = {"m:latest": "1" * 64}
        yield server


def served(lab: Lab, ollama: FakeOllama, name: str = "a", *after: str) -> Run:
    """A run whose first step is served by Ollama; each further script is a goal of its own, exclusive."""
    step = make_step("ollama_probe", {"run": name}, {}, {"argv": ["true"], "model": "m:latest"}, "register")
    more = [
        make_step("probe", {"run": name, "n": number}, {}, {"argv": ["/bin/sh", "-c", script]}, f"train-{number}")
        for number, script in enumerate(after)
    ]
    steps = [step, *more]
    return make_run(name, steps, [each.label for each in steps], Toolchain(ollama_url=ollama.url))


def made(lab: Lab, run: Run) -> Run:
    """Complete the first step of a run."""
    first = make_run("before", run.steps[:1], [run.steps[0].label], run.toolchain)
    assert lab.apply(first).state == "succeeded"
    lab.wait(lambda: lab.broken() == [])
    return run


def test_the_three_answers(lab: Lab, ollama: FakeOllama) -> None:
    run = served(lab, ollama)
    checks = DriftChecks(lab.layout)
    assert checks.check(run.steps[0].spec, run.toolchain).drift == Drift()
    assert Drift().is_in_sync
    ollama.models = {}
    assert checks.check(run.steps[0].spec, run.toolchain).drift.is_in_sync, "each step is asked once"
    drifted = DriftChecks(lab.layout).check(run.steps[0].spec, run.toolchain).drift
    assert [str(reason) for reason in drifted.reasons] == ["m:latest is not in Ollama"] and not drifted.is_in_sync
    ollama.refuses.add("/api/tags")
    unknown = DriftChecks(lab.layout).check(run.steps[0].spec, run.toolchain)
    assert unknown.drift.unknown is not None and unknown.excuse is None
    assert unknown.drift.unknown.text == f"Ollama at {AWAY.format(url=ollama.url)}"
    assert unknown.drift.reasons == () and not unknown.drift.is_in_sync


def test_closed_checks_ask_nothing(lab: Lab, ollama: FakeOllama) -> None:
    run = served(lab, ollama)
    spec, tools = run.steps[0].spec, run.toolchain
    checks = DriftChecks(lab.layout)
    with pytest.raises(NotAskedError):
        checks.closed().check(spec, tools)
    assert checks.closed(Drift(reasons=("default",))).check(spec, tools).drift.reasons == ("default",)
    checks.check(spec, tools)
    ollama.models = {}
    assert checks.closed().check(spec, tools).drift.is_in_sync
    elsewhere = dataclasses.replace(tools, ollama_url="http://127.0.0.1:9")
    with pytest.raises(NotAskedError):
        checks.closed().check(spec, elsewhere)


def test_refused_credentials_are_an_error(lab: Lab, monkeypatch: pytest.MonkeyPatch, ollama: FakeOllama) -> None:
    """Waiting does not help: the user has to act."""

    def refuse(_step: t.Any, _ctx: t.Any) -> list[str]:
        raise RemoteError("ollama.see_log", details={"status": 401})

    run = served(lab, ollama)
    monkeypatch.setattr(OllamaProbeStep, "drift", refuse)
    with pytest.raises(RemoteError):
        DriftChecks(lab.layout).check(run.steps[0].spec, run.toolchain)


def test_ollama_away_for_a_moment_does_not_end_a_run_that_waits(lab: Lab, ollama: FakeOllama) -> None:
    blocker = lab.run("blocker", f"while [ ! -e '{lab.root}/go' ]; do sleep 0.05; done")
    run = made(lab, served(lab, ollama, "a", "echo trained > out"))
    lab.engine.submit(blocker)
    lab.wait(lambda: lab.identity(blocker, "command.json"))
    assert lab.engine.submit(run).pending == ("train-0",)
    ollama.refuses.add("/api/tags")
    lab.engine.reconcile()
    view = lab.engine.observe(run.id)
    assert (view.state, view.error) == ("queued", None)
    assert [(step.label, step.state) for step in view.steps] == [("register", "needed"), ("train-0", "needed")]
    (lab.root / "go").touch()
    lab.wait(lambda: lab.artifact(run).is_dir())
    lab.wait(lambda: lab.store.record(run.id) and lab.engine.observe(run.id).undetermined)
    view = lab.engine.observe(run.id)
    assert view.waiting_for == f"the check of register: not checked: Ollama at {AWAY.format(url=ollama.url)}"
    assert view.undetermined_message["code"] == "engine.not_checked"
    assert view.undetermined_message["text"] == view.undetermined
    assert view.state not in ("failed", "succeeded")
    lab.engine.reconcile()
    assert lab.store.is_active(run.id), "it stays"
    ollama.refuses.clear()
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"
    assert [job.label for job in lab.record(run).jobs] == ["train-0"], "nothing is done twice"


def test_a_finished_run_is_submitted_while_ollama_is_away(lab: Lab, ollama: FakeOllama) -> None:
    run = made(lab, served(lab, ollama))
    ollama.refuses.add("/api/tags")
    submission = lab.engine.submit(run)
    assert (submission.pending, submission.view.state) == (("register",), "queued")
    assert submission.view.undetermined and submission.view.current == "register"
    again = lab.engine.submit(run)
    assert again.attached
    ollama.models = {}
    ollama.refuses.clear()
    ended = lab.engine.follow(run.id, timeout=120, poll=0.02)
    assert ended.state == "failed", "the step of this test does not repair its drift"
    assert ended.error is not None and "m:latest is not in Ollama" in ended.error["message"]


def test_a_run_that_waits_for_an_answer_can_be_cancelled(lab: Lab, ollama: FakeOllama) -> None:
    run = made(lab, served(lab, ollama))
    ollama.refuses.add("/api/tags")
    lab.engine.submit(run)
    assert lab.engine.cancel(run.id)
    assert lab.engine.observe(run.id).state == "cancelled"


def test_while_ollama_is_stopped_for_a_training_receipts_count(lab: Lab, ollama: FakeOllama) -> None:
    """An apply of a finished model attaches to the training that has Ollama stopped, and changes nothing itself."""
    run = made(lab, served(lab, ollama))
    LeaseRecord(lab, ollama.url)
    ollama.refuses.add("/api/tags")
    before = {path: facts for path, facts in lab.tree().items() if "/jobs/" not in path}
    note = "not checked: Ollama is stopped for the training other"
    for view in (lab.engine.preview(run), lab.engine.submit(run).view):
        assert (view.state, view.pending) == ("succeeded", [])
        assert view.unchecked == {"register": note}
        message = view.unchecked_messages["register"]
        assert (message["code"], message["text"]) == ("engine.not_checked", note)
        assert [(step.state, step.reason) for step in view.steps] == [("whole", note)]
    assert {path: facts for path, facts in lab.tree().items() if "/jobs/" not in path} == before
    assert [record.run.name for record in lab.store.active() if record.run] == ["other"]
    ollama.refuses.clear()
    assert lab.engine.preview(run).unchecked == {}, "a server that answers is believed"
    ollama.models = {}
    assert lab.engine.preview(run).pending == ["register"]


def test_a_run_ends_while_ollama_is_stopped_for_the_next_training(lab: Lab, ollama: FakeOllama) -> None:
    run = made(lab, served(lab, ollama))
    ollama.refuses.add("/api/tags")
    lab.engine.submit(run)
    assert lab.engine.observe(run.id).state == "queued"
    LeaseRecord(lab, ollama.url)
    lab.engine.reconcile()
    assert lab.engine.observe(run.id).state == "succeeded"


def test_servers_are_asked_while_the_queue_is_not_locked(lab: Lab, ollama: FakeOllama) -> None:
    run = made(lab, served(lab, ollama))
    answer, free = ollama.answer, []

    def observe(method: str, path: str, body: dict[str, t.Any]) -> tuple[int, dict[str, t.Any]]:
        lock = FileLock(os.path.join(lab.layout.jobs, "lock"), timeout=0)
        free.append(lock.acquire())
        lock.release()
        return answer(method, path, body)

    ollama.answer = observe  # type: ignore[method-assign]
    ollama.refuses.add("/api/tags")
    lab.engine.submit(run)  # new in the queue
    lab.engine.submit(run)  # attaches
    lab.engine.reconcile()
    lab.engine.cancel(run.id)
    assert len(free) >= 4 and all(free)


def test_a_run_that_changed_after_the_servers_were_asked_is_asked_again(
    lab: Lab, ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drift that a job repaired in the meantime must not end the run as one that comes back."""
    run = made(lab, served(lab, ollama))
    ollama.refuses.add("/api/tags")
    lab.engine.submit(run)
    ollama.refuses.clear()
    ollama.models = {}
    ask, passes = Reconciler._ask_servers, []

    def ask_and_repair(reconciler: Reconciler) -> None:
        ask(reconciler)
        passes.append(1)
        if len(passes) == 1:  # another process runs the step and repairs the drift
            ollama.models = {"m:latest": "1" * 64}
            record = lab.record(run)
            job = lab.store.add_job(record, run, "register", False)
            with open(os.path.join(job.directory, "outcome.json"), "w", encoding="utf-8") as stream:
                stream.write('{"state": "succeeded"}')

    monkeypatch.setattr(Reconciler, "_ask_servers", ask_and_repair)
    lab.engine.reconcile()
    assert lab.engine.observe(run.id).state == "succeeded" and len(passes) == 2


def test_a_silent_server_is_asked_once_for_all_runs(
    lab: Lab, ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [made(lab, served(lab, ollama, name)) for name in "abc"]
    ollama.refuses.add("/api/tags")
    for run in runs:
        lab.engine.submit(run)
    answer, asked = ollama.answer, []

    def observe(method: str, path: str, body: dict[str, t.Any]) -> tuple[int, dict[str, t.Any]]:
        asked.append(path)
        return answer(method, path, body)

    ollama.answer = observe  # type: ignore[method-assign]
    views = Engine(str(lab.data)).observe_all()
    assert [view.state for view in views if view.undetermined] == ["queued"] * 3
    assert asked == ["/api/tags"]


def test_a_server_that_hangs_delays_an_answer_by_seconds_only(lab: Lab, ollama: FakeOllama) -> None:
    run = made(lab, served(lab, ollama))
    ollama.answer = lambda _method, _path, _body: time.sleep(600) or (200, {})  # type: ignore[method-assign]
    began = time.monotonic()
    assert list(lab.engine.pending_steps(run)) == ["register"]
    assert time.monotonic() - began < 300, "generous for a busy machine"
