# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Importance matrix and likelihood with the real tools, on weights with a planted outlier channel.

Some channels of the normalized activations are made large, and the weights that read them small by the same factor: the
model computes the same, but a quantization that looks at the weights alone loses those channels. Needs the variables of
``test_steps_real``. Half a minute on two cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.gguf import read_header
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import measured_text
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.gguf import GgufStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.imatrix import ImatrixStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.likelihood import LikelihoodStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import (
    sha256_file,
    write_json,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.known_names import NEED_IMATRIX
from ansible_collections.ia_homelab.llamafactory.tests.real.test_steps_real import (
    BASE,
    DATASET,
    DECLARED,
    FILES,
    Workspace,
    conversion,
    log_of,
    prepared,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, both_servers

TOKENS = 2048
TRAIN, MERGE = "7" * 64, "8" * 64

#: Makes channels of the normalized activations large, and the weights that read them small.
_PLANT = """
import sys
from pathlib import Path
from safetensors.torch import load_file, save_file
source, target = Path(sys.argv[1]), Path(sys.argv[2])
weights = load_file(source / "model.safetensors")
for name, norm in weights.items():
    readers = {"input_layernorm": ("q_proj", "k_proj", "v_proj"), "post_attention_layernorm": ("gate_proj", "up_proj")}
    for part, modules in readers.items():
        if f".{part}." in name:
            layer = name.partition(f".{part}.")[0]
            norm[5::32] *= 16
            for key, weight in weights.items():
                if key.startswith(layer + ".") and any(f".{module}." in key for module in modules):
                    weight[:, 5::32] /= 16
save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
"""


#: Counts the tokens of the text on standard input.
_COUNT = """
import os, sys, tokenizers
tokenizer = tokenizers.Tokenizer.from_file(os.path.join(sys.argv[1], "tokenizer.json"))
print(len(tokenizer.encode(sys.stdin.read(), add_special_tokens=False).ids))
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Workspace]:
    # small weights: what a quantization changes is small then, and not amplified by the next layer
    yield from prepared(tmp_path_factory.mktemp("measured"), "--linear-std", "0.05", "--embedding-std", "0.1")


@pytest.fixture(scope="module")
def half(workspace: Workspace) -> StepContext:
    """The 16-bit file of weights with outliers, as of a training that has validated on a fifth of the rows."""
    resolved = hp.resolved(hp.normalise({**DECLARED, "validation_share": 0.2}))
    train = workspace.layout.artifact("train", TRAIN)
    os.makedirs(train)
    receipt = {"kind": "train", "fingerprint": TRAIN, "upstream": {"base": BASE, "dataset": DATASET}, "results": {}}
    write_json(os.path.join(train, "receipt.json"), {**receipt, "options": {"resolved": resolved}})
    merged = Path(workspace.layout.artifact("merge", MERGE))
    merged.mkdir()
    base = workspace.root / "base"
    for path in base.iterdir():
        if path.name != "model.safetensors":
            (merged / path.name).symlink_to(path)
    python = os.path.join(workspace.tools.llamafactory_venv, "bin", "python")
    subprocess.run([python, "-c", _PLANT, base, merged], check=True)
    receipt = {"kind": "merge", "fingerprint": MERGE, "upstream": {"base": BASE, "train": TRAIN}}
    write_json(str(merged / "receipt.json"), {**receipt, "results": {"tokenizer": "base"}})
    return made(workspace, GgufStep(), conversion(workspace, MERGE))


def made(workspace: Workspace, step: t.Any, ctx: StepContext) -> StepContext:
    """Make and publish the result of a step."""
    publish(workspace, ctx, workspace.run(step, ctx))
    return ctx


def publish(workspace: Workspace, ctx: StepContext, results: dict[str, t.Any]) -> None:
    """Publish a result, with a receipt as the supervisor writes it."""
    path = workspace.publish(ctx, results)
    write_json(os.path.join(path, "receipt.json"), {**ctx.spec.as_dict(), "results": results})


@pytest.fixture(scope="module")
def text(workspace: Workspace, half: StepContext) -> tuple[StepContext, str]:
    """The job of the importance matrix, and the text that it has rendered."""
    upstream = {"gguf": half.spec.fingerprint, "dataset": DATASET}
    ctx = workspace.context("imatrix", {"tokens": TOKENS}, upstream, name="essai")
    command = ImatrixStep().command(ctx)
    assert workspace.start(command, ctx).wait(300) == 0, log_of(ctx)
    rendered = Path(measured_text.text_file(ctx)).read_text(encoding="utf-8")
    publish(workspace, ctx, ImatrixStep().finish(ctx))
    return ctx, rendered


@pytest.fixture(scope="module")
def imatrix(text: tuple[StepContext, str]) -> StepContext:
    return text[0]


def quantized(workspace: Workspace, half: StepContext, quantization: str, imatrix: StepContext | None) -> StepContext:
    """A quantized file."""
    options = {"quantization": quantization, "f16": half.spec.fingerprint, "name": "essai"}
    upstream = {"merge": MERGE, **({"imatrix": imatrix.spec.fingerprint} if imatrix else {})}
    ctx = workspace.context("gguf", {"quantization": quantization}, upstream, **options)
    if not os.path.isdir(workspace.layout.artifact("gguf", ctx.spec.fingerprint)):
        made(workspace, GgufStep(), ctx)
    return ctx


def test_matrix_of_the_training_rows(workspace: Workspace, imatrix: StepContext) -> None:
    receipt = workspace.layout.receipt("imatrix", imatrix.spec.fingerprint) or {}
    found = receipt["results"]
    assert found["context"] == 512 and TOKENS <= found["tokens"] < TOKENS + 512
    # seven matrices in each of two layers, with their sums and counts
    assert found["tensors"] == 28
    assert 1 < found["perplexity"]["value"] < 1e6 and found["perplexity"]["error"] > 0
    assert sorted(os.listdir(workspace.layout.artifact("imatrix", imatrix.spec.fingerprint))) == [
        "imatrix.gguf",
        "receipt.json",
    ]
    assert not os.path.exists(measured_text.text_file(imatrix)) and "Rendering the rows" in log_of(imatrix)


def test_matrix_wins_where_a_channel_stands_out(workspace: Workspace, half: StepContext, imatrix: StepContext) -> None:
    """The divergence from the 16-bit file is smaller with the matrix, and that of the file from itself is zero."""
    candidates = {
        "f16_again": half.spec.fingerprint,
        "q2_K": quantized(workspace, half, "q2_K", None).spec.fingerprint,
        "q2_K_matrix": quantized(workspace, half, "q2_K", imatrix).spec.fingerprint,
        "iq2_XXS": quantized(workspace, half, "iq2_XXS", imatrix).spec.fingerprint,
        "q8_0": quantized(workspace, half, "q8_0", None).spec.fingerprint,
    }
    settings = {"tokens": 1024, "rows": "validation", "candidates": candidates}
    upstream = {"gguf": half.spec.fingerprint, "dataset": DATASET}
    ctx = workspace.context("likelihood", settings, upstream, name="essai")
    results = workspace.run(LikelihoodStep(), ctx)
    found = results["quantizations"]
    divergence = {name: found[name]["divergence"]["value"] for name in candidates}
    assert abs(divergence["f16_again"]) < 0.001 and found["f16_again"]["same_top"]["value"] > 0.99
    assert divergence["q2_K_matrix"] < 0.7 * divergence["q2_K"], divergence
    assert divergence["f16_again"] < divergence["q8_0"] < divergence["q2_K_matrix"] < divergence["iq2_XXS"], divergence
    assert found["f16"]["perplexity"]["value"] == pytest.approx(found["f16_again"]["perplexity"]["value"], rel=0.01)
    assert os.listdir(ctx.work) == ["likelihood.json"]
    assert [path for path in os.listdir(ctx.job_dir) if path.endswith((".bin", ".txt")) and path != "log.txt"] == []
    progress = LikelihoodStep().progress(ctx)
    assert progress is not None and progress.current == progress.total == 6 * 2


def test_text_is_what_the_training_reads(workspace: Workspace, text: tuple[StepContext, str]) -> None:
    """The rows with the markers of the template, which are one token each."""
    ctx, rendered = text
    assert rendered.startswith("<|im_start|>system\n") and "<|im_end|>\n<|im_start|>assistant\n" in rendered
    rows = json.loads((FILES / "homelab_prompts.json").read_text(encoding="utf-8"))
    learnt = [row["output"] for row in rows if row["output"] in rendered]
    results = (workspace.layout.receipt("imatrix", ctx.spec.fingerprint) or {})["results"]
    # the last row may be the one that is too many, and is complete nevertheless
    assert len(learnt) == results["rows"] == rendered.count("<|im_start|>assistant")
    python = os.path.join(workspace.tools.llamafactory_venv, "bin", "python")
    counted = subprocess.run(
        [python, "-c", _COUNT, workspace.root / "base"], input=rendered.encode(), check=True, capture_output=True
    )
    assert abs(int(counted.stdout) - results["tokens"]) <= results["rows"]


@pytest.mark.full
def test_too_little_text_is_refused_by_name(workspace: Workspace, half: StepContext) -> None:
    settings = {"tokens": 200, "rows": "validation", "candidates": {"q8_0": half.spec.fingerprint}}
    upstream = {"gguf": half.spec.fingerprint, "dataset": DATASET}
    ctx = workspace.context("likelihood", settings, upstream, name="essai")
    command = LikelihoodStep().command(ctx)
    assert workspace.start(command, ctx).wait(300) == 1
    said = LikelihoodStep().explain(log_of(ctx).splitlines())
    assert "too few to measure" in str(said) and "256" in str(said)


def test_older_llama_cpp_is_told(workspace: Workspace, half: StepContext, tmp_path: Path) -> None:
    """An installation of an earlier version, without the program."""
    (tmp_path / "bin").mkdir()
    tools = workspace.tools
    upstream = {"gguf": half.spec.fingerprint, "dataset": DATASET}
    ctx = workspace.context("imatrix", {"tokens": 1024, "n": 1}, upstream, name="essai")
    object.__setattr__(ctx, "toolchain", type(tools)(tools.llamafactory_venv, tools.converter_venv, str(tmp_path)))
    with pytest.raises(NotReadyError, match="llama-imatrix"):
        ImatrixStep().command(ctx)


@both_servers
@pytest.mark.parametrize(
    "quantization",
    ["iq2_XXS", *(pytest.param(name, marks=pytest.mark.full) for name in NEED_IMATRIX if name != "iq2_XXS")],
)
def test_types_that_need_a_matrix_are_served(
    workspace: Workspace, half: StepContext, imatrix: StepContext, ollama_server: Server, quantization: str
) -> None:
    """Ollama loads each of them and generates."""
    client = Ollama(ollama_server.url, slow_timeout=120)
    ctx = quantized(workspace, half, quantization, imatrix)
    path = os.path.join(workspace.layout.artifact("gguf", ctx.spec.fingerprint), "model.gguf")
    assert read_header(path).file_type.lower() == quantization.lower()
    digest = f"sha256:{sha256_file(path)}"
    client.push_blob(path, digest)
    model = f"measured-{quantization}".replace("_", "-").lower()
    client.create(model, files={"model.gguf": digest}, template="{{ .Prompt }}")
    reply = client.chat(model, [{"role": "user", "content": "Bonjour"}], options={"num_predict": 2, "num_ctx": 256})
    assert reply["done"] and reply["eval_count"] == 2, reply
    client.delete(model)
