# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of the Ollama templates. tests/real compares how Ollama renders them with the text of the training."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.catalogue import CATALOGUE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.chat_templates import (
    TEMPLATES,
    system_for,
    template_for,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError


def test_golden_qwen_template() -> None:
    """Golden text: a change here changes the template of every model registered from now on."""
    template = template_for("qwen")
    assert template.go_template() == (
        "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n"
        "{{ else }}<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        '{{ end }}{{ range .Messages }}{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '<|im_start|>assistant\n{{ else if eq .Role "assistant" }}{{ .Content }}<|im_end|>\n{{ end }}{{ end }}'
    )
    assert template.stop_strings() == ["<|im_end|>"]


def test_template_contains_the_special_tokens_of_the_base() -> None:
    template = template_for("mistral")
    assert template.needs_eos
    text = template.go_template("</s>", "<s>")
    assert text.startswith("<s>{{ $system := .System }}")
    assert "{{ .Content }}</s>" in text and "{eos}" not in text
    assert template.stop_strings("</s>") == ["</s>"]
    assert not template_for("qwen").needs_eos


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_every_template(name: str) -> None:
    template = template_for(name)
    text = template.go_template("</s>", "<s>" if template.bos else "")
    assert text.count("{{") == text.count("}}")
    assert template.stop_strings("</s>")
    assert all(stop and "{" not in stop for stop in template.stop_strings("</s>"))


def test_every_catalogue_template_is_supported() -> None:
    assert {entry.template for entry in CATALOGUE} <= set(TEMPLATES)


def test_without_thinking() -> None:
    closed = "<think>\n\n</think>\n\n"
    assert template_for("qwen3", False).go_template().endswith(closed)
    assert template_for("qwen3", None).go_template().endswith(closed)
    assert not template_for("qwen3").go_template().endswith(closed)
    assert template_for("qwen", False) == template_for("qwen")


def test_unknown_template_is_refused_with_suggestions() -> None:
    with pytest.raises(InputError, match="'qwen4'") as caught:
        template_for("qwen4")
    assert "Did you mean qwen" in caught.value.hint
    assert caught.value.details["known"] == sorted(TEMPLATES)
    with pytest.raises(InputError):
        template_for("vicuna")


def systems(**more: t.Any) -> dict[str, t.Any]:
    return {"systems": {"most_common": "Tu aides.", "rows": 50, "distinct": 1, "exact": True, "without": 0, **more}}


def test_system_of_the_data() -> None:
    qwen = template_for("qwen")
    assert system_for(qwen, systems()) == ("Tu aides.", "")
    assert system_for(qwen, {}) == (qwen.default_system, "")
    assert system_for(template_for("llama3"), {}) == ("", "")
    assert system_for(qwen, systems(most_common="", rows=0, distinct=0, without=50)) == (qwen.default_system, "")


def test_differing_system_prompts_cause_a_warning() -> None:
    qwen = template_for("qwen")
    system, warning = system_for(qwen, systems(rows=30, distinct=3, without=20))
    assert system == "Tu aides."
    assert "3 different system prompts" in warning and "20 rows have none" in warning and "30 rows" in warning
    system, warning = system_for(qwen, systems(without=10))
    assert system == "Tu aides." and "10 rows have none" in warning


def test_most_rows_without_a_system_prompt() -> None:
    """Rows without a system prompt were trained with the default of the template."""
    qwen = template_for("qwen")
    system, warning = system_for(qwen, systems(rows=5, without=45))
    assert system == qwen.default_system and "as most rows were trained" in warning
    assert system_for(template_for("llama3"), systems(rows=5, without=45))[0] == ""


def test_rows_with_the_default_prompt_match_rows_without_one() -> None:
    qwen = template_for("qwen")
    assert system_for(qwen, systems(most_common=qwen.default_system, without=45)) == (qwen.default_system, "")
