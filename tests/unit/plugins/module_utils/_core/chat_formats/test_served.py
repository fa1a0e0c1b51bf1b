# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model is registered with. tests/real compares how Ollama renders it with the text of the training."""

from __future__ import annotations

import re

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats import exactness
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.facts import facts_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.go_text import (
    joined,
    literal,
    quoted,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import (
    begins_with,
    contains_bos,
    has_thoughts,
    needs_date,
    needs_eos,
    served_format,
    starts_with_bos,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.tool_formats import (
    unread_calls,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

_DEFINITION = re.compile(r'{{ define "(\w+)" }}')
_USE = re.compile(r'{{ template "(\w+)"')
#: PARSER names that Ollama 0.24 and 0.32 both have (model/parsers/parsers.go).
PARSERS = {"", "glm-4.7", "lfm2", "passthrough", "qwen3", "qwen3-coder", "qwen3.5"}


def test_golden_qwen_template() -> None:
    """Golden text: a change here changes the template of every model registered from now on."""
    served = served_format("qwen")
    assert served.template.endswith(
        "<|im_end|>\n{{ end }}"
        '{{ $tail := "" }}{{ $was := "" }}{{ range .Messages }}{{ if eq .Role "tool" }}{{ if eq $was "tool" }}\n'
        "</tool_response>\n<tool_response>\n{{ else }}{{ $tail }}<|im_start|>user\n<tool_response>\n{{ end }}"
        '{{ .Content }}{{ $was = "tool" }}'
        '{{ $tail = "\\n</tool_response><|im_end|>\\n<|im_start|>assistant\\n" }}'
        '{{ else if eq .Role "user" }}{{ $tail }}<|im_start|>user\n{{ .Content }}{{ $was = "user" }}'
        '{{ $tail = "<|im_end|>\\n<|im_start|>assistant\\n" }}'
        '{{ else if eq .Role "assistant" }}{{ $tail }}{{ $was = "" }}{{ if .ToolCalls }}{{ .Content }}'
        '{{ $n := "" }}{{ range .ToolCalls }}{{ $n }}{{ $n = "\\n" }}<tool_call>\n'
        '{"name": {{ template "s" .Function.Name }}, "arguments": {{ template "j" .Function.Arguments }}}\n'
        '</tool_call>{{ end }}{{ $tail = "<|im_end|>\\n" }}{{ else }}{{ .Content }}{{ $tail = "<|im_end|>\\n" }}'
        "{{ end }}{{ end }}{{ end }}{{ if $was }}{{ $tail }}{{ end }}"
    )
    assert (
        '{{ $sys := .System }}{{ if not $sys }}{{ $sys = "You are Qwen, created by Alibaba Cloud. You are a helpful '
        'assistant." }}{{ end }}{{ if or $sys .Tools }}<|im_start|>system\n{{ $sys }}{{ if .Tools }}\n\n# Tools'
    ) in served.template
    assert (served.parser, served.stops) == ("qwen3", ("<|im_end|>",))
    assert served.default_system == facts_of("qwen").default_system


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("name", exactness.servable())
def test_every_template(name: str, thinking: bool) -> None:
    bos = "<s>" if starts_with_bos(name) else ""
    served = served_format(name, enable_thinking=thinking, eos="</s>", bos=bos, date="05 Mar 2026")
    text = served.template
    blocks = len(re.findall(r"{{ (?:if|range|define|with) ", text))
    assert blocks == text.count("{{ end }}")
    assert set(_USE.findall(text)) <= set(_DEFINITION.findall(text))
    # what keeps TEMPLATE in force on Ollama 0.30 and later
    assert 'eq .Role "tool"' in text and ".Tools" in text and ".ToolCalls" in text
    assert served.parser in PARSERS and all(served.stops)
    assert ("</s>" in served.stops) == needs_eos(name)
    assert has_thoughts(name) or text == served_format(name, eos="</s>", bos=bos, date="05 Mar 2026").template
    assert ("05 Mar 2026" in text) == needs_date(name) and "{date}" not in text


def test_special_tokens_of_the_base() -> None:
    assert needs_eos("mistral") and starts_with_bos("mistral") and not needs_eos("qwen")
    served = served_format("mistral", eos="<end>", bos="<begin>")
    assert "<begin>{{ $first := true }}" in served.template and '{{ $tail = "<end>" }}' in served.template
    assert served.stops == ("<end>",)
    assert "<begin>" not in served_format("mistral", eos="<end>").template
    assert contains_bos("seed_coder") and "<begin>user" in served_format("seed_coder", bos="<begin>").template


def test_a_text_that_the_server_puts_before_the_prompt_is_left_out() -> None:
    """hunyuan writes its first token itself, which a server that adds BOS writes, too."""
    first = "<|startoftext|>"
    assert begins_with("hunyuan", first) and not begins_with("hunyuan", "<s>") and not begins_with("qwen", "")
    assert begins_with("mistral", "<s>")
    assert first not in served_format("hunyuan", server_bos=first).template
    assert first in served_format("hunyuan", server_bos="<s>").template
    assert served_format("hunyuan").template == served_format("hunyuan", server_bos="<s>").template


def test_thoughts() -> None:
    closed = "<think>\n\n</think>\n\n"
    on, off = served_format("qwen3"), served_format("qwen3", enable_thinking=False)
    assert "{{ if and false .Thinking }}<think>\n{{ .Thinking }}\n</think>\n\n{{ end }}" in on.template
    assert ".Thinking" not in off.template and off.template.endswith(f"{{{{ $tail }}}}{closed}{{{{ end }}}}")
    # a parser for thoughts would take a continued answer, which has none, for a thought
    assert (on.parser, off.parser) == ("", "qwen3")
    assert served_format("qwen", enable_thinking=False) == served_format("qwen")
    assert served_format("glm4_7").parser == "glm-4.7"
    assert (served_format("qwen3_5").parser, served_format("qwen3_5", enable_thinking=False).parser) == (
        "qwen3.5",
        "qwen3-coder",
    )


def test_base_whose_chat_template_knows_thoughts() -> None:
    """TEMPLATE shows the capability where no parser keeps it in force."""
    unused = "{{ if and false .Thinking }}<think>{{ .Thinking }}</think>{{ end }}"
    assert unused in served_format("llama3", base_thinks=True).template
    assert unused not in served_format("llama3").template
    assert served_format("qwen", base_thinks=True) == served_format("qwen")
    assert served_format("qwen3", base_thinks=True) == served_format("qwen3")
    assert unused in served_format("deepseekr1", enable_thinking=False, eos="</s>", base_thinks=True).template


def test_default_system() -> None:
    served = served_format("qwen", default_system='Tu es "bref".\n')
    assert served.default_system == 'Tu es "bref".\n'
    assert '{{ $sys = "Tu es \\"bref\\".\\n" }}' in served.template and "You are Qwen" not in served.template
    assert "$sys = " not in served_format("qwen", default_system="").template


def test_calls_read_back() -> None:
    for name, tag in (("qwen", "<tool_call>"), ("llama3", '{"name"'), ("mistral", "[TOOL_CALLS]")):
        assert f"{{{{ if and false .ToolCalls }}}}{tag}{{{{ end }}}}" in served_format(name, eos="</s>").template
    assert unread_calls(facts_of("qwen")) is None
    assert str(unread_calls(facts_of("glm4"))).startswith("none")
    assert str(unread_calls(facts_of("gemma4"))).startswith("none")


@pytest.mark.parametrize("name", ["gemma4", "vicuna", "qwen4"])
def test_refusal(name: str) -> None:
    with pytest.raises(InputError, match=name):
        served_format(name)


def test_go_text() -> None:
    assert literal("a{b") == "a{b" and literal("") == ""
    assert literal("a{") == '{{ "a{" }}' and literal("{{ x }}") == '{{ "{{ x }}" }}'
    assert quoted('é"\n') == '"é\\"\\n"'
    assert joined(".Tools", ", ", "x") == '{{ $n := "" }}{{ range .Tools }}{{ $n }}{{ $n = ", " }}x{{ end }}'
