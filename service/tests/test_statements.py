# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Terminal, REST, page and MCP say the same of a plan, and what the page says is so."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import shutil
import subprocess
import time
import typing as t
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from mcp import Client

from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils._result_table import result_lines
from ansible_collections.ia_homelab.llamafactory.tests.support.evaluation_fixture import evaluated_versions
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows
from ansible_collections.ia_homelab.llamafactory.tests.support.recorded import recorded
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import PROMPTS, ROOT, Service
from ia_homelab_core.artifacts.layout import Layout
from ia_homelab_core.engine import model_versions
from ia_homelab_core.engine.engine import Engine
from ia_homelab_core.engine.results import results_of
from ia_homelab_core.messages.message import Message
from ia_homelab_core.ollama.client import Ollama
from ia_homelab_core.planning import plan_text, planner
from ia_homelab_core.planning.plans import plans_of
from ia_homelab_core.planning.request import Host, Request
from ia_homelab_core.releases import statements
from ia_homelab_core.runs.spec import Toolchain
from ia_homelab_core.runs.states import StepState
from ia_homelab_service.application import schemas
from ia_homelab_service.application.models import Models
from ia_homelab_service.application.operations import Operations
from ia_homelab_service.settings import Settings
from ia_homelab_service.web import models as models_view
from ia_homelab_service.web import watch
from ia_homelab_service.web.i18n import en, fr
from ia_homelab_service.web.i18n.language import Language

PAGE = {"Accept": "text/html", "Accept-Language": "en"}
#: Figures of the machine change between two requests: free disk and memory.
_FREE = re.compile(r"[\d.,]+ [GM][Bo]( \(|(?= of | sur )| free| libres)")


def without_figures(text: str) -> str:
    return _FREE.sub("…", text)


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


def terminal(lab: PlanLab, accelerator: str = "cpu", **declared: t.Any) -> str:
    """The text of the plan that a playbook shows."""
    raw = {"name": "homelab-model", "base_model": "qwen2.5:0.5b", "dataset": "homelab", **declared}
    run = planner.plan(lab.layout, Request.finetune(raw), Host(Toolchain(), accelerator, write=False))
    engine = Engine(lab.layout.root)
    return plan_text.text(plans_of(lab.layout, [(run, engine.preview(run))], accelerator)[0])


def on_the_terminal(table: str, rows: list[t.Any]) -> list[str]:
    """The lines of a filter of the collection, which needs the environment of Ansible."""
    program = shutil.which("ansible-playbook")
    assert program, "the environment of Ansible is on the path"
    code = (
        "import json, sys; from importlib import import_module; "
        f"filter = import_module('ansible_collections.ia_homelab.llamafactory.plugins.filter.{table}').{table}; "
        "print(json.dumps(filter(json.load(sys.stdin))))"
    )
    done = subprocess.run(
        [str(Path(program).parent / "python"), "-c", code], input=json.dumps(rows), check=True, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "playbooks/collections")},
    )  # fmt: skip
    return list(json.loads(done.stdout))


def by_mcp(service: Service, tool: str, **arguments: t.Any) -> dict[str, t.Any]:
    async def main() -> dict[str, t.Any]:
        async with Client(f"{service.url}/mcp") as client:
            answer = await client.call_tool(tool, arguments)
            assert not answer.is_error, answer.content
            return dict(answer.structured_content or {})

    return asyncio.run(main())


def page_of(client: httpx.Client, path: str, code: str) -> str:
    """The visible texts of a page: what its elements contain, in the order in which it sends them."""
    text = client.get(path, headers={**PAGE, "Accept-Language": code}).text
    return html.unescape(html.unescape(re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)))


def summary_by_mcp(service: Service, base: str) -> list[str]:
    options = {"template": "qwen", "name": "my-model", "goal": "model"}
    arguments = {"model": base, "dataset": "homelab", "method": "lora", "options": options}
    return list(by_mcp(service, "llamafactory_estimate", **arguments)["summary"])


