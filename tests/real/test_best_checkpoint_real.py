# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Early stopping, the best checkpoint and rows that are held out, with real LLaMA-Factory on a tiny base.

Needs ``IA_LF_VENV``, ``IA_CONV_VENV`` and ``IA_LLAMA_CPP_DIR``; fails where one is missing. About fifteen seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import held_out, registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.safetensors import ADAPTER
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.tests.real.test_steps_real import FILES, Workspace, log_of
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

ROWS = 24
#: Few rows and a high learning rate: the validation loss soon rises.
DECLARED = {
    "template": "qwen",
    "epochs": 40,
    "batch_size": 16,
    "gradient_accumulation": 1,
    "learning_rate": 0.01,
    "cutoff_len": 256,
    "held_out": 0.2,
    "validation_share": 0.25,
    "early_stopping": 2,
    "best_checkpoint": True,
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Workspace]:
    """A data directory with a tiny base and a dataset."""
    root = tmp_path_factory.mktemp("best")
    made = Workspace(root)
    make_tiny_base(root / "base", "--layers", "1")
    prompts = json.loads((FILES / "homelab_prompts.json").read_text(encoding="utf-8"))[:ROWS]
    rows = [{"instruction": row["instruction"], "output": row["output"]} for row in prompts]
    others = [{"output": row["output"]} for row in rows[1:] + rows[:1]]
    kinds: dict[str, list[dict[str, t.Any]]] = {
        "rows": rows,
        "pairs": [
            {"instruction": row["instruction"], "chosen": row["output"], "rejected": other["output"]}
            for row, other in zip(rows, others)
        ],
        "rated": [
            {**row, **(other if number % 2 else {}), "kto_tag": not number % 2}
            for number, (row, other) in enumerate(zip(rows, others))
        ],
        "texts": [{"text": f"{row['instruction']} {row['output']} " * 2} for row in rows],
    }
    for name, records in kinds.items():
        registry.apply(made.layout, registry.Declaration(name), [Source("records", records=records)])
    yield made
    made.clear()
    shutil.rmtree(root)


def planned(workspace: Workspace, **more: t.Any) -> StepContext:
    """A job for the training that is planned."""
    base_model = str(workspace.root / "base")
    wanted = {"name": "essai", "base_model": base_model, "dataset": "rows", **DECLARED, **more}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    run = plan(workspace.layout, Request.finetune(wanted), Host(workspace.tools, "cpu"))
    base, spec = run.steps[0].spec, run.steps[1].spec
    location = workspace.layout.artifact("base", base.fingerprint)
    os.makedirs(location, exist_ok=True)
    write_json(os.path.join(location, "receipt.json"), {"results": {"location": base_model}})
    return workspace.context("train", spec.settings, spec.upstream, **spec.options)


