# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which templates can be served. tests/real finds the seams again."""

from __future__ import annotations

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats import exactness, facts
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

#: The templates that could be served before the templates were generated.
FORMERLY = (
    *("chatml", "qwen", "qwen3", "qwen3_nothink", "smollm", "smollm2", "yi", "llama3", "mistral", "ministral"),
    *("mistral_small", "gemma", "gemma2", "gemma3", "phi", "phi4", "phi4_mini", "zephyr", "deepseek3", "deepseekr1"),
)


def test_every_template_has_a_level() -> None:
    levels = [exactness.exactness_of(name).level for name in facts.names()]
    counts = {level: levels.count(level) for level in set(levels)}
    assert counts == {exactness.EXACT: 92, exactness.SINGLE_TURN: 14, exactness.INEXACT: 13, exactness.UNSERVABLE: 2}
    assert all(exactness.exactness_of(name).reason for name in facts.names() if name not in exactness.servable())


def test_what_could_be_served_can_be_served() -> None:
    assert set(FORMERLY) <= set(exactness.servable())
    for name in exactness.servable():
        exactness.check(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("llama2", "in a conversation of several questions: its markers are no single tokens"),
        ("vicuna", "cannot be served as it was trained: a question or the system prompt runs into"),
        ("gemma4", "cannot be served as it was trained: Ollama renders models of this architecture"),
        ("qwen4", "LLaMA-Factory 0.9.5 has no chat template 'qwen4'"),
    ],
)
def test_refusal(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        exactness.check(name)
    assert "These can be served as they were trained: aeva" in caught.value.hint
    assert caught.value.details["known"] == list(exactness.servable())


def test_refusal_names_what_is_near() -> None:
    with pytest.raises(InputError) as caught:
        exactness.check("llama2")
    assert "Did you mean mllama, llama4 or llama3?" in caught.value.hint
    with pytest.raises(InputError, match="no chat template 'qwen4'"):
        exactness.exactness_of("qwen4")
