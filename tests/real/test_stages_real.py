# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each stage with real LLaMA-Factory, a few steps on a tiny base: all published rows are used.

Needs ``IA_LF_VENV``, ``IA_CONV_VENV`` and ``IA_LLAMA_CPP_DIR``; fails where one is missing. About ten seconds a
stage, two at a time.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry, truncation
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.safetensors import (
    ADAPTER,
    all_zero,
    read_tensors,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import optimizer_steps
from ansible_collections.ia_homelab.llamafactory.tests.real.test_steps_real import FILES, Workspace, log_of
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

#: The job of a training, the path of its result, and its results.
Trained = tuple[StepContext, str, dict[str, t.Any]]
Trainings = dict[str, "concurrent.futures.Future[Trained]"]

ROWS = 20
#: Two batches an epoch, two epochs.
DECLARED = {
    "template": "qwen",
    "epochs": 2,
    "batch_size": 10,
    "gradient_accumulation": 1,
    "learning_rate": 1e-3,
    "cutoff_len": 256,
}


def rows_of(kind: str) -> list[dict[str, t.Any]]:
    """Rows for a stage, made of the shipped prompts."""
    prompts = json.loads((FILES / "homelab_prompts.json").read_text(encoding="utf-8"))[:ROWS]
    pairs = [(row["instruction"], row["output"]) for row in prompts]
    others = [answer for _asked, answer in pairs[1:] + pairs[:1]]
    return {
        "preference": [
            {"instruction": asked, "chosen": answer, "rejected": other} for (asked, answer), other in zip(pairs, others)
        ],
        "kto": [
            {"instruction": asked, "output": answer if number % 2 else other, "kto_tag": bool(number % 2)}
            for number, ((asked, answer), other) in enumerate(zip(pairs, others))
        ],
        "pretraining": [{"text": f"{asked} {answer} " * 2} for asked, answer in pairs[:5]],
        "sft": [{"instruction": asked, "output": answer} for asked, answer in pairs],
    }[kind]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Workspace]:
    """A data directory with a tiny base and a dataset of each kind."""
    root = tmp_path_factory.mktemp("stages")
    made = Workspace(root)
    make_tiny_base(root / "base", "--layers", "1")
    for kind in ("sft", "preference", "kto", "pretraining"):
        registry.apply(made.layout, registry.Declaration(kind), [Source("records", records=rows_of(kind))])
    yield made
    made.clear()
    shutil.rmtree(root)


def train(workspace: Workspace, kind: str, **declared: t.Any) -> Trained:
    """Plan, train and publish as a play does; return the job, the path and the results."""
    wanted = {"name": "essai", "base_model": str(workspace.root / "base"), "dataset": kind, **DECLARED, **declared}
    run = plan(workspace.layout, Request.finetune(wanted), Host(workspace.tools, "cpu"))
    base, spec = run.steps[0].spec, run.steps[1].spec
    location = workspace.layout.artifact("base", base.fingerprint)
    os.makedirs(location, exist_ok=True)
    write_json(os.path.join(location, "receipt.json"), {"results": {"location": str(workspace.root / "base")}})
    ctx = workspace.context("train", spec.settings, spec.upstream, **spec.options)
    assert ctx.spec.fingerprint == spec.fingerprint
    where, results = workspace.make(TrainStep(), dataclasses.replace(ctx, spec=spec))
    assert results["stage"] == wanted["stage"]
    assert 0 < results["metrics"]["train_loss"] < 20
    return ctx, where, results


#: The trainings by name: the kind of rows, and options in addition to :data:`DECLARED`.
TRAININGS: dict[str, tuple[str, dict[str, t.Any]]] = {
    **{
        loss: ("preference", {"stage": "dpo", "pref_loss": loss, "pref_beta": 0.5})
        for loss in ("sigmoid", "orpo", "simpo")
    },
    "kto": ("kto", {"stage": "kto"}),
    "rm": ("preference", {"stage": "rm", "validation_share": 0.3}),
    "pt": ("pretraining", {"stage": "pt", "cutoff_len": 128}),
    "sft": ("sft", {"stage": "sft", "validation_share": 0.25}),
}


#: Five rows in one step, as with the defaults and one epoch.
_ONE_STEP: dict[str, t.Any] = {
    "stage": "sft", "epochs": 1, "batch_size": 1, "gradient_accumulation": 8, "max_samples": 5,
}  # fmt: skip


def test_the_only_step_of_a_training_learns(workspace: Workspace) -> None:
    """A warm-up would take it, at the learning rate 0."""
    _ctx, where, results = train(workspace, "sft", **_ONE_STEP)
    assert (results["steps"], results["warmup_left_out"]) == (1, 0.1)
    adapter = os.path.join(where, ADAPTER)
    matrices = [name for name in read_tensors(adapter) if ".lora_B." in name]
    assert matrices and not all_zero(adapter, matrices)