def test_four_edges_say_the_same_of_a_plan(service: Service) -> None:
    service.publish("homelab")
    base = service.base()
    asked = {"name": "my-model", "base_model": base, "template": "qwen", "dataset": "homelab", "method": "lora"}
    with service.client() as client:
        plan = client.post("/api/plan", json={**asked, "goal": "model"}).json()
        page = html.unescape(client.get(f"/plan?{urlencode(asked)}", headers=PAGE).text)
        french = page_of(client, f"/plan?{urlencode(asked)}", "fr")
    said = [message["text"] for message in plan["summary"]]
    assert said[0] == "my-model: 6 of 6 steps would run"
    assert any(text.startswith("disk ") for text in said) and any(text.startswith("about ") for text in said)
    assert [without_figures(text) for text in summary_by_mcp(service, base)] == [without_figures(text) for text in said]
    lab = PlanLab.__new__(PlanLab)
    lab.layout = Operations(Settings(data_dir=service.settings["data_dir"])).layout
    shown = terminal(lab, "auto", **asked)
    for text in said:
        assert without_figures(text) in without_figures(shown)
        assert without_figures(text) in without_figures(page)
    for message in plan["summary"]:
        assert without_figures(in_french(message)) in without_figures(french)
    for step in plan["job"]["steps"]:
        assert in_french(step["causes"][0]) in french
        assert step["causes"][0]["text"] in shown and step["causes"][0]["text"] in page


def test_four_edges_say_the_same_of_a_run(service: Service) -> None:
    service.publish("homelab")
    service.occupy()
    with service.client() as client:
        client.post("/api/train", json=service.request(dataset="homelab"))
        for _attempt in range(300):  # its base, which needs no GPU, is made before it waits
            jobs = client.get("/api/status").json()["jobs"]
            if {job["status"] for job in jobs} == {"running", "queued"}:
                break
            time.sleep(0.2)
        page = html.unescape(client.get("/watch", headers=PAGE).text)
        french = page_of(client, "/watch", "fr")
    # as job_info returns them; this process does not know the step of the occupant, so it cannot read the store itself
    runs = [{**job, "id": job["job_id"], "state": job["status"], "age_seconds": 1} for job in jobs]
    table = on_the_terminal("job_table", runs)
    shown = {line.split()[0]: line for line in table[1:]}
    listed = {job["job_id"]: job["state"] for job in by_mcp(service, "llamafactory_list")["jobs"]}
    assert {job["status"] for job in jobs} == {"running", "queued"}
    for job in jobs:
        text = job["state"]["text"]
        assert re.split(r"  +", shown[job["job_id"]])[1] == text == listed[job["job_id"]]
        assert f">{text}<" in page
        assert f">{in_french(job['state'])}<" in french
    assert any(job["state"]["text"] == "queued (2)" for job in jobs)


def in_french(message: dict[str, t.Any]) -> str:
    """The French text of a message; the page must have it, where there is one."""
    found = Message.from_stored(message)
    assert found.language("fr") == "fr", message
    return found.render("fr").message


def test_four_edges_say_the_same_of_a_failed_run(service: Service) -> None:
    log = service.root / "recorded.log"
    log.write_bytes(recorded("failed-lora_target_torchrun.log"))
    run = service.lab.run("fails", f"cat {log}; exit 1")
    service.lab.apply(run)
    with service.client() as client:
        job = client.get(f"/api/status/{run.id}").json()
        pages = {code: page_of(client, f"/watch/{run.id}", code) for code in ("en", "fr")}
    message, hint = job["error"]["message"], job["error"]["hint"]
    assert "The base model has no modules {'q_prj'}." in message and hint
    view = service.lab.engine.observe(run.id).as_dict()
    (line,) = on_the_terminal("job_table", [{**view, "age_seconds": 1}])[2:]
    assert line == f"{run.id}: {message} {hint}"
    from_mcp = by_mcp(service, "llamafactory_status", job_id=run.id)
    assert from_mcp["message"] == message and from_mcp["next"].startswith(hint)
    assert message in pages["en"] and hint in pages["en"] and job["state"]["text"] in pages["en"]
    error = Message.from_stored(view["error"]).render("fr")
    for text in (error.message, error.hint, in_french(job["state"])):
        assert text in pages["fr"]


