# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For each architecture, one pass makes the GGUF file of merged weights, and the servers run it that are said to.

One process makes all models and one converts them, so that an architecture costs seconds. The adapters are random, and
merged by PEFT in 16 bits as LLaMA-Factory's export does; test_architectures_real.py trains some of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.gguf import converter_options
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.tool_environment import PROGRAMS
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import sha256_file
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.one_pass import (
    NotInOnePassError,
    read_changes,
)
from ansible_collections.ia_homelab.llamafactory.tests.real import convert_architecture_pairs, make_architecture_pairs
from ansible_collections.ia_homelab.llamafactory.tests.real.test_steps_real import FILES, tool
from ansible_collections.ia_homelab.llamafactory.tests.support import ollama_server

pytestmark = pytest.mark.full

#: bf16 has 8 bits of precision: the export rounds the sum, and one pass rounds to the 11 bits of f16.
ROUNDING = 2**-8
ANSWER = {"temperature": 0, "num_predict": 2, "num_ctx": 256}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the two GGUF files of each architecture, and how they compare."""
    root = tmp_path_factory.mktemp("pairs")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    names = list(make_architecture_pairs.ARCHITECTURES)
    subprocess.run(
        [
            os.path.join(tool("IA_LF_VENV"), "bin", "python"), str(make_architecture_pairs.__file__),
            str(FILES / "homelab_prompts.json"), str(root), *names,
        ],
        check=True, env=environment,
    )  # fmt: skip
    made = [name for name in names if not (root / name / "error.txt").exists()]
    for name in list(made):
        adapter = root / name / "adapter"
        try:
            changes = read_changes(str(root / name / "base"), str(adapter))
        except NotInOnePassError as error:
            (root / name / "error.txt").write_text(f"not in one pass: {error}", encoding="utf-8")
            made.remove(name)
            continue
        request = {
            "adapter": str(adapter / "adapter_model.safetensors"),
            "changes": {key: vars(change) for key, change in changes.items()},
            "prefixes": [],
        }
        (root / name / "changes.json").write_text(json.dumps(request), encoding="utf-8")
        options = converter_options(str(root / name / "base"))
        (root / name / "options.json").write_text(json.dumps(options), encoding="utf-8")
    subprocess.run(
        [
            os.path.join(tool("IA_CONV_VENV"), "bin", "python"), str(convert_architecture_pairs.__file__),
            tool("IA_LLAMA_CPP_DIR"), os.path.join(PROGRAMS, "convert_with_adapter.py"), str(root), *made,
        ],
        check=True, env=environment,
    )  # fmt: skip
    return root


@pytest.mark.parametrize("name", make_architecture_pairs.ARCHITECTURES)
def test_one_pass_makes_the_tensors_of_the_export(models: Path, name: str) -> None:
    error = models / name / "error.txt"
    assert not error.exists(), error.read_text(encoding="utf-8")
    compared = json.loads((models / name / "compared.json").read_text(encoding="utf-8"))
    assert not any(compared["statuses"].values()), (models / name / "passed.log").read_text(encoding="utf-8")[-2000:]
    print(f"{name}: {compared}")
    assert compared["tensors"] > 10 and compared["differ"] > 0
    assert compared["gap"] <= ROUNDING, compared


@pytest.mark.parametrize("server", ollama_server.PROGRAMS)
@pytest.mark.parametrize("name", make_architecture_pairs.ARCHITECTURES)
def test_both_servers_run_both_files(
    models: Path, name: str, server: str, ollama_servers: t.Callable[[str], ollama_server.Server]
) -> None:
    """Both answer, and begin alike; later, a tie of two tokens may be decided by the rounding."""
    client = Ollama(ollama_servers(server).url, slow_timeout=120)
    answers = []
    for way in ("merged", "passed"):
        path = str(models / name / f"{way}.gguf")
        digest = f"sha256:{sha256_file(path)}"
        client.push_blob(path, digest)
        model = f"{name}-{way}".replace("_", "-")
        client.create(model, files={"model.gguf": digest}, template="{{ .Prompt }}")
        reply = client.chat(model, [{"role": "user", "content": "Bonjour"}], options=ANSWER)
        assert reply["done"], reply
        answers.append(reply["message"]["content"])
        client.delete(model)
    assert answers[0] and answers[0] == answers[1]
