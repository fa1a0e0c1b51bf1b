# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Output directory of an earlier attempt: resumed, discarded, or finished."""

from __future__ import annotations

import json
import math
import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import checkpoints
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import (
    write_adapter,
    write_checkpoint,
    write_state,
)

RECORDED = Path(__file__).parents[2] / "recorded" / "steps"


def save(work: Path, step: int, total: int = 100) -> None:
    """Write the final files of a training, finished or stopped."""
    write_adapter(work)
    write_state(work, step, total)
    for name in ("all_results.json", "train_results.json"):
        (work / name).write_text('{"train_loss": 1.0}')
    (work / "training_loss.png").touch()
    (work / "adapter_config.json").write_text("{}")


def truncate(name: str) -> t.Callable[[str], None]:
    """Truncate a file of a checkpoint to half its size."""

    def damage(checkpoint: str) -> None:
        path = os.path.join(checkpoint, name)
        os.truncate(path, os.path.getsize(path) // 2)

    return damage


def remove(name: str) -> t.Callable[[str], None]:
    """Remove a file of a checkpoint."""
    return lambda checkpoint: os.unlink(os.path.join(checkpoint, name))


def zero(name: str) -> t.Callable[[str], None]:
    """Overwrite a file with zeros, as after a power cut before the data was flushed."""

    def damage(checkpoint: str) -> None:
        path = os.path.join(checkpoint, name)
        size = os.path.getsize(path)
        with open(path, "wb") as stream:
            stream.write(bytes(size))

    return damage


def incomplete(checkpoint: str) -> None:
    """Create the marker of transformers for a checkpoint being written on SIGTERM."""
    Path(checkpoint, "checkpoint-is-incomplete.txt").touch()


def other_step(checkpoint: str) -> None:
    """Write the state of another step."""
    write_state(checkpoint, 85, 100)


DAMAGE = {
    "optimizer_cut": truncate("optimizer.pt"),
    "optimizer_gone": remove("optimizer.pt"),
    "optimizer_zeros": zero("optimizer.pt"),
    "scheduler_cut": truncate("scheduler.pt"),
    "random_cut": truncate("rng_state.pth"),
    "weights_cut": truncate("adapter_model.safetensors"),
    "weights_gone": remove("adapter_model.safetensors"),
    "weights_zeros": zero("adapter_model.safetensors"),
    "state_cut": truncate("trainer_state.json"),
    "state_gone": remove("trainer_state.json"),
    "state_other": other_step,
    "being_written": incomplete,
    "empty": lambda checkpoint: (shutil.rmtree(checkpoint), os.mkdir(checkpoint)),  # type: ignore[func-returns-value]
}


def test_empty_directory(tmp_path: Path) -> None:
    """No attempt yet: an empty directory is created."""
    work = tmp_path / "work"
    assert checkpoints.inspect(str(work)) == checkpoints.Attempt()
    assert not work.exists()
    assert checkpoints.prepare(str(work)) == checkpoints.Attempt()
    assert os.listdir(work) == []


def test_last_checkpoint_by_number(tmp_path: Path) -> None:
    """Checkpoint 100 comes after 90, regardless of lexical order and timestamps."""
    for step in (100, 90):
        write_checkpoint(tmp_path, step, 200)
    (tmp_path / "checkpoint-best").mkdir()
    assert checkpoints.inspect(str(tmp_path)) == checkpoints.Attempt(step=100)


@pytest.mark.parametrize("kind", DAMAGE)
def test_broken_checkpoint(tmp_path: Path, kind: str) -> None:
    """With any kind of damage the previous checkpoint is used, which is not modified."""
    write_checkpoint(tmp_path, 80)
    DAMAGE[kind](write_checkpoint(tmp_path, 90))
    log = tmp_path / "trainer_log.jsonl"
    log.write_text("{}\n")
    attempt = checkpoints.inspect(str(tmp_path))
    assert attempt.step == 80
    assert list(attempt.broken) == ["checkpoint-90"]
    assert attempt.broken["checkpoint-90"]
    assert (tmp_path / "checkpoint-90").exists()
    checkpoints.prepare(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-80", "trainer_log.jsonl"]


def test_no_complete_checkpoint(tmp_path: Path) -> None:
    """Final weights without a checkpoint, which LLaMA-Factory rejects, and an old log are deleted."""
    save(tmp_path, 40)
    DAMAGE["optimizer_cut"](write_checkpoint(tmp_path, 40))
    (tmp_path / "trainer_log.jsonl").write_text("{}\n")
    assert checkpoints.prepare(str(tmp_path)).step is None
    assert os.listdir(tmp_path) == []


def test_stopped(tmp_path: Path) -> None:
    """A stopped attempt saves weights and metrics like a finished one; they must not be taken as a result."""
    write_checkpoint(tmp_path, 40)
    save(tmp_path, 41)
    (tmp_path / "trainer_log.jsonl").write_text("{}\n")
    attempt = checkpoints.prepare(str(tmp_path))
    assert (attempt.finished, attempt.step) == (False, 40)
    assert sorted(os.listdir(tmp_path)) == ["adapter_config.json", "checkpoint-40", "trainer_log.jsonl"]


def test_stopped_full_model(tmp_path: Path) -> None:
    """The same for a full model in several files."""
    write_checkpoint(tmp_path, 40)
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "model.safetensors"):
        (tmp_path / name).touch()
    checkpoints.prepare(str(tmp_path))
    assert os.listdir(tmp_path) == ["checkpoint-40"]


def test_finished(tmp_path: Path) -> None:
    """All steps done and everything saved: left unchanged, with or without checkpoints."""
    write_checkpoint(tmp_path, 100)
    save(tmp_path, 100)
    before = sorted(os.listdir(tmp_path))
    assert checkpoints.prepare(str(tmp_path)).finished
    assert sorted(os.listdir(tmp_path)) == before
    checkpoints.clean_output(str(tmp_path))
    assert checkpoints.inspect(str(tmp_path)) == checkpoints.Attempt(finished=True)


@pytest.mark.parametrize(
    "damage",
    [
        truncate("adapter_model.safetensors"),
        remove("adapter_model.safetensors"),
        remove("all_results.json"),
        truncate("all_results.json"),
        truncate("trainer_state.json"),
        remove("trainer_state.json"),
    ],
)
def test_killed_while_saving_the_result(tmp_path: Path, damage: t.Callable[[str], None]) -> None:
    """Not finished: resumes from the checkpoint of the last step, does no step, and saves again."""
    write_checkpoint(tmp_path, 100)
    save(tmp_path, 100)
    damage(str(tmp_path))
    attempt = checkpoints.inspect(str(tmp_path))
    assert (attempt.finished, attempt.step) == (False, 100)


@pytest.mark.parametrize(
    ("state", "complete"),
    [
        ({"global_step": 100, "max_steps": 100}, True),
        ({"global_step": 99, "max_steps": 100}, False),
        ({"global_step": 0, "max_steps": 0}, False),
        ({"max_steps": 100}, False),
        ({"global_step": "100", "max_steps": 100}, False),
        ({"global_step": 9, "max_steps": 100, "stateful_callbacks": {"EarlyStoppingCallback": 3}}, False),
        ({}, False),
    ],
)
def test_complete(state: dict[str, t.Any], complete: bool) -> None:
    """Compares the steps done with the total steps."""
    assert checkpoints.is_complete(state) is complete


def test_early_stopping_is_complete() -> None:
    """A recorded training with early stopping is complete; with a lower counter than its patience it is not."""
    state = json.loads((RECORDED / "trainer_state-early_stopping.json").read_text(encoding="utf-8"))
    assert state["global_step"] < state["max_steps"]
    assert checkpoints.is_complete(state)
    state["stateful_callbacks"]["EarlyStoppingCallback"]["attributes"]["early_stopping_patience_counter"] -= 1
    assert not checkpoints.is_complete(state)


def with_best(directory: Path, step: int, best: int) -> None:
    """A checkpoint that records the best one, by the path that it had in a container."""
    path = directory / f"checkpoint-{step}" / "trainer_state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "best_metric": 1.5, "best_model_checkpoint": f"/data/w/checkpoint-{best}"}))


def test_the_best_checkpoint_is_kept_and_needed(tmp_path: Path) -> None:
    """A resumed training takes it at its end, so without it there is nothing to resume."""
    for step in (60, 80, 100):
        write_checkpoint(tmp_path, step)
        with_best(tmp_path, step, min(step, 80))
    truncate("checkpoint-100/adapter_model.safetensors")(str(tmp_path))
    assert checkpoints.prepare(str(tmp_path), True).step == 80
    assert {name for _step, name in checkpoints.checkpoints(str(tmp_path))} == {"checkpoint-80", "checkpoint-60"}
    write_checkpoint(tmp_path, 100)
    with_best(tmp_path, 100, 80)
    assert checkpoints.resumable(str(tmp_path), True) == [100, 80, 60]
    truncate("checkpoint-80/adapter_model.safetensors")(str(tmp_path))
    assert checkpoints.resumable(str(tmp_path), True) == [60]
    assert checkpoints.inspect(str(tmp_path)).step == 100, "who takes the last checkpoint needs no other"
    attempt = checkpoints.prepare(str(tmp_path), True)
    assert attempt.step == 60
    assert attempt.broken["checkpoint-100"] == "checkpoint-80, the best one before it, is incomplete"


def test_the_evaluation_at_a_stop_does_not_count(tmp_path: Path) -> None:
    """A Trainer that is stopped within an epoch evaluates there; stopping often must not end a training."""
    state = json.loads((RECORDED / "trainer_state-early_stopping.json").read_text(encoding="utf-8"))
    stopped = {**state, "global_step": 34, "epoch": 8.5}
    stopped["log_history"] = [*state["log_history"], {"eval_loss": 3.0, "step": 34, "epoch": 8.5}]
    assert not checkpoints.is_complete(stopped)
    assert checkpoints.is_complete({**stopped, "eval_steps": 17}), "one that evaluates every 17 steps"
    write_checkpoint(tmp_path, 34)
    path = tmp_path / "checkpoint-34" / "trainer_state.json"

    def counted(content: dict[str, t.Any]) -> int:
        path.write_text(json.dumps(content))
        checkpoints.prepare(str(tmp_path))
        checkpoints.prepare(str(tmp_path))
        stopping = json.loads(path.read_text())["stateful_callbacks"]["EarlyStoppingCallback"]
        return int(stopping["attributes"]["early_stopping_patience_counter"])

    assert counted(stopped) == 1, "once, however often it is prepared"
    assert counted({**stopped, "log_history": state["log_history"]}) == 2, "no evaluation at the stop"
    assert counted({**stopped, "eval_steps": 17}) == 2
    assert counted({**stopped, "epoch": 9.0}) == 2


def test_best_checkpoint_of_a_state() -> None:
    state = json.loads((RECORDED / "trainer_state-early_stopping.json").read_text(encoding="utf-8"))
    assert checkpoints.best(state) == (24, 1.4914591312408447)
    assert checkpoints.best({**state, "best_model_checkpoint": None}) is None
    assert checkpoints.best({**state, "best_metric": math.inf}) is None
    assert checkpoints.best({}) is None


def test_clean_output(tmp_path: Path) -> None:
    """Files needed only for a resume are deleted; the others are kept."""
    write_checkpoint(tmp_path, 100)
    save(tmp_path, 100)
    (tmp_path / ".gone-x").mkdir()
    (tmp_path / "training_args.bin").touch()
    (tmp_path / "README.md").touch()
    checkpoints.clean_output(str(tmp_path))
    kept = {"adapter_model.safetensors", "adapter_config.json", "all_results.json", "train_results.json"}
    assert set(os.listdir(tmp_path)) == kept | {"trainer_state.json", "training_loss.png"}
