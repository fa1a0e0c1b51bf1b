# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system prompt that a model is served with, and the settings of its registration."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.facts import facts_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.probes import probes_for
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import served_format
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.inputs import (
    check_template,
    register_settings,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.served_system import system_for
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows

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
def test_a_template_that_cannot_be_served_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        check_template(Layout(str(tmp_path)), name, "")


CONVERSATION = {
    "messages": [
        {"role": "user", "content": "Salut ?"},
        {"role": "assistant", "content": "Bonjour."},
        {"role": "user", "content": "Et le NAS ?"},
        {"role": "assistant", "content": "Il dort."},
    ]
}


@pytest.mark.parametrize("name", ["youtu", "glm4_moe", "llama2"])
def test_template_that_is_exact_in_a_single_turn_takes_rows_of_one(tmp_path: Path, name: str) -> None:
    lab = PlanLab(tmp_path)
    single = lab.publish("single", rows(3)).fingerprint
    warning = check_template(lab.layout, name, single)
    assert "for the first question of a conversation only" in str(warning)
    several = lab.publish("several", [CONVERSATION]).fingerprint
    with pytest.raises(InputError, match="in a conversation of several questions") as caught:
        check_template(lab.layout, name, several)
    assert caught.value.details["row"] == 1
    # a GGUF file of unknown rows
    with pytest.raises(InputError, match="in a conversation of several questions"):
        check_template(lab.layout, name, "")
    assert check_template(lab.layout, "qwen", several) is None


def test_single_turn_template_is_proven_by_single_questions() -> None:
    """The tokens of later turns differ, so a server could not prove them."""
    chosen = probes_for("youtu")
    assert [probe.name for probe in chosen] == [
        probe.name for probe in probes_for("qwen") if probe.turns == 1 and not probe.continued
    ]
    assert len(chosen) >= 2
    assert served_format("youtu", eos="</s>", bos="<s>").template
