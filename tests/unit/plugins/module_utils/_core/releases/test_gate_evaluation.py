# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate asks models over HTTP; a stand-in for Ollama answers."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError, RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import Gate, read_gate
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate_evaluation import evaluate
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models = {"m:new": "1" * 64, "m:latest": "2" * 64}
        yield server


def gate(**more: t.Any) -> Gate:
    prompts = [{"prompt": "Qui es-tu ?", "contains": "homelab"}, {"prompt": "2 + 2 ?", "equals": "4", "max_tokens": 9}]
    declared = read_gate({"prompts": prompts, **more})
    assert declared is not None
    return declared


def good(_model: str, prompt: str) -> str:
    return "Le homelab." if prompt == "Qui es-tu ?" else "4"


def test_candidate_and_served_model_are_asked_the_same(server: FakeOllama) -> None:
    server.reply = lambda model, prompt: good(model, prompt) if model == "m:new" else "Qwen"
    counted: list[tuple[int, int]] = []
    report = evaluate(Ollama(server.url), gate(), "m:new", "m:latest", lambda *count: counted.append(count))
    assert report["passed"] and report["asked"] == 2
    assert report["candidate"] == {"model": "m:new", "digest": "1" * 64, "met": 2}
    assert report["served"] == {"model": "m:latest", "digest": "2" * 64, "met": 0}
    assert counted == [(1, 4), (2, 4), (3, 4), (4, 4)]
    asked = [(body["model"], body["messages"][-1]["content"]) for body in server.bodies("/api/chat")]
    assert asked == [(model, text) for model in ("m:latest", "m:new") for text in ("Qui es-tu ?", "2 + 2 ?")], (
        "the served model comes first: it is loaded"
    )
    options = [body["options"] for body in server.bodies("/api/chat")]
    assert all(each == {"temperature": 0, "seed": 42, "num_predict": 1024} for each in options)
    assert server.bodies("/api/generate") == [], "a candidate that passes stays in memory"


@pytest.mark.parametrize("served", ["", "m:gone", "m:same"])
def test_without_another_served_model_only_the_candidate_is_asked(server: FakeOllama, served: str) -> None:
    server.models["m:same"] = server.models["m:new"]
    server.reply = good
    counted: list[tuple[int, int]] = []
    report = evaluate(Ollama(server.url), gate(), "m:new", served, lambda *count: counted.append(count))
    assert report["passed"] and report["served"] is None
    assert {body["model"] for body in server.bodies("/api/chat")} == {"m:new"}
    assert counted[-1] == (2, 2)


def test_a_rejected_candidate_is_unloaded(server: FakeOllama) -> None:
    server.reply = lambda _model, _prompt: "Qwen"
    server.loaded = ["m:new", "m:latest"]
    report = evaluate(Ollama(server.url), gate(), "m:new", "m:latest")
    assert not report["passed"] and report["candidate"]["met"] == 0
    assert server.loaded == ["m:latest"], "the memory is for the model that stays in use"


def test_a_served_model_that_fails_blocks_no_better_one(server: FakeOllama) -> None:
    server.reply = lambda model, prompt: 500 if model == "m:latest" else good(model, prompt)
    report = evaluate(Ollama(server.url), gate(no_regression=True), "m:new", "m:latest")
    assert report["passed"] and report["served"] is None
    assert "told to fail" in report["served_error"]
    assert report["served_error_message"]["code"].startswith("ollama.")
    assert report["served_error_message"]["text"] in report["served_error"]


def test_a_candidate_that_fails_is_an_error(server: FakeOllama) -> None:
    server.reply = lambda model, prompt: 500 if model == "m:new" else good(model, prompt)
    with pytest.raises(RemoteError, match="told to fail"):
        evaluate(Ollama(server.url), gate(), "m:new", "m:latest")


def test_a_candidate_that_does_not_exist_is_named(server: FakeOllama) -> None:
    with pytest.raises(NotReadyError, match="m:other is not in Ollama at http://127.0.0.1"):
        evaluate(Ollama(server.url), gate(), "m:other", "m:latest")
    assert server.bodies("/api/chat") == []


def test_what_the_server_counts_is_in_the_report(server: FakeOllama) -> None:
    server.reply = good
    entry = evaluate(Ollama(server.url), gate(), "m:new")["questions"][0]
    assert entry["after"]["text"] == "Le homelab."
    assert (entry["after"]["tokens"], entry["after"]["seconds"], entry["after"]["ended"]) == (2, 1.5, True)
