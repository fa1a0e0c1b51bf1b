# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base that accepts images is fine-tuned on text, and the fine-tune still accepts images.

Real LLaMA-Factory, llama.cpp and Ollama, the oldest supported version and the current one where they can; tiny random
bases. About a minute and a half for each architecture on two idle cores.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import shutil
import struct
import subprocess
import time
import typing as t
import zlib
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.vision import ENCODERS
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.gguf import read_header
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.safetensors import (
    read_model,
    read_tensors,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.versions import is_older
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.recipes import RECIPE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.gguf import GgufStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.merge import MergeStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.one_pass import (
    MERGED,
    ONE_PASS,
    doubled_prefixes,
    is_on_the_way,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.projector import ProjectorStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.tests.real import make_architecture
from ansible_collections.ia_homelab.llamafactory.tests.real import test_served_prompts_real as served
from ansible_collections.ia_homelab.llamafactory.tests.real import test_steps_real as steps_real
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import PROGRAMS, Server

pytestmark = pytest.mark.full

MAKER = Path(make_architecture.__file__)
#: LLaMA-Factory's template of each architecture.
TEMPLATES = {"qwen2_vl": "qwen2_vl", "qwen2_5_vl": "qwen2_vl", "qwen3_vl": "qwen3_vl_nothink", "gemma3": "gemma3"}
#: Tensors of the language model of the tiny gemma3: thirteen of each of its layers, embeddings and the last norm.
LANGUAGE_TENSORS = 6 * 13 + 2


def test_each_architecture_is_tried() -> None:
    assert set(ENCODERS) == set(make_architecture.VISION) == set(TEMPLATES)


def png(width: int, height: int, color: tuple[int, int, int]) -> str:
    """An image of one color, in base64."""
    rows = b"".join(b"\0" + bytes(color) * width for _row in range(height))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + content).decode("ascii")


def converter_of_tiny_vocabulary(source: str, target: Path) -> str:
    """A copy of the converter that has no space put before the text, as the SentencePiece vocabulary of the tiny base
    wants it. That of Qwen reads such a vocabulary, and does not ask its configuration about it.
    """
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("bin", "gguf-py"))
    for name in ("bin", "gguf-py"):
        (target / name).symlink_to(os.path.join(source, name))
    base = target / "conversion" / "base.py"
    known = 'self.gguf_writer.add_tokenizer_model("llama")'
    text = base.read_text(encoding="utf-8")
    function = text.index("def _set_vocab_sentencepiece")
    wanted = text[function:].replace(known, f"self.gguf_writer.add_add_space_prefix(False); {known}", 1)
    assert wanted != text[function:]
    base.write_text(text[:function] + wanted, encoding="utf-8")
    return str(target)


def make_base(workspace: steps_real.Workspace, architecture: str) -> None:
    """Replace the tiny base by one of an architecture, with the names of the hub."""
    text = (workspace.root / "base").rename(workspace.root / "text")
    subprocess.run(
        [steps_real.tool("IA_LF_VENV") + "/bin/python", str(MAKER), str(text), architecture]
        + [str(workspace.root / "base")],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
    )


def make(workspace: steps_real.Workspace, architecture: str) -> tuple[served.Made, str]:
    """A fine-tune as a GGUF file, and the fingerprint of the encoder of its base."""
    projector = workspace.context("projector", {}, {"base": steps_real.BASE}, model_type=architecture, name="tiny")
    served.publish(workspace, projector, workspace.run(ProjectorStep(), projector))
    # the template of gemma3 has no system prompt of its own, and the rows are longer than what the tiny base reads
    train = steps_real.training(workspace, epochs=0.4, template=TEMPLATES[architecture])
    served.publish(workspace, train, workspace.run(TrainStep(), train))
    upstream = {"base": steps_real.BASE, "train": train.spec.fingerprint}
    merge = workspace.context("merge", {}, upstream, resolved=train.spec.options["resolved"], weights=False)
    served.publish(workspace, merge, workspace.run(MergeStep(), merge))
    gguf = steps_real.conversion(workspace, merge.spec.fingerprint)
    served.publish(workspace, gguf, workspace.run(GgufStep(), gguf))
    return served.Made(workspace, train.spec.fingerprint, gguf.spec.fingerprint), projector.spec.fingerprint


def registration(made: served.Made, url: str, name: str, projector: str, template: str) -> StepContext:
    """A job that registers the file with the encoder."""
    ctx = made.registration(url, name)
    settings = {"name": name, "template": template, "system": "", "parameters": {}, "recipe": RECIPE}
    return made.workspace.context(
        "register", settings, {**ctx.spec.upstream, "projector": projector}, **ctx.spec.options
    )


