# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of what is evaluated: rows that are held out, early stopping and the best checkpoint."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"held_out": 0.6}, "at most 0.5"),
        ({"early_stopping": 0, "validation_share": 0.1}, "at least 1"),
        ({"early_stopping": 3}, "early_stopping has no effect without validation_share. Declare validation_share, or"),
        ({"best_checkpoint": True, "validation_share": 0}, "best_checkpoint has no effect without validation_share."),
        (
            {"best_checkpoint": True, "stage": "rm", "validation_share": 0.1},
            "best_checkpoint has no effect with the stage rm.",
        ),
        (
            {"early_stopping": 3, "validation_share": 0.1, "extra": {"early_stopping_steps": 5}},
            "Declare early_stopping instead, outside of extra.",
        ),
        (
            {"best_checkpoint": True, "validation_share": 0.1, "extra": {"load_best_model_at_end": True}},
            "Declare best_checkpoint instead, outside of extra.",
        ),
        (
            {"early_stopping": 2, "validation_share": 0.1, "extra": {"eval_strategy": False}},
            "early_stopping has no effect with eval_strategy: no.",
        ),
        (
            {"best_checkpoint": True, "validation_share": 0.1, "extra": {"eval_strategy": "no"}},
            "best_checkpoint has no effect with eval_strategy: no. Declare eval_strategy: epoch or steps",
        ),
        ({"stage": "pt", "held_out": 0.2}, "held_out has no effect with the stage pt."),
        ({"stage": "rm", "held_out": 0.2}, "Declare stage: sft or dpo or kto, or leave held_out out."),
    ],
)
def test_rejected_with_a_message(declared: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        hp.normalise(declared)
    assert message in str(caught.value)


def test_the_share_that_an_evaluation_holds_out() -> None:
    """It is that of the training; it is declared once, and only for stages with answers."""
    declared = hp.normalise({})
    assert declared.with_held_out(None) is declared
    assert hp.settings(declared.with_held_out(0.2)) == {"held_out": 0.2}
    assert hp.normalise({"held_out": 0.2}).with_held_out(0.2)["held_out"] == 0.2
    with pytest.raises(InputError, match="held_out is 0.1, and the evaluation holds out 0.2. Declare it once"):
        hp.normalise({"held_out": 0.1}).with_held_out(0.2)
    with pytest.raises(InputError, match="held_out has no effect with the stage pt."):
        hp.normalise({"stage": "pt"}).with_held_out(0.2)


def evaluation_arguments(**declared: t.Any) -> dict[str, t.Any]:
    """What LLaMA-Factory is told about evaluations and checkpoints."""
    values = hp.resolved(hp.normalise({"template": "qwen", "validation_share": 0.1, **declared}))
    made = hp.llamafactory_train_arguments(values, "/b", "d", "/d", "/o", "cpu", "validation")
    names = ("eval_strategy", "eval_steps", "save_strategy", "save_steps", "metric_for_best_model")
    more = ("early_stopping_steps", "load_best_model_at_end", "restore_callback_states_from_checkpoint")
    return {name: made[name] for name in (*names, *more) if name in made}


def test_arguments_of_early_stopping_and_of_the_best_checkpoint() -> None:
    """Each evaluation is followed by a checkpoint, so that the best one exists; without, nothing changes."""
    assert evaluation_arguments() == {"eval_strategy": "epoch", "save_strategy": "steps", "save_steps": 50}
    assert evaluation_arguments(early_stopping=3) == {
        "eval_strategy": "epoch",
        "save_strategy": "steps",
        "save_steps": 50,
        "metric_for_best_model": "eval_loss",
        "early_stopping_steps": 3,
        "restore_callback_states_from_checkpoint": True,
    }
    best = evaluation_arguments(best_checkpoint=True)
    assert (best["eval_strategy"], best["save_strategy"]) == ("epoch", "epoch")
    assert best["load_best_model_at_end"] is True and best["metric_for_best_model"] == "eval_loss"
    steps = evaluation_arguments(best_checkpoint=True, extra={"eval_strategy": "steps", "eval_steps": 20})
    assert (steps["eval_strategy"], steps["save_strategy"]) == ("steps", "steps")
    assert (steps["eval_steps"], steps["save_steps"]) == (20, 20)
    logged = evaluation_arguments(best_checkpoint=True, logging_steps=5, extra={"eval_strategy": "steps"})
    assert logged["save_steps"] == 5


def test_steps_between_checkpoints_have_no_effect_with_the_best_checkpoint() -> None:
    """It is a warning: they are no part of the result, and a declaration may have them for all fine-tunes."""
    declared = {"best_checkpoint": True, "validation_share": 0.1}
    assert not hp.idle_options(hp.normalise(declared).values)
    (warning,) = hp.idle_options(hp.normalise({**declared, "save_steps": 20}).values)
    assert str(warning).startswith(
        "save_steps has no effect with best_checkpoint: true. Declare best_checkpoint: false"
    )
    assert not hp.idle_options(hp.normalise({"save_steps": 20}).values)
