# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A declared evaluation from end to end: a real training of a tiny base, all its quantizations and its base in Ollama.

The tests build on each other, in their order. About two minutes on two idle cores.
"""

from __future__ import annotations

import os
import signal
import time
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, old_server_in_full
from ansible_collections.ia_homelab.llamafactory.tests.support.toy_workspace import PROMPTS, Workspace, respelled

pytestmark = old_server_in_full

#: Rows that are memorized, and asked again as a dataset of its own: with other rows no tiny model answers right.
ROWS = 6
#: A row that no model answers right.
UNKNOWN = {"instruction": "Quel est le mot secret ?", "input": "", "output": "Le mot secret est 8271-FQ."}
LATEST = "measured:latest"
#: Questions with long answers, which leave the time to interrupt them.
QUESTIONS = 60
LONG = {
    "prompts": [{"prompt": f"Raconte {number}.", "not_contains": "MOT SECRET"} for number in range(QUESTIONS)],
    "options": {"num_predict": 200},
}


def wait(what: t.Callable[[], t.Any], seconds: float = 120) -> t.Any:
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, ollama_server: Server) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("evaluation"), ollama_server)
    made.publish("homelab", PROMPTS[:ROWS])
    made.publish("tests", [*respelled(PROMPTS[:ROWS]), UNKNOWN])
    return made


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """The runs of earlier tests."""
    return {}


def test_all_quantizations_and_the_base_are_measured(workspace: Workspace, runs: dict[str, Run]) -> None:
    declared = {"rows": "tests", "against": ["served", "base"], "choose": "smallest", "likelihood": True}
    run, pending, view = workspace.apply(evaluation=declared)
    assert view.state == "succeeded", view.error
    assert pending[-4:] == ("register-q8_0", "register-q4_K_M", "evaluate", "promote")
    report = workspace.report(run)
    models = {model["label"]: model for model in report["models"]}
    assert list(models) == ["q8_0", "q4_K_M", "base"], "nothing was served before"
    assert models["q4_K_M"]["bytes"] < models["q8_0"]["bytes"]
    assert all(model["measures"]["same"]["asked"] == ROWS + 1 for model in models.values())
    assert all(model["tokens_per_answer"] > 0 and model["seconds_per_answer"] > 0 for model in models.values())
    assert models["base"]["model"].startswith("measured-base:")
    compared = {(each["model"], each["against"]) for each in report["comparisons"]}
    assert compared == {("q8_0", "base"), ("q4_K_M", "base"), ("q4_K_M", "q8_0")}
    assert report["chosen"] == "q4_K_M"
    large, small = report["quantizations"]
    assert large["size"] == 1.0 and small["against"] == "q8_0" and small["size"] < 1.0
    assert {"exact", "same", "text"} == set(small["differences"])
    found = [each["likelihood"] for each in (large, small)]
    assert 0 <= found[0]["divergence"]["value"] < found[1]["divergence"]["value"]
    assert all(0.5 < each["same_top"]["value"] <= 1 and each["tokens"] > 256 for each in found)
    assert workspace.ollama.digest(LATEST) == models["q4_K_M"]["digest"]
    receipt = workspace.layout.receipt("promote", run.step("promote").spec.fingerprint)
    assert receipt is not None and receipt["results"]["quantization"] == "q4_K_M"
    assert workspace.apply(evaluation=declared)[1] == ()
    runs["measured"] = run


def test_a_changed_requirement_asks_nothing(workspace: Workspace, runs: dict[str, Run]) -> None:
    declared: dict[str, t.Any] = {"rows": "tests", "against": ["served", "base"]}
    before = workspace.report(runs["measured"])["asked_at"]
    run, pending, view = workspace.apply(evaluation={**declared, "require": {"exact": 1}})
    assert pending == ("promote",) and view.state == "failed" and view.error is not None
    assert view.error["message"].startswith("The evaluation is not passed: q8_0: exact is ")
    run, pending, view = workspace.apply(evaluation={**declared, "require": {"not_worse_than_served": True}})
    assert pending == ("promote",) and view.state == "succeeded", view.error
    assert workspace.report(run)["asked_at"] == before
    assert workspace.ollama.digest(LATEST) == workspace.ollama.digest(f"measured:{tag_of(run)}")


def tag_of(run: Run) -> str:
    """Tag of the quantization that is declared first."""
    return f"{run.step('register-q8_0').spec.fingerprint[:12]}-q8_0"


def test_killed_and_without_ollama_in_between(workspace: Workspace) -> None:
    """kill -9 of the worker, then a restart of the server: each answer is asked once, but for the one in flight."""
    run = workspace.plan(gate=LONG, aliases=["other"])
    workspace.engine.submit(run)
    wait(lambda: len(workspace.answers(run)) >= 4)
    os.killpg(workspace.worker(run), signal.SIGKILL)
    view = workspace.engine.follow(run.id, timeout=300)
    assert view.state == "failed", "a command that was killed is reported"
    kept = workspace.answers(run)
    assert 4 <= len(kept) < QUESTIONS
    workspace.engine.submit(run)
    wait(lambda: len(workspace.answers(run)) >= len(kept) + 4)
    workspace.server.stop()
    time.sleep(1)
    workspace.server.start()
    view = workspace.engine.follow(run.id, timeout=300)
    assert view.state == "succeeded", view.error
    answers = workspace.answers(run)
    assert answers[: len(kept)] == kept
    assert len(answers) == len({(each["digest"], each["item"]) for each in answers}) == QUESTIONS
    assert workspace.report(run)["models"][0]["measures"]["gate"]["asked"] == QUESTIONS