def test_four_edges_say_the_same_of_a_version_and_of_its_evaluation(
    start: t.Callable[..., Service], tmp_path: Path
) -> None:
    tags = evaluated_versions(tmp_path / "service" / "data")
    layout = Layout(str(tmp_path / "service" / "data"))
    with fake_ollama() as server:
        server.models.update({"m:latest": "3" * 64, **{tag: str(3 - i) * 64 for i, tag in enumerate(tags)}})
        service = start(ollama_url=server.url)
        with service.client() as client:
            models = {model["tag"]: model for model in client.get("/api/models").json()["models"]}
            evaluated = {one["tag"]: one for one in client.get("/api/evaluations?name=m").json()["evaluations"]}
            pages = {code: page_of(client, "/models/m", code) for code in ("en", "fr")}
        from_mcp = {tag: by_mcp(service, "llamafactory_evaluation", model=tag) for tag in evaluated}
        shown = on_the_terminal("model_table", [model_versions.overview(layout, Ollama(server.url), "m")])
    assert list(models) == tags and set(evaluated) == set(tags[:2])
    states = {line.split()[0]: re.split(r"  +", line)[1] for line in shown[1 : len(tags) + 1]}
    for tag, model in models.items():
        assert states[tag] == model["state"]["text"]
        assert model["state"]["text"] in pages["en"] and in_french(model["state"]) in pages["fr"]
    for tag, one in evaluated.items():
        assert f"{tag}: {one['line']['text']}" in shown
        assert from_mcp[tag]["line"] == one["line"]["text"] and one["line"]["text"] in pages["en"]
        assert in_french(one["line"]) in pages["fr"]
        assert from_mcp[tag]["passed"] is one["passed"] is True
        assert from_mcp[tag]["lines"] == [line["text"] for line in one["lines"]]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"served": {"m:latest": {"version": "m:1"}}}, "latest"),
        ({"served": {"m:latest": {"version": "m:1"}}, "hold": {"tag": "m:1", "against": ["m:2"]}}, "latest (held)"),
        ({"hold": {"tag": "m:0", "against": ["m:1"]}}, "kept out"),
        ({"previous": "m:1"}, "previous"),
        ({}, "kept"),
    ],
)
def test_terminal_and_service_say_the_same_of_a_version(facts: dict[str, t.Any], expected: str) -> None:
    version = {"tag": "m:1", "there": True, "pruned_at": "", "lineage": [], "gate": None, "registered_at": ""}
    model = {"name": "m", "served": {}, "hold": {}, "previous": "", "drift": [], "versions": [version], **facts}
    assert re.split(r"  +", on_the_terminal("model_table", [model])[1])[1] == expected
    aliases = ["latest"] if model["served"] else []
    hold = model["hold"]
    said = statements.state_of(
        aliases, True, held=bool(hold), kept_out="m:1" in hold.get("against", []), previous=bool(model["previous"])
    )
    assert said.text == expected


def test_nothing_to_do_is_said_with_one_text(operations: Operations, lab: PlanLab) -> None:
    lab.make(lab.plan(register=False))
    plan = operations.plan(request(register=False))
    assert [message.text for message in plan.summary] == [terminal(lab, register=False).strip()]
    assert plan.summary[0].text == "homelab-model: nothing to do"


def test_costs_are_those_of_the_steps_still_to_be_made(operations: Operations, lab: PlanLab) -> None:
    all_of_it = operations.plan(request(register=False)).estimate
    lab.make(lab.plan(register=False), only=("base", "train"))
    rest = operations.plan(request(register=False)).estimate
    assert all_of_it.optimizer_steps == 9 and rest.optimizer_steps is None
    assert rest.disk_bytes is not None and all_of_it.disk_bytes is not None and rest.disk_bytes < all_of_it.disk_bytes
    training, peak = all_of_it.details["ram"]["train"], rest.ram_bytes
    assert peak == max(all_of_it.details["ram"][step] for step in ("merge", "gguf") if step in all_of_it.details["ram"])
    assert all_of_it.ram_bytes == max(training, peak)


