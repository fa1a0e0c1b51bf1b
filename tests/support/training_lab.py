# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step train without LLaMA-Factory: its context, the configuration that it writes, and what a training leaves."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import (
    normalise,
    resolved,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import BASE, DATASET, StepLab
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_adapter, write_state


def context(lab: StepLab, accelerator: str = "cpu", **declared: t.Any) -> StepContext:
    """Context of a training."""
    options = {"resolved": resolved(normalise({"template": "qwen", **declared})), "accelerator": accelerator}
    return lab.context("train", {"base": BASE, "dataset": DATASET}, {**options, "name": "essai"})


def configuration(ctx: StepContext) -> dict[str, t.Any]:
    """The configuration that LLaMA-Factory reads."""
    config: dict[str, t.Any] = yaml.safe_load(Path(ctx.job_dir, "train.yaml").read_text(encoding="utf-8"))
    return config


def write_finished_training(ctx: StepContext, step: int = 100, total: int = 100, value: float = 1.0) -> None:
    """Write the files of a finished training."""
    os.makedirs(ctx.work, exist_ok=True)
    write_adapter(ctx.work, value)
    history = [{"loss": 3.0, "step": 10}, {"loss": 1.0, "step": 30}, {"eval_loss": 9.0, "step": 30}]
    write_state(ctx.work, step, total, log_history=history, num_input_tokens_seen=1234)
    Path(ctx.work, "all_results.json").write_text('{"train_loss": 0.1, "train_runtime": 7.25, "epoch": 10.0}')
    Path(ctx.work, "training_loss.png").touch()
