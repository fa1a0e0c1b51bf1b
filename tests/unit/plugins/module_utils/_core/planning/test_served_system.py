# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system prompt that a model is served with, and the settings of its registration."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.facts import facts_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.inputs import register_settings
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.served_system import system_for

QWEN = facts_of("qwen").default_system


def systems(**more: t.Any) -> dict[str, t.Any]:
    return {"systems": {"most_common": "Tu aides.", "rows": 50, "distinct": 1, "exact": True, "without": 0, **more}}


def test_system_of_the_data() -> None:
    assert system_for(QWEN, systems()) == ("Tu aides.", None)
    assert system_for(QWEN, {}) == (QWEN, None)
    assert system_for("", {}) == ("", None)
    assert system_for(QWEN, systems(most_common="", rows=0, distinct=0, without=50)) == (QWEN, None)


def test_differing_system_prompts_cause_a_warning() -> None:
    system, warning = system_for(QWEN, systems(rows=30, distinct=3, without=20))
    assert system == "Tu aides."
    assert (
        "3 different system prompts" in str(warning)
        and "20 rows have none" in str(warning)
        and "30 rows" in str(warning)
    )
    system, warning = system_for(QWEN, systems(without=10))
    assert system == "Tu aides." and "10 rows have none" in str(warning)


def test_most_rows_without_a_system_prompt() -> None:
    """Rows without a system prompt were trained with the default of the template."""
    system, warning = system_for(QWEN, systems(rows=5, without=45))
    assert system == QWEN and "as most rows were trained" in str(warning)
    assert system_for("", systems(rows=5, without=45))[0] == ""


def test_rows_with_the_default_prompt_match_rows_without_one() -> None:
    assert system_for(QWEN, systems(most_common=QWEN, without=45)) == (QWEN, None)


def test_the_system_prompt_of_the_training_is_served() -> None:
    """default_system in extra takes the place of the template's own, in TEMPLATE and where no row has another."""
    training = {"template": "qwen", "extra": {"default_system": "Tu es bref.", "enable_thinking": False}}
    settings, warning = register_settings("m", training, {}, None, {})
    assert (settings["system"], settings["default_system"], warning) == ("Tu es bref.", "Tu es bref.", None)
    assert settings["enable_thinking"] is False
    settings, _warning = register_settings("m", training, systems(), None, {})
    assert settings["system"] == "Tu aides."
    assert register_settings("m", training, {}, "Déclaré", {})[0]["system"] == "Déclaré"
    settings, _warning = register_settings("m", {"template": "qwen"}, {}, None, {})
    assert settings["system"] == QWEN and not {"default_system", "enable_thinking"} & set(settings)


@pytest.mark.parametrize(("name", "reason"), [("qwen4", "no chat template 'qwen4'"), ("vicuna", "cannot be served")])
def test_a_template_that_cannot_be_served_is_refused(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        register_settings("m", {"template": name}, {}, None, {})
