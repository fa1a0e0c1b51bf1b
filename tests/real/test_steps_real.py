# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Training, merging and conversion with the real tools, on a tiny base, through the steps' own three calls.

Needs ``IA_LF_VENV`` (LLaMA-Factory), ``IA_CONV_VENV`` (llama.cpp's converter) and ``IA_LLAMA_CPP_DIR``
(``convert_hf_to_gguf.py``, ``bin/llama-quantize``, ``bin/llama-tokenize``); fails where one is missing.
About two minutes on two cores.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates.memory import CONVERTER_START_RAM
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.gguf import read_header
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.safetensors import (
    Tensor,
    read_model,
    read_tensors,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.command import Command
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec, Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.gguf import GgufStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.merge import MergeStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.step import Step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import (
    publish_dir,
    sha256_file,
    write_json,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

FILES = Path(__file__).resolve().parents[2] / "playbooks" / "files"
ROWS = 50
#: Long enough to be stopped: transformers needs three seconds from the signal to the checkpoint.
STEPS = 80
DECLARED = {
    "template": "qwen",
    "epochs": STEPS * 10 / ROWS,
    "batch_size": 10,
    "gradient_accumulation": 1,
    "learning_rate": 3e-3,
    "cutoff_len": 512,
    "save_steps": 5,
}
WAIT_SECONDS = 400.0


def tool(name: str) -> str:
    """A directory with tools, from the environment."""
    path = os.environ.get(name, "")
    assert path, f"set {name} to run these tests"
    assert os.path.isdir(path), f"{name}={path} is not there"
    return path


class Workspace:
    """A data directory, and a harness that acts as a supervisor in the foreground."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(str(root / "data"))
        self.layout.create()
        self.tools = Toolchain(tool("IA_LF_VENV"), tool("IA_CONV_VENV"), tool("IA_LLAMA_CPP_DIR"))
        self.jobs = itertools.count(1)
        self.started: list[subprocess.Popen[bytes]] = []

    def context(self, kind: str, settings: dict[str, t.Any], upstream: dict[str, str], **options: t.Any) -> StepContext:
        """A new job for a step."""
        spec = StepSpec(kind, fingerprint(kind, settings, upstream), settings, upstream, options)
        job_dir = self.root / f"job-{next(self.jobs)}"
        job_dir.mkdir()
        return StepContext(self.layout, spec, self.tools, self.layout.work(kind, spec.fingerprint), str(job_dir))

    def again(self, ctx: StepContext) -> StepContext:
        """Another job for the same step."""
        spec = ctx.spec
        return self.context(spec.kind, spec.settings, spec.upstream, **spec.options)

    def start(self, command: Command, ctx: StepContext) -> subprocess.Popen[bytes]:
        """Start a command as a runner does: in its own session, with output to the job's log."""
        with open(os.path.join(ctx.job_dir, "log.txt"), "ab") as log:
            process = subprocess.Popen(
                command.argv,
                env=command.env,
                cwd=command.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def clear(self) -> None:
        """End processes that a failed test has left."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def run(self, step: Step, ctx: StepContext) -> dict[str, t.Any]:
        """Command and finish."""
        command = step.command(ctx)
        if command is not None:
            status = self.start(command, ctx).wait(WAIT_SECONDS)
            assert status == 0, log_of(ctx)[-3000:]
        return step.finish(ctx)

    def publish(self, ctx: StepContext, results: dict[str, t.Any]) -> str:
        """Publish the result; return its path."""
        spec = ctx.spec
        final = self.layout.artifact(spec.kind, spec.fingerprint)
        write_json(os.path.join(ctx.work, "receipt.json"), {"fingerprint": spec.fingerprint, "results": results})
        publish_dir(ctx.work, final)
        return final

    def make(self, step: Step, ctx: StepContext) -> tuple[str, dict[str, t.Any]]:
        """Command, finish and publish."""
        results = self.run(step, ctx)
        return self.publish(ctx, results), results


def elements(tensors: dict[str, Tensor]) -> int:
    """Number of parameters."""
    return sum(tensor.elements for tensor in tensors.values())


def log_of(ctx: StepContext) -> str:
    """Output of a job's command."""
    return Path(ctx.job_dir, "log.txt").read_text(encoding="utf-8", errors="replace")


def wait_for(reached: t.Callable[[], t.Any], process: subprocess.Popen[bytes]) -> None:
    """Wait until a condition is true while a process runs."""
    end = time.monotonic() + WAIT_SECONDS
    while not reached():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Workspace]:
    yield from prepared(tmp_path_factory.mktemp("steps"))


def prepared(root: Path, *shape: str, base: Path | None = None) -> t.Iterator[Workspace]:
    """A data directory with a base, the tiny one (``shape``: its options) by default, and the shipped prompts in it."""
    made = Workspace(root)
    base = shutil.copytree(base, root / "base") if base else make_tiny_base(root / "base", "--layers", "2", *shape)
    location = made.layout.artifact("base", BASE)
    os.makedirs(location)
    write_json(os.path.join(location, "receipt.json"), {"results": {"location": str(base)}})
    dataset = Path(made.layout.artifact("dataset", DATASET))
    dataset.mkdir()
    rows = json.loads((FILES / "homelab_prompts.json").read_text(encoding="utf-8"))
    (dataset / "data.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": None}
    entry = {"file_name": "data.jsonl", "formatting": "alpaca", "columns": columns}
    write_json(str(dataset / "dataset_info.json"), {"homelab": entry})
    yield made
    made.clear()
    shutil.rmtree(root)


BASE = fingerprint("base", {"n": 1}, {})
DATASET = fingerprint("dataset", {"n": 1}, {})


def training(workspace: Workspace, attempt: int = 0, **declared: t.Any) -> StepContext:
    """A job for a training; another attempt is another artifact of the same settings."""
    wanted = hp.normalise({**DECLARED, **declared})
    settings = {**hp.settings(wanted), "attempt": attempt}
    upstream = {"base": BASE, "dataset": DATASET}
    return workspace.context("train", settings, upstream, resolved=hp.resolved(wanted), accelerator="cpu", name="essai")


@pytest.fixture(scope="module")
def trained(workspace: Workspace) -> tuple[StepContext, str, dict[str, t.Any]]:
    """An uninterrupted training."""
    ctx = training(workspace)
    where, results = workspace.make(TrainStep(), ctx)
    return ctx, where, results


@pytest.fixture(scope="module")
def merged(workspace: Workspace, trained: tuple[StepContext, str, t.Any]) -> tuple[StepContext, str, dict[str, t.Any]]:
    """The merged model."""
    source = trained[0].spec
    upstream = {"base": BASE, "train": source.fingerprint}
    ctx = workspace.context("merge", {}, upstream, resolved=source.options["resolved"])
    where, results = workspace.make(MergeStep(), ctx)
    return ctx, where, results


def conversion(workspace: Workspace, merged: str, quantization: str = "f16", **options: t.Any) -> StepContext:
    """A job that makes a GGUF file."""
    more = {"quantization": quantization, "name": "essai", "base": BASE, "dataset": DATASET, **options}
    return workspace.context("gguf", {"quantization": quantization}, {"merge": merged}, **more)


@pytest.fixture(scope="module")
def converted(
    workspace: Workspace, merged: tuple[StepContext, str, t.Any]
) -> tuple[StepContext, str, dict[str, t.Any]]:
    """The 16-bit GGUF file."""
    ctx = conversion(workspace, merged[0].spec.fingerprint)
    where, results = workspace.make(GgufStep(), ctx)
    return ctx, where, results


def in_one_pass(workspace: Workspace, trained: StepContext) -> tuple[StepContext, dict[str, t.Any]]:
    """A job that converts base and adapter, and the results of the merge before it."""
    upstream = {"base": BASE, "train": trained.spec.fingerprint}
    options = {"resolved": trained.spec.options["resolved"], "weights": False}
    ctx = workspace.context("merge", {"on": "the way"}, upstream, **options)
    where, results = workspace.make(MergeStep(), ctx)
    receipt = Path(where, "receipt.json")
    write_json(str(receipt), {**json.loads(receipt.read_text(encoding="utf-8")), "upstream": upstream})
    return conversion(workspace, ctx.spec.fingerprint), results


def largest_gap(left: str, right: str) -> float:
    """How far the tensors of two GGUF files are apart, relative to the largest value of each."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[3] + '/gguf-py'); import gguf\n"
        "a, b = [{x.name: x.data.astype('f4') for x in gguf.GGUFReader(p).tensors} for p in sys.argv[1:3]]\n"
        "assert set(a) == set(b), set(a) ^ set(b)\n"
        "print(max(abs(a[n] - b[n]).max() / abs(a[n]).max() for n in a))"
    )
    argv = [os.path.join(tool("IA_CONV_VENV"), "bin", "python"), "-c", program, left, right, tool("IA_LLAMA_CPP_DIR")]
    return float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def test_one_pass(
    workspace: Workspace,
    trained: tuple[StepContext, str, t.Any],
    converted: tuple[StepContext, str, dict[str, t.Any]],
) -> None:
    """Base and adapter become the file that merged weights become, but for what the export rounds to 16 bits."""
    ctx, merged = in_one_pass(workspace, trained[0])
    assert merged == {"weights": False, "modules": 14, "tokenizer": "base"}
    where, results = workspace.make(GgufStep(), ctx)
    assert results["peak_ram_bytes"] == pytest.approx(CONVERTER_START_RAM, rel=0.2), "the base itself is tiny"
    assert results["recipe"] == "one_pass" and converted[2]["recipe"] == "merged_weights"
    # the converter notes the name of a directory that has the form of a fingerprint
    for varying in ("recipe", "peak_ram_bytes", "bytes"):
        del results[varying]
    assert results == {name: converted[2][name] for name in results}
    assert largest_gap(os.path.join(where, "model.gguf"), os.path.join(converted[1], "model.gguf")) < 2**-10


def test_kill_in_the_middle_of_one_pass(workspace: Workspace, trained: tuple[StepContext, str, t.Any]) -> None:
    """A torn file is no result, and the next attempt starts afresh."""
    ctx, _merged = in_one_pass(workspace, trained[0])
    step = GgufStep()
    process = workspace.start(t.cast(Command, step.command(ctx)), ctx)
    wait_for(lambda: os.path.exists(os.path.join(ctx.work, "model.gguf.part")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(JobError):
        step.finish(ctx)
    assert workspace.run(step, workspace.again(ctx))["recipe"] == "one_pass"


@pytest.mark.parametrize(
    "extra", [{"use_dora": True}, {"use_rslora": True}, {"additional_target": "norm"}], ids=["dora", "rslora", "saved"]
)
@pytest.mark.full
def test_one_pass_of_other_adapters(workspace: Workspace, extra: dict[str, t.Any]) -> None:
    ctx = training(workspace, epochs=1, extra=extra)
    workspace.make(TrainStep(), ctx)
    upstream = {"base": BASE, "train": ctx.spec.fingerprint}
    merge = workspace.context("merge", {}, upstream, resolved=ctx.spec.options["resolved"])
    workspace.make(MergeStep(), merge)
    expected, _results = workspace.make(GgufStep(), conversion(workspace, merge.spec.fingerprint))
    passed, results = workspace.make(GgufStep(), in_one_pass(workspace, ctx)[0])
    assert results["recipe"] == "one_pass"
    assert largest_gap(os.path.join(passed, "model.gguf"), os.path.join(expected, "model.gguf")) < 2**-9


@pytest.mark.full
def test_an_adapter_with_an_output_layer_of_its_own_is_exported(workspace: Workspace) -> None:
    """The base has no lm_head of its own: transformers has to say what becomes of it."""
    ctx = training(workspace, epochs=1, extra={"additional_target": "lm_head"})
    workspace.make(TrainStep(), ctx)
    _ctx, results = in_one_pass(workspace, ctx)
    assert results["weights"] is True and results["obstacle"]["code"] == "training.one_pass_tensor"


def test_training(trained: tuple[StepContext, str, dict[str, t.Any]]) -> None:
    """Files and results of an uninterrupted training."""
    ctx, where, results = trained
    assert results["steps"] == STEPS
    assert results["method"] == "lora"
    assert results["resumed_from"] is None
    assert results["total_tokens"] > 1000
    assert results["trainable_parameters"] == elements(read_tensors(os.path.join(where, "adapter_model.safetensors")))
    assert 0 < results["metrics"]["train_loss"] < 6
    # the Trainer's own figure, which only holds for a training without interruption, is the same here
    log = [json.loads(line) for line in Path(where, "trainer_log.jsonl").read_text(encoding="utf-8").splitlines()]
    saved = json.loads(Path(where, "all_results.json").read_text(encoding="utf-8"))
    assert results["metrics"]["train_loss"] == pytest.approx(saved["train_loss"], abs=1e-4)
    assert log[-2]["loss"] < log[0]["loss"] / 10
    names = set(os.listdir(where))
    assert {"adapter_model.safetensors", "adapter_config.json", "training_loss.png", "trainer_log.jsonl"} <= names
    assert not [name for name in names if name.startswith((".", "checkpoint-"))]
    assert not os.path.exists(os.path.join(ctx.job_dir, "tmp"))
    assert "HF_TOKEN" not in log_of(ctx)


def test_interrupted_training_ends_like_an_uninterrupted_one(
    workspace: Workspace, trained: tuple[StepContext, str, t.Any]
) -> None:
    """Stopped, killed, last checkpoint damaged: the result equals that of an uninterrupted training byte for byte."""
    step = TrainStep()
    ctx = training(workspace, attempt=1)
    process = workspace.start(t.cast(Command, step.command(ctx)), ctx)
    wait_for(lambda: step.progress(ctx), process)
    grace = step.stop(ctx, lambda number: os.killpg(process.pid, number))
    assert process.wait(grace) == 0
    with pytest.raises(JobError, match=f"stopped at step .* of {STEPS}"):
        step.finish(ctx)
    stopped_at = max(checkpoint_steps(ctx))
    assert json_of(ctx, "trainer_state.json")["global_step"] - stopped_at in (0, 1)

    ctx = workspace.again(ctx)
    process = workspace.start(t.cast(Command, step.command(ctx)), ctx)
    wait_for(lambda: max(checkpoint_steps(ctx)) > stopped_at, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert f"global step {stopped_at}" in log_of(ctx)
    whole, torn = sorted(checkpoint_steps(ctx))[-2:]
    optimizer = Path(ctx.work, f"checkpoint-{torn}", "optimizer.pt")
    if optimizer.exists():  # otherwise the kill itself has damaged it
        os.truncate(optimizer, optimizer.stat().st_size // 2)

    ctx = workspace.again(ctx)
    where, results = workspace.make(step, ctx)
    assert results["resumed_from"] == whole
    assert f"checkpoint-{torn} is put aside" in log_of(ctx)
    assert results["steps"] == STEPS
    assert results["metrics"]["train_loss"] == pytest.approx(trained[2]["metrics"]["train_loss"], abs=1e-6)
    # the Trainer itself counts the step that the stop interrupted twice
    assert results["total_tokens"] == pytest.approx(trained[2]["total_tokens"], rel=0.03)
    adapter = "adapter_model.safetensors"
    assert sha256_file(os.path.join(where, adapter)) == sha256_file(os.path.join(trained[1], adapter))


def checkpoint_steps(ctx: StepContext) -> list[int]:
    """Steps of the checkpoints in a work directory; never empty."""
    names = os.listdir(ctx.work) if os.path.isdir(ctx.work) else []
    return [0] + [int(name.partition("-")[2]) for name in names if name.startswith("checkpoint-")]


def json_of(ctx: StepContext, name: str) -> dict[str, t.Any]:
    """A JSON file in the work directory."""
    found: dict[str, t.Any] = json.loads(Path(ctx.work, name).read_text(encoding="utf-8"))
    return found


def test_finished_training_is_not_repeated(workspace: Workspace, trained: tuple[StepContext, str, t.Any]) -> None:
    """A supervisor killed between end and publishing: no command is run again; a missing plot is recreated."""
    step = TrainStep()
    ctx = training(workspace, attempt=2)
    shutil.copytree(trained[1], ctx.work)
    assert step.command(ctx) is None
    assert step.finish(ctx)["steps"] == STEPS
    os.unlink(os.path.join(ctx.work, "training_loss.png"))
    before = sha256_file(os.path.join(ctx.work, "all_results.json"))
    assert workspace.run(step, ctx)["loss_plot"] == "training_loss.png"
    assert sha256_file(os.path.join(ctx.work, "all_results.json")) == before


def test_full_training_and_its_merge(workspace: Workspace) -> None:
    """Full training: merging has no adapter, and the result has the base's type."""
    ctx = training(workspace, method="full", epochs=1, learning_rate=1e-4)
    where, results = workspace.make(TrainStep(), ctx)
    assert results["steps"] == ROWS / 10
    assert results["trainable_parameters"] == elements(read_model(str(workspace.root / "base")))
    upstream = {"base": BASE, "train": ctx.spec.fingerprint}
    merge = workspace.context("merge", {}, upstream, resolved=ctx.spec.options["resolved"])
    results = workspace.run(MergeStep(), merge)
    assert results["dtype"] == "F16"  # as the base
    base = str(workspace.root / "base" / "model.safetensors")
    assert sha256_file(os.path.join(merge.work, "model.safetensors")) != sha256_file(base)


def test_merge(workspace: Workspace, merged: tuple[StepContext, str, dict[str, t.Any]]) -> None:
    """The base's weight type, tokenizer and configuration, without LLaMA-Factory's Modelfile."""
    _ctx, where, results = merged
    assert results["dtype"] == "F16"  # as the base
    assert results["tensors"] == 20
    assert results["tokenizer"] == "base"
    assert not os.path.exists(os.path.join(where, "Modelfile"))
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert sha256_file(os.path.join(where, name)) == sha256_file(str(workspace.root / "base" / name))


def test_conversion(converted: tuple[StepContext, str, dict[str, t.Any]]) -> None:
    """The model in one file, with the name of the fine-tune, and the base's tokenization."""
    ctx, where, results = converted
    assert os.listdir(where).count("model.gguf") == 1
    assert results["tensors"] == 20
    assert results["file_type"] == "F16"
    assert results["fallbacks"] == []
    assert results["texts_compared"] > 50
    assert read_header(os.path.join(where, "model.gguf")).metadata["general.name"] == "essai"
    found = GgufStep().progress(ctx)
    assert found is not None and str(found.note) == "comparing tokens"


@pytest.mark.parametrize("quantization", ["q8_0", "q4_K_M"])
def test_quantization(
    workspace: Workspace, converted: tuple[StepContext, str, dict[str, t.Any]], quantization: str
) -> None:
    """Smaller files from the 16-bit one."""
    spec = converted[0].spec
    ctx = conversion(workspace, spec.upstream["merge"], quantization, f16=spec.fingerprint)
    results = workspace.run(GgufStep(), ctx)
    assert results["tensors"] == 20
    assert results["file_type"].lower() == quantization.lower()
    assert results["bytes"] < converted[2]["bytes"] * 0.6
    assert results["fallbacks"] == []
    assert os.listdir(ctx.work) == ["model.gguf"]
    found = GgufStep().progress(ctx)
    assert found is not None and (found.current, found.total) == (20, 20)


def test_failed_quantization_leaves_nothing(
    workspace: Workspace, converted: tuple[StepContext, str, dict[str, t.Any]]
) -> None:
    """The partial output of a failed tool is not a result."""
    spec = converted[0].spec
    ctx = conversion(workspace, spec.upstream["merge"], "q8_0", f16=spec.fingerprint)
    command = GgufStep().command(ctx)
    # the kernel ends the tool when its file exceeds this size, similar to a full disk
    limited = Command(["/bin/sh", "-c", 'ulimit -f 200; exec "$0" "$@"', *command.argv], command.env, command.cwd)
    assert workspace.start(limited, ctx).wait(WAIT_SECONDS) != 0
    with pytest.raises(JobError):
        GgufStep().finish(ctx)
    assert os.listdir(ctx.work) == []


def broken_merge(workspace: Workspace, merged: str, name: str) -> str:
    """A copy of a merged model under another fingerprint, without one of its files."""
    fake = fingerprint("merge", {"without": name}, {})
    where = workspace.layout.artifact("merge", fake)
    shutil.copytree(merged, where)
    os.unlink(os.path.join(where, name))
    return fake


def test_missing_tokenizer_model_is_detected(workspace: Workspace, merged: tuple[StepContext, str, t.Any]) -> None:
    """Without tokenizer.model the converter guesses and exits with 0; only comparing token ids detects it."""
    ctx = conversion(workspace, broken_merge(workspace, merged[1], "tokenizer.model"))
    with pytest.raises(JobError, match="tokenizer differs from the base's") as caught:
        workspace.run(GgufStep(), ctx)
    wrong = caught.value.details["wrong"][0]
    assert wrong["trained"] != wrong["served"]
    assert not os.path.exists(os.path.join(ctx.work, "model.gguf"))


def test_conversion_without_weights_is_detected(workspace: Workspace, merged: tuple[StepContext, str, t.Any]) -> None:
    """Refused in advance; if the weights disappear during the conversion, the empty file is not accepted."""
    fake = broken_merge(workspace, merged[1], "model.safetensors")
    step = GgufStep()
    with pytest.raises(NotReadyError, match="no weights"):
        step.command(conversion(workspace, fake))
    weights = os.path.join(workspace.layout.artifact("merge", fake), "model.safetensors")
    shutil.copyfile(os.path.join(merged[1], "model.safetensors"), weights)
    ctx = conversion(workspace, fake)
    command = step.command(ctx)
    os.unlink(weights)
    assert workspace.start(command, ctx).wait(WAIT_SECONDS) == 0
    assert read_header(os.path.join(ctx.work, "model.gguf.part")).tensor_count == 0
    with pytest.raises(JobError, match="no tensors"):
        step.finish(ctx)
    assert os.listdir(ctx.work) == []
