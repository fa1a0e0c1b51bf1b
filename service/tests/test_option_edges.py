# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of a fine-tune through every interface of the service: the run of the core, or refused by its name.

``tests/unit/plugins/module_utils/_core/planning/test_option_effects.py`` shows that the core's runs have its effect.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import types
import typing as t
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import CoreError as LabError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal
from ansible_collections.ia_homelab.llamafactory.tests.support.option_cases import (
    EXTRA,
    ROWS,
    VALUES,
    OptionLab,
    declared,
    facts,
    names_it,
)
from ia_homelab_core.runs.run import Run
from ia_homelab_core.training import llamafactory_arguments, options
from ia_homelab_service.__main__ import create_service
from ia_homelab_service.application.errors import ConflictError
from ia_homelab_service.application.operations import Operations
from ia_homelab_service.http.access import READ, TRAIN
from ia_homelab_service.http.app import guarded
from ia_homelab_service.mcp.arguments import CheckedTool
from ia_homelab_service.mcp.tools import Tools
from ia_homelab_service.settings import Settings
from ia_homelab_service.web.finetune_form import FIXED_VALUES, read_query, to_text

ENTRY = {"name": "homelab-model", "base_model": "qwen2.5:0.5b", "dataset": "homelab"}
#: Only an inventory can declare them.
OF_INVENTORY = {option.name for option in options.ALL if option.inventory_only}
CONTEXT = t.cast(t.Any, types.SimpleNamespace(request_context=types.SimpleNamespace(request=None)))

