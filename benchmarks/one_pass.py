# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a trained adapter to a GGUF file of q4_K_M: in one pass, and through merged weights.

The base has random weights in the shape of a real model (``IA_BENCHMARK_SHAPE``: ``0.5b`` or ``1.5b`` of Qwen 2.5), the
adapter is random, of rank 16 on all linear modules. Prints seconds, peak RAM and bytes written of both ways, and their
ratios; and how far the two files differ. Needs the variables that ``./test.sh tools`` prints, and with ``1.5b`` about
13 GB of disk. ``IA_BENCHMARK_FORMER_LLAMA_CPP`` is the directory of an earlier build of llama.cpp, whose quantization
the way through merged weights then uses.
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "playbooks" / "collections"))

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.names import (  # noqa: E402
    resolve,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates.memory import (  # noqa: E402
    estimate,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.safetensors import ADAPTER  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import (  # noqa: E402
    StepContext,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.gguf import GgufStep  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.merge import MergeStep  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.step import Step  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.tests.real import test_steps_real as steps  # noqa: E402

SHAPE = os.environ.get("IA_BENCHMARK_SHAPE", "1.5b")
#: Hidden size, intermediate size, layers, heads, heads of keys (configurations of Qwen2.5 on the hub).
SHAPES = {"0.5b": (896, 4864, 24, 14, 2), "1.5b": (1536, 8960, 28, 12, 2)}
VOCABULARY = 151936
RANK = 16

_MAKE = """
import json, sys, torch
from safetensors.torch import save_file
hidden, inner, layers, heads, kv, vocabulary, rank, base, adapter = json.loads(sys.argv[1])
torch.manual_seed(7)
kv_width = hidden // heads * kv
modules = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (kv_width, hidden),
           "self_attn.v_proj": (kv_width, hidden), "self_attn.o_proj": (hidden, hidden),
           "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}
def values(*shape):
    return (torch.randn(*shape, dtype=torch.float32) * 0.02).to(torch.bfloat16)
weights = {"model.embed_tokens.weight": values(vocabulary, hidden), "model.norm.weight": values(hidden)}
changes = {}
for layer in range(layers):
    prefix = f"model.layers.{layer}."
    for name in ("input_layernorm", "post_attention_layernorm"):
        weights[f"{prefix}{name}.weight"] = values(hidden)
    for name, (rows, columns) in modules.items():
        weights[f"{prefix}{name}.weight"] = values(rows, columns)
        changes[f"base_model.model.{prefix}{name}.lora_A.weight"] = values(rank, columns).float()
        changes[f"base_model.model.{prefix}{name}.lora_B.weight"] = values(rows, rank).float()
save_file(weights, base, metadata={"format": "pt"})
save_file(changes, adapter, metadata={"format": "pt"})
"""

_COMPARE = """
import sys
sys.path.insert(0, sys.argv[3] + "/gguf-py")
import gguf
left, right = [{tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors} for path in sys.argv[1:3]]
assert set(left) == set(right)
gaps = [abs(left[name].data.astype("f4") - right[name].data.astype("f4")).max() for name in left]
print(len(gaps), "tensors,", sum(gap > 0 for gap in gaps), "differ, by at most", max(gaps))
"""


def prepare(workspace: steps.Workspace) -> dict[str, str]:
    """Make the base and the result of a training; return the upstream of a merge."""
    shape = SHAPES[SHAPE]
    base, trained = workspace.root / "base", Path(workspace.layout.artifact("train", "1" * 64))
    trained.mkdir(parents=True)
    config = json.loads((base / "config.json").read_text())
    hidden, inner, layers, heads, kv_heads = shape
    # the architecture of the tiny base, whose tokenizer this is; the vocabulary is padded to its real size
    config.update(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, vocab_size=VOCABULARY, tie_word_embeddings=True, head_dim=hidden // heads,
        torch_dtype="bfloat16",
    )  # fmt: skip
    config.pop("dtype", None)
    (base / "config.json").write_text(json.dumps(config))
    request = json.dumps([*shape, VOCABULARY, RANK, str(base / "model.safetensors"), str(trained / ADAPTER)])
    python = os.path.join(os.environ["IA_LF_VENV"], "bin", "python")
    subprocess.run([python, "-c", _MAKE, request], check=True)
    adapter = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 2 * RANK, "lora_dropout": 0.0,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        "base_model_name_or_path": str(base), "bias": "none", "inference_mode": True,
    }  # fmt: skip
    write_json(str(trained / "adapter_config.json"), adapter)
    return {"base": steps.BASE, "train": "1" * 64}


class Spent(t.NamedTuple):
    """What a way costs: seconds, peak RAM in bytes, bytes written."""

    seconds: float
    ram: int
    written: int


def measured(workspace: steps.Workspace, step: Step, ctx: StepContext) -> Spent:
    """Run a step and publish its result."""
    began = time.perf_counter()
    command = step.command(ctx)
    peak = 0
    if command is not None:
        process = workspace.start(command, ctx)
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, steps.log_of(ctx)[-3000:]
        peak = 1024 * usage.ru_maxrss
    results = step.finish(ctx)
    seconds = time.perf_counter() - began
    written = sum(path.stat().st_size for path in Path(ctx.work).rglob("*") if path.is_file())
    final = workspace.publish(ctx, results)
    receipt = json.loads(Path(final, "receipt.json").read_text())
    write_json(os.path.join(final, "receipt.json"), {**receipt, "upstream": ctx.spec.upstream})
    return Spent(seconds, peak, written)


def way(workspace: steps.Workspace, upstream: dict[str, str], weights: bool) -> tuple[Spent, str]:
    """Merge, convert and quantize; return what it costs, and the 16-bit file."""
    resolved = steps.hp.resolved(steps.hp.normalise(steps.DECLARED))
    merge = workspace.context("merge", {"weights": weights}, upstream, resolved=resolved, weights=weights)
    merging = measured(workspace, MergeStep(), merge)
    convert = workspace.context(
        "gguf",
        {"quantization": "f16"},
        {"merge": merge.spec.fingerprint},
        quantization="f16",
        name="toy",
        base=steps.BASE,
    )
    converting = measured(workspace, GgufStep(), convert)
    final = workspace.layout.artifact("gguf", convert.spec.fingerprint)
    quantize = workspace.context(
        "gguf",
        {"quantization": "q4_K_M"},
        {"merge": merge.spec.fingerprint},
        quantization="q4_K_M",
        f16=convert.spec.fingerprint,
        name="toy",
    )
    former = os.environ.get("IA_BENCHMARK_FORMER_LLAMA_CPP") if weights else None
    if former:
        quantize = dataclasses.replace(
            quantize, toolchain=dataclasses.replace(quantize.toolchain, llama_cpp_dir=former)
        )
    stages = (merging, converting, measured(workspace, GgufStep(), quantize))
    print("  merge, f16, q4_K_M: " + ", ".join(f"{stage.seconds:.1f} s" for stage in stages))
    total = Spent(
        sum(stage.seconds for stage in stages),
        max(stage.ram for stage in stages),
        sum(stage.written for stage in stages),
    )
    if weights:
        shutil.rmtree(workspace.layout.artifact("merge", merge.spec.fingerprint))
    return total, os.path.join(final, "model.gguf")


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="benchmark.", dir=os.environ.get("IA_BENCHMARK_DIR")) as root:
        for workspace in steps.prepared(Path(root) / "host"):
            upstream = prepare(workspace)
            before, merged = way(workspace, upstream, weights=True)
            now, passed = way(workspace, upstream, weights=False)
            for label, spent in (("through merged weights", before), ("in one pass", now)):
                gigabytes = f"{spent.ram / 1e9:.2f} GB RAM, {spent.written / 1e9:.2f} GB written"
                print(f"{label}: {spent.seconds:.1f} s, {gigabytes}")
            ratios = [new / old for new, old in zip(now, before)]
            print("ratios: {:.2f} seconds, {:.2f} RAM, {:.2f} bytes".format(*ratios))
            planned = estimate(resolve(f"qwen2.5:{SHAPE}").shape, {"method": "lora"}, "cpu").ram["gguf"]
            print(f"estimated RAM: {planned / 1e9:.2f} GB, {planned / now.ram:.2f} of the peak")
            python = os.path.join(os.environ["IA_CONV_VENV"], "bin", "python")
            subprocess.run([python, "-c", _COMPARE, merged, passed, os.environ["IA_LLAMA_CPP_DIR"]], check=True)


if __name__ == "__main__":
    main()
