# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluations of versions over REST, MCP, as events of OpenAI's interface, and on the page."""

from __future__ import annotations

import asyncio
import dataclasses
import html
import json
import typing as t
from pathlib import Path

import pytest
from mcp import Client

from ansible_collections.ia_homelab.llamafactory.tests.support.evaluation_fixture import (
    QUESTIONS,
    evaluated_versions,
    report,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ia_homelab_core.evaluations.store import Evaluations
from ia_homelab_core.planning.pipeline import make_run, make_step
from ia_homelab_core.runs.names import OUTCOME_FILE
from ia_homelab_core.runs.spec import Toolchain
from ia_homelab_core.system.files import write_json
from ia_homelab_service.application.operations import Operations
from ia_homelab_service.openai import jobs as openai_jobs
from ia_homelab_service.settings import Settings

PROBLEM = "application/problem+json"
LINE = "calls 48/50, text 71.2, guard 39/40, vs served calls +6.0 ± 8.0, text +3.1 ± 2.0, guard -2.5 ± 3.8"
PAGE = {"Accept": "text/html", "Accept-Language": "fr"}


@dataclasses.dataclass
class Lab:
    """A service whose model m has three versions; the latest two were evaluated.

    :ivar tags: of the versions, the latest first.
    """

    service: Service
    tags: list[str]

    def get(self, path: str, **query: t.Any) -> t.Any:
        """Return the body of a successful response."""
        with self.service.client() as client:
            reply = client.get(f"/api/evaluations{path}", params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def refused(self, path: str, **query: t.Any) -> dict[str, t.Any]:
        """Return the body of a response with status 404."""
        with self.service.client() as client:
            reply = client.get(f"/api/evaluations{path}", params=query)
        assert (reply.status_code, reply.headers["content-type"]) == (404, PROBLEM), reply.text
        return t.cast("dict[str, t.Any]", reply.json())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    root = tmp_path_factory.mktemp("evaluations")
    service = Service(root / "service", {})
    tags = evaluated_versions(root / "service" / "data")
    service.start()
    yield Lab(service, tags)
    service.close()


def test_evaluated_versions_are_listed(lab: Lab) -> None:
    listed = lab.get("")["evaluations"]
    assert [each["tag"] for each in listed] == lab.tags[:2]
    newest = listed[0]
    assert newest["line"] == {
        "code": "evaluations.line",
        "parameters": newest["line"]["parameters"],
        "text": LINE,
        "hint": "",
    }
    assert (newest["passed"], newest["label"], newest["questions"]) == (True, "q4_K_M", 4)
    assert newest["measures"]["calls"]["met"] == 48
    assert [each["verdict"]["text"] for each in newest["comparisons"]] == ["undecided", "better", "undecided"]
    assert lab.get("", name="other")["evaluations"] == []


def test_the_report_of_a_version(lab: Lab) -> None:
    found = lab.get("/report", tag=lab.tags[0])
    assert found["report"] == report("3" * 64)
    assert found["lines"][-1]["text"] == "Two rows were left out."
    assert lab.get("/report", tag=found["fingerprint"] and lab.tags[1])["report"]["models"][0]["digest"] == "2" * 64


def test_questions_come_in_pages_with_those_that_became_worse_first(lab: Lab) -> None:
    first = lab.get("/questions", tag=lab.tags[0], limit=3)
    assert (first["total"], first["worse"], first["better"], first["next"]) == (4, 2, 1, 3)
    assert (first["label"], first["against"]) == ("q4_K_M", "served")
    assert [each["item"]["id"] for each in first["questions"]] == ["call-1", "text-2", "guard-1"]
    assert first["questions"][0]["change"] == -1.0
    assert first["questions"][0]["answers"]["served"]["answer"]["calls"][0]["arguments"] == {"title": "Heat"}
    assert first["questions"][0]["answers"]["q4_K_M"]["unmet"][0]["code"] == "releases.unmet_calls_none"
    last = lab.get("/questions", tag=lab.tags[0], after=3)
    assert [each["item"]["id"] for each in last["questions"]] == ["text-1"] and last["next"] is None
    assert lab.get("/questions", tag=lab.tags[0], after=9)["questions"] == []


def test_two_versions_are_compared_by_the_questions_that_both_answered(lab: Lab) -> None:
    found = lab.get("/comparison", tag=lab.tags[0], against=lab.tags[1])
    measures = {each["measure"]: each for each in found["measures"]}
    assert (measures["calls"]["difference"], measures["calls"]["worse"]) == (-1.0, 1)
    assert (measures["text"]["worse"], measures["text"]["better"], measures["text"]["asked"]) == (1, 1, 2)
    questions = lab.get("/questions", tag=lab.tags[0], against=lab.tags[1])
    assert (questions["label"], questions["against"]) == (lab.tags[0], lab.tags[1])
    assert questions["questions"][0]["answers"][lab.tags[1]]["scores"] == {"calls": 1.0}
    assert set(questions["questions"][0]["answers"]) == {lab.tags[0], lab.tags[1]}


def test_all_answers_are_lines_of_json(lab: Lab) -> None:
    with lab.service.client() as client:
        reply = client.get("/api/evaluations/answers", params={"tag": lab.tags[0]})
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.headers["content-disposition"] == 'attachment; filename="evaluation.jsonl"'
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert [line["item"] for line in lines] == list(QUESTIONS.values())
    assert lines[2]["answers"]["q4_K_M"]["answer"]["text"] == "Dans le bureau."


def test_what_there_is_not_is_refused_with_what_to_do(lab: Lab) -> None:
    oldest = lab.tags[2]
    for path in ("/report", "/questions", "/answers"):
        problem = lab.refused(path, tag=oldest)
        assert problem["detail"].startswith(f"{oldest} was not evaluated.") and "Declare evaluation" in str(problem)
        lab.refused(path, tag="nothing")
    lab.refused("/questions", tag=lab.tags[0], against="nothing")
    assert "common question" in lab.refused("/comparison", tag=lab.tags[0], against=oldest)["detail"]
    assert "common question" in lab.refused("/comparison", tag=oldest, against=oldest)["detail"]
    with lab.service.client() as client:
        assert client.get("/api/evaluations/comparison", params={"tag": oldest}).status_code == 422


def test_a_language_model_reads_the_worst_answers(lab: Lab) -> None:
    async def main() -> tuple[dict[str, t.Any], t.Any]:
        async with Client(f"{lab.service.url}/mcp") as client:
            found = await client.call_tool("llamafactory_evaluation", {"model": lab.tags[0], "limit": 1})
            assert not found.is_error, found.content
            missing = await client.call_tool("llamafactory_evaluation", {"model": lab.tags[2]})
            return dict(found.structured_content or {}), missing

    found, missing = asyncio.run(main())
    assert (found["line"], found["passed"], found["worse"], found["against"]) == (LINE, True, 2, "served")
    assert found["answers"] == [
        {
            "question": "Demande Heat.",
            "expected": 'request_media({"title": "Heat"})',
            "answers": {"q4_K_M": "Voilà.", "served": 'request_media({"title": "Heat"})'},
            "change": -1.0,
        }
    ]
    assert missing.is_error and "was not evaluated" in missing.content[0].text


def test_the_line_of_each_version_is_an_event_of_the_run(tmp_path: Path) -> None:
    evaluated_versions(tmp_path)
    operations = Operations(Settings(data_dir=str(tmp_path), accelerator="cpu", ollama_url="http://127.0.0.1:9"))
    asked = Evaluations(operations.layout).all[0]
    receipt = operations.layout.receipt("evaluate", asked.fingerprint) or {}
    step = make_step("evaluate", receipt["settings"], receipt["upstream"], {"name": "m"})
    run = make_run("m", [step], [step.label], Toolchain())
    store = operations.engine.store
    with store.lock():
        store.enqueue(run)
        record = store.record(run.id)
        assert record is not None
        store.add_job(record, run, step.label, False)
        record = store.record(run.id)
        assert record is not None
        finished = {"state": "succeeded", "finished_at": "2026-11-30T09:01:01.000Z"}
        write_json(f"{record.jobs[0].directory}/{OUTCOME_FILE}", finished)
    tag = "m:abc-q4_K_M"
    events = {event.code: event for event in operations.events(run.id)}
    said = events["service.event_evaluated"]
    assert said.message == f"{tag}: {LINE}" and said.data["version"] == tag
    assert list(events).index("service.event_step_done") < list(events).index("service.event_evaluated")
    messages = [event["message"] for event in openai_jobs.events(operations, run.id)["data"]]
    assert messages.count(f"{tag}: {LINE}") == 1
    assert len(operations.events(run.id)) == len(events), "each is written once"
    assert operations.get_job(run.id).evaluations[tag].text == LINE


def test_the_page_has_versions_side_by_side(lab: Lab) -> None:
    with lab.service.client() as client:
        page = html.unescape(client.get("/models/m", headers=PAGE).text)
    assert "Versions côte à côte" in page and "48/50 = 96,0 % (86,5 à 98,9)" in page
    assert "exigences satisfaites" in page and LINE.replace(".", ",") in page
    for tag in lab.tags:
        assert tag in page
