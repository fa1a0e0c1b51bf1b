# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``tool_format`` stands for, with the reason; and the house format as it is written and served."""

from __future__ import annotations

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.exactness import servable
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.house_format import (
    AUTO,
    HOUSE,
    TEMPLATE,
    calls_text,
    system_with_tools,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.probes import (
    PROBES,
    WEATHER,
    probes_for,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import served_format
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.tool_choice import (
    ToolUse,
    choose,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

PLAIN, CALLS = ToolUse(), ToolUse(rows=3, calls=2)
BESIDE, SEVERAL = ToolUse(3, 2, 0, 1), ToolUse(3, 2, 1, 0)


@pytest.mark.parametrize(
    ("template", "use", "expected", "reason"),
    [
        ("llama3", PLAIN, TEMPLATE, ""),
        ("qwen", PLAIN, TEMPLATE, ""),
        ("qwen", CALLS, TEMPLATE, "Ollama reads every call in the format of qwen back"),
        ("mistral", SEVERAL, TEMPLATE, "Ollama reads every call in the format of mistral back"),
        ("mistral", BESIDE, HOUSE, "cannot write a text beside a call in the format of mistral, and 1 row has one"),
        ("gemma3", CALLS, HOUSE, "Ollama reads back: all but those with an argument that is called name"),
        ("llama3", CALLS, HOUSE, "Ollama reads back: only a single call without text before it"),
        ("glm4", CALLS, HOUSE, "Ollama reads back: none"),
        ("gpt_oss", CALLS, TEMPLATE, "with a parser of its own, which reads no calls"),
        ("of_another_version", CALLS, TEMPLATE, ""),
    ],
)
def test_auto(template: str, use: ToolUse, expected: str, reason: str) -> None:
    choice = choose(AUTO, template, use)
    assert choice.format == expected
    assert reason in str(choice.reason or "") and bool(choice.reason) is bool(reason)
    assert (choice.warning is not None) is (template == "gpt_oss" and use is CALLS)


def test_declared() -> None:
    assert choose(HOUSE, "qwen", PLAIN).format == HOUSE
    assert str(choose(HOUSE, "qwen", PLAIN).reason) == "it is declared"
    kept = choose(TEMPLATE, "llama3", CALLS)
    assert kept.format == TEMPLATE and "only a single call without text before it" in str(kept.warning)
    assert choose(TEMPLATE, "llama3", PLAIN).warning is None
    assert choose(TEMPLATE, "qwen", CALLS).warning is None


@pytest.mark.parametrize(
    ("declared", "template", "use", "what"),
    [
        (HOUSE, "gpt_oss", CALLS, "does not work with the chat template gpt_oss"),
        (TEMPLATE, "gemma3", BESIDE, "The training would fail: LLaMA-Factory cannot write a text beside a call"),
        (TEMPLATE, "glm4", SEVERAL, "cannot write several calls at once"),
    ],
)
def test_what_cannot_be_trained_is_refused(declared: str, template: str, use: ToolUse, what: str) -> None:
    with pytest.raises(InputError, match=what):
        choose(declared, template, use)


def test_what_is_written() -> None:
    with_system = system_with_tools("Tu aides.", [WEATHER])
    assert with_system.startswith("Tu aides.\n\n# Tools\n\nYou may call")
    assert system_with_tools("", [WEATHER]) == with_system.removeprefix("Tu aides.\n\n")
    assert '<tools>\n{"type": "function", "function": {"name": "get_weather"' in with_system
    call = {"name": "f", "arguments": {"a": "é"}}
    assert calls_text([call, call]) == "\n".join(
        ['<tool_call>\n{"name": "f", "arguments": {"a": "é"}}\n</tool_call>'] * 2
    )


def test_what_is_served() -> None:
    """A parser for templates without thoughts; no date, no indented JSON; several calls with every template."""
    house, own = (served_format("llama3", tool_format=each, date="05 Mar 2026") for each in (HOUSE, TEMPLATE))
    assert (house.parser, own.parser) == ("qwen3", "")
    assert "05 Mar 2026" in own.template and "05 Mar 2026" not in house.template
    assert house.stops == own.stops
    assert served_format("deepseekr1", eos="</s>", tool_format=HOUSE).parser == ""
    assert served_format("glm4_7", tool_format=HOUSE).parser == "qwen3-thinking"
    assert probes_for("glm4", tool_format=HOUSE) == PROBES
    for name in servable():
        served = served_format(name, eos="</s>", bos="<s>", tool_format=HOUSE)
        assert "{{ if and false .ToolCalls }}<tool_call>{{ end }}" in served.template


def test_probe_in_the_house_format() -> None:
    probe = next(each for each in PROBES if each.name == "tools, no system prompt")
    form = probe.training_form("qwen", tool_format=HOUSE)
    assert form["tools"] == "" and form["system"].startswith("You are Qwen, created by Alibaba Cloud.")
    own = probe.training_form("qwen", tool_format=HOUSE, default_system="")
    assert own["system"].startswith("# Tools")
    called = next(each for each in PROBES if each.name == "parallel calls").training_form("llama3", tool_format=HOUSE)
    assert [message["role"] for message in called["messages"]] == ["user", "assistant", "observation", "assistant"]
