# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations of the service, called as by any interface."""

from __future__ import annotations

import asyncio
import collections
import json
import os
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import (
    Message as LabMessage,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ia_homelab_core.errors import CoreError, NotReadyError
from ia_homelab_core.estimates import fit, memory
from ia_homelab_core.messages.message import Message
from ia_homelab_core.planning import planner
from ia_homelab_core.planning.request import Host, Request
from ia_homelab_core.releases import gate
from ia_homelab_core.runs.run import Run
from ia_homelab_core.runs.spec import Toolchain
from ia_homelab_core.runs.states import ENDED, RunState
from ia_homelab_core.runs.status import RunView
from ia_homelab_core.runs.store import Store
from ia_homelab_core.training import option_values
from ia_homelab_service.application import models
from ia_homelab_service.application.errors import FieldErrors, NotFoundError
from ia_homelab_service.application.operations import Operations
from ia_homelab_service.http.access import READ
from ia_homelab_service.mcp.tools import Tools
from ia_homelab_service.settings import Settings

RECORDED = Path(__file__).parents[2] / "tests/unit/plugins/module_utils/_core/planning/recorded_runs.json"
GATE = {"prompts": [{"prompt": "Who?", "contains": "homelab"}]}


@pytest.fixture
def lab(tmp_path: Path) -> PlanLab:
    lab = PlanLab(tmp_path)
    lab.publish("homelab", rows(20))
    return lab


@pytest.fixture
def operations(lab: PlanLab) -> Operations:
    return Operations(Settings(data_dir=lab.layout.root, accelerator="cpu", ollama_url="http://127.0.0.1:9"))


def request(**more: t.Any) -> dict[str, t.Any]:
    return {"name": "homelab-model", "model_name": "qwen2.5:0.5b", "dataset": "homelab", **more}


@pytest.mark.parametrize(
    ("kind", "more", "declared"),
    [
        ("model", {"goal": "model"}, {}),
        ("model, adapter", {"goal": "model", "export": "adapter"}, {"export": "adapter"}),
        ("model, gate and retention", {"goal": "model", "gate": GATE, "keep": 2}, {"gate": GATE, "keep": 2}),
        ("model, learning rate as text", {"goal": "model", "lr": "1e-4"}, {"learning_rate": "1e-4"}),
        ("train", {"goal": "train"}, {"goal": Goal.TRAIN}),
        ("train, lora_rank", {"goal": "train", "lora-rank": "8"}, {"goal": Goal.TRAIN, "lora_rank": 8}),
    ],
)
def test_run_is_the_same_as_through_other_interfaces(
    operations: Operations, lab: PlanLab, kind: str, more: dict[str, t.Any], declared: dict[str, t.Any]
) -> None:
    """The run of a declaration, and so the recorded one, but for what depends on the recipe of a registration."""
    job, run = operations.plan(request(**more)).job, lab.plan(**declared)
    assert job.job_id == run.id
    assert {step.label: step.fingerprint for step in job.steps} == {
        step.label: step.spec.fingerprint for step in run.steps
    }
    recorded = json.loads(RECORDED.read_text("utf-8"))[kind]["steps"]
    # a gate was asked by the promotion itself
    steps = [step for step in job.steps if step.kind != "evaluate"]
    assert list(recorded) == [step.label for step in steps]
    for step in steps:
        if step.kind not in ("register", "promote", "retain"):
            assert step.fingerprint.startswith(recorded[step.label])


def test_findings_of_a_training_are_part_of_the_job(operations: Operations, lab: PlanLab) -> None:
    """REST, the page and MCP show this job."""
    run = lab.plan(goal=Goal.TRAIN)
    lab.make(run)
    lab.find(run, LabMessage("training.loss_is_zero"))
    plan = operations.plan(request(goal="train"))
    (found,) = plan.job.findings
    assert found.code == "training.loss_is_zero" and found.hint
    tools = Tools(operations, lambda _request: ())
    assert tools._job_info(plan.job).findings == [f"{found.text} {found.hint}"]


def test_why_the_base_is_not_checked_is_part_of_the_plan(operations: Operations, lab: PlanLab) -> None:
    """As a message, which the page shows in its language."""
    plan = operations.plan(request(goal="train"))
    assert plan.base_unchecked_message is not None
    assert plan.base_unchecked == plan.base_unchecked_message.text
    told = LabMessage.from_stored(plan.base_unchecked_message.model_dump())
    assert "ne répond pas" in told.render("fr").message or "n'est pas installé" in told.render("fr").message
    lab.make(lab.plan(goal=Goal.TRAIN))
    assert operations.plan(request(goal="train")).base_unchecked_message is None


def test_a_model_is_told_what_was_not_checked(
    operations: Operations, lab: PlanLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By MCP: the files of the base, and complete steps whose receipts are trusted."""
    tools = Tools(operations, lambda _request: (READ,))
    ctx = types.SimpleNamespace(request_context=types.SimpleNamespace(request=None))
    asked = {"model": "qwen2.5:0.5b", "method": "lora", "dataset": "homelab"}

    def estimated(**more: t.Any) -> t.Any:
        return asyncio.run(tools.llamafactory_estimate(ctx=t.cast(t.Any, ctx), **asked, options=more))

    (told,) = estimated(goal="train").unchecked
    assert (
        told == f"The files of the base model were not checked: {operations.plan(request(goal='train')).base_unchecked}"
    )
    lab.make(lab.plan(register=False))
    made = {"name": "homelab-model", "register": False, "goal": "model"}
    assert estimated(**made).unchecked == []
    reason = Message("engine.check_awaited", step="gguf-q4_K_M", reason="its server is stopped")
    preview = operations.engine.preview

    def unchecked(run: Run) -> RunView:
        view = preview(run)
        view.leave_unchecked({view.steps[-1].label: reason})
        view.steps[-1].reason, view.steps[-1].cause = reason.text, reason.as_dict()
        return view

    monkeypatch.setattr(operations.engine, "preview", unchecked)
    (told,) = estimated(**made).unchecked
    assert told.startswith("gguf-q4_K_M: ") and reason.text in told
    submitted = operations.plan({**request(), **made}).job
    run = lab.plan(register=False)
    job = operations.jobs.describe(unchecked(run), run)
    assert job.job_id == submitted.job_id and tools._job_info(job).unchecked == [f"gguf-q4_K_M: {reason.text}"]


def test_a_boolean_of_yaml_is_the_word_that_was_written(operations: Operations) -> None:
    """``thinking: off`` without quotes, as a form, a model or a client may have read it."""
    written, read = (operations.plan(request(thinking=value, goal="train")) for value in ("off", False))
    assert read.job.job_id == written.job.job_id and read.declaration == written.declaration
    assert 'thinking: "off"' in read.yaml and '"thinking": "off"' in read.curl


def test_optimizer_steps_are_part_of_the_estimate(operations: Operations) -> None:
    plan = operations.plan(request(goal="train"))
    assert plan.estimate.optimizer_steps == 9
    assert any("about 9 optimizer steps" in warning for warning in plan.warnings)


def test_goal_train_retrains_always(operations: Operations, lab: PlanLab) -> None:
    always = request(goal="train", regenerate="always")
    first = operations.plan(always).job
    lab.make(lab.plan(goal=Goal.TRAIN))
    second = operations.plan(always)
    assert second.job.job_id != first.job_id
    assert "train" in second.pending


def test_goal_train_names_fields_without_effect(operations: Operations) -> None:
    with pytest.raises(FieldErrors) as caught:
        operations.plan(request(goal="train", gate=GATE, keep=2, lora_rank=8))
    assert {error.field for error in caught.value.errors} == {"gate", "keep"}
    assert all("goal: model" in error.hint for error in caught.value.errors)


def test_every_wrong_field_of_the_core_is_named(operations: Operations) -> None:
    body = request(
        goal="model", learning_rate=-1, export="both", gate={"prompts": []}, regenerate="monthly", name="a b"
    )
    with pytest.raises(FieldErrors) as caught:
        operations.plan(body)
    assert {error.field for error in caught.value.errors} == {"learning_rate", "export", "gate", "regenerate", "name"}
    assert {error.message for error in caught.value.errors if error.field == "export"} == {
        "export must be one of merged, adapter, not 'both'."
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parameters", {"temperatur": 1}),
        ("parameters", {"temperature": "hot"}),
        ("parameters", "hot"),
        ("aliases", ["a/b"]),
        ("aliases", {"latest": 1}),
        ("dataset", "a b"),
        ("dataset_path", "/app/data/homelabs.json"),
        ("base_model", "qwen2.5:4711b"),
    ],
)
def test_refusals_are_those_of_ansible(operations: Operations, lab: PlanLab, field: str, value: t.Any) -> None:
    declared = request(goal="model")
    for spelling in {"dataset_path": ["dataset"], "base_model": ["model_name"]}.get(field, []):
        del declared[spelling]
    declared[field] = value
    with pytest.raises(FieldErrors) as caught:
        operations.plan(declared)
    del declared["goal"]
    with pytest.raises(CoreError) as refused:
        planner.plan(lab.layout, Request.finetune(declared), Host(Toolchain(), "cpu", write=False))
    (error,) = caught.value.errors
    assert error.field == field
    assert (error.message, error.hint) == (refused.value.message.removeprefix("homelab-model: "), refused.value.hint)


def test_a_dataset_may_be_named_by_a_path(operations: Operations) -> None:
    plain = operations.plan(request(goal="model"))
    spelled = request(goal="model", dataset_path="/app/data/homelab.json")
    del spelled["dataset"]
    again = operations.plan(spelled)
    # other programs write to this disk, and take memory, between two plans
    assert [said.code for said in again.summary] == [said.code for said in plain.summary]
    estimate = plain.estimate.model_copy(update={"disk_free_bytes": again.estimate.disk_free_bytes})
    assert again == plain.model_copy(update={"estimate": estimate, "summary": again.summary})


def test_nothing_is_checked_or_estimated_twice(operations: Operations, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: collections.Counter[str] = collections.Counter()

    def count(module: t.Any, function: str, key: t.Callable[..., str]) -> None:
        original = getattr(module, function)

        def counted(*arguments: t.Any) -> t.Any:
            calls[key(*arguments)] += 1
            return original(*arguments)

        monkeypatch.setattr(module, function, counted)

    count(option_values, "check_value", lambda option, _value: str(option.name))
    count(gate, "read_gate", lambda *_values: "questions of the gate")
    for module in (memory, fit):
        count(module, "estimate", lambda *_values: "memory")
    plan = operations.plan(request(goal="model", learning_rate="1e-4", lora_rank=8, gate=GATE))
    assert {"learning_rate", "lora_rank", "questions of the gate", "memory"} <= set(calls)
    assert set(calls.values()) == {1}
    assert plan.estimate.details["parameters"] > 0
    assert plan.estimate.disk_bytes


def test_operations_wake_the_watcher(service: Service) -> None:
    service.publish()
    service.occupy()
    operations = Operations(
        Settings(data_dir=str(service.lab.data), accelerator="cpu", ollama_url="http://127.0.0.1:9")
    )
    woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    operations.on_queue_change = wake
    job_id = operations.train(service.request()).job_id
    assert woken == 1
    for number, act in enumerate((operations.pause, operations.resume, operations.cancel, operations.retry), 2):
        act(job_id)
        assert woken == number, act
    operations.plan(service.request())
    operations.get_job(job_id)
    assert woken == 5, "reading changes nothing"


@pytest.mark.parametrize("what", ["rollback", "promote"])
def test_moving_tags_names_the_training_that_has_stopped_ollama(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    layout = operations.layout
    layout.create()
    Path(layout.path("jobs", "active", "run-1", "train-1")).mkdir(parents=True)
    server = {"is_ollama": True, "kind": "unit", "name": "ia-homelab-absent.service"}
    record = {"job": "run-1/train-1", "name": "other", "policy": "stop", "servers": [server]}
    lease = Path(layout.path("jobs", "gpu_loan.json"))
    lease.write_text(json.dumps(record))
    monkeypatch.setattr(models, "_WAIT_SECONDS", 0.0)
    with pytest.raises(NotReadyError, match="This needs Ollama, which is stopped for the training other"):
        getattr(operations.models, what)("homelab-model")
    lease.unlink()
    with pytest.raises((CoreError, NotFoundError)) as caught:
        getattr(operations.models, what)("homelab-model")
    assert "This needs" not in str(caught.value), "there is no such model"


# -- lists of jobs -----------------------------------------------------------------------------------------------------


def put(lab: PlanLab, name: str, epochs: int, state: RunState) -> str:
    """Put a run into the store, in a state."""
    store = Store(lab.layout)
    run = lab.plan(name=name, epochs=epochs)
    with store.lock():
        store.enqueue(run)
        if state in ENDED:
            store.set_state(run.id, state, {"message": "it failed"})
            store.retire(run.id)
            number = len(store.done_ids(100))
            os.utime(os.path.join(lab.layout.jobs, "done", run.id, "state.json"), (number, number))
    return run.id


def test_a_filter_applies_before_the_limit(operations: Operations, lab: PlanLab) -> None:
    failed = [put(lab, "homelab-model", number, RunState.FAILED) for number in (1, 2)]
    later = [put(lab, "homelab-model", number, RunState.SUCCEEDED) for number in (3, 4, 5)]
    other = put(lab, "other-model", 1, RunState.SUCCEEDED)
    queued = put(lab, "homelab-model", 6, RunState.QUEUED)

    def listed(*arguments: t.Any) -> list[str]:
        return [job.job_id for job in operations.list_jobs(*arguments)]

    assert listed(1) == [queued, other]
    assert listed(1, "", "failed") == [failed[1]]
    assert listed(5, "", "failed") == failed[::-1]
    assert listed(1, "homelab-model") == [queued, later[-1]]
    assert listed(2, "homelab-model", "succeeded") == later[:0:-1]
    assert listed(0, "", "queued") == [queued] and listed(0, "", "failed") == []
    assert listed(1, "none", "failed") == []


@pytest.mark.parametrize("status", ["fail", "FAILED", "absent", "\0", "done"])
def test_an_unknown_status_is_refused_by_name(operations: Operations, status: str) -> None:
    with pytest.raises(FieldErrors, match="status"):
        operations.list_jobs(10, "", status)


@pytest.mark.parametrize("job_id", ["\0", "a\0b", "..", ".", "a/b", "", "é", "a" * 200])
def test_an_id_that_is_none_is_not_found(operations: Operations, job_id: str) -> None:
    assert operations.jobs.cached_json(job_id) is None
    for method in (operations.get_job, operations.log, operations.events, operations.curve, operations.cancel):
        with pytest.raises(NotFoundError):
            method(job_id)


@pytest.mark.parametrize(
    ("declared", "kinds"),
    [
        ({}, {"gguf", "merge", "train", "base", "dataset"}),
        ({"export": "adapter"}, {"gguf", "gguf_adapter", "train", "base", "dataset"}),
        ({"quantizations": ["q2_K"], "imatrix": "dataset"}, {"gguf", "imatrix", "merge", "train", "base", "dataset"}),
    ],
)
def test_the_lineage_of_a_model_has_all_of_its_steps(
    operations: Operations, lab: PlanLab, declared: dict[str, t.Any], kinds: set[str]
) -> None:
    run = lab.plan(**declared)
    lab.make(run)
    spec = run.step(run.goals[0]).spec
    receipt = lab.layout.receipt("register", spec.fingerprint)
    lineage = operations.models._lineage({"fingerprint": spec.fingerprint, **(receipt or {})})
    assert set(lineage) - {"run"} == kinds
    assert lineage["train"]["method"] == "lora" and lineage["dataset"]["rows"] == 20