@pytest.mark.full
def test_a_step_at_the_learning_rate_0_is_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLaMA-Factory ends well, with matrices B of zeros."""
    monkeypatch.setattr(optimizer_steps, "leaves_out_warmup", lambda _values, _steps: False)
    with pytest.raises(JobError, match="changes nothing: after 1 step all its B matrices are still zero"):
        train(workspace, "sft", **_ONE_STEP, seed=1)


@pytest.fixture(scope="module")
def trained(workspace: Workspace, request: pytest.FixtureRequest) -> t.Iterator[Trainings]:
    """Train all cases, two at a time: most of the time is the start of LLaMA-Factory, on one processor."""
    cases = dict(TRAININGS)
    if "test_dpo_training[simpo]" not in {item.name for item in request.session.items}:
        del cases["simpo"]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(train, workspace, kind, **declared) for name, (kind, declared) in cases.items()}


@pytest.mark.parametrize(
    "loss",
    ["sigmoid", "orpo", pytest.param("simpo", marks=pytest.mark.full)],  # as orpo: no second copy of the base
)
def test_dpo_training(loss: str, trained: Trainings) -> None:
    ctx, where, results = trained[loss].result()
    assert results["steps"] == 4
    log = [json.loads(line) for line in Path(where, "trainer_log.jsonl").read_text().splitlines()]
    assert "accuracy" in log[0]  # the share of pairs whose better answer is more likely; only for pairs
    assert "Dropped invalid example" not in log_of(ctx)
    assert read_tensors(os.path.join(where, "adapter_model.safetensors"))


def test_kto_training(trained: Trainings) -> None:
    ctx, where, results = trained["kto"].result()
    assert results["steps"] == 4
    assert "only has one preference type" not in log_of(ctx)
    assert "Dropped invalid example" not in log_of(ctx)
    state = json.loads(Path(where, "trainer_state.json").read_text())
    seen = [entry for entry in state["log_history"] if "rewards/chosen" in entry or "rewards/rejected" in entry]
    assert seen, "no reward was logged: the tags were not read"


def test_reward_model(trained: Trainings) -> None:
    """The run ends with an adapter and its value head."""
    _ctx, where, results = trained["rm"].result()
    assert read_tensors(os.path.join(where, "value_head.safetensors"))
    assert results["validation_rows"] + results["train_rows"] == ROWS
    assert results["metrics"]["eval_loss"] > 0


def test_pretraining(trained: Trainings) -> None:
    """Text is cut into pieces of cutoff_len; there are no questions."""
    ctx, _where, results = trained["pt"].result()
    assert results["total_tokens"] and results["total_tokens"] % 128 == 0
    assert "<|im_start|>" not in log_of(ctx).split("inputs:", 1)[1].split("\n[INFO", 1)[0]


def test_validation_loss(trained: Trainings) -> None:
    """The loss on validation rows, during the training and at the end."""
    ctx, where, results = trained["sft"].result()
    log = [json.loads(line) for line in Path(where, "trainer_log.jsonl").read_text().splitlines()]
    losses = [entry["eval_loss"] for entry in log if "eval_loss" in entry]
    assert len(losses) == 2  # after each epoch
    assert results["metrics"]["eval_loss"] == losses[-1]
    assert 0 < results["validation_rows"] < ROWS
    assert results["validation_rows"] + results["train_rows"] == ROWS
    progress = TrainStep().progress(dataclasses.replace(ctx, work=where))
    assert progress is not None
    assert f"eval loss {losses[-1]:.4g}" in progress.describe()


#: Prints the lengths in tokens of LLaMA-Factory's own samples.
LENGTHS = """
import json, sys
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer
asked = json.loads(sys.argv[1])
found = {}
for stage, where in asked["datasets"].items():
    model, data, training, _finetuning, _generating = get_train_args({
        "stage": stage, "do_train": True, "finetuning_type": "lora", "model_name_or_path": asked["base"],
        "template": "qwen", "dataset": "dataset", "dataset_dir": where, "cutoff_len": 100000,
        "output_dir": asked["work"], "cache_dir": asked["work"], "report_to": "none", "use_cpu": True,
    })
    module = load_tokenizer(model)
    template = get_template_and_fix_tokenizer(module["tokenizer"], data)
    rows = get_dataset(template, model, data, training, "rm" if stage == "dpo" else stage, **module)["train_dataset"]
    fields = [name for name in rows.column_names if name.endswith("input_ids") and not name.startswith("kl_")]
    found[stage] = [max(len(row[name]) for name in fields) for row in rows]
print(json.dumps(found))
"""


def test_token_counts_match_training(workspace: Workspace, tmp_path: Path) -> None:
    """For each kind: the longest row, and the number of rows above a limit."""
    kinds = {"sft": "sft", "dpo": "preference", "kto": "kto"}
    places = {stage: registry.load(workspace.layout, kind).path for stage, kind in kinds.items()}
    python = os.path.join(workspace.tools.llamafactory_venv, "bin", "python")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"}
    asked = {"base": str(workspace.root / "base"), "work": str(tmp_path), "datasets": places}
    done = subprocess.run(
        [python, "-c", LENGTHS, json.dumps(asked)], env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for stage, lengths in json.loads(done.stdout.splitlines()[-1]).items():
        assert len(lengths) == ROWS
        limit = sorted(lengths)[ROWS // 2]
        values = {"stage": stage, "cutoff_len": limit, "template": "qwen"}
        found = truncation.count(python, str(workspace.root / "base"), places[stage], values, env)
        assert found is not None
        assert found["exact"]
        assert found["longest"] == max(lengths), stage
        assert found["rows"] == sum(length > limit for length in lengths), stage
