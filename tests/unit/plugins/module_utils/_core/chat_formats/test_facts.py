# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of chat templates. The values are LLaMA-Factory's; tests/real compares them with the installed one."""

from __future__ import annotations

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats import facts
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.facts import facts_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError


def test_registry() -> None:
    assert facts.version() == "0.9.5"
    assert len(facts.names()) == 121
    assert {"qwen", "llama3", "gemma4", "vicuna"} <= set(facts.names())
    for name in facts.names():
        template = facts_of(name)
        assert facts.CONTENT in template.user.text("", "")
        assert isinstance(template.tools, str) or facts.CONTENT in "".join(template.tools)


def test_slots() -> None:
    zephyr = facts_of("zephyr")
    assert zephyr.user.around("</s>", "") == ("<|user|>\n", "</s><|assistant|>\n")
    assert zephyr.user.names("eos_token") and not zephyr.user.names("bos_token")
    assert facts_of("chatglm3").prefix.text("", "") == "[gMASK]sop"
    # a set that names neither EOS nor BOS: LLaMA-Factory writes nothing
    assert facts_of("phi_small").prefix.text("E", "B") == ""


def test_kinds() -> None:
    assert facts_of("mistral").fused and not facts_of("qwen").fused
    assert facts_of("qwen3").reasoning and not facts_of("qwen").reasoning
    assert facts_of("qwen3").empty_thought == "<think>\n\n</think>\n\n"
    assert facts_of("glm4_7").empty_thought == "</think>"
    assert facts_of("qwen").empty_thought == ""
    assert facts_of("qwen2_vl").multimodal and not facts_of("qwen").multimodal


def test_special_tokens() -> None:
    mistral, qwen = facts_of("mistral"), facts_of("qwen")
    assert mistral.needs_eos and mistral.starts_with_bos and mistral.eos_text("</s>") == "</s>"
    # training makes the first stop word the EOS token
    assert not qwen.needs_eos and not qwen.starts_with_bos and qwen.eos_text("</s>") == "<|im_end|>"
    assert facts_of("seed_oss").bos_inside and not facts_of("seed_oss").starts_with_bos
    assert not facts_of("llama3").bos_inside


def test_unknown_name() -> None:
    with pytest.raises(InputError, match="no chat template 'qwen4'") as caught:
        facts_of("qwen4")
    assert "Did you mean qwen" in caught.value.hint
    with pytest.raises(InputError) as caught:
        facts_of("zzzzzz")
    assert "It knows: aeva" in caught.value.hint
