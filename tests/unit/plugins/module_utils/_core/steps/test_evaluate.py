# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evaluation asks every model every question once, whatever happens in between; Ollama is a stand-in over HTTP."""

from __future__ import annotations

import dataclasses
import os
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    JobError,
    NotReadyError,
    RemoteError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.asking import Limits
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.evaluation import is_complete
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.evaluate import EvaluateStep
from ansible_collections.ia_homelab.llamafactory.tests.support.evaluation_lab import EvaluationLab
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama

GATE = [{"prompt": f"{number} ?", "contains": "homelab"} for number in range(4)]


class Killed(BaseException):
    """Ends a worker as a kill does: nothing handles it."""


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.reply = lambda _model, _prompt: "homelab"
        yield server


@pytest.fixture
def lab(tmp_path: Path, server: FakeOllama) -> EvaluationLab:
    return EvaluationLab(tmp_path, server)


def prompts(server: FakeOllama) -> list[str]:
    """The prompts that were asked, in order."""
    return [body["messages"][-1]["content"] for body in server.bodies("/api/chat")]


def perform(lab: EvaluationLab, step: t.Any) -> None:
    runs, ctx = EvaluateStep(), lab.context(step)
    runs.command(ctx)
    runs.perform(ctx)


def test_after_a_kill_only_the_question_in_flight_is_asked_again(
    lab: EvaluationLab, server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, _promote = lab.steps([lab.register(2, aliases=["latest"])], GATE)

    def kill(_self: t.Any, count: int, _total: int, _label: str) -> None:
        if count == 2:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(
            "ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.evaluate._ProgressReport.__call__",
            kill,
        )
        with pytest.raises(Killed):
            perform(lab, evaluate)
    answers = Path(lab.context(evaluate).work, "answers.jsonl")
    with answers.open("ab") as stream:
        stream.write(b'{"digest": "2222')  # what a kill leaves of an answer
    with pytest.raises(JobError, match="did not come to its end"):
        EvaluateStep().finish(lab.context(evaluate))
    results = lab.run(evaluate)
    assert prompts(server) == ["0 ?", "1 ?", "2 ?", "3 ?"]
    assert results["passed"] == {"q4_K_M": True} and results["items"] == 4
    assert is_complete(lab.layout.artifact("evaluate", evaluate.spec.fingerprint))


def test_a_server_that_restarts_is_waited_for(lab: EvaluationLab, server: FakeOllama) -> None:
    evaluate, _promote = lab.steps([lab.register(2, aliases=["latest"])], GATE)
    answer, state = server.answer, {"asked": 0, "away": 0}

    def restart(method: str, path: str, body: dict[str, t.Any]) -> tuple[int, dict[str, t.Any]]:
        if path == "/api/chat":
            state["asked"] += 1
            if state["asked"] == 2:  # the server ends: first the runner, then its port
                state["away"] = 3
                return 500, {"error": "an error was encountered while running the model: unexpected EOF"}
        if state["away"]:
            state["away"] -= 1
            raise ConnectionResetError
        return answer(method, path, body)

    server.answer = restart  # type: ignore[method-assign]
    server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
    results = lab.run(evaluate)
    assert results["passed"] == {"q4_K_M": True}
    assert prompts(server) == ["0 ?", "1 ?", "2 ?", "3 ?"]


def test_a_server_that_stays_away_fails_the_step_and_keeps_the_answers(
    lab: EvaluationLab, server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, _promote = lab.steps([lab.register(2, aliases=["latest"])], GATE)
    answer = server.answer

    def stop(method: str, path: str, body: dict[str, t.Any]) -> tuple[int, dict[str, t.Any]]:
        if len(server.bodies("/api/chat")) >= 2:
            raise ConnectionResetError
        return answer(method, path, body)

    server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
    with monkeypatch.context() as patched:
        patched.setattr(server, "answer", stop)
        patched.setattr(EvaluateStep, "limits", Limits(pause=0.01, away=0.1))
        with pytest.raises(RemoteError):
            perform(lab, evaluate)
    lab.run(evaluate)
    assert prompts(server) == ["0 ?", "1 ?", "2 ?", "3 ?"]


def test_the_time_is_bounded_and_the_next_attempt_continues(
    lab: EvaluationLab, server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, _promote = lab.steps([lab.register(2, aliases=["latest"])], GATE)
    with monkeypatch.context() as patched:
        patched.setattr(EvaluateStep, "limits", Limits(whole=-1.0))
        with pytest.raises(JobError, match="0 of 4 answers took more than") as caught:
            perform(lab, evaluate)
    assert "the answers are kept" in caught.value.hint and prompts(server) == []
    hung = threading.Event()

    def hang(_model: str, _prompt: str) -> str:
        hung.wait(5)
        return "homelab"

    with monkeypatch.context() as patched:
        patched.setattr(EvaluateStep, "limits", Limits(answer=0.2))
        patched.setattr(server, "reply", hang)
        with pytest.raises(RemoteError, match=r"0\.2"):
            perform(lab, evaluate)
        hung.set()
    lab.run(evaluate)
    assert prompts(server)[-4:] == ["0 ?", "1 ?", "2 ?", "3 ?"]


def test_a_renewed_evaluation_takes_over_what_was_answered(lab: EvaluationLab, server: FakeOllama) -> None:
    new = lab.register(2, aliases=["latest"])
    server.models["m:latest"] = "1" * 64
    evaluate, _promote = lab.steps([new], GATE)
    lab.run(evaluate)
    assert len(prompts(server)) == 8
    server.models["m:latest"] = "3" * 64
    lab.run(evaluate)
    assert len(prompts(server)) == 12, "the model that is served now was not asked before"
    more, _promote = lab.steps([new], [*GATE, {"prompt": "more ?", "contains": "homelab"}])
    assert more.spec.fingerprint != evaluate.spec.fingerprint
    lab.run(more)
    assert prompts(server)[12:] == ["more ?", "more ?"], "one new question, to both"
    report = lab.report(more)
    assert {model["label"]: model["measures"]["gate"]["met"] for model in report["models"]} == {
        "q4_K_M": 5,
        "served": 5,
    }


def test_drift(lab: EvaluationLab, server: FakeOllama) -> None:
    """It is looked at while the promotion is to be made."""
    new = lab.register(2, aliases=["latest"])
    server.models["m:latest"] = "1" * 64
    evaluate, _promote = lab.steps([new], GATE)
    lab.run(evaluate)
    ctx = lab.context(evaluate)

    def drift() -> list[str]:
        return [str(each) for each in EvaluateStep().drift(ctx)]

    assert drift() == []
    server.models["m:latest"] = "2" * 64
    assert drift() == [], "the candidate itself is served"
    del server.models["m:latest"]
    assert drift() == [], "there is nothing to compare with any more"
    server.models["m:latest"] = "3" * 64
    assert drift() == ["m:latest is another model than the one that was compared with"]
    server.models["m:latest"] = "1" * 64
    lab.receipt(new, {"tag": lab.tag(new), "digest": "9" * 64})
    assert drift() == ["q4_K_M was registered again and is another model than the one asked"]


def test_all_quantizations_and_the_base_are_asked(lab: EvaluationLab, server: FakeOllama) -> None:
    registers = [lab.register(4, "q8_0", ["latest"], size=200), lab.register(5, "q4_K_M", size=100)]
    base = lab.register(6, "q8_0", name="m-base")
    server.models["m:latest"] = "1" * 64
    declared = {"against": ["served", "base"]}
    base = dataclasses.replace(base, label="register-base")
    evaluate, _promote = lab.steps(registers, GATE, declared, base)
    results = lab.run(evaluate)
    assert results["items"] == 4 and results["parts"] == {"gate": 4}
    asked = [body["model"] for body in server.bodies("/api/chat")]
    order = ["m:latest", lab.tag(base), lab.tag(registers[1]), lab.tag(registers[0])]
    assert list(dict.fromkeys(asked)) == order and len(asked) == 4 * 4, "each model is loaded once"
    report = lab.report(evaluate)
    assert [(model["label"], model["role"]) for model in report["models"]] == [
        ("q8_0", "candidate"),
        ("q4_K_M", "candidate"),
        ("served", "served"),
        ("base", "base"),
    ]
    compared = {(each["model"], each["against"]) for each in report["comparisons"]}
    assert {("q4_K_M", "q8_0"), ("q4_K_M", "base"), ("q8_0", "served")} <= compared
    assert [body["model"] for body in server.bodies("/api/generate")] == [lab.tag(base)], "nobody else asks it"


def test_a_candidate_that_is_not_registered_is_named(lab: EvaluationLab, server: FakeOllama) -> None:
    new = lab.register(2, aliases=["latest"])
    evaluate, _promote = lab.steps([new], GATE)
    del server.models[lab.tag(new)]
    with pytest.raises(NotReadyError, match="is not in Ollama"):
        perform(lab, evaluate)
    assert not os.path.exists(os.path.join(lab.context(evaluate).work, "report.json"))


@pytest.fixture
def tests(lab: EvaluationLab) -> str:
    """Fingerprint of a dataset whose answers are texts."""
    records = [{"instruction": f"Question {number} ?", "output": f"Réponse {number}."} for number in range(3)]
    found = registry.apply(lab.layout, registry.Declaration("tests"), [registry.Source("records", records=records)])
    assert found.dataset is not None
    return found.dataset.fingerprint


def test_every_call_of_a_row_is_asked(lab: EvaluationLab, server: FakeOllama) -> None:
    """A row with a question, a call, its result and an answer: the call is measured, and then the answer."""
    tool = {
        "type": "function",
        "function": {"name": "meteo", "parameters": {"type": "object", "properties": {"ville": {"type": "string"}}}},
    }
    call = {"type": "function", "function": {"name": "meteo", "arguments": {"ville": "Lyon"}}}
    turns = [
        {"role": "user", "content": "Temps à Lyon ?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "gris"},
        {"role": "assistant", "content": "Il fait gris."},
    ]
    source = registry.Source("records", records=[{"messages": turns, "tools": [tool]}])
    dataset = registry.apply(lab.layout, registry.Declaration("calls"), [source]).dataset
    assert dataset is not None

    def reply(_model: str, prompt: str) -> str | dict[str, t.Any]:
        return "Il fait gris." if prompt == "gris" else {"content": "", "tool_calls": [call]}

    server.reply = reply
    declared = {"rows": dataset.fingerprint, "guard": dataset.fingerprint}
    evaluate, _promote = lab.steps([lab.register(2, aliases=["latest"])], None, declared)
    evaluate.spec.settings["rows"].pop("trained_on")
    assert lab.run(evaluate)["parts"] == {"held_out": 2, "guard": 2}
    measures = lab.report(evaluate)["models"][0]["measures"]
    assert {name: (each["met"], each["asked"]) for name, each in measures.items()} == {
        "calls": (1, 1),
        "exact": (1, 1),
        "same": (1, 1),
        "guard": (2, 2),
    }
    first, second = server.bodies("/api/chat")[:2]
    assert [message["role"] for message in first["messages"]] == ["user"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool"]
    assert first["tools"] == second["tools"] and first["tools"][0]["function"]["name"] == "meteo"


def rows(tests: str, **more: t.Any) -> dict[str, t.Any]:
    """An evaluation with the rows of a dataset, of which none is trained on."""
    return {"rows": tests, "judge": {"model": "judge:1"}, **more}


def test_texts_are_compared_by_a_judge_once(lab: EvaluationLab, server: FakeOllama, tests: str) -> None:
    new = lab.register(2, aliases=["latest"])
    server.models.update({"m:latest": "1" * 64, "judge:1": "7" * 64})

    def reply(model: str, _prompt: str) -> str:
        return '{"verdict": "first"}' if model == "judge:1" else f"I am {model}"

    server.reply = reply
    evaluate, _promote = lab.steps([new], None, rows(tests))
    evaluate.spec.settings["rows"].pop("trained_on")
    lab.run(evaluate)
    report = lab.report(evaluate)
    (pair,) = report["judge"]["pairs"]
    assert (pair["model"], pair["against"], pair["asked"]) == ("q4_K_M", "served", 3)
    assert pair["disagreements"] == 3 and pair["position"] == 1.0, "it says first in both orders"
    codes = [note["code"] for note in report["notes"]]
    assert "evaluations.judge_disagrees" in codes
    assert "evaluations.chrf_not_installed" in codes, "the converter's environment of this test has no sacrebleu"
    asked = [body["model"] for body in server.bodies("/api/chat")]
    assert asked.count("judge:1") == 6 and asked.count("m:latest") == 3
    perform(lab, evaluate)
    before = len(server.bodies("/api/chat"))
    lab.run(evaluate)
    lab.run(evaluate)
    assert len(server.bodies("/api/chat")) == before, "neither a continued attempt nor a renewed one judges it again"


def test_a_judge_that_is_not_there_is_told_before_the_first_question(
    lab: EvaluationLab, server: FakeOllama, tests: str
) -> None:
    evaluate, _promote = lab.steps([lab.register(2, aliases=["latest"])], None, rows(tests))
    evaluate.spec.settings["rows"].pop("trained_on")
    with pytest.raises(NotReadyError, match="judge:1"):
        perform(lab, evaluate)
    assert prompts(server) == []