def tokens_of(ollama: Ollama, name: str, *pictures: str) -> int:
    """Number of tokens of the prompt of a question, with an answer."""
    question = {"role": "user", "content": "Bonjour", **({"images": list(pictures)} if pictures else {})}
    reply = ollama.chat(name, [question], options={"num_predict": 4, "seed": 1})
    assert reply["done"] and reply["eval_count"] >= 1, reply
    return int(reply["prompt_eval_count"])


@pytest.mark.parametrize("architecture", list(TEMPLATES))
def test_fine_tune_still_accepts_images(
    architecture: str, tmp_path_factory: pytest.TempPathFactory, ollama_servers: t.Callable[[str], Server]
) -> None:
    started = time.monotonic()
    for workspace in steps_real.prepared(tmp_path_factory.mktemp(architecture)):
        make_base(workspace, architecture)
        if architecture.startswith("qwen"):
            copy = converter_of_tiny_vocabulary(workspace.tools.llama_cpp_dir, workspace.root / "llama.cpp")
            workspace.tools = dataclasses.replace(workspace.tools, llama_cpp_dir=copy)
        made, projector = make(workspace, architecture)
        layout = workspace.layout
        adapter = read_tensors(os.path.join(layout.artifact("train", made.train), "adapter_model.safetensors"))
        prefixes = ENCODERS[architecture].prefixes
        assert adapter and not [name for name in adapter if any(f".{start}" in f".{name}" for start in prefixes)]
        merge = str((layout.receipt("gguf", made.gguf) or {})["upstream"]["merge"])
        assert is_on_the_way(layout.artifact("merge", merge))
        encoder = read_header(os.path.join(layout.artifact("projector", projector), "mmproj.gguf"))
        figures = [f"to the GGUF files {time.monotonic() - started:.0f} s, encoder {encoder.tensor_count} tensors"]
        tried = 0
        for server in PROGRAMS:
            url = ollama_servers(server).url
            ollama = Ollama(url, slow_timeout=240)
            oldest = ENCODERS[architecture].ollama
            if oldest and is_older(ollama, oldest):
                figures.append(f"{server}: too old")
                continue
            started = time.monotonic()
            name = f"vision-{architecture.replace('_', '-')}"
            results = made.register(registration(made, url, name, projector, TEMPLATES[architecture]))
            assert results["proof"]["probes"] and len(results["stored"]["FROM"]) == 2, results
            assert "vision" in ollama.show(f"{name}:latest")["capabilities"]
            without, with_image = tokens_of(ollama, name), tokens_of(ollama, name, png(112, 112, (200, 30, 30)))
            assert with_image > without, (with_image, without)
            figures.append(f"{server} {time.monotonic() - started:.0f} s, {without} tokens, {with_image} with an image")
            shutil.rmtree(layout.path("outputs", "served"), ignore_errors=True)
            tried += 1
        assert tried
        print(f"{architecture}: {'; '.join(figures)}")


def test_merged_weights_of_gemma3_are_converted(tmp_path_factory: pytest.TempPathFactory) -> None:
    """transformers writes ``model.`` before the names of the hub, which the converter does not know."""
    for workspace in steps_real.prepared(tmp_path_factory.mktemp("merged")):
        make_base(workspace, "gemma3")
        merge = merged(workspace, attempt=0, method="full", learning_rate=1e-4)
        weights = workspace.layout.artifact("merge", merge)
        assert doubled_prefixes(read_model(weights)) == ["language_model.model."]
        assert converted(workspace, merge) == MERGED
        # they are the base of a further fine-tune, which is merged on the way
        shutil.rmtree(workspace.root / "base")
        shutil.copytree(weights, workspace.root / "base")
        assert converted(workspace, merged(workspace, attempt=1)) == ONE_PASS


def merged(workspace: steps_real.Workspace, **declared: t.Any) -> str:
    """The fingerprint of a merge: on the way, where it can be."""
    train = steps_real.training(workspace, epochs=0.4, template="gemma3", **declared)
    served.publish(workspace, train, workspace.run(TrainStep(), train))
    upstream = {"base": steps_real.BASE, "train": train.spec.fingerprint}
    merge = workspace.context("merge", {}, upstream, resolved=train.spec.options["resolved"], weights=False)
    served.publish(workspace, merge, workspace.run(MergeStep(), merge))
    return merge.spec.fingerprint


def converted(workspace: steps_real.Workspace, merge: str) -> str:
    """Convert a merge, and return how its weights came to the converter."""
    gguf = steps_real.conversion(workspace, merge)
    results = workspace.run(GgufStep(), gguf)
    assert results["texts_compared"] > 0 and results["tensors"] == LANGUAGE_TENSORS
    return str(results["recipe"])
