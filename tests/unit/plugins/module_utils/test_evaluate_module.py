# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``evaluate``: what it asks, keeps, and does not ask again."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.integrity import artifact_defect
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.locks import FileLock
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.modules import call
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows

GATE = {"prompts": [{"prompt": "Qui es-tu ?", "contains": "homelab"}, {"prompt": "2+2 ?", "contains": "4"}]}
ANSWERS = {"Qui es-tu ?": "Je suis homelab.", "2+2 ?": "4"}
OTHERS = {"Qui es-tu ?": "Je suis homelab.", "2+2 ?": "cinq"}


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models = {"good:latest": "a" * 64, "bad:latest": "b" * 64}
        answers = {"good": ANSWERS, "bad": OTHERS}
        server.reply = lambda model, prompt: answers[model.partition(":")[0]].get(prompt, "?")
        yield server


@pytest.fixture
def data(tmp_path: Path) -> str:
    lab = PlanLab(tmp_path)
    lab.publish("homelab", rows(3))
    return lab.layout.root


def ask(server: FakeOllama, data: str = "", check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    arguments = {"model": "good:latest", "ollama_url": server.url, "timeout": 0, **({"data_dir": data} if data else {})}
    return call("evaluate", {**arguments, **options}, check=check)


def asked(server: FakeOllama) -> int:
    """Return the number of questions since the last call."""
    count = len(server.bodies("/api/chat"))
    server.requests.clear()
    return count


def test_a_kept_evaluation_is_not_asked_again(server: FakeOllama, data: str) -> None:
    planned = ask(server, data, gate=GATE, against="bad:latest", check=True)
    assert (planned["changed"], planned["passed"], planned["report"], asked(server)) == (True, None, {}, 0)
    made = ask(server, data, gate=GATE, against="bad:latest")
    assert (made["changed"], made["passed"], asked(server)) == (True, True, 4)
    assert made["line"] == "gate 2/2, vs served +50.0 ± 50.0"
    assert made["path"] == planned["path"] and sorted(os.listdir(made["path"])) == [
        "answers.jsonl", "questions.jsonl", "receipt.json", "report.json",
    ]  # fmt: skip
    layout, name = Layout(data), os.path.basename(made["path"])
    assert artifact_defect(layout, "evaluate", name) is None
    for check in (True, False):
        again = ask(server, data, gate=GATE, against="bad:latest", check=check)
        assert {**again, "changed": True} == made and again["changed"] is False
    assert asked(server) == 0
    server.models["bad:latest"] = "c" * 64
    renewed = ask(server, data, gate=GATE, against="bad:latest")
    assert (renewed["changed"], asked(server)) == (True, 2), "only the model that is another one is asked"


def test_a_changed_requirement_asks_nothing(server: FakeOllama, data: str) -> None:
    assert not ask(server, data, model="bad:latest", gate=GATE, required=False)["passed"]
    server.requests.clear()
    allowed = ask(server, data, model="bad:latest", gate={**GATE, "allowed_failures": 1})
    assert (allowed["passed"], allowed["changed"], asked(server)) == (True, False, 0)
    failed = ask(server, data, model="bad:latest", gate=GATE)
    assert failed["failed"] and asked(server) == 0
    assert "1 of 2 answers" in failed["msg"] and "does not contain '4'" in failed["msg"]
    assert failed["questions"][0]["messages"][0]["content"] == "2+2 ?", "the worst first"
    assert failed["questions"][0]["after"]["unmet"] == ["does not contain '4'"]


def test_rows_and_the_guard_set_are_asked(server: FakeOllama, data: str) -> None:
    made = ask(server, data, rows="homelab", guard="general", required=False)
    assert made["report"]["parts"] == {"held_out": 3, "guard": 40}
    assert set(made["report"]["models"][0]["measures"]) == {"exact", "same", "guard"}
    assert made["report"]["models"][0]["measures"]["same"]["asked"] == 3
    assert asked(server) == 43
    more = ask(server, data, rows="homelab", guard="general", gate=GATE, required=False)
    assert (more["report"]["questions"], asked(server)) == (45, 2), "what was answered before is taken over"
    refused = ask(server, data, rows="homelab", require={"same": 0.9, "confidence": 0.95})
    assert refused["failed"] and "35 questions" in refused["msg"]


def test_an_interrupted_evaluation_goes_on_where_it_was(server: FakeOllama, data: str) -> None:
    planned = ask(server, data, gate=GATE, check=True)
    name = os.path.basename(planned["path"])
    server.refuses.add("/api/chat")
    assert ask(server, data, gate=GATE)["failed"]
    work = Path(Layout(data).work("evaluate", name))
    assert work.is_dir() and not os.path.exists(planned["path"])
    server.refuses.clear()
    ask(server, data, gate={"prompts": GATE["prompts"][:1]})
    server.requests.clear()
    with FileLock(str(work / ".lock"), timeout=0.0):
        assert "another process" in ask(server, data, gate=GATE)["msg"].lower()
    made = ask(server, data, gate=GATE)
    assert (made["changed"], asked(server)) == (True, 1) and not work.exists()


def test_without_a_data_directory_nothing_is_kept(server: FakeOllama, data: str) -> None:
    for check in (True, False):
        made = ask(server, gate=GATE, check=check)
        assert (made["changed"], made["passed"], made["path"], asked(server)) == (False, True, "", 2)
    assert os.listdir(Path(data, "outputs", "evaluations")) == []
    refused = ask(server, rows="homelab")
    assert refused["failed"] and "Declare data_dir." in refused["msg"]


def test_an_evaluation_of_a_version_goes_with_it(server: FakeOllama, data: str) -> None:
    path = Path(Layout(data).artifact("register", "1" * 64))
    path.mkdir(parents=True)
    receipt = {"kind": "register", "fingerprint": "1" * 64, "settings": {"name": "good"}, "upstream": {}}
    write_json(str(path / "receipt.json"), {**receipt, "results": {"digest": "a" * 64, "tag": "good:latest"}})
    made = ask(server, data, gate=GATE)
    assert json.loads(Path(made["path"], "receipt.json").read_text())["upstream"] == {"register": "1" * 64}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Declare at least one of gate, rows and guard."),
        ({"rows": "homelob"}, "Did you mean 'homelab'"),
        ({"gate": GATE, "model": "none"}, "none"),
        ({"gate": GATE, "require": {"call": 1}}, "Did you mean 'calls'"),
        ({"gate": GATE, "judge": {"rubric": "x"}}, "judge"),
        ({"rows": "homelab", "require": {"text": 50}}, "sacrebleu"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    server: FakeOllama, data: str, options: dict[str, t.Any], message: str
) -> None:
    refused = ask(server, data, **options)
    assert refused["failed"] and message in refused["msg"], refused["msg"]
    assert asked(server) == 0