#: A run, or the text of a refusal.
Outcome = t.Union[str, Run]
Send = t.Callable[[dict[str, t.Any], str], Outcome]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OptionLab:
    return OptionLab(tmp_path, monkeypatch)


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that were planned and would be submitted next."""
    runs: list[Run] = []

    def submit(_operations: Operations, run: Run) -> t.NoReturn:
        runs.append(run)
        raise ConflictError("service.job_ended", job=run.id)

    monkeypatch.setattr(Operations, "_submit", submit)
    supported = llamafactory_arguments.LfArguments(dict.fromkeys(EXTRA, "float | None"), ("qwen",), "0.9.5")
    monkeypatch.setattr(llamafactory_arguments, "read_arguments", lambda _venv: supported)
    return runs


@pytest.fixture
def client(lab: OptionLab, submitted: list[Run]) -> TestClient:
    settings = Settings(
        data_dir=lab.layout.root, accelerator="cpu", ollama_url="http://127.0.0.1:9", no_token=True,
        allow_remote_code=True,
    )  # fmt: skip
    return TestClient(guarded(create_service(settings)), base_url=settings.url)


def outcome(submitted: list[Run], text: str) -> Outcome:
    """Return the run that was submitted, or the text of the refusal."""
    return submitted.pop() if submitted else text


def compare(lab: OptionLab, send: Send, goal: Goal, entry: dict[str, t.Any], option: str) -> bool:
    """Check that a request makes the run of the core, or names the option; return whether it is accepted."""
    try:
        lab.plan(goal=goal, **entry)  # records what auto stands for
        found = send(entry, goal.value)
        core = lab.plan(goal=goal, **entry)
    except LabError as error:
        found = send(entry, goal.value)
        assert isinstance(found, str) and names_it(found, option), f"{option}: {found} instead of {error}"
        return False
    if isinstance(found, str):
        assert names_it(found, option), f"{option}: {found}"
        return False
    assert json.loads(json.dumps(facts(t.cast(t.Any, found)))) == json.loads(json.dumps(facts(core))), option
    return True


def refused_by(lab: OptionLab, send: Send, goal: Goal) -> set[str]:
    """Try all options, and return those that are refused."""
    return {
        option
        for option, values in VALUES.items()
        for value in values
        if not compare(lab, send, goal, {**ENTRY, **declared(option, value)}, option)
    }


SERVED = {"aliases", "register", "gate", "evaluation", "export", "keep", "keep_intermediates", "keep_merged"}
#: Several GPUs are refused on a host without one.
WITHOUT_GPU = {"gpus"}


@pytest.mark.parametrize("goal", [Goal.TRAIN, Goal.MODEL])
def test_rest(lab: OptionLab, client: TestClient, submitted: list[Run], goal: Goal) -> None:
    def send(entry: dict[str, t.Any], goal: str) -> Outcome:
        return outcome(submitted, client.post("/api/train", json={**entry, "goal": goal}).text)

    assert refused_by(lab, send, goal) == OF_INVENTORY | WITHOUT_GPU | (SERVED if goal is Goal.TRAIN else set())


@pytest.mark.parametrize("goal", [Goal.TRAIN, Goal.MODEL])
def test_mcp(lab: OptionLab, submitted: list[Run], goal: Goal) -> None:
    settings = Settings(data_dir=lab.layout.root, accelerator="cpu", ollama_url="http://127.0.0.1:9")
    tools = {tool.name: tool for tool in Tools(Operations(settings), lambda _request: (READ, TRAIN)).all()}

    def send(entry: dict[str, t.Any], goal: str) -> Outcome:
        usual = {option.name for option in options.ALL if option.usual} | {"method", "dataset"}
        given = {("model" if name == "base_model" else name): value for name, value in entry.items()}
        direct = {name: value for name, value in given.items() if name in usual or name == "model"}
        further = {name: value for name, value in given.items() if name not in direct}
        try:
            asyncio.run(tools["llamafactory_train"].run({**direct, "goal": goal, "options": further}, CONTEXT))
        except Exception as error:
            return outcome(submitted, str(error))
        raise AssertionError("nothing was submitted")

    assert refused_by(lab, send, goal) >= OF_INVENTORY


def test_the_page(lab: OptionLab, client: TestClient, submitted: list[Run]) -> None:
    operations = Operations(Settings(data_dir=lab.layout.root, accelerator="cpu", ollama_url="http://127.0.0.1:9"))
    schema = operations.schema()

    def send(entry: dict[str, t.Any], goal: str) -> Outcome:
        if [] in entry.values():
            return "An empty list cannot be written in an address: aliases"
        values, errors = read_query(schema, {name: to_text(value) for name, value in entry.items()})
        try:
            if not errors:
                operations.train({**values, **FIXED_VALUES}, goal, "page")
        except Exception as error:
            return outcome(submitted, str(error))
        return " ".join(f"{error.field}: {error.message}" for error in errors)

    assert refused_by(lab, send, Goal.MODEL) == OF_INVENTORY | WITHOUT_GPU | {"aliases"}


def test_the_page_ignores_nothing_in_an_address() -> None:
    schema = {"properties": {**{name: {"type": "string"} for name in VALUES}, "goal": {"type": "string"}}}
    schema["properties"]["register"] = {"type": "boolean"}
    values, errors = read_query(
        schema, {"model_name": "m", "LR": "1e-4", "register": "no", "epoch": "3", "goal": "train", "nodes_": "a"}
    )
    assert values == {"model_name": "m", "LR": "1e-4", "register": "no"}
    assert [error.field for error in errors] == ["epoch", "goal", "nodes_"]
    assert "Did you mean" in errors[0].hint and "always model" in errors[1].message
    assert read_query(schema, {"goal": "model", "seed": ""}) == ({}, [])
    _values, (twice,) = read_query(schema, {"epochs": "1", "num_epochs": "2"})
    assert twice.field == "num_epochs" and "twice" in twice.message


# -- OpenAI's interface ------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Jobs:
    """Submits fine-tuning jobs on uploaded rows."""

    client: TestClient
    submitted: list[Run]

    def create(self, **body: t.Any) -> Outcome:
        """Return the run of a job, or the text of its refusal."""
        reply = self.client.post("/v1/fine_tuning/jobs", json=body)
        return outcome(self.submitted, reply.text)


@pytest.fixture
def jobs(client: TestClient, submitted: list[Run]) -> Jobs:
    return Jobs(client, submitted)


SMALL = b'{"instruction": "a", "output": "b"}'


def uploaded(jobs: Jobs, rows: bytes = SMALL) -> str:
    reply = jobs.client.post("/v1/files", files={"file": ("rows.json", rows)}, data={"purpose": "fine-tune"})
    return str(reply.json()["id"])


def test_openai(lab: OptionLab, jobs: Jobs) -> None:
    files = {name: uploaded(jobs, json.dumps(rows).encode()) for name, rows in ROWS.items()}
    common = {"model": ENTRY["base_model"], "training_file": files["homelab"], "name": ENTRY["name"]}
    plain = jobs.create(**common)
    assert isinstance(plain, Run), plain
    refused = set()
    for option, values in VALUES.items():
        # as for REST: the effect of these depends on what was trained, and on the host
        for value in values if option not in ("regenerate", "regenerate_on", "memory_check") else ():
            given = {**common, **declared(option, value)}
            if option != "dataset" and "dataset" in given:
                given["training_file"] = files[given.pop("dataset")]
            found = jobs.create(**given)
            if isinstance(found, str):
                assert names_it(found, option), f"{option}: {found}"
                refused.add(option)
            else:
                default = options.BY_NAME[option].copy_default()
                assert facts(t.cast(t.Any, found)) != facts(t.cast(t.Any, plain)) or value == default, option
    assert {"base_model", "dataset", "nodes"} <= refused
    assert not {"learning_rate", "gate", "keep", "evaluation", "held_out"} & refused


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"epochs": 2, "hyperparameters": {"n_epochs": 3}}, "hyperparameters.n_epochs"),
        ({"num_epochs": 2, "hyperparameters": {"n_epochs": 3}}, "hyperparameters.n_epochs"),
        ({"batch_size": 2, "hyperparameters": {"batch_size": 4}}, "hyperparameters.batch_size"),
        ({"lr": 1e-5, "hyperparameters": {"learning_rate_multiplier": 2}}, "hyperparameters.learning_rate_multiplier"),
        (
            {
                "hyperparameters": {"n_epochs": 2},
                "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
            },
            "method.supervised.hyperparameters",
        ),
        ({"method": {"type": "supervised", "supervised": {"n_epochs": 3}}}, "method.supervised.n_epochs"),
        ({"method": {"type": "supervised", "supervised": 3}}, "method.supervised"),
        ({"stage": "kto", "method": {"type": "dpo"}}, "method"),
        ({"name": "one", "suffix": "two"}, "suffix"),
        ({"suffix": "!!"}, "suffix"),
        ({"suffix": "a" * 65}, "suffix"),
    ],
)
def test_openai_replaces_no_value_by_another(jobs: Jobs, body: dict[str, t.Any], field: str) -> None:
    reply = jobs.client.post(
        "/v1/fine_tuning/jobs", json={"model": ENTRY["base_model"], "training_file": uploaded(jobs), **body}
    )
    assert reply.status_code == 422, reply.text
    assert reply.json()["error"]["param"] == field, reply.text
    assert jobs.submitted == []


def test_openai_accepts_what_agrees(jobs: Jobs) -> None:
    common = {"model": ENTRY["base_model"], "training_file": uploaded(jobs)}
    same = {"epochs": 3, "hyperparameters": {"n_epochs": 3, "batch_size": "auto"}, "name": "two", "suffix": "Two"}
    found = jobs.create(**common, **same, method={"type": "supervised", "supervised": {}})
    assert isinstance(found, Run), found
    assert (found.name, found.declaration["epochs"]) == ("two", 3)


# -- what takes no option ----------------------------------------------------------------------------------------------


def test_requests_of_another_kind_take_no_option(client: TestClient) -> None:
    """An export, a dataset, and parameters of a query or a form."""
    rows = {"file": ("rows.jsonl", SMALL)}
    for option, values in VALUES.items():
        text = to_text(values[0])
        replies = {
            "export": client.post("/api/export", json={"job_id": "nothing", option: values[0]}),
            "promote": client.post("/api/models/promote", json={"tag": "nothing", option: values[0]}),
            "query": client.post("/api/train", params={option: text}, json={}),
            "query of a dataset": client.post("/api/datasets/new", params={option: text}, files=rows),
            "form": client.post("/api/datasets/new", data={option: text}, files=rows),
            "form of a check": client.post("/api/datasets/new/validate", data={option: text}, files=rows),
            "form of a file": client.post("/v1/files", data={"purpose": "fine-tune", option: text}, files=rows),
        }
        for kind, reply in replies.items():
            assert reply.status_code == 422 and option in reply.text, f"{kind} {option}: {reply.text}"


def test_a_format_is_given_once(client: TestClient) -> None:
    rows = {"file": ("rows.jsonl", SMALL)}
    for given, status in (("alpaca", 201), ("auto", 422)):
        reply = client.post("/api/datasets/new", params={"format": "alpaca"}, data={"format": given}, files=rows)
        assert reply.status_code == status, reply.text


def test_tools_without_options_take_none(lab: OptionLab) -> None:
    settings = Settings(data_dir=lab.layout.root, accelerator="cpu", ollama_url="http://127.0.0.1:9")
    tools = Tools(Operations(settings), lambda _request: (READ, TRAIN)).all()
    without = [tool for tool in tools if isinstance(tool, CheckedTool) and not tool.takes_options]
    assert len(without) > 4
    for tool in without:
        own = tool.fn_metadata.arg_model.model_fields
        for option, values in VALUES.items():
            if option not in own:
                with pytest.raises(Exception, match=option):
                    asyncio.run(tool.run({option: values[0]}, CONTEXT))


def test_an_estimate_is_that_of_the_training(lab: OptionLab, client: TestClient) -> None:
    """The same body, without a goal, is planned as it would be submitted."""
    plan = client.post("/api/plan", json={**ENTRY}).json()
    assert (plan["job"]["goal"], plan["job"]["job_id"]) == ("train", lab.plan(goal=Goal.TRAIN).id)
    reply = client.post("/api/plan", json={**ENTRY, "keep": 2})
    assert reply.status_code == 422 and "keep has no effect with goal: train" in reply.text
