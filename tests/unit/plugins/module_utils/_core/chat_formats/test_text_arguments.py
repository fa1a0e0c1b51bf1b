# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of LLaMA-Factory that change the text of a row. tests/real compares the table with its source."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.text_arguments import (
    check,
    warning,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError


@pytest.mark.parametrize(
    ("extra", "template", "message"),
    [
        ({"tool_format": "qwen"}, "llama3", "extra.tool_format changes the text of the training"),
        ({"tool_format": "qwen"}, "a template of a later version", "leaves out how the template ends them"),
        ({"split_special_tokens": True}, "qwen", "a server reads each as one token"),
        ({"mask_history": True}, "qwen3", "removes the thoughts of earlier answers"),
        ({"train_on_prompt": True}, "bailing", "does not support extra.train_on_prompt"),
    ],
)
def test_refused(extra: dict[str, t.Any], template: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check(extra, template)
    assert list(extra) == [caught.value.details["argument"]] and caught.value.hint


@pytest.mark.parametrize(
    ("extra", "template"),
    [
        ({}, "qwen"),
        ({"default_system": "x", "enable_thinking": False, "preserve_thinking": True}, "qwen3"),
        ({"mask_history": True}, "qwen"),
        ({"mask_history": True, "preserve_thinking": True}, "qwen3"),
        ({"mask_history": True}, "a template of a later version"),
        ({"train_on_prompt": True}, "qwen"),
        ({"split_special_tokens": False, "tool_format": None, "add_tokens": "<x>", "optim": "sgd"}, "qwen"),
    ],
)
def test_accepted(extra: dict[str, t.Any], template: str) -> None:
    check(extra, template)


def test_stages_that_render_earlier_answers_otherwise() -> None:
    assert "The stage dpo removes the thoughts" in str(warning({"stage": "dpo", "template": "qwen3"}))
    for stage, template in (("sft", "qwen3"), ("dpo", "qwen"), ("dpo", ""), ("kto", "unknown")):
        assert warning({"stage": stage, "template": template}) is None
