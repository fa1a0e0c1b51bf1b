# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registration asks the server for its prompts; a stand-in renders them. tests/real asks real servers."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.probes import probes_for
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import prompt_proof
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.prompt_probes import Probes
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.prompt_proof import (
    NotProvenError,
    prove,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama

TAG = "m:0a1b2c3d4e5f-q4_K_M"
NAMES = [probe.name for probe in probes_for("qwen")]
WITHOUT_SYSTEM = ["no system prompt", "tools, no system prompt"]


def rendering(body: t.Mapping[str, t.Any]) -> tuple[str, int]:
    """A prompt that depends on everything that is sent, and its number of tokens."""
    text = json.dumps([body["messages"], body.get("tools")], ensure_ascii=False)
    return text, len(text)


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models = {TAG: "1" * 64}
        server.loaded = [TAG]
        server.render = rendering
        yield server


@pytest.fixture
def probes() -> Probes:
    """What the training rendered: the same as the stand-in does."""
    rendered = {}
    for probe in probes_for("qwen"):
        text, count = rendering(probe.request())
        rendered[probe.name] = {"text": text, "ids": list(range(count))}
    return Probes("qwen", rendered=rendered)


def test_equal_prompts_are_proven(server: FakeOllama, probes: Probes) -> None:
    proof = prove(Ollama(server.url), TAG, probes)
    assert (proof["probes"], proof["skipped"]) == (NAMES, {})
    assert proof["counted"][:3] == ["several turns", "special characters", "continued answer"]
    answered = [body for body in server.bodies("/api/chat") if not body.get("_debug_render_only")]
    assert [body["options"]["num_predict"] for body in answered] == [1] * len(proof["counted"])
    assert server.loaded == [TAG]


def test_model_leaves_memory_if_wanted(server: FakeOllama, probes: Probes) -> None:
    prove(Ollama(server.url), TAG, probes, unload=True)
    assert server.loaded == []


@pytest.mark.parametrize("name", NAMES)
def test_first_difference_is_shown(server: FakeOllama, probes: Probes, name: str) -> None:
    """With the probe, the place and both texts."""
    expected = probes.rendered[name]["text"]
    probes.rendered[name]["text"] = f"{expected[:30]}<|im_end|>{expected[30:]}"
    with pytest.raises(NotProvenError) as caught:
        prove(Ollama(server.url), TAG, probes)
    assert caught.value.details["probe"] == name and caught.value.details["position"] == 30
    assert "<|im_end|>" in caught.value.details["expected"] and caught.value.details["got"] == expected
    assert TAG in caught.value.message and repr(name) in caught.value.message
    assert "No tag was moved." in caught.value.hint


def test_other_number_of_tokens_is_a_difference(server: FakeOllama, probes: Probes) -> None:
    probes.rendered["several turns"]["ids"].append(7)
    with pytest.raises(NotProvenError, match="tokens in training"):
        prove(Ollama(server.url), TAG, probes)


def test_large_model_on_a_slow_machine_answers_three_probes(
    server: FakeOllama, probes: Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_proof, "_ANSWER_SECONDS", -1.0)
    proof = prove(Ollama(server.url), TAG, probes)
    assert proof["counted"] == ["several turns", "special characters", "continued answer"]
    assert proof["probes"] == NAMES, "the texts of all are compared"


@pytest.mark.parametrize(
    ("system", "default", "skipped"),
    [
        ("", "", []),
        ("", "You are Qwen.", []),
        ("You are Qwen.", "You are Qwen.", []),
        ("Tu aides.", "You are Qwen.", WITHOUT_SYSTEM),
        ("Tu aides.", "", WITHOUT_SYSTEM),
    ],
)
def test_own_system_prompt_takes_part_in_no_probe_without_one(
    server: FakeOllama, probes: Probes, system: str, default: str, skipped: list[str]
) -> None:
    proof = prove(Ollama(server.url), TAG, probes, system=system, default_system=default)
    assert list(proof["skipped"]) == skipped
    assert proof["probes"] == [name for name in NAMES if name not in skipped]


def test_probe_that_training_could_not_render_is_named(server: FakeOllama, probes: Probes) -> None:
    probes.rendered["tools"].clear()
    probes.rendered["tools"]["error"] = "RuntimeError: no tools"
    proof = prove(Ollama(server.url), TAG, probes)
    assert "RuntimeError: no tools" in proof["skipped"]["tools"] and "tools" not in proof["probes"]
    assert proof["skipped_messages"]["tools"]["code"] == "steps.probe_not_rendered"


def test_without_probes_the_model_has_to_answer(server: FakeOllama) -> None:
    proof = prove(Ollama(server.url), TAG, Probes("qwen", reason=Message("steps.training_receipt_missing")))
    assert proof == {
        "probes": [],
        "counted": [],
        "skipped": {"all": "the receipt of the training is missing"},
        "skipped_messages": {"all": Message("steps.training_receipt_missing").as_dict()},
    }
    assert len(server.bodies("/api/chat")) == 1


def test_model_that_cannot_be_loaded_is_no_success(server: FakeOllama, probes: Probes) -> None:
    server.reply = lambda _model, _prompt: 500
    for each in (probes, Probes("qwen")):
        with pytest.raises(NotProvenError, match=f"{TAG} cannot be used"):
            prove(Ollama(server.url), TAG, each)


def test_server_that_does_not_answer_proves_nothing(server: FakeOllama, probes: Probes) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(RemoteError):
        prove(Ollama(url), TAG, probes)


def test_small_context_is_enlarged_for_the_probes(server: FakeOllama, probes: Probes) -> None:
    prove(Ollama(server.url), TAG, probes, parameters={"num_ctx": 512})
    assert {body["options"]["num_ctx"] for body in server.bodies("/api/chat")} == {4096}
