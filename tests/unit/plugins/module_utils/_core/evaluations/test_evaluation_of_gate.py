# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The questions of a gate are asked of models over HTTP; a stand-in for Ollama answers."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError, RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import requirements
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.evaluation import (
    Subject,
    evaluate,
    is_complete,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.failures import failure_lines
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.items import Item
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.asked_gate import NEW, AskedGate, ask_gate
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models = {"m:new": "1" * 64, "m:latest": "2" * 64}
        yield server


def gate(**more: t.Any) -> dict[str, t.Any]:
    prompts = [{"prompt": "Qui es-tu ?", "contains": "homelab"}, {"prompt": "2 + 2 ?", "equals": "4", "max_tokens": 9}]
    return {"prompts": prompts, **more}


def good(_model: str, prompt: str) -> str:
    return "Le homelab." if prompt == "Qui es-tu ?" else "4"


def test_candidate_and_served_model_are_asked_the_same(server: FakeOllama, tmp_path: Path) -> None:
    server.reply = lambda model, prompt: good(model, prompt) if model == "m:new" else "Qwen"
    counted: list[tuple[int, int, str]] = []
    asked = ask_gate(Ollama(server.url), tmp_path, gate(), "m:new", "m:latest", lambda *each: counted.append(each))
    assert asked.passed and asked.report["items"] == 2 and asked.report["parts"] == {"gate": 2}
    assert (asked.met(), asked.met("served")) == (2, 0)
    assert [(model["role"], model["digest"]) for model in asked.report["models"]] == [
        ("candidate", "1" * 64),
        ("served", "2" * 64),
    ]
    assert counted == [(1, 4, "served"), (2, 4, "served"), (3, 4, NEW), (4, 4, NEW)]
    requests = [(body["model"], body["messages"][-1]["content"]) for body in server.bodies("/api/chat")]
    assert requests == [(model, text) for model in ("m:latest", "m:new") for text in ("Qui es-tu ?", "2 + 2 ?")], (
        "the new model comes last: it stays in memory"
    )
    options = [body["options"] for body in server.bodies("/api/chat")]
    assert all(each == {"temperature": 0, "seed": 42, "num_predict": 1024} for each in options)
    assert server.bodies("/api/generate") == [] and is_complete(asked.directory)


def test_the_model_in_memory_is_asked_first(server: FakeOllama, tmp_path: Path) -> None:
    server.reply, server.loaded = good, ["m:new"]
    ask_gate(Ollama(server.url), tmp_path, gate(), "m:new", "m:latest")
    assert [body["model"] for body in server.bodies("/api/chat")] == ["m:new", "m:new", "m:latest", "m:latest"]


@pytest.mark.parametrize("served", ["", "m:gone", "m:same"])
def test_without_another_served_model_only_the_candidate_is_asked(
    server: FakeOllama, tmp_path: Path, served: str
) -> None:
    server.models["m:same"] = server.models["m:new"]
    server.reply = good
    counted: list[tuple[int, int, str]] = []
    asked = ask_gate(Ollama(server.url), tmp_path, gate(), "m:new", served, lambda *each: counted.append(each))
    assert asked.passed and asked.met("served") is None
    assert {body["model"] for body in server.bodies("/api/chat")} == {"m:new"}
    assert counted[-1] == (2, 2, NEW)


def test_a_served_model_that_fails_blocks_no_better_one(server: FakeOllama, tmp_path: Path) -> None:
    server.reply = lambda model, prompt: 500 if model == "m:latest" else good(model, prompt)
    asked = ask_gate(Ollama(server.url), tmp_path, gate(no_regression=True), "m:new", "m:latest")
    assert asked.passed and asked.met("served") is None
    assert asked.report["digests"] == {NEW: "1" * 64, "served": "2" * 64}
    (note,) = [each for each in asked.report["notes"] if each["code"] == "evaluations.not_compared"]
    assert "told to fail" in note["text"] and note["text"].startswith("m:latest is not compared with")


def test_a_candidate_that_fails_is_an_error(server: FakeOllama, tmp_path: Path) -> None:
    server.reply = lambda model, prompt: 500 if model == "m:new" else good(model, prompt)
    with pytest.raises(RemoteError, match="told to fail"):
        ask_gate(Ollama(server.url), tmp_path, gate(), "m:new", "m:latest")


def test_a_candidate_that_does_not_exist_is_named(server: FakeOllama, tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"m:other is not in Ollama at http://127.0.0.1"):
        ask_gate(Ollama(server.url), tmp_path, gate(), "m:other", "m:latest")
    assert server.bodies("/api/chat") == []


def of_texts(
    server: FakeOllama, directory: Path, after: list[str], before: list[str] | None = None, **more: t.Any
) -> AskedGate:
    """The result for these answers of the new model, and of the served one."""
    prompts = [{"prompt": f"{number}?", "equals": "ok"} for number in range(len(after))]

    def reply(model: str, prompt: str) -> str:
        return (after if model == "m:new" else before or [])[int(prompt[:-1])]

    server.reply = reply
    served = "m:latest" if before is not None else ""
    return ask_gate(Ollama(server.url), directory, {"prompts": prompts, **more}, "m:new", served)


@pytest.mark.parametrize(
    ("conditions", "after", "before", "passed"),
    [
        ({}, ["ok", "ok"], None, True),
        ({}, ["ok", "no"], None, False),
        ({"allowed_failures": 1}, ["ok", "no"], None, True),
        ({"allowed_failures": 1}, ["ok", "no"], ["no", "ok"], True),
        # a question that the served model passed fails now
        ({"allowed_failures": 1, "no_regression": True}, ["ok", "no"], ["no", "ok"], False),
        ({"allowed_failures": 1, "no_regression": True}, ["ok", "no"], ["no", "no"], True),
        # without a served model there is no regression
        ({"allowed_failures": 1, "no_regression": True}, ["ok", "no"], None, True),
    ],
)
def test_conditions_of_a_gate(
    server: FakeOllama,
    tmp_path: Path,
    conditions: dict[str, t.Any],
    after: list[str],
    before: list[str] | None,
    passed: bool,
) -> None:
    asked = of_texts(server, tmp_path, after, before, **conditions)
    assert asked.passed is passed
    assert asked.met() == after.count("ok") and asked.met("served") == (before.count("ok") if before else None)


def test_failure_lines_show_question_answer_and_expectation(server: FakeOllama, tmp_path: Path) -> None:
    asked = of_texts(server, tmp_path / "a", ["ok", "non\nnon"], ["ok", "ok"])
    assert asked.summary() == "1 of 2 answers of m:new are as expected, 2 of m:latest."
    assert asked.lines() == [
        "2. '1?'",
        "   answer: 'non non'",
        "   it is not 'ok'",
        "   served now: 'ok' (as expected)",
    ]
    asked = of_texts(server, tmp_path / "b", ["no"] * 30)
    assert asked.lines(max_questions=2)[-1] == "and 28 more."
    assert "…" in of_texts(server, tmp_path / "c", ["no" * 999]).lines()[1]


def test_what_was_better_before_is_shown_first(server: FakeOllama, tmp_path: Path) -> None:
    asked = of_texts(server, tmp_path, ["no", "no", "no"], ["no", "ok", "no"])
    assert [line for line in asked.lines() if line[0].isdigit()] == ["2. '1?'", "1. '0?'", "3. '2?'"]


def test_texts_are_shown_where_a_measure_of_texts_is_not_met(server: FakeOllama, tmp_path: Path) -> None:
    """They may say the same as the reference: without such a requirement they are no failures."""
    items = [
        Item(
            str(number),
            "held_out",
            ({"role": "user", "content": f"{number}?"},),
            reference={"content": f"Yes {number}", "calls": []},
        )
        for number in range(3)
    ]
    server.reply = lambda model, prompt: "Yes 1" if (model, prompt) == ("m:latest", "1?") else "No"

    def lines(name: str, **required: float) -> list[str]:
        directory = tmp_path / name
        directory.mkdir()
        required_of = requirements.read(required, Message("evaluations.place"))
        subject = Subject("m", {NEW: "m:new"}, NEW, "m:latest", required=required_of)
        report = evaluate(Ollama(server.url), str(directory), items, subject)
        return [str(line) for line in failure_lines(str(directory), report, NEW)]

    assert lines("a", guard=0.5) == []
    assert lines("b", same=0.5) == [
        "2. '1?'", "   answer: 'No'", "   it is not 'Yes 1'", "   served now: 'Yes 1' (as expected)",
        "1. '0?'", "   answer: 'No'", "   it is not 'Yes 0'", "   served now: 'No' (it is not 'Yes 0')",
        "3. '2?'", "   answer: 'No'", "   it is not 'Yes 2'", "   served now: 'No' (it is not 'Yes 2')",
    ]  # fmt: skip
