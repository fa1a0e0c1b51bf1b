# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that use Ollama wait for the one that stops it, and the other way round. Supervisors are real, Ollama is not."""

from __future__ import annotations

import dataclasses
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import gpu_lease, ollama_use
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.ollama_access import ollama_access
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.ollama_use import (
    OllamaUse,
    using_ollama,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.lease_record import LeaseRecord


@pytest.fixture
def ollama() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models = {"m:latest": "1" * 64}
        yield server


def using(lab: Lab, ollama: FakeOllama, name: str = "a", script: str = "echo made > out") -> Run:
    """A run whose job uses Ollama."""
    run = lab.run(name, script, kind="ollama_probe", model="m:latest")
    return dataclasses.replace(run, toolchain=dataclasses.replace(run.toolchain, ollama_url=ollama.url))


def users(lab: Lab) -> list[str]:
    """The holders for which a job that stops Ollama would wait now."""
    access = ollama_access(lab.layout, "x", exclusive=True)
    try:
        return access.request()
    finally:
        access.release()


def test_a_job_waits_for_the_one_that_stops_ollama_and_reports_it(lab: Lab, ollama: FakeOllama) -> None:
    training = lab.run("b", "sleep 60")
    lab.engine.submit(training)
    lab.wait(lambda: lab.identity(training, "command.json"))
    holder = "+".join(Path(lab.job(training).directory).parts[-2:])
    access = ollama_access(lab.layout, holder, exclusive=True)
    assert access.request() == []
    run = using(lab, ollama)
    lab.engine.submit(run)
    lab.wait(lambda: lab.engine.observe(run.id).waiting_for)
    view = lab.engine.observe(run.id)
    assert (view.state, view.current) == ("running", "step-0")
    assert view.waiting_for == "Ollama, which is being stopped or restarted for step-0 of b"
    message = Message.from_stored(view.waiting_for_message)
    assert message.render("fr").message == "Ollama, que l'on arrête ou redémarre pour step-0 de b"
    assert lab.identity(run, "command.json") is None, "it has not begun"
    access.release()
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"


def test_a_job_waits_while_a_lease_says_that_ollama_is_stopped(lab: Lab, ollama: FakeOllama) -> None:
    """The supervisor that stopped Ollama may have been killed: only the record is left."""
    lease = LeaseRecord(lab, ollama.url)
    run = using(lab, ollama)
    lab.engine.submit(run)
    lab.wait(lambda: lab.engine.observe(run.id).waiting_for)
    assert lab.engine.observe(run.id).waiting_for == "Ollama, which is stopped for the training other"
    assert lab.identity(run, "command.json") is None
    lease.remove()
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"


def test_ollama_on_the_cpu_can_be_used(lab: Lab, ollama: FakeOllama) -> None:
    LeaseRecord(lab, ollama.url, policy="cpu")
    assert lab.apply(using(lab, ollama)).state == "succeeded"


def test_a_waiting_job_can_be_cancelled(lab: Lab, ollama: FakeOllama) -> None:
    LeaseRecord(lab, ollama.url)
    run = using(lab, ollama)
    lab.engine.submit(run)
    lab.wait(lambda: lab.engine.observe(run.id).waiting_for)
    assert lab.engine.cancel(run.id)
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "cancelled"
    assert ollama_access(lab.layout, "x", exclusive=True).request() == [], "its place in the queue is free"


def test_a_job_keeps_ollama_from_being_stopped_until_it_ends(lab: Lab, ollama: FakeOllama) -> None:
    run = using(lab, ollama, script=f"while [ ! -e '{lab.root}/go' ]; do sleep 0.05; done")
    lab.engine.submit(run)
    lab.wait(lambda: lab.identity(run, "command.json"))
    access = ollama_access(lab.layout, "x", exclusive=True)
    job = Path(lab.job(run).directory)
    assert access.request() == [f"{run.id}+{job.name}"]
    later = using(lab, ollama, "later")
    lab.engine.submit(later)
    lab.wait(lambda: lab.engine.observe(later.id).waiting_for)
    (lab.root / "go").touch()
    lab.wait(lambda: not access.request())
    assert lab.engine.observe(later.id).state == "running", "it does not overtake"
    access.release()
    assert lab.engine.follow(later.id, timeout=120, poll=0.02).state == "succeeded"


def test_a_worker_keeps_the_access_of_its_killed_supervisor(lab: Lab, ollama: FakeOllama) -> None:
    supervisor, worker = (OllamaUse(lab.layout, "run+job-1", ollama.url) for _process in range(2))
    alone = ollama_access(lab.layout, "x", exclusive=True)
    assert supervisor.request() is None and alone.request() == ["run+job-1"]
    assert worker.request() is None, "it does not queue behind the request that waits for its supervisor"
    supervisor.release()
    assert alone.request() == ["run+job-1"]
    worker.release()
    assert alone.request() == []


def test_a_lost_supervisor_gets_its_access_back(lab: Lab, ollama: FakeOllama) -> None:
    run = using(lab, ollama, script=f"while [ ! -e '{lab.root}/go' ]; do sleep 0.05; done")
    lab.engine.submit(run)
    lab.wait(lambda: lab.identity(run, "command.json"))
    lab.kill(lab.identity(run, "supervisor.json"))
    assert users(lab) == [], "the kernel ended the access"
    lab.engine.reconcile()
    lab.wait(lambda: users(lab))
    (lab.root / "go").touch()
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "succeeded"


def test_who_waited_waits_until_the_server_answers(
    lab: Lab, ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = ollama_access(lab.layout, "x", exclusive=True)
    alone.request()
    use = OllamaUse(lab.layout, "a", ollama.url)
    assert use.request()
    alone.release()
    ollama.refuses.add("/api/version")
    assert str(use.request()).startswith("Ollama, which was just started again: ")
    ollama.refuses.clear()
    assert use.request() is None
    use.release()
    ollama.refuses.add("/api/version")
    use = OllamaUse(lab.layout, "b", ollama.url)
    assert use.request() is None, "a server that was not restarted is left to the step"
    monkeypatch.setattr(ollama_use, "_ANSWER_SECONDS", -1.0)
    use.release()
    alone.request()
    assert use.request()
    alone.release()
    assert use.request() is None, "the step reports a server that stays silent"


def test_a_process_outside_of_the_queue_waits_for_a_limited_time(lab: Lab, ollama: FakeOllama, tmp_path: Path) -> None:
    with using_ollama(str(tmp_path / "nothing"), "evaluate", ollama.url, 0):
        assert not (tmp_path / "nothing").exists(), "no job could stop Ollama"
    lease = LeaseRecord(lab, ollama.url)
    with pytest.raises(NotReadyError, match="This needs Ollama, which is stopped for the training other"):
        with using_ollama(str(lab.data), "evaluate", ollama.url, 0):
            raise AssertionError("it is stopped")
    lease.remove()
    with using_ollama(str(lab.data), "evaluate", ollama.url, 5):
        alone = ollama_access(lab.layout, "x", exclusive=True)
        assert alone.request() == [f"evaluate-{os.getpid()}"]
    assert alone.request() == []


def test_a_failed_restart_ends_the_waiting(lab: Lab, ollama: FakeOllama) -> None:
    """The user then gets the error of the step, not a run that waits for ever."""
    LeaseRecord(lab, ollama.url)
    (training,) = lab.store.active()
    run = using(lab, ollama)
    lab.engine.submit(run)
    lab.wait(lambda: lab.engine.observe(run.id).waiting_for)
    lab.engine.cancel(training.id)  # at its end it starts a unit that does not exist
    assert lab.engine.follow(run.id, timeout=120, poll=0.05).state == "succeeded"
    assert gpu_lease.ollama_stopped_for(lab.layout) == ""
    assert Path(lab.layout.path("jobs", "gpu_loan.json")).exists(), "the restart is tried again later"
