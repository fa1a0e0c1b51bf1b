# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training keeps for evaluations: rows that it does not read, and the checkpoint with the lowest loss."""

from __future__ import annotations

import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import held_out
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, JobError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import train
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import StepLab
from ansible_collections.ia_homelab.llamafactory.tests.support.training_lab import (
    configuration,
    context,
    write_finished_training,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_adapter, write_state


@pytest.fixture
def lab(tmp_path: Path) -> StepLab:
    """Upstream artifacts and the paths of tools."""
    return StepLab(tmp_path)


def test_rows_that_are_held_out_are_not_trained_on(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are gone before rows are counted, spelled and split, and these speak of the rows of the dataset."""
    rows = [{"instruction": f"q{number}", "input": "", "output": "r", "system": ""} for number in range(100)]
    Path(lab.dataset, "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {item.messages[-1]["content"] for item in held_out.items(str(lab.dataset), 0.2)[0]}
    assert 10 < len(asked) < 30
    numbered: list[list[int]] = []
    monkeypatch.setattr(train.truncation, "count", lambda *arguments: numbered.append(list(arguments[5])))
    ctx = context(lab, held_out=0.2, validation_share=0.2)
    TrainStep().command(ctx)
    config = configuration(ctx)
    directory = Path(config["dataset_dir"])
    read = {name: (directory / f"{name}.jsonl").read_text().splitlines() for name in ("train", "validation")}
    questions = [json.loads(line)["instruction"] for lines in read.values() for line in lines]
    assert sorted([*questions, *asked]) == sorted(row["instruction"] for row in rows)
    assert {f"q{number - 1}" for number in numbered[0]} == set(questions)
    assert f"{len(asked)} rows are held out (held_out 0.2)" in Path(ctx.job_dir, "log.txt").read_text()
    write_finished_training(ctx)
    results = TrainStep().finish(ctx)
    assert results["held_out_rows"] == len(asked)
    assert (results["train_rows"], results["validation_rows"]) == (len(read["train"]), len(read["validation"]))
    assert not os.path.exists(config["dataset_dir"])


def test_the_best_checkpoint_is_recorded_before_checkpoints_are_deleted(lab: StepLab) -> None:
    """Also if the step is killed between both. Findings are those of the weights that are taken."""
    rows = [{"instruction": f"q{number}", "input": "", "output": "r", "system": ""} for number in range(100)]
    Path(lab.dataset, "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ctx = context(lab, validation_share=0.2, best_checkpoint=True, early_stopping=2)
    TrainStep().command(ctx)
    write_finished_training(ctx)
    losses = [(10, 2.0), (20, 1.5), (30, 9.0), (40, 9.5)]
    stopping = {"args": {"early_stopping_patience": 2}, "attributes": {"early_stopping_patience_counter": 2}}
    facts: dict[str, t.Any] = {
        "log_history": [{"eval_loss": loss, "step": step} for step, loss in losses],
        "best_metric": 1.5,
        "stateful_callbacks": {"EarlyStoppingCallback": stopping},
    }
    write_state(ctx.work, 40, 100, **facts)
    with pytest.raises(JobError, match="no best checkpoint: no validation loss was a number"):
        TrainStep().finish(ctx)
    write_state(ctx.work, 40, 100, **facts, best_model_checkpoint="/data/made/checkpoint-20")
    with pytest.raises(JobError, match="no best checkpoint"):
        TrainStep().finish(ctx)
    best = os.path.join(ctx.work, "checkpoint-20")
    os.mkdir(best)
    write_adapter(best, 1.0)
    results = TrainStep().finish(ctx)
    assert not os.path.exists(best)
    assert (results["best_step"], results["best_eval_loss"], results["steps"]) == (20, 1.5, 40)
    assert results["stopped_early"] is True
    assert results["metrics"]["eval_loss"] == 1.5
    assert "findings" not in results
    assert TrainStep().finish(ctx)["best_step"] == 20


def test_a_training_that_was_killed_after_its_early_stop_does_no_further_step(lab: StepLab) -> None:
    """It resumes at the checkpoint of its stop, only to save the result; another one continues to its end."""
    rows = [{"instruction": f"q{number}", "input": "", "output": "r", "system": ""} for number in range(100)]
    Path(lab.dataset, "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ctx = context(lab, validation_share=0.2, early_stopping=2)
    for counter, further in ((2, False), (1, True)):
        checkpoint = os.path.join(ctx.work, "checkpoint-40")
        shutil.rmtree(ctx.work, ignore_errors=True)
        os.makedirs(checkpoint)
        write_adapter(checkpoint, 1.0)
        Path(checkpoint, "optimizer.bin").touch()
        stopping = {"args": {"early_stopping_patience": 2}, "attributes": {"early_stopping_patience_counter": counter}}
        write_state(checkpoint, 40, 100, stateful_callbacks={"EarlyStoppingCallback": stopping}, epoch=4.0)
        TrainStep().command(ctx)
        config = configuration(ctx)
        assert config["resume_from_checkpoint"] == checkpoint
        assert config.get("max_steps") == (None if further else 40)


def test_no_row_that_is_held_out(lab: StepLab) -> None:
    """The error is raised before LLaMA-Factory is started."""
    Path(lab.dataset, "data.jsonl").write_text('{"instruction": "a", "input": "", "output": "b", "system": ""}\n')
    with pytest.raises(InputError, match="holds no row out|leaves no row to train on"):
        TrainStep().command(context(lab, held_out=0.3))
