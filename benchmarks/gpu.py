# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trainings on a GPU: the estimates of memory and time compared with what a training takes.

``IA_BENCHMARK=gpu ./test.sh bench``, or run directly with ``IA_LF_VENV``. It needs one NVIDIA GPU, and ends with status
3 without one. Each method trains random weights of the shape of a 7B, with as many of its layers as fit the GPU by the
estimate, for a few steps, through the engine. At most ten minutes in all; what does not end in time is cancelled and
reported as such. Prints a table, and writes one JSON file (``IA_BENCHMARK_JSON``, by default ``gpu.json``).

With ``IA_LF_IMAGE``, an image that the Docker engine has, ``lora`` is repeated in a container.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "playbooks" / "collections"))

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.catalogue import CATALOGUE  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.entry import Shape  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.names import (  # noqa: E402
    count_parameters,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import CoreError  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import fit  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.plans import plans_of  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import (  # noqa: E402
    Host,
    Request,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.status import RunView  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import gpus  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.docker import (  # noqa: E402
    DockerEngine,
)

#: Seconds for everything.
LIMIT = 600.0
#: Goals: the estimate of memory against the peak, the time left against the time taken.
MEMORY_GOAL, TIME_GOAL = 0.10, 0.15
METHODS = ("qlora", "lora", "full")
#: Rows, rows for each step, and tokens of a row.
ROWS, ROWS_PER_STEP, LENGTH = 192, 8, 1024
NO_GPU = 3
#: Vocabulary for GPUs on which the one of the 7B leaves no room for a layer.
_SMALL_VOCABULARY = 32_000

#: Writes random weights of a shape, one file for each layer, with the tokenizer of a tiny base.
MAKE_BASE = """
import json, os, shutil, sys
import torch
from safetensors.torch import save_file
shape, tokenizer, target = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
def weight(*size): return (torch.randn(*size, dtype=torch.bfloat16, device=device) * 0.02).cpu()
def ones(size): return torch.ones(size, dtype=torch.bfloat16)
hidden, ffn, count = shape["hidden"], shape["intermediate"], shape["layers"]
queries, keys = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
names, total = {}, count + 1
def save(number, tensors):
    name = f"model-{number:05d}-of-{total:05d}.safetensors"
    save_file(tensors, os.path.join(target, name), metadata={"format": "pt"})
    names.update(dict.fromkeys(tensors, name))
for layer in range(count):
    at = f"model.layers.{layer}."
    save(layer + 1, {
        at + "input_layernorm.weight": ones(hidden), at + "post_attention_layernorm.weight": ones(hidden),
        at + "self_attn.q_proj.weight": weight(queries, hidden), at + "self_attn.q_proj.bias": weight(queries),
        at + "self_attn.k_proj.weight": weight(keys, hidden), at + "self_attn.k_proj.bias": weight(keys),
        at + "self_attn.v_proj.weight": weight(keys, hidden), at + "self_attn.v_proj.bias": weight(keys),
        at + "self_attn.o_proj.weight": weight(hidden, queries),
        at + "mlp.gate_proj.weight": weight(ffn, hidden), at + "mlp.up_proj.weight": weight(ffn, hidden),
        at + "mlp.down_proj.weight": weight(hidden, ffn),
    })
rest = {"model.embed_tokens.weight": weight(shape["vocabulary"], hidden), "model.norm.weight": ones(hidden)}
if not shape["tied"]:
    rest["lm_head.weight"] = weight(shape["vocabulary"], hidden)
save(total, rest)
json.dump({"metadata": {}, "weight_map": names}, open(os.path.join(target, "model.safetensors.index.json"), "w"))
tiny = json.load(open(os.path.join(tokenizer, "config.json")))
config = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": hidden, "intermediate_size": ffn,
    "num_hidden_layers": count, "num_attention_heads": shape["heads"], "num_key_value_heads": shape["kv_heads"],
    "vocab_size": shape["vocabulary"], "max_position_embeddings": 32768, "tie_word_embeddings": shape["tied"],
    "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "hidden_act": "silu", "torch_dtype": "bfloat16",
    **{name: tiny[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if name in tiny},
}
json.dump(config, open(os.path.join(target, "config.json"), "w"))
for name in os.listdir(tokenizer):
    if "token" in name or name.endswith(".jinja") or name.endswith(".model"):
        shutil.copy(os.path.join(tokenizer, name), target)
"""


class Sample(t.NamedTuple):
    """The progress of a training at a moment.

    :param at: seconds, of a monotonic clock.
    :param current: steps done.
    :param total: steps in all.
    :param eta: seconds that are left, as shown; None for unknown.
    """

    at: float
    current: float
    total: float
    eta: float | None


@dataclasses.dataclass
class Measured:
    """What was measured for one method; None for what is unknown.

    :param name: method, and where it ran.
    :param layers: layers of the base.
    :param parameters: parameters of the base.
    :param state: how the run ended: ``succeeded``, ``failed``, ``out of time`` or ``does not fit``.
    :param estimated_bytes: GPU memory by the estimate.
    :param peak_bytes: largest GPU memory of the processes of the training.
    :param eta_error: error of the time left that was shown at half of the steps, as a share of the time it took.
    :param planned_seconds: duration of the step by the plan.
    :param seconds: duration of the training.
    :param gpus: number of GPUs that processes of the training used.
    :param detail: error message of a run that failed.
    """

    name: str
    layers: int
    parameters: int
    state: str
    estimated_bytes: int | None = None
    peak_bytes: int | None = None
    eta_error: float | None = None
    planned_seconds: float | None = None
    seconds: float | None = None
    gpus: int | None = None
    detail: str = ""

    @property
    def memory_error(self) -> float | None:
        """Error of the estimate as a share of the peak."""
        if not self.estimated_bytes or not self.peak_bytes:
            return None
        return self.estimated_bytes / self.peak_bytes - 1

    def problems(self) -> list[str]:
        """Goals that are missed."""
        found = [] if self.state in ("succeeded", "does not fit") else [f"{self.name}: {self.state}"]
        for error, goal, what in (
            (self.memory_error, MEMORY_GOAL, "memory"),
            (self.eta_error, TIME_GOAL, "time left"),
        ):
            if error is not None and abs(error) > goal:
                found.append(f"{self.name}: the estimate of {what} is off by {error:+.0%}, the goal is {goal:.0%}")
        if self.gpus is not None and self.gpus != 1:
            found.append(f"{self.name}: {self.gpus} GPUs were used, one is declared")
        return found

    def as_dict(self) -> dict[str, t.Any]:
        """Plain values."""
        return {**dataclasses.asdict(self), "memory_error": self.memory_error}


def seven_billion() -> Shape:
    """The shape of qwen2.5:7b."""
    return next(entry.shape for entry in CATALOGUE if entry.family == "qwen2.5" and "7b" in entry.tags)


def with_layers(shape: Shape, layers: int) -> Shape:
    """The shape with another number of layers."""
    fewer = dataclasses.replace(shape, layers=layers)
    return dataclasses.replace(fewer, parameters=count_parameters(fewer))


def largest_that_fits(method: str, gpu_bytes: int) -> Shape | None:
    """The shape of a 7B with as many layers as fit a GPU by the estimate; None if not even one does.

    The vocabulary is smaller where its embeddings alone, a billion parameters, do not fit.
    """
    whole = seven_billion()
    for vocabulary in (whole.vocabulary, _SMALL_VOCABULARY):
        for layers in range(whole.layers, 0, -1):
            shape = with_layers(dataclasses.replace(whole, vocabulary=vocabulary), layers)
            if fit.required_vram(shape, declared(method), LENGTH) <= fit.budget(gpu_bytes):
                return shape
    return None


def declared(method: str) -> dict[str, t.Any]:
    """The declaration of a training."""
    rate = {"full": 1e-5}.get(method, 1e-4)
    return {
        "method": method, "epochs": 1, "batch_size": 1, "gradient_accumulation": ROWS_PER_STEP, "learning_rate": rate,
        "cutoff_len": LENGTH, "save_steps": 1000, "template": "qwen", "gpus": 1, "memory_check": "warn",
        "preflight_check": "warn",
    }  # fmt: skip


def rows() -> list[dict[str, str]]:
    """Rows that are longer than a training takes: each is cut to ``LENGTH`` tokens, so all are alike."""
    return [
        {"instruction": f"Question {number}", "output": " ".join(str(number * 7919 + word) for word in range(LENGTH))}
        for number in range(ROWS)
    ]


def eta_error(samples: t.Sequence[Sample]) -> float | None:
    """Error of the time left that was shown at half of the steps, as a share of the time it took; None if unknown."""
    middle = next((each for each in samples if each.total and each.current >= each.total / 2 and each.eta), None)
    end = next((each for each in samples if each.total and each.current >= each.total), None)
    if middle is None or end is None or middle.eta is None or end.at <= middle.at:
        return None
    return middle.eta / (end.at - middle.at) - 1


def table(found: t.Sequence[Measured]) -> list[str]:
    """The figures as the lines of a Markdown table."""

    def gigabytes(size: int | None) -> str:
        return "–" if size is None else f"{size / 1e9:.1f} GB"

    def share(error: float | None) -> str:
        return "–" if error is None else f"{error:+.0%}"

    def seconds(value: float | None) -> str:
        return "–" if value is None else f"{value:.0f} s"

    lines = [
        "| training | layers | parameters | result | memory by the estimate | peak | error | time left, error "
        "| planned | took | GPUs |",
        "|" + "---|" * 11,
    ]
    for each in found:
        cells = [
            each.name, str(each.layers), f"{each.parameters / 1e9:.1f} B", each.state,
            gigabytes(each.estimated_bytes), gigabytes(each.peak_bytes), share(each.memory_error),
            share(each.eta_error), seconds(each.planned_seconds), seconds(each.seconds),
            "–" if each.gpus is None else str(each.gpus),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


class Watch:
    """Samples progress and GPU memory of a run while it is followed."""

    def __init__(self, pids: t.Callable[[], list[gpus.GpuProcess]] = gpus.processes) -> None:
        self.samples: list[Sample] = []
        self.peak = 0
        self.uuids: set[str] = set()
        self._processes = pids

    def __call__(self, view: RunView) -> None:
        """Take a sample."""
        progress = view.progress
        if view.current == "train" and progress:
            eta = progress.get("eta_seconds")
            self.samples.append(Sample(time.monotonic(), progress["current"], progress["total"], eta))
        ours = [process for process in self._processes() if process.job]
        self.peak = max(self.peak, sum(process.used_bytes or 0 for process in ours))
        self.uuids |= {process.uuid for process in ours}


def train(layout: Layout, tools: Toolchain, base: str, shape: Shape, method: str, name: str, end: float) -> Measured:
    """Train with one method.

    :param end: when everything has to be over, on the monotonic clock.
    """
    measured = Measured(name, shape.layers, shape.parameters, "failed")
    entry = {"name": name.replace(" ", "-"), "base_model": base, "dataset": "rows", **declared(method)}
    engine = Engine(layout.root)
    try:
        run = plan(layout, Request.finetune(entry, Goal.TRAIN), Host(tools, "cuda"))
        (planned,) = plans_of(layout, [(run, engine.preview(run))], "cuda")
        takes = next((step.get("takes") or {} for step in planned["steps"] if step["label"] == "train"), {})
        measured.planned_seconds = takes.get("seconds")
        measured.estimated_bytes = run.step("train").spec.options["estimate"]["vram"]["raw"]
        watch = Watch()
        engine.submit(run)
        view = engine.follow(run.id, timeout=max(1.0, end - time.monotonic()), on_view=watch, poll=0.5)
        if not view.state.ended:
            engine.cancel(run.id)
            engine.follow(run.id, timeout=60)
            measured.state = "out of time"
            return measured
    except CoreError as error:
        measured.detail = str(error)
        return measured
    measured.state, measured.detail = view.state.value, str((view.error or {}).get("message", ""))
    results = (layout.receipt("train", run.step("train").spec.fingerprint) or {}).get("results") or {}
    reserved = (results.get("metrics") or {}).get("vram_gib")
    # PyTorch's figure leaves out the memory of CUDA itself, the driver's has it
    measured.peak_bytes = watch.peak or (int(reserved * 2**30) if reserved else None)
    measured.seconds = results.get("duration_seconds")
    measured.eta_error = eta_error(watch.samples)
    measured.gpus = len(watch.uuids) or None
    return measured


def make_base(venv: str, shape: Shape, tokenizer: str, target: Path) -> str:
    """Write random weights of a shape; return their directory."""
    target.mkdir(parents=True)
    argv = [os.path.join(venv, "bin", "python"), "-I", "-c", MAKE_BASE, json.dumps(dataclasses.asdict(shape))]
    subprocess.run([*argv, tokenizer, str(target)], check=True, stdin=subprocess.DEVNULL)
    return str(target)


def refusal(found: t.Sequence[gpus.Gpu], venv: str) -> str:
    """Why nothing can be measured here; empty if it can."""
    if not found:
        return "There is no GPU here: the NVIDIA driver reports none. Nothing was run."
    if not os.path.exists(os.path.join(venv, "bin", "python")):
        return "LLaMA-Factory is not installed: IA_LF_VENV names no virtual environment. Nothing was run."
    return ""


def container_tools(image: str, venv_tools: Toolchain) -> Toolchain | None:
    """The tools in a container; None without an image or an engine that has it."""
    if not image:
        return None
    try:
        there = DockerEngine("").image(image) is not None
    except CoreError:
        there = False
    return dataclasses.replace(venv_tools, llamafactory_image=image) if there else None


def bitsandbytes_version(venv: str) -> str:
    """Version of bitsandbytes, which qlora needs; empty if it is not installed."""
    code = "import importlib.metadata as m; print(m.version('bitsandbytes'))"
    argv = [os.path.join(venv, "bin", "python"), "-I", "-c", code]
    return subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.strip()


def cancel_all(data_dir: str) -> None:
    """Cancel all runs and wait for their end: jobs outlive the process that submitted them."""
    engine = Engine(data_dir)
    for record in engine.store.active():
        engine.cancel(record.id)
        engine.follow(record.id, timeout=60)


def main() -> int:
    """Measure, print and write the figures; return the exit status."""
    end = time.monotonic() + LIMIT
    venv, there = os.environ.get("IA_LF_VENV", ""), gpus.gpus()
    reason = refusal(there, venv)
    if reason:
        print(reason, file=sys.stderr)
        return NO_GPU
    from lab import make_tiny_base

    gpu = gpus.largest(there, 1)[0]
    tools = Toolchain(llamafactory_venv=venv)
    found: list[Measured] = []
    root = Path(tempfile.mkdtemp(prefix="benchmark-gpu-", dir=os.environ.get("IA_BENCHMARK_DIR")))
    try:
        layout = Layout(str(root / "data"))
        registry.apply(layout, registry.Declaration("rows"), [Source("records", records=list(rows()))])
        tokenizer = str(make_tiny_base(root / "tiny"))
        places: list[tuple[str, str, Toolchain]] = [(method, method, tools) for method in METHODS]
        contained = container_tools(os.environ.get("IA_LF_IMAGE", ""), tools)
        places += [("lora", "lora in a container", contained)] if contained is not None else []
        bases: dict[Shape, str] = {}
        for method, name, where in places:
            shape = largest_that_fits(method, gpu.total_bytes)
            if shape is None:
                found.append(Measured(name, 0, 0, "does not fit"))
                continue
            if time.monotonic() >= end:
                found.append(Measured(name, shape.layers, shape.parameters, "out of time"))
                continue
            if shape not in bases:
                bases[shape] = make_base(venv, shape, tokenizer, root / f"base-{len(bases)}")
            found.append(train(layout, where, bases[shape], shape, method, name, end))
            print(f"  {name}: {found[-1].state} {found[-1].detail}", flush=True)
    finally:
        cancel_all(str(root / "data"))
        shutil.rmtree(root, ignore_errors=True)
    problems = [problem for each in found for problem in each.problems()]
    report = {
        "gpu": dataclasses.asdict(gpu), "gpus": len(there), "bitsandbytes": bitsandbytes_version(venv),
        "seconds": round(LIMIT - (end - time.monotonic()), 1), "trainings": [each.as_dict() for each in found],
        "container": any("container" in each.name for each in found), "problems": problems,
    }  # fmt: skip
    Path(os.environ.get("IA_BENCHMARK_JSON", "gpu.json")).write_text(json.dumps(report, indent=2) + "\n")
    print("\n".join([f"{gpu.name}, {gpu.total_bytes / 1e9:.1f} GB", "", *table(found), "", *problems]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
