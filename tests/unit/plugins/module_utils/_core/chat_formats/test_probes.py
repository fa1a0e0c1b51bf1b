# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probes in both forms, and the comparison of a server's prompt with that of the training."""

from __future__ import annotations

import json

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.canonical import (
    canonical_tools,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.exactness import (
    SINGLE_TURN,
    exactness_of,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.facts import names
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.probes import (
    PROBES,
    THOUGHT_PROBES,
    WEATHER,
    Probe,
    answer,
    calls,
    probes_for,
    result,
    system,
    user,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.proof import compare

CALL = ("get_weather", {"city": "Brest"})


def test_names_are_unique_and_tools_canonical() -> None:
    every = [*PROBES, *THOUGHT_PROBES]
    assert len({probe.name for probe in every}) == len(every)
    for probe in every:
        assert canonical_tools(probe.tools) == (list(probe.tools), [])
        assert json.loads(json.dumps(probe.request())) == probe.request()


def test_which_probes_a_template_has() -> None:
    assert probes_for("qwen") == PROBES
    assert probes_for("qwen3") == PROBES + THOUGHT_PROBES
    assert probes_for("qwen3", enable_thinking=False) == PROBES
    # LLaMA-Factory cannot render several calls for it
    assert [probe.name for probe in PROBES if probe not in probes_for("glm4")] == ["parallel calls"]
    single = [name for name in names() if exactness_of(name).level == SINGLE_TURN]
    assert all(len(probes_for(name)) >= 10 for name in names() if name not in single)
    assert {len(probes_for(name)) for name in single} == {len(probes_for("youtu"))} and len(single) == 14


def test_training_form() -> None:
    probe = Probe(
        "x", (system("S"), user("U"), calls(CALL, CALL), result("1"), result("2"), answer("A"), user("V")), (WEATHER,)
    )
    assert probe.turns == 3 and not probe.continued and probe.has_parallel_calls and not probe.has_thoughts
    form = probe.training_form("zephyr", "</s>")
    assert (form["name"], form["system"], form["continued"]) == ("x", "S", False)
    assert json.loads(form["tools"]) == [WEATHER]
    assert [message["role"] for message in form["messages"]] == [
        *("user", "function", "observation", "assistant", "user", "assistant")
    ]
    assert form["messages"][2]["content"] == "1</s><|user|>\n2"
    assert json.loads(form["messages"][1]["content"]) == [{"name": CALL[0], "arguments": CALL[1]}] * 2


def test_training_form_of_thoughts_and_of_text_before_a_call() -> None:
    probe = Probe("x", (user("U"), calls(CALL, text="T", thinking="P"), result("1"), answer("A", "Q")))
    assert probe.continued and probe.turns == 2 and probe.has_thoughts
    messages = probe.training_form("qwen3")["messages"]
    assert messages[1]["content"] == (
        '<think>\nP\n</think>\n\nT<tool_call>{"name": "get_weather", "arguments": {"city": "Brest"}}</tool_call>'
    )
    assert messages[-1] == {"role": "assistant", "content": "<think>\nQ\n</think>\n\nA"}
    assert probe.training_form("qwen3")["tools"] == ""


def test_equal_prompts() -> None:
    assert compare("p", {"text": "<s>ab", "ids": [1, 2]}, "<s>ab", 2) is None
    assert compare("p", {"text": "<s>ab", "ids": [1, 2]}, "ab", 2, server_bos="<s>") is None
    assert compare("p", {"text": "ab", "ids": [1]}, "ab") is None


def test_different_texts() -> None:
    first = "x" * 100 + "Bonjour, je suis " + "y" * 100
    found = compare("continued answer", {"text": first, "ids": [1]}, first.replace("je", "tu"), 1)
    assert found is not None and (found.probe, found.position) == ("continued answer", 109)
    assert str(found) == (
        "The prompt of the probe 'continued answer' differs at character 109: training has "
        f"…'{'x' * 31}Bonjour, je suis {'y' * 52}'…, the server …'{'x' * 31}Bonjour, tu suis {'y' * 52}'…."
    )
    shorter = compare("p", {"text": "ab", "ids": []}, "a")
    assert shorter is not None and shorter.position == 1
    assert str(shorter) == "The prompt of the probe 'p' differs at character 1: training has 'ab', the server 'a'."


@pytest.mark.parametrize("tokens", [0, 3])
def test_different_tokens(tokens: int) -> None:
    found = compare("p", {"text": "ab", "ids": [1, 2]}, "ab", tokens)
    assert found is not None and (found.position, found.expected, found.got) == (None, "2", str(tokens))
    assert f"has 2 tokens in training and {tokens} in the server" in str(found)
