# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option evaluation: what is read, what is refused, and its canonical form."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.declaration import (
    Evaluation,
    read_evaluation,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import read_gate

GATE = read_gate([{"prompt": "a", "contains": "b"}])


@pytest.mark.parametrize(
    ("raw", "settings"),
    [
        ({"held_out": "0.2"}, {"held_out": 0.2}),
        ({"rows": "tests", "against": ["base", "served"]}, {"rows": "tests", "against": ["served", "base"]}),
        ({"rows": "tests", "against": []}, {"rows": "tests", "against": []}),
        ({"guard": "general", "against": "served", "choose": "Declared"}, {"guard": "general"}),
        ({"rows": "mine", "judge": "qwen3:14b"}, {"rows": "mine", "judge": {"model": "qwen3:14b"}}),
        (
            {"held_out": 0.1, "judge": {"model": "j", "rubric": " kind "}, "likelihood": "yes"},
            {"held_out": 0.1, "judge": {"model": "j", "rubric": "kind"}, "likelihood": True},
        ),
        (
            {"held_out": 0.1, "require": {"calls": "0.8", "no_regression": False}, "choose": "smallest"},
            {"held_out": 0.1, "require": {"calls": 0.8}, "choose": "smallest"},
        ),
    ],
)
def test_canonical_form(raw: dict[str, t.Any], settings: dict[str, t.Any]) -> None:
    evaluation = read_evaluation(raw)
    assert evaluation is not None and evaluation.as_settings() == settings
    assert Evaluation.from_settings(settings) == evaluation


def test_nothing_declared_is_none() -> None:
    assert read_evaluation(None) is None and read_evaluation({}) is None
    assert read_evaluation({"require": {"gate": 1}}, GATE) is not None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("x", "The evaluation must be a dictionary, not 'x'."),
        ({"helt_out": 0.2}, "Did you mean held_out?"),
        ({"held_out": 0.2, "rows": "x"}, "held_out and rows exclude each other."),
        ({"held_out": 0}, "The option held_out of the evaluation must be a share above 0 and at most 0.5, not 0."),
        ({"held_out": 0.6}, "at most 0.5, not 0.6"),
        ({"held_out": True}, "not True"),
        ({"rows": "a b"}, "The option rows of the evaluation must be the name of a dataset, not 'a b'."),
        ({"guard": ["a"]}, "The option guard of the evaluation must be general or the name of a dataset"),
        ({"guard": "general", "against": ["serves"]}, "must be one of served and base, not 'serves'"),
        ({"guard": "general", "against": 3}, "must be a list of served and base, not 3"),
        ({"guard": "general", "choose": "largest"}, "must be one of declared and smallest"),
        ({"guard": "general", "judge": {"rubric": "x"}}, "judge"),
        ({"guard": "general", "judge": {"model": "x", "rubrik": "y"}}, "Did you mean 'rubric'?"),
        ({"guard": "general", "likelihood": 3}, "must be true or false"),
        ({"guard": "general", "require": {"cals": 1}}, "Did you mean 'calls'?"),
        ({"require": {"gate": 1}}, "The evaluation asks nothing."),
        ({"held_out": 20}, "Write 0.2 for 20 %."),
        ({"held_out": 0.2, "require": {"gate": 0.8}}, "gate is required, and there is no gate."),
        ({"held_out": 0.2, "require": {"no_regression": True}}, "no_regression is required, and there is no gate."),
        ({"held_out": 0.2, "require": {"guard_drop_at_most": 0.1}}, "Declare guard: general"),
        ({"held_out": 0.2, "require": {"guard": 0.5}}, "guard is required, and no guard is asked."),
        ({"guard": "general", "require": {"calls": 0.8}}, "calls is required, and no rows are asked"),
        (
            {"held_out": 0.2, "against": ["base"], "require": {"not_worse_than_served": True}},
            "against of the evaluation does not name served. Add it to against",
        ),
        (
            {"guard": "general", "against": [], "require": {"guard_drop_at_most": 0.1}},
            "does not name served or base.",
        ),
    ],
)
def test_what_is_refused(raw: t.Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_evaluation(raw)
    assert message.lower() in str(caught.value).lower()


def test_a_gate_without_regressions_needs_the_served_model() -> None:
    """Not compared with the model served now, no answer would count as a regression."""
    gate = read_gate({"prompts": [{"prompt": "a", "contains": "b"}], "no_regression": True})
    assert read_evaluation({"held_out": 0.2}, gate) is not None
    with pytest.raises(
        InputError, match="no_regression is required, and against of the evaluation does not name served"
    ):
        read_evaluation({"held_out": 0.2, "against": ["base"]}, gate)
