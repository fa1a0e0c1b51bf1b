# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each architecture goes the whole way with a tiny random base: train, merge, convert, register, probes, one answer.

Real LLaMA-Factory, llama.cpp and Ollama, the oldest supported version and the current one. The template is qwen for all
of them, whose markers the tiny vocabulary has; test_chat_formats_real.py has the templates.
About a minute for each architecture on two idle cores.
"""

from __future__ import annotations

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
from ansible_collections.ia_homelab.llamafactory.tests.real import make_architecture
from ansible_collections.ia_homelab.llamafactory.tests.real import test_served_prompts_real as served
from ansible_collections.ia_homelab.llamafactory.tests.real import test_steps_real as steps_real
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import PROGRAMS, Server

pytestmark = pytest.mark.full

MAKER = Path(make_architecture.__file__)


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


@pytest.mark.parametrize("architecture", make_architecture.ARCHITECTURES)
def test_whole_way(
    architecture: str,
    tmp_path_factory: pytest.TempPathFactory,
    ollama_servers: t.Callable[[str], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = time.monotonic()
    for made in train_and_convert(tmp_path_factory.mktemp(architecture), architecture):
        figures = [f"to the GGUF file {time.monotonic() - started:.0f} s"]
        for server in PROGRAMS:
            started = time.monotonic()
            name = f"tiny-{architecture.replace('_', '-')}"
            url = ollama_servers(server).url
            results = made.register(made.registration(url, name))
            proof = results["proof"]
            assert proof["probes"] and proof["counted"], proof
            reply = Ollama(url, slow_timeout=120).chat(f"{name}:latest", served.QUESTION, options={"num_predict": 8})
            assert reply["done"], reply
            figures.append(f"{server} {time.monotonic() - started:.0f} s, {len(proof['counted'])} probes counted")
            shutil.rmtree(made.workspace.layout.path("outputs", "served"), ignore_errors=True)
        print(f"{architecture}: {'; '.join(figures)}")
