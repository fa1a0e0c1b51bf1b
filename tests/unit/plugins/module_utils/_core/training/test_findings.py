# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the losses of a training say about it."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.findings import findings

RATE = {"learning_rate": 2e-4}


def state(losses: t.Sequence[float], validation: t.Sequence[float] = ()) -> dict[str, t.Any]:
    """A ``trainer_state.json`` with one loss for each step."""
    history: list[dict[str, t.Any]] = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    history += [{"step": step, "eval_loss": loss} for step, loss in enumerate(validation, 1)]
    return {"global_step": len(losses), "log_history": history}


def line(first: float, last: float, steps: int) -> list[float]:
    """Losses that go from one value to another."""
    return [first + (last - first) * step / (steps - 1) for step in range(steps)]


@pytest.mark.parametrize(
    "losses",
    [
        line(12.0, 3.0, 21),
        line(2.0, 1.9, 40),
        [2.0, 1.0, 0.5, 0.4],
        line(0.01, 0.01, 50),  # the base gives these answers already
        [3.0, 3.0, 3.0],  # too few to tell
        [],
    ],
)
def test_no_finding(losses: list[float]) -> None:
    assert findings(state(losses), RATE) == []


def test_a_rising_loss() -> None:
    """21 steps from 12.0 to 12.2."""
    (found,) = findings(state(line(12.0, 12.4, 21)), RATE)
    assert found.code == "training.loss_did_not_fall"
    assert str(found) == (
        "The loss did not fall: it was 12.06 in the first third of 21 steps, and 12.34 in the last third. "
        "Lower learning_rate, to 2e-05 for example."
    )
    assert Message.from_stored(found.as_dict()) == found


@pytest.mark.parametrize(("steps", "advice"), [(21, "so that there are more steps"), (60, "to 0.001 for example")])
def test_a_flat_loss(steps: int, advice: str) -> None:
    """With few steps the number of steps is to blame, with many the learning rate."""
    (found,) = findings(state(line(12.0, 12.05, steps)), RATE)
    assert advice in found.hint


def test_a_loss_of_zero() -> None:
    """All tokens that count were cut off, or fp16 has lost them."""
    (found,) = findings(state([0.0] * 10), RATE)
    assert found.code == "training.loss_is_zero"


def test_of_repeated_steps_the_last_counts() -> None:
    """A resumed training has logged some steps twice; what is no number is no loss."""
    broken = state(line(12.0, 3.0, 12))
    broken["log_history"] += [{"step": 12, "loss": 1.0}, {"step": 3, "loss": float("nan")}, {"step": 4}, "?"]
    broken["log_history"].insert(0, {"step": 12, "loss": 99.0})
    assert findings(broken, RATE) == []


def test_a_rising_validation_loss() -> None:
    (found,) = findings(state(line(12.0, 3.0, 21), [2.0, 1.5, 2.5]), RATE)
    assert "rose to 2.5 after its lowest value, 1.5 at evaluation 2 of 3" in str(found)
    assert found.hint.startswith("Lower epochs, or declare best_checkpoint: true")
    taken = {**RATE, "best_checkpoint": True}
    assert findings(state(line(12.0, 3.0, 21), [2.0, 1.5, 2.5]), taken) == []
    assert findings(state(line(12.0, 3.0, 21), [2.0, 1.5, 1.51]), RATE) == []
