# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each architecture goes the whole way with a tiny random base: train, convert, register, probes, one answer.

Real LLaMA-Factory, llama.cpp and Ollama, the oldest supported version and the current one. The template is qwen for all
of them, whose markers the tiny vocabularies have; test_chat_formats_real.py has the templates. Through merged weights
with a vocabulary of SentencePiece, and in one pass with one of byte-level BPE. About a minute for each on two idle
cores.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.gguf import GgufStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.merge import MergeStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.tests.real import make_architecture, make_architecture_pairs
from ansible_collections.ia_homelab.llamafactory.tests.real import test_served_prompts_real as served
from ansible_collections.ia_homelab.llamafactory.tests.real import test_steps_real as steps_real
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import PROGRAMS, Server

pytestmark = pytest.mark.full

MAKER = Path(make_architecture.__file__)
PAIRS_MAKER = Path(make_architecture_pairs.__file__)
#: Those that cannot be tried with a byte-level vocabulary. The pinned LLaMA-Factory cannot train gpt_oss, which is
#: refused (test_base_checks_real.py); older servers split the text for gemma3 by a rule of their own, and its models
#: have vocabularies of SentencePiece.
LEFT_OUT = {"gpt_oss", "gemma3_text"}
#: llama.cpp's converter, for a tiny vocabulary: it recognises how a vocabulary splits text by the ids of a fixed text,
#: and does not know those of a tiny one. Everything else of the converter runs as it is.
CONVERTER = """
import os, runpy, sys
here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(here, "gguf-py")]
from conversion import base, gemma
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2" if self.hparams["model_type"] == "phi3" else "qwen2"
gemma.Gemma2Model.set_vocab = lambda self: self._set_vocab_gpt2()  # it takes only a vocabulary of SentencePiece
runpy.run_path(os.path.join(here, "original.py"), run_name="__main__")
"""


def train_and_convert(root: Path, architecture: str) -> t.Iterator[served.Made]:
    """A fine-tune of one epoch of a tiny base of the architecture, as a GGUF file."""
    for workspace in steps_real.prepared(root):
        llama = (root / "base").rename(root / "llama")
        subprocess.run(
            [steps_real.tool("IA_LF_VENV") + "/bin/python", str(MAKER), str(llama), architecture, str(root / "base")],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        )
        train = steps_real.training(workspace, epochs=0.4)
        served.publish(workspace, train, workspace.run(TrainStep(), train))
        upstream = {"base": steps_real.BASE, "train": train.spec.fingerprint}
        merge = workspace.context("merge", {}, upstream, resolved=train.spec.options["resolved"])
        served.publish(workspace, merge, workspace.run(MergeStep(), merge))
        gguf = steps_real.conversion(workspace, merge.spec.fingerprint)
        served.publish(workspace, gguf, workspace.run(GgufStep(), gguf))
        yield served.Made(workspace, train.spec.fingerprint, gguf.spec.fingerprint)


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """llama.cpp's programs, with :data:`CONVERTER` before the converter."""
    made, original = tmp_path_factory.mktemp("llama.cpp"), Path(steps_real.tool("IA_LLAMA_CPP_DIR"))
    for name in ("bin", "conversion", "gguf-py"):
        (made / name).symlink_to(original / name)
    (made / "original.py").symlink_to(original / "convert_hf_to_gguf.py")
    (made / "convert_hf_to_gguf.py").write_text(CONVERTER, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny base of each architecture, made in one process."""
    root = tmp_path_factory.mktemp("bases")
    subprocess.run(
        [
            steps_real.tool("IA_LF_VENV") + "/bin/python", str(PAIRS_MAKER),
            str(steps_real.FILES / "homelab_prompts.json"), str(root), *make_architecture_pairs.ARCHITECTURES,
        ],
        check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
    )  # fmt: skip
    return root


def train_and_convert_in_one_pass(root: Path, base: Path, llama_cpp: Path) -> t.Iterator[served.Made]:
    """A fine-tune of two steps of a base, as a GGUF file of base and adapter."""
    for workspace in steps_real.prepared(root, base=base):
        workspace.tools = dataclasses.replace(workspace.tools, llama_cpp_dir=str(llama_cpp))
        train = steps_real.training(workspace, epochs=0.4)
        served.publish(workspace, train, workspace.run(TrainStep(), train))
        gguf, merged = steps_real.in_one_pass(workspace, train)
        assert not merged["weights"]
        served.publish(workspace, gguf, workspace.run(GgufStep(), gguf))
        yield served.Made(workspace, train.spec.fingerprint, gguf.spec.fingerprint)


@pytest.mark.parametrize(
    "architecture", [name for name in make_architecture_pairs.ARCHITECTURES if name not in LEFT_OUT]
)
def test_whole_way_in_one_pass(
    architecture: str,
    bases: Path,
    llama_cpp: Path,
    tmp_path_factory: pytest.TempPathFactory,
    ollama_servers: t.Callable[[str], Server],
) -> None:
    failed = bases / architecture / "error.txt"
    assert not failed.exists(), failed.read_text(encoding="utf-8")
    started = time.monotonic()
    way = train_and_convert_in_one_pass(tmp_path_factory.mktemp(architecture), bases / architecture / "base", llama_cpp)
    ask_on_both_servers(way, f"pass-{architecture}", started, ollama_servers)


def ask_on_both_servers(
    way: t.Iterator[served.Made], name: str, started: float, ollama_servers: t.Callable[[str], Server]
) -> None:
    """Register what was made, with its probes, and get an answer; print how long each part took.

    :param started: when it began to be made, in seconds of the monotonic clock.
    """
    model = name.replace("_", "-")
    for made in way:
        figures = [f"to the GGUF file {time.monotonic() - started:.0f} s"]
        for server in PROGRAMS:
            started = time.monotonic()
            url = ollama_servers(server).url
            results = made.register(made.registration(url, model))
            proof = results["proof"]
            assert proof["probes"] and proof["counted"], proof
            reply = Ollama(url, slow_timeout=120).chat(f"{model}:latest", served.QUESTION, options={"num_predict": 8})
            assert reply["done"], reply
            figures.append(f"{server} {time.monotonic() - started:.0f} s, {len(proof['counted'])} probes counted")
            shutil.rmtree(made.workspace.layout.path("outputs", "served"), ignore_errors=True)
        print(f"{name}: {'; '.join(figures)}")


@pytest.mark.parametrize("architecture", make_architecture.ARCHITECTURES)
def test_whole_way(
    architecture: str, tmp_path_factory: pytest.TempPathFactory, ollama_servers: t.Callable[[str], Server]
) -> None:
    started = time.monotonic()
    root = tmp_path_factory.mktemp(architecture)
    ask_on_both_servers(train_and_convert(root, architecture), f"tiny-{architecture}", started, ollama_servers)