def test_a_registered_version_is_not_planned_as_another_one(lab: PlanLab) -> None:
    """After another learning rate was registered, the first version exists: only its names have to move."""
    first, second = lab.plan(), lab.plan(learning_rate=1e-4)
    lab.make(first)
    lab.make(second, at="2026-01-02T00:00:00Z")
    view = Engine(lab.layout.root).preview(first)
    step = next(step for step in view.steps if step.kind == "register")
    step.state, step.cause = StepState.NEEDED, Message("planning.asked_again").as_dict()
    plan = plans_of(lab.layout, [(first, view)], "cpu")[0]
    registered = next(step for step in plan["steps"] if step["kind"] == "register")
    assert registered["runs"] and registered["why"] == [Message("planning.asked_again").text]
    assert registered["changes"] == []


@pytest.mark.parametrize(("goal", "made"), [("train", "adapters"), ("model", "gguf")])
def test_four_edges_tell_where_an_adapter_and_a_gguf_file_lie(
    start: t.Callable[..., Service], tmp_path: Path, goal: str, made: str
) -> None:
    lab = PlanLab(tmp_path / "service")
    lab.publish("homelab", rows(20))
    run = lab.plan(register=False)
    lab.make(run)
    service = start()
    assert service.settings["data_dir"] == lab.layout.root
    with service.client() as client:
        options = {"register": False} if goal == "model" else {}
        job_id = client.post("/api/train", json=request(goal=goal, **options)).json()["job_id"]
        job = client.get(f"/api/status/{job_id}").json()
        pages = {code: page_of(client, f"/watch/{job_id}", code) for code in ("en", "fr")}
    place = job["place"]["text"]
    assert re.fullmatch(rf"homelab-model is in {lab.layout.root}/\w+/{made}/[0-9a-f]{{64}} on the host\.", place)
    assert os.path.isdir(job["place"]["parameters"]["path"])
    assert place in pages["en"] and in_french(job["place"]) in pages["fr"]
    assert place in by_mcp(service, "llamafactory_status", job_id=job_id)["message"]
    steps = [{**step, "path": lab.layout.artifact(step["kind"], step["fingerprint"])} for step in job["steps"]]
    assert place in result_lines([results_of("homelab-model", steps)], "http://127.0.0.1:11434")


def test_a_run_with_nothing_to_make_is_in_the_list(operations: Operations, lab: PlanLab) -> None:
    lab.make(lab.plan(register=False))
    submitted = operations.train(request(register=False), "model")
    assert submitted.pending == [] and not submitted.created
    assert [job.job_id for job in operations.list_jobs()] == [submitted.job_id]
    assert operations.list_jobs(status="failed") == []
    operations.dismiss(submitted.job_id)
    assert operations.list_jobs() == []


def job(**more: t.Any) -> schemas.Job:
    values: dict[str, t.Any] = {
        "job_id": "j",
        "name": "j",
        "goal": "model",
        "status": "queued",
        "state": {"code": "", "text": ""},
        **more,
    }
    return schemas.Job(**values)


@pytest.mark.parametrize(
    ("more", "has_checkpoint", "expected"),
    [
        ({}, False, "watch.cancel_not_begun"),
        ({}, True, "watch.cancel_kept"),
        ({"status": "running", "current_step": "train"}, False, "watch.cancel_kept"),
        ({"status": "running", "current_step": "gguf-f16"}, False, "watch.cancel_begins_again"),
    ],
)
def test_a_checkpoint_is_promised_only_where_there_is_one(
    more: dict[str, t.Any], has_checkpoint: bool, expected: str
) -> None:
    assert watch.cancel_text(job(**more), has_checkpoint) == expected
    assert expected in en.TEXTS and expected in fr.TEXTS


