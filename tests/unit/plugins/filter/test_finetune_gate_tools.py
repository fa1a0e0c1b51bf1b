# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools in the place of their names in declared gates; whatever else is declared stays for the checks."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.filter.finetune_gate_tools import finetune_gate_tools

SETS = {"homelab": [{"name": "ping"}], "other": [{"name": "x"}]}


def test_names_of_the_gate_and_of_its_prompts() -> None:
    gate = {"tools": "homelab", "prompts": [{"prompt": "a"}, {"prompt": "b", "tools": "other"}, {"tools": "unknown"}]}
    declared = [{"name": "m", "gate": gate}, {"name": "n"}]
    made = finetune_gate_tools(declared, SETS)
    assert made[0]["gate"] == {
        "tools": SETS["homelab"],
        "prompts": [{"prompt": "a"}, {"prompt": "b", "tools": SETS["other"]}, {"tools": "unknown"}],
    }
    assert made[1] == {"name": "n"} and gate["tools"] == "homelab", "what is declared is not changed"
    assert finetune_gate_tools({"m": {"gate": [{"tools": "other"}]}}, SETS) == {
        "m": {"gate": [{"tools": SETS["other"]}]}
    }


@pytest.mark.parametrize(
    "declared",
    [None, "x", 3, [3, None], {"m": None}, [{"gate": "x"}], [{"gate": {"prompts": "x", "tools": ["homelab"]}}]],
)
def test_wrong_declarations_stay_as_they_are(declared: t.Any) -> None:
    assert finetune_gate_tools(declared, SETS) == declared
