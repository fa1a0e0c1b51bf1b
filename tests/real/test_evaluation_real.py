# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A declared evaluation from end to end: a real training of a tiny base, all its quantizations and its base in Ollama.

The tests build on each other, in their order. About two minutes on two idle cores.
"""

from __future__ import annotations

import json
import os
import signal
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.status import RunView
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, old_server_in_full
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

pytestmark = old_server_in_full

FILES = Path(__file__).resolve().parents[2] / "playbooks" / "files"
PROMPTS = json.loads((FILES / "homelab_prompts.json").read_text("utf-8"))
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


class Workspace:
    """One data directory, its declaration, and its server."""

    def __init__(self, root: Path, server: Server) -> None:
        self.layout = Layout(str(root / "data"))
        self.layout.create()
        self.engine = Engine(self.layout.root)
        self.server = server
        self.ollama = Ollama(server.url, slow_timeout=300)
        self.base = str(root / "tiny-base")
        self.tools = Toolchain(
            os.environ["IA_LF_VENV"], os.environ["IA_CONV_VENV"], os.environ["IA_LLAMA_CPP_DIR"], server.url
        )
        make_tiny_base(Path(self.base))
        self.publish("homelab", PROMPTS[:ROWS])
        # the answers that were trained, to questions that are spelled differently
        asked = [{**row, "instruction": f"{row['instruction']} Merci."} for row in PROMPTS[:ROWS]]
        self.publish("tests", [*asked, UNKNOWN])

    def publish(self, name: str, records: list[dict[str, str]]) -> None:
        """Publish a dataset."""
        registry.apply(self.layout, registry.Declaration(name), [registry.Source("records", records=records)])

    def plan(self, **declared: t.Any) -> Run:
        """Plan the run of a declaration."""
        whole = {
            "name": "measured", "base_model": self.base, "dataset": "homelab", "template": "qwen", "method": "lora",
            "epochs": 28, "learning_rate": 3e-3, "batch_size": ROWS, "gradient_accumulation": 1, "cutoff_len": 512,
            "save_steps": 1000, "quantizations": ["q8_0", "q4_K_M"], **declared,
        }  # fmt: skip
        return plan(self.layout, Request.finetune(whole), Host(self.tools, "cpu"))

    def apply(self, **declared: t.Any) -> tuple[Run, tuple[str, ...], RunView]:
        """Apply a declaration; returns the run, what was to be made, and its end."""
        run = self.plan(**declared)
        asked = self.engine.submit(run)
        view = self.engine.follow(run.id, timeout=600) if asked.pending else asked.view
        return run, asked.pending, view

    def report(self, run: Run) -> dict[str, t.Any]:
        """The report of the evaluation of a run."""
        path = Path(self.layout.artifact("evaluate", run.step("evaluate").spec.fingerprint))
        return dict(json.loads((path / "report.json").read_text("utf-8")))

    def answers(self, run: Run) -> list[dict[str, t.Any]]:
        """The answers so far, of the job that runs or of the artifact."""
        spec = run.step("evaluate").spec
        for path in (
            self.layout.work("evaluate", spec.fingerprint),
            self.layout.artifact("evaluate", spec.fingerprint),
        ):
            file = Path(path, "answers.jsonl")
            if file.exists():
                lines = file.read_text("utf-8").splitlines(keepends=True)
                return [json.loads(line) for line in lines if line.endswith("\n")]
        return []

    def worker(self, run: Run) -> int:
        """Process id of the command of the running job."""
        path = max((self.layout_jobs() / run.id).glob("evaluate-*/command.json"))
        return int(json.loads(path.read_text("utf-8"))["pid"])

    def layout_jobs(self) -> Path:
        """Directory of the active runs."""
        return Path(self.layout.jobs, "active")


def wait(what: t.Callable[[], t.Any], seconds: float = 120) -> t.Any:
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, ollama_server: Server) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("evaluation"), ollama_server)


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """The runs of earlier tests."""
    return {}


def test_all_quantizations_and_the_base_are_measured(workspace: Workspace, runs: dict[str, Run]) -> None:
    declared = {"rows": "tests", "against": ["served", "base"], "choose": "smallest"}
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