def test_terminal_and_mcp_promise_no_checkpoint_to_a_run_that_was_stopped_in_the_queue(service: Service) -> None:
    service.publish("homelab")
    service.occupy()
    with service.client() as client:
        job_id = client.post("/api/train", json=service.request(dataset="homelab")).json()["job_id"]
        by_mcp(service, "llamafactory_cancel", job_id=job_id)
        for _attempt in range(300):
            if client.get(f"/api/status/{job_id}").json()["status"] == "cancelled":
                break
            time.sleep(0.2)
        assert client.get(f"/api/jobs/{job_id}/checkpoints").json() == []
    from_mcp = by_mcp(service, "llamafactory_status", job_id=job_id)
    assert from_mcp["message"] == "It was stopped."
    terminal_hint = Message("modules.apply_again").text
    for text in (from_mcp["next"], terminal_hint, Message("engine.run_cancelled", name="m", run=job_id).hint):
        assert "from its last checkpoint if it has written one" in text and "its checkpoint" not in text


def test_without_ollama_no_version_is_called_unserved() -> None:
    version = {"name": "m", "tag": "m:1", "fingerprint": "f", "state": statements.state_of([], None).as_dict()}
    silent = [schemas.Model(**version, present=None)]
    answers = [schemas.Model(**version, present=True)]
    assert models_view.unserved_text(silent) == "models.unknown_served"
    assert models_view.unserved_text(answers) == "models.nobody"
    assert "cannot be determined" in en.TEXTS["models.unknown_served_long"]


def test_the_base_that_evaluations_ask_is_not_offered_for_promotion(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    options = {"quantization": "q4_K_M", "aliases": [], "base_of": "m"}
    receipt = {
        "kind": "register", "fingerprint": "a" * 64, "settings": {"name": "m-base"}, "upstream": {}, "options": options,
        "results": {"tag": "m-base:1", "digest": "d"}, "finished_at": "2026-11-30T08:00:00.000Z",
    }  # fmt: skip
    path = Path(layout.artifact("register", "a" * 64))
    path.mkdir(parents=True)
    (path / "receipt.json").write_text(json.dumps(receipt), encoding="utf-8")
    with fake_ollama() as server:
        server.models["m-base:1"] = "d"
        (model,) = Models(layout, server.url).all()
    assert (model.base_of, model.state.text) == ("m", "base of m, for evaluations")
    for code, said in (("en", "base of m, for evaluations"), ("fr", "base de m, pour les évaluations")):
        assert models_view.base_text(Language(code), [model]) == said, "in place of: no version answers, promote one"
    assert models_view.base_text(Language("en"), [model.model_copy(update={"base_of": ""})]) == ""


def send(service: Service, do: str) -> str:
    """The page after an upload of the prompts."""
    with service.client() as client:
        found = re.search(r"form_token\W+(?:value\W+)?([0-9a-f]{64})", client.get("/", headers=PAGE).text)
        assert found
        with open(PROMPTS, "rb") as stream:
            fields = {"form_token": found.group(1), "name": "homelab", "do": do}
            reply = client.post("/datasets", data=fields, files={"file": ("rows.json", stream)})
        return client.get(reply.headers["location"], headers=PAGE).text


def test_what_was_only_checked_is_not_called_published(service: Service) -> None:
    assert "Published" not in (checked := send(service, "check")) and "Checked" in checked
    assert "Published: 50 rows." in send(service, "publish")
    assert "The same dataset exists already." in send(service, "publish")
    assert "Published" not in send(service, "check")


def test_system_prompts_are_counted(service: Service) -> None:
    text = html.unescape(send(service, "publish"))
    count = len({row.get("system") or "" for row in json.loads(PROMPTS.read_text("utf-8"))} - {""})
    found = re.search(r"System prompts</dt><dd>(\d*)", text)
    assert found and int(found.group(1)) == count == 1