def losses(ctx: StepContext) -> dict[int, float]:
    """The validation losses so far, by step."""
    try:
        lines = Path(ctx.work, "trainer_log.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    return {entry["current_steps"]: entry["eval_loss"] for entry in entries if "eval_loss" in entry}


@pytest.fixture(scope="module")
def trained(workspace: Workspace) -> tuple[StepContext, dict[str, t.Any], bytes, bytes]:
    """A training to its end: its job and results, the adapter, and that of the checkpoint with the lowest loss."""
    ctx, step = planned(workspace), TrainStep()
    command = step.command(ctx)
    assert command is not None
    assert workspace.start(command, ctx).wait(600) == 0, log_of(ctx)[-3000:]
    found = losses(ctx)
    lowest = min(found, key=found.__getitem__)
    adapters = [Path(ctx.work, name, ADAPTER).read_bytes() for name in ("", f"checkpoint-{lowest}")]
    return ctx, step.finish(ctx), adapters[0], adapters[1]


def test_the_result_is_the_checkpoint_with_the_lowest_validation_loss(
    trained: tuple[StepContext, dict[str, t.Any], bytes, bytes],
) -> None:
    """The training ends two evaluations after it, and the results say which step was taken."""
    ctx, results, adapter, best = trained
    found = losses(ctx)
    steps = sorted(found)
    assert results["best_step"] == min(found, key=found.__getitem__) == steps[-3]
    assert results["steps"] == steps[-1] and results["stopped_early"] is True
    assert results["best_eval_loss"] == results["metrics"]["eval_loss"] == pytest.approx(min(found.values()), abs=1e-6)
    assert adapter == best


def test_rows_that_are_held_out_are_not_read(
    workspace: Workspace, trained: tuple[StepContext, dict[str, t.Any], bytes, bytes]
) -> None:
    """Their number is in the results, and none of them is in what LLaMA-Factory reads."""
    ctx, results, _adapter, _best = trained
    items, counts = held_out.items(registry.load(workspace.layout, "rows").path, 0.2)
    assert results["held_out_rows"] == counts["held_out"] == len(items) > 0
    assert results["held_out_rows"] + results["train_rows"] + results["validation_rows"] == ROWS
    assert f"Num examples = {results['train_rows']}" in log_of(ctx).replace(",", "")


@pytest.mark.full
def test_a_killed_training_takes_the_same_checkpoint(
    workspace: Workspace, trained: tuple[StepContext, dict[str, t.Any], bytes, bytes]
) -> None:
    """Killed after the best one: it is kept, the evaluations before count, and the result is the same."""
    done, results, adapter, _best = trained
    shutil.rmtree(done.work)
    ctx, step = planned(workspace), TrainStep()
    command = step.command(ctx)
    assert command is not None
    process = workspace.start(command, ctx)
    deadline = time.monotonic() + 600
    after_best = results["best_step"] + (results["steps"] - results["best_step"]) // 2
    while not Path(ctx.work, f"checkpoint-{after_best}", "trainer_state.json").exists():
        assert process.poll() is None and time.monotonic() < deadline, log_of(ctx)[-3000:]
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    ctx = workspace.again(ctx)
    command = step.command(ctx)
    assert command is not None
    assert workspace.start(command, ctx).wait(600) == 0, log_of(ctx)[-3000:]
    config = Path(ctx.job_dir, "train.yaml").read_text()
    assert any(f"checkpoint-{number}" in config for number in (results["best_step"], after_best))
    assert Path(ctx.work, ADAPTER).read_bytes() == adapter
    # and killed once more, while it saves its result
    os.truncate(Path(ctx.work, ADAPTER), 100)
    ctx = workspace.again(ctx)
    again = workspace.run(step, ctx)
    assert again["resumed_from"] == results["steps"]
    names = ("best_step", "best_eval_loss", "steps", "stopped_early")
    assert {name: again[name] for name in names} == {name: results[name] for name in names}
    assert Path(ctx.work, ADAPTER).read_bytes() == adapter


@pytest.mark.full
def test_a_stop_within_an_epoch_is_no_evaluation_without_a_lower_loss(workspace: Workspace) -> None:
    """LLaMA-Factory evaluates where it is stopped. The training ends at the end of an epoch nevertheless."""
    ctx, step = planned(workspace, batch_size=4, early_stopping=1, learning_rate=0.02, seed=3), TrainStep()
    command = step.command(ctx)
    assert command is not None
    process = workspace.start(command, ctx)
    deadline = time.monotonic() + 600
    while not (progress := step.progress(ctx)) or progress.current < 2:
        assert process.poll() is None and time.monotonic() < deadline, log_of(ctx)[-3000:]
        time.sleep(0.01)
    assert process.wait(step.stop(ctx, lambda number: os.killpg(process.pid, number))) == 0
    state = json.loads(Path(ctx.work, "trainer_state.json").read_text())
    if state["epoch"] == round(state["epoch"]):
        pytest.skip("it was stopped at the end of an epoch")
    with pytest.raises(JobError, match="stopped at step"):
        step.finish(ctx)
    ctx = workspace.again(ctx)
    results = workspace.run(step, ctx)
    assert results["resumed_from"] == state["global_step"]
    assert results["epochs"] == round(results["epochs"])
    assert results["best_step"] < results["steps"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("dataset", "more"),
    [
        ("pairs", {"stage": "dpo"}),
        ("rated", {"stage": "kto"}),
        ("texts", {"stage": "pt", "held_out": 0, "cutoff_len": 64}),
        ("rows", {"method": "full"}),
        ("rows", {"method": "freeze", "freeze_trainable_layers": 1}),
    ],
    ids=["dpo", "kto", "pt", "full", "freeze"],
)
def test_every_stage_and_method_takes_the_best_checkpoint(
    workspace: Workspace, dataset: str, more: dict[str, t.Any]
) -> None:
    """The weights are those of the checkpoint, whatever format they are in."""
    ctx, step = planned(workspace, dataset=dataset, epochs=3, early_stopping=None, **more), TrainStep()
    command = step.command(ctx)
    assert command is not None
    assert workspace.start(command, ctx).wait(600) == 0, log_of(ctx)[-3000:]
    found = losses(ctx)
    assert len(found) == 3
    lowest = min(found, key=found.__getitem__)
    weights = ADAPTER if "method" not in more else "model.safetensors"
    assert Path(ctx.work, weights).read_bytes() == Path(ctx.work, f"checkpoint-{lowest}", weights).read_bytes()
    results = step.finish(ctx)
    assert results["best_step"] == lowest
    assert "stopped_early" not in results
