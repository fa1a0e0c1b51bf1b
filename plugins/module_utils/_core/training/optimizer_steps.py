# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many optimizer steps a training makes, and whether its warm-up leaves any of them. No side effects.

Source of the formulas: ``set_initial_training_values`` and ``get_warmup_steps`` in transformers' Trainer. During a
linear warm-up of n steps, the first step has the learning rate 0.
"""

from __future__ import annotations

import dataclasses
import math
import typing as t

from ..messages.message import Message

#: Below this many steps a training is warned about.
FEW_STEPS = 30

#: A warm-up that takes this share of the steps or more, only because it is rounded up to a whole step, is left out.
_LARGEST_WARMUP = 1 / 3

#: Average characters per token of French or English text.
CHARACTERS_PER_TOKEN = 3.5

#: Schedules that have no warm-up.
_WITHOUT_WARMUP = ("constant",)


@dataclasses.dataclass(frozen=True)
class StepCount:
    """The optimizer steps of a training.

    :param steps: over all epochs.
    :param per_epoch: in one epoch.
    :param rows: rows that are trained on in one epoch; for text, pieces of ``cutoff_len`` tokens.
    :param rows_per_step: rows of one step, over all processes.
    """

    steps: int
    per_epoch: int
    rows: int
    rows_per_step: int


def count(
    values: t.Mapping[str, t.Any],
    dataset_results: t.Mapping[str, t.Any],
    nodes: int = 1,
    train_rows: int | None = None,
) -> StepCount | None:
    """Count the optimizer steps; None when the number of rows is unknown.

    Exact for rows that are trained on as they are. An estimate where LLaMA-Factory joins rows to pieces of
    ``cutoff_len`` tokens (stage pt, ``packing``), and where the share of the validation is not counted yet.

    :param values: resolved hyperparameters.
    :param dataset_results: ``results`` of the dataset's receipt: its ``rows`` and ``bytes``.
    :param nodes: hosts that train together.
    :param train_rows: rows that are left to train on after those for the validation, if they have been counted.
    """
    rows = dataset_results.get("rows")
    if not isinstance(rows, int) or rows < 1:
        return None
    extra = values.get("extra") or {}
    if train_rows is not None:
        used = train_rows
    else:
        used = max(1, round(rows * (1 - float(values.get("validation_share") or 0.0))))
    if values.get("max_samples"):
        used = min(used, int(values["max_samples"]))
    if values.get("stage") == "pt" or extra.get("packing") or extra.get("neat_packing"):
        size = dataset_results.get("bytes")
        if not isinstance(size, int):
            return None
        used = max(1, int(size * used / rows / CHARACTERS_PER_TOKEN / int(values["cutoff_len"])))
    batch, gpus = int(values["batch_size"]), int(values.get("gpus") or 1)
    # the GPUs divide the batches of a step among them; hosts add theirs
    accumulation = int(values["gradient_accumulation"]) // gpus
    batches = math.ceil(used / (batch * gpus * nodes))
    per_epoch = max(1, math.ceil(batches / accumulation))
    limit = extra.get("max_steps")
    if isinstance(limit, int) and limit > 0:
        steps = limit
    else:
        steps = math.ceil(float(values["epochs"]) * per_epoch)
    return StepCount(max(1, steps), per_epoch, used, batch * accumulation * gpus * nodes)


def leaves_out_warmup(values: t.Mapping[str, t.Any], steps: int) -> bool:
    """Whether the declared warm-up is left out, because it would take too many of the steps.

    A declared ratio of a third or more is followed, unless no step with the full learning rate would be left.

    :param values: resolved hyperparameters.
    :param steps: optimizer steps of the training.
    """
    ratio = float(values.get("warmup_ratio") or 0.0)
    if ratio <= 0 or values.get("lr_scheduler") in _WITHOUT_WARMUP:
        return False
    warmup = math.ceil(steps * ratio)
    return warmup >= steps or (ratio < _LARGEST_WARMUP and warmup >= steps * _LARGEST_WARMUP)


def warnings_for(values: t.Mapping[str, t.Any], counted: StepCount | None) -> list[Message]:
    """Warnings about a training of few steps.

    :param values: resolved hyperparameters.
    :param counted: result of :func:`count`.
    """
    if counted is None:
        return []
    warnings = []
    if counted.steps < FEW_STEPS:
        advice = Message("training.raise_max_steps")
        if not (values.get("extra") or {}).get("max_steps"):
            advice = Message(
                "training.raise_epochs" if counted.rows_per_step == 1 else "training.raise_epochs_or_smaller_steps",
                epochs=math.ceil(FEW_STEPS / counted.per_epoch),
                steps=FEW_STEPS,
            )
        warnings.append(
            Message(
                "training.few_steps",
                steps=counted.steps,
                rows=counted.rows,
                rows_per_step=counted.rows_per_step,
                epochs=float(values["epochs"]),
                advice=advice,
            )
        )
    if leaves_out_warmup(values, counted.steps):
        warnings.append(
            Message("training.warmup_left_out", warmup_ratio=float(values["warmup_ratio"]), steps=counted.steps)
        )
    return warnings
