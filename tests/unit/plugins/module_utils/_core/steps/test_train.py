# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step train without LLaMA-Factory: its command, and its handling of the output directory."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import stat
import struct
import typing as t
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    InputError,
    JobError,
    NotReadyError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats import yaml as formats_yaml
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import tool_environment, train
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.gpus import Gpu
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import DATASET, StepLab
from ansible_collections.ia_homelab.llamafactory.tests.support.training_lab import (
    configuration,
    context,
    write_finished_training,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import (
    write_adapter,
    write_checkpoint,
    write_safetensors,
    write_state,
)

RECORDED = Path(__file__).parents[2] / "recorded" / "steps"


@pytest.fixture
def lab(tmp_path: Path) -> StepLab:
    """Upstream artifacts and the paths of tools."""
    return StepLab(tmp_path)


def test_command(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program, its configuration, and a complete environment without secrets and without network access."""
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    ctx = context(lab, learning_rate="2e-4")
    command = TrainStep().command(ctx)
    assert command is not None
    python, program, *rest = command.argv
    assert (python, rest) == (str(lab.root / "lf/bin/python"), ["train", os.path.join(ctx.job_dir, "train.yaml")])
    assert os.path.basename(program) == "llamafactory_cli.py" and os.path.exists(program)
    assert "secret" not in command.env.values()
    assert command.env["CUDA_VISIBLE_DEVICES"] == "1"
    assert command.env["PATH"].startswith(str(lab.root / "lf/bin") + ":")
    assert (command.env["HF_HUB_OFFLINE"], command.env["TRANSFORMERS_OFFLINE"]) == ("1", "1")
    assert command.env["HF_HOME"] == lab.layout.cache
    assert command.env["HF_DATASETS_CACHE"].startswith(ctx.job_dir)
    assert command.env["OMP_NUM_THREADS"] == "1"
    config = configuration(ctx)
    assert config["model_name_or_path"] == str(lab.root / "base")
    assert (config["dataset"], config["dataset_dir"]) == ("homelab", lab.dataset)
    assert config["output_dir"] == ctx.work
    assert config["learning_rate"] == 0.0002
    assert config["do_train"] is True
    assert config["use_cpu"] is True
    assert "resume_from_checkpoint" not in config
    assert os.listdir(ctx.work) == []


def test_checkpoint_on_sigterm_if_transformers_supports_it(lab: StepLab) -> None:
    """Version 4 fails on the unknown argument."""
    ctx = context(lab)
    TrainStep().command(ctx)
    assert "enable_jit_checkpoint" not in configuration(ctx)
    package = lab.root / "lf/lib/python3.11/site-packages/transformers"
    package.mkdir(parents=True)
    (package / "trainer_jit_checkpoint.py").touch()
    TrainStep().command(ctx)
    assert configuration(ctx)["enable_jit_checkpoint"] is True
    sent: list[int] = []
    assert TrainStep().stop(ctx, sent.append) >= 60
    assert sent == [signal.SIGTERM]


def test_resume(lab: StepLab) -> None:
    """The training resumes from the last complete checkpoint; the log names the broken one."""
    ctx = context(lab)
    os.makedirs(ctx.work)
    write_checkpoint(ctx.work, 80)
    os.unlink(os.path.join(write_checkpoint(ctx.work, 90), "optimizer.pt"))
    TrainStep().command(ctx)
    assert configuration(ctx)["resume_from_checkpoint"] == os.path.join(ctx.work, "checkpoint-80")
    assert "checkpoint-90 is put aside: the optimizer's state is missing" in Path(ctx.job_dir, "log.txt").read_text()
    assert os.listdir(ctx.work) == ["checkpoint-80"]


def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that reports two GPUs, the second one larger."""
    found = [Gpu(0, "small", 8 * 10**9, 0, "GPU-aa"), Gpu(1, "large", 24 * 10**9, 0, "GPU-bb")]
    monkeypatch.setattr(train.system_gpus, "gpus", lambda: found)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_training_sees_as_many_gpus_as_declared(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLaMA-Factory starts a process for each that it sees."""
    two_gpus(monkeypatch)
    command = TrainStep().command(context(lab, "cuda"))
    assert command is not None
    assert (command.env["CUDA_VISIBLE_DEVICES"], command.env["CUDA_DEVICE_ORDER"]) == ("GPU-bb", "PCI_BUS_ID")
    assert not {"NPROC_PER_NODE", "FORCE_TORCHRUN"} & set(command.env)
    ctx = context(lab, "cuda", gpus=2)
    command = TrainStep().command(ctx)
    assert command is not None
    assert command.env["CUDA_VISIBLE_DEVICES"] == "GPU-bb,GPU-aa"
    assert (command.env["NPROC_PER_NODE"], command.env["FORCE_TORCHRUN"]) == ("2", "1")
    assert configuration(ctx)["gradient_accumulation_steps"] == 4
    with pytest.raises(NotReadyError, match="needs 4 GPUs, and 2 can be used"):
        TrainStep().command(context(lab, "cuda", gpus=4))
    cpu = TrainStep().command(context(lab))
    assert cpu is not None and "CUDA_VISIBLE_DEVICES" not in cpu.env


def test_a_training_of_an_earlier_version_sees_all_gpus(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It continues as it began."""
    two_gpus(monkeypatch)
    ctx = context(lab, "cuda")
    del ctx.spec.options["resolved"]["gpus"]
    command = TrainStep().command(ctx)
    assert command is not None and "CUDA_VISIBLE_DEVICES" not in command.env


def test_a_container_gets_as_many_gpus_as_declared(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    two_gpus(monkeypatch)
    ctx = context(lab, "cuda")
    tools = dataclasses.replace(ctx.toolchain, llamafactory_image="image")
    command = TrainStep().command(dataclasses.replace(ctx, toolchain=tools))
    assert command is not None and command.container is not None
    assert command.container.gpus == "GPU-bb"
    assert "CUDA_VISIBLE_DEVICES" not in command.env


def test_deepspeed_starts_one_process_for_each_gpu(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    two_gpus(monkeypatch)
    command = TrainStep().command(context(lab, "cuda", extra={"deepspeed": {"zero_optimization": {"stage": 2}}}))
    assert command is not None
    assert (command.env["FORCE_TORCHRUN"], command.env["NPROC_PER_NODE"]) == ("1", "1")


def test_finished_is_not_run_again(lab: StepLab) -> None:
    """Another run would do no step and overwrite the metrics. Only a missing plot is drawn."""
    ctx = context(lab)
    write_finished_training(ctx)
    write_checkpoint(ctx.work, 100)
    assert TrainStep().command(ctx) is None
    os.unlink(os.path.join(ctx.work, "training_loss.png"))
    command = TrainStep().command(ctx)
    assert command is not None
    assert command.argv[0] == str(lab.root / "lf/bin/python")
    assert "plot_loss" in command.argv[2]


def test_results(lab: StepLab) -> None:
    """Results of a training, and the files that remain."""
    ctx = context(lab)
    write_finished_training(ctx)
    write_checkpoint(ctx.work, 100)
    os.chmod(os.path.join(ctx.work, "adapter_model.safetensors"), 0o600)
    Path(ctx.job_dir, "train.yaml").write_text('resume_from_checkpoint: "/x/checkpoint-80"\n')
    Path(ctx.job_dir, "log.txt").write_text((RECORDED / "train-parameters.log").read_text(encoding="utf-8"))
    assert TrainStep().finish(ctx) == {
        "stage": "sft",
        "method": "lora",
        "metrics": {"train_loss": round(5 / 3, 6), "train_runtime": 7.25, "epoch": 10.0},
        "steps": 100,
        "epochs": 10.0,
        "total_tokens": 1234,
        "trainable_parameters": 65536,
        "loss_plot": "training_loss.png",
        "resumed_from": 80,
        "duration_seconds": 7.2,
    }
    assert not os.path.exists(os.path.join(ctx.work, "checkpoint-100"))
    assert stat.S_IMODE(os.stat(os.path.join(ctx.work, "adapter_model.safetensors")).st_mode) == 0o644
    repeated = TrainStep().finish(ctx)
    assert repeated["steps"] == 100


def test_trainable_parameters_without_a_log(lab: StepLab) -> None:
    """After a restart, the log with the number of parameters belongs to another job."""
    ctx = context(lab)
    write_finished_training(ctx)
    assert TrainStep().finish(ctx)["trainable_parameters"] == 4


def test_stopped(lab: StepLab) -> None:
    """Exit status 0 and everything saved, but not all steps done: no result, and the checkpoint is kept."""
    ctx = context(lab)
    write_finished_training(ctx, step=41)
    write_checkpoint(ctx.work, 40)
    with pytest.raises(JobError, match="stopped at step 41 of 100") as caught:
        TrainStep().finish(ctx)
    assert caught.value.details == {"current_steps": 41, "total_steps": 100}
    assert os.path.exists(os.path.join(ctx.work, "checkpoint-40"))


def test_no_result_saved(lab: StepLab) -> None:
    """LLaMA-Factory exits with status 0 even when it has nothing to do."""
    ctx = context(lab)
    with pytest.raises(JobError, match="without saving"):
        TrainStep().finish(ctx)


def test_truncated_result(lab: StepLab) -> None:
    """All steps were done, but the weights are incomplete."""
    ctx = context(lab)
    write_finished_training(ctx)
    os.truncate(os.path.join(ctx.work, "adapter_model.safetensors"), 100)
    with pytest.raises(JobError, match="is incomplete"):
        TrainStep().finish(ctx)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_diverged(lab: StepLab, value: float) -> None:
    """The Trainer hides a NaN loss by default, so the weights are checked."""
    ctx = context(lab)
    write_finished_training(ctx, value=value)
    write_checkpoint(ctx.work, 100)
    with pytest.raises(JobError, match="diverged") as caught:
        TrainStep().finish(ctx)
    assert "learning_rate" in caught.value.hint
    assert os.path.exists(os.path.join(ctx.work, "checkpoint-100"))


def matrices(value: float, name: str = "lora_B") -> dict[str, tuple[str, list[int], bytes]]:
    """An adapter of two layers whose matrices B hold one value."""
    tensors = {}
    for layer in range(2):
        prefix = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{prefix}.lora_A.weight"] = ("F32", [4], struct.pack("<4f", *[0.5] * 4))
        tensors[f"{prefix}.{name}.weight"] = ("F32", [4], struct.pack("<4f", *[value] * 4))
        tensors[f"{prefix}.lora_magnitude_vector"] = ("F32", [1], struct.pack("<f", 1.0))
    return tensors


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("name", ["lora_B", "lora_embedding_B"])
def test_an_adapter_that_changes_nothing_is_refused(lab: StepLab, zero: float, name: str) -> None:
    """The only step of a training had the learning rate 0: LLaMA-Factory ends with status 0 all the same."""
    ctx = context(lab)
    write_finished_training(ctx)
    write_safetensors(os.path.join(ctx.work, "adapter_model.safetensors"), matrices(zero, name))
    with pytest.raises(JobError, match="changes nothing: after 100 steps all its B matrices are still zero") as caught:
        TrainStep().finish(ctx)
    assert "warmup_ratio" in caught.value.hint


def test_one_matrix_that_was_trained_is_enough(lab: StepLab) -> None:
    """LoRA+, DoRA and a dropout of layers may leave some as they were; full weights have none."""
    ctx = context(lab)
    write_finished_training(ctx)
    tensors = matrices(0.0)
    last = [name for name in tensors if "lora_B" in name][-1]
    tensors[last] = ("F32", [4], struct.pack("<4f", 0.0, 0.0, 0.0, -1e-9))
    write_safetensors(os.path.join(ctx.work, "adapter_model.safetensors"), tensors)
    assert TrainStep().finish(ctx)["method"] == "lora"


def test_full_weights_may_hold_zeros(lab: StepLab) -> None:
    """Only matrices B start at zero."""
    ctx = context(lab, method="full")
    write_finished_training(ctx)
    os.unlink(os.path.join(ctx.work, "adapter_model.safetensors"))
    write_safetensors(os.path.join(ctx.work, "model.safetensors"), {"lora_B": ("F32", [4], bytes(16))})
    assert TrainStep().finish(ctx)["method"] == "full"


@pytest.mark.parametrize(("rows", "warmup"), [(5, 0.0), (24, 0.0), (25, 0.1)])
def test_no_warmup_that_takes_the_few_steps(lab: StepLab, rows: int, warmup: float) -> None:
    """It is left out of what LLaMA-Factory reads, and recorded in the results."""
    write_json(os.path.join(lab.dataset, "receipt.json"), {"fingerprint": DATASET, "results": {"rows": rows}})
    ctx = context(lab, epochs=1)
    TrainStep().command(ctx)
    assert configuration(ctx)["warmup_ratio"] == warmup
    assert ctx.spec.options["resolved"]["warmup_ratio"] == 0.1
    write_finished_training(ctx)
    assert TrainStep().finish(ctx).get("warmup_left_out") == (None if warmup else 0.1)


def test_a_loss_that_did_not_fall_is_a_finding(lab: StepLab) -> None:
    ctx = context(lab)
    write_finished_training(ctx)
    losses = [{"step": step, "loss": 12.0 + step / 50} for step in range(1, 22)]
    write_state(ctx.work, 21, 21, log_history=losses)
    (found,) = TrainStep().finish(ctx)["findings"]
    assert found["code"] == "training.loss_did_not_fall" and "learning_rate" in found["hint"]


def test_mean_loss_of_a_recorded_training() -> None:
    """Without an interruption it equals the Trainer's own value."""
    state = json.loads((RECORDED / "trainer_state-finished.json").read_text(encoding="utf-8"))
    saved = state["log_history"][-1]["train_loss"]
    assert train.mean_loss(state) == pytest.approx(saved, rel=1e-6)
    assert train.mean_loss({}) is None
    assert train.mean_loss({"log_history": [{"loss": math.nan, "step": 1}]}) is None


def test_progress(lab: StepLab) -> None:
    """Progress is read from the log in the work directory."""
    ctx = context(lab)
    assert TrainStep().progress(ctx) is None
    os.makedirs(ctx.work)
    recorded = (RECORDED / "trainer_log-resumed.jsonl").read_text(encoding="utf-8")
    Path(ctx.work, "trainer_log.jsonl").write_text(recorded)
    progress = TrainStep().progress(ctx)
    assert progress is not None and (progress.current, progress.unit) == (300, "step")


def test_validation_rows(lab: StepLab) -> None:
    """The dataset is split in two, and the results have the number of rows of both."""
    rows = [{"instruction": f"q{number}", "input": "", "output": "r", "system": ""} for number in range(100)]
    Path(lab.dataset, "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ctx = context(lab, validation_share=0.2, batch_size=4)
    TrainStep().command(ctx)
    config = configuration(ctx)
    assert (config["dataset"], config["eval_dataset"]) == ("train", "validation")
    assert (config["eval_strategy"], config["per_device_eval_batch_size"]) == ("epoch", 4)
    directory = Path(config["dataset_dir"])
    counts = {name: (directory / f"{name}.jsonl").read_text().count("\n") for name in ("train", "validation")}
    assert sum(counts.values()) == 100
    assert config["dataset_dir"].startswith(ctx.job_dir)
    write_finished_training(ctx)
    results = TrainStep().finish(ctx)
    assert (results["train_rows"], results["validation_rows"]) == (counts["train"], counts["validation"])
    assert not os.path.exists(config["dataset_dir"])


def test_truncated_rows_are_reported_before_the_training(lab: StepLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is in the log and the results. A failed count does not stop the training."""
    Path(lab.dataset, "data.jsonl").write_text("{}\n")
    count = {"cutoff_len": 64, "rows": 1, "longest": 99, "longest_row": 1, "counted": 1, "candidates": 1, "exact": True}
    monkeypatch.setattr(train.truncation, "count", lambda *_args: count)
    ctx = context(lab, cutoff_len=64)
    TrainStep().command(ctx)
    assert "1 row is longer than cutoff_len 64 and will be cut off" in Path(ctx.job_dir, "log.txt").read_text()
    write_finished_training(ctx)
    assert TrainStep().finish(ctx)["too_long"] == count

    def fails(*_args: t.Any) -> t.NoReturn:
        raise ValueError("no such tokenizer")

    monkeypatch.setattr(train.truncation, "count", fails)
    shutil.rmtree(ctx.work)
    other = context(lab, cutoff_len=32)
    assert TrainStep().command(other) is not None
    assert "was not counted: no such tokenizer" in Path(other.job_dir, "log.txt").read_text()


def test_no_validation_rows(lab: StepLab) -> None:
    """The error is raised before LLaMA-Factory is started."""
    Path(lab.dataset, "data.jsonl").write_text('{"instruction": "a", "input": "", "output": "b", "system": ""}\n')
    with pytest.raises(InputError, match="leaves no row"):
        TrainStep().command(context(lab, validation_share=0.01))


def test_value_head_is_checked(lab: StepLab) -> None:
    """A reward model uses the value head for its scores."""
    ctx = context(lab)
    write_finished_training(ctx)
    write_adapter(ctx.work, math.nan)
    os.rename(os.path.join(ctx.work, "adapter_model.safetensors"), os.path.join(ctx.work, "value_head.safetensors"))
    write_adapter(ctx.work, 0.5)
    with pytest.raises(JobError, match="value_head.safetensors holds values that are no numbers"):
        TrainStep().finish(ctx)


def test_missing_inputs_are_reported_before_the_start(lab: StepLab) -> None:
    """Nothing is started without tools, base or dataset."""
    ctx = context(lab)
    info = os.path.join(lab.dataset, "dataset_info.json")
    Path(info).write_text('{"a": {}, "b": {}}')
    with pytest.raises(NotReadyError, match="one entry, not 2"):
        TrainStep().command(ctx)
    os.unlink(info)
    with pytest.raises(NotReadyError, match="is incomplete"):
        TrainStep().command(ctx)
    (lab.root / "base").rmdir()
    with pytest.raises(NotReadyError, match="base model is not at"):
        TrainStep().command(ctx)
    (lab.root / "lf/bin/python").unlink()
    with pytest.raises(NotReadyError, match="lf/bin/python"):
        TrainStep().command(ctx)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread for tiny models, all on a CPU, few with a GPU."""
    monkeypatch.setattr(tool_environment, "cpus", lambda: 32)
    assert tool_environment.compute_threads(2_000_000, "cpu") == 1
    assert tool_environment.compute_threads(1_000_000_000, "cpu") == 32
    assert tool_environment.compute_threads(2_000_000, "cuda") == 8


def test_temporary_directory_is_short_enough_for_sockets(lab: StepLab, tmp_path: Path) -> None:
    """multiprocessing creates sockets below TMPDIR, and the length of their paths is limited."""
    ctx = context(lab)
    for length, fits in ((60, True), (75, True), (76, False)):
        job_dir = "/tmp/" + "x" * (length - len("/tmp/") - len("/tmp"))
        try:
            moved = StepContext(ctx.layout, ctx.spec, ctx.toolchain, ctx.work, job_dir)
            env = tool_environment.tool_environment(moved, "/venv", 1)
            assert (env.get("TMPDIR") == job_dir + "/tmp") is fits
        finally:
            tool_environment.remove_scratch(moved)
            os.rmdir(job_dir)


# YAML 1.1, as read by LLaMA-Factory (OmegaConf with PyYAML)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
@settings(deadline=None)
def test_yaml(value: t.Any) -> None:
    """Written values are read back with the same value and type."""
    content = yaml.safe_load(formats_yaml.yaml_text({"key": value, "none": None}))
    expected = {} if value is None else {"key": value}
    assert (content or {}) == expected
    if isinstance(value, float):
        assert isinstance(content["key"], float)


@pytest.mark.parametrize(
    ("value", "text"), [(2e-4, "0.0002"), (1e-5, "0.00001"), (3.0, "3.0"), (1e22, "1" + "0" * 22 + ".0")]
)
def test_yaml_floats_have_no_exponent(value: float, text: str) -> None:
    """YAML 1.1 reads 2e-4 as text."""
    assert formats_yaml.yaml_scalar(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), b"x"])
def test_yaml_rejects_other_values(value: t.Any) -> None:
    """Values without a YAML representation are rejected."""
    with pytest.raises(InputError):
        formats_yaml.yaml_scalar(value)
