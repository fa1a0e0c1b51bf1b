# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of fine-tunes, and names that are derived from other texts."""

from __future__ import annotations

import re

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.names import FINETUNE_NAME, slug


@pytest.mark.parametrize("name", ["a", "7b", "homelab-model", "A.b_c-9", "a" * 80])
def test_valid_names(name: str) -> None:
    assert re.fullmatch(FINETUNE_NAME, name)


@pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "a b", "a/b", "a:b", "é", "a\n", "a" * 81])
def test_invalid_names(name: str) -> None:
    assert not re.fullmatch(FINETUNE_NAME, name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Qwen2.5-7B Instruct", "qwen2.5-7b-instruct"),
        ("  Mes prompts (été) ", "mes-prompts-t"),
        ("a///b", "a-b"),
        ("../../etc", "etc"),
        ("_x_", "x"),
        ("日本", ""),
        ("", ""),
    ],
)
def test_slugs(text: str, expected: str) -> None:
    assert slug(text) == expected
    assert slug(expected) == expected
    assert not expected or re.fullmatch(FINETUNE_NAME, expected)
