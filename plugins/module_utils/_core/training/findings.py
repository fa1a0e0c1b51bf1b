# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the losses of a finished training say about it. No side effects.

A finding does not end the run: the weights are valid, but should not be served without knowing it. It is
kept in the results of the training, and names the setting to change.
"""

from __future__ import annotations

import math
import typing as t

from ..messages.message import Message
from .optimizer_steps import FEW_STEPS

#: Logged losses below which nothing is said of their course.
_FEWEST_LOSSES = 4
#: The mean of the last third of the losses has to be smaller than that of the first third by this share.
_SMALLEST_FALL = 0.01
#: A loss that starts below this cannot fall much: the base gives these answers already.
_LEARNT = 0.05
#: Share by which the last validation loss may exceed the smallest one.
_LARGEST_RISE = 0.05


def findings(state: t.Mapping[str, t.Any], values: t.Mapping[str, t.Any]) -> list[Message]:
    """What is conspicuous in the losses of a training; empty for most.

    :param state: content of ``trainer_state.json``.
    :param values: resolved hyperparameters.
    """
    history = [entry for entry in state.get("log_history") or [] if isinstance(entry, t.Mapping)]
    found = [_training_loss(_losses(history, "loss"), values, state)]
    if not values.get("best_checkpoint"):  # the result has the weights of the lowest loss
        found.append(_validation_loss(_losses(history, "eval_loss")))
    return [finding for finding in found if finding is not None]


def _losses(history: t.Sequence[t.Mapping[str, t.Any]], name: str) -> list[float]:
    """The finite values of a metric, one for each step; of a repeated step the last one."""
    by_step: dict[int, float] = {}
    for entry in history:
        value, step = entry.get(name), entry.get("step")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and isinstance(step, int):
            if math.isfinite(value):
                by_step[step] = float(value)
    return [by_step[step] for step in sorted(by_step)]


def _training_loss(
    losses: t.Sequence[float], values: t.Mapping[str, t.Any], state: t.Mapping[str, t.Any]
) -> Message | None:
    if len(losses) < _FEWEST_LOSSES:
        return None
    if not any(losses):
        return Message("training.loss_is_zero")
    third = len(losses) // 3
    first, last = sum(losses[:third]) / third, sum(losses[-third:]) / third
    if first < _LEARNT or last < first * (1 - _SMALLEST_FALL):
        return None
    steps, rate = int(state.get("global_step") or len(losses)), float(values.get("learning_rate") or 0.0)
    if last > first * (1 + _SMALLEST_FALL):
        advice = Message("training.lower_learning_rate", learning_rate=rate / 10)
    elif steps < FEW_STEPS:
        advice = Message("training.train_longer")
    else:
        advice = Message("training.raise_learning_rate", learning_rate=min(1.0, rate * 5))
    return Message("training.loss_did_not_fall", first=first, last=last, steps=steps, advice=advice)


def _validation_loss(losses: t.Sequence[float]) -> Message | None:
    if len(losses) < 2:
        return None
    smallest = min(losses)
    if losses[-1] <= smallest * (1 + _LARGEST_RISE):
        return None
    return Message(
        "training.validation_loss_rose",
        smallest=smallest,
        last=losses[-1],
        number=losses.index(smallest) + 1,
        count=len(losses),
    )
