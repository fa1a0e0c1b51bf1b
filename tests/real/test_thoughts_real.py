# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows with thoughts in every spelling: LLaMA-Factory's text and tokens are those of Ollama, kept and removed.

Needs ``IA_LF_VENV`` and ``IA_OLLAMA_BIN``; with ``IA_OLLAMA_OLD_BIN``, an older Ollama, everything is compared on both.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats import proof, thinking
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.facts import facts_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.house_format import TEMPLATE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import (
    contains_bos,
    served_format,
    starts_with_bos,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import training_rows
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.output_formats import (
    MessagesOutput,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rendering import render
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.truncation import conversations
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import render_probes
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp
from ansible_collections.ia_homelab.llamafactory.tests.real import test_steps_real as steps_real
from ansible_collections.ia_homelab.llamafactory.tests.support.conversations import BOS, EOS, markers
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port

#: The words of most templates, those without line breaks, an empty thought that is only closed, and words of its own.
NAMES = ("qwen3", "deepseekr1", "glm4_7", "seed_oss")
POLICIES = (thinking.KEEP, thinking.OFF)
TOOL = {"name": "f", "description": "Une fonction", "parameters": {"type": "object", "properties": {}}}
CALLS = [{"type": "function", "function": {"name": "f", "arguments": {}}}]
#: An answer with a thought in a row, by spelling; a client sends it as content and ``thinking``.
SPELLINGS: dict[str, dict[str, str]] = {
    "default words": {"content": "<think>\nJe pense.\n</think>\n\nOui."},
    "one line": {"content": "<think>Je pense.</think>Oui."},
    "other words": {"content": "<thinking>\nJe pense.\n</thinking>\nOui."},
    "words of seed_oss": {"content": "<seed:think>Je pense.</seed:think>Oui."},
    "without an opening": {"content": "Je pense.\n</think>\n\nOui."},
    "field": {"content": "Oui.", "reasoning_content": "Je pense."},
}


def row(said: dict[str, str]) -> dict[str, t.Any]:
    """An answer with a thought, a call with one, and an answer without one."""
    opening = {"content": said["content"].replace("Oui.", "Je regarde.")}
    return {
        "messages": [
            {"role": "user", "content": "Salut ?"},
            {"role": "assistant", **said},
            {"role": "user", "content": "Et là ?"},
            {"role": "assistant", **said, **opening, "tool_calls": CALLS},
            {"role": "tool", "content": "18"},
            {"role": "assistant", "content": "Non."},
            {"role": "user", "content": "Merci."},
            {"role": "assistant", "content": "De rien."},
        ],
        "tools": [TOOL],
    }


def request(policy: str) -> list[dict[str, t.Any]]:
    """The same as a client sends it, up to the last answer."""
    thought = {"thinking": "Je pense."} if policy == thinking.KEEP else {}
    return [
        {"role": "user", "content": "Salut ?"},
        {"role": "assistant", "content": "Oui.", **thought},
        {"role": "user", "content": "Et là ?"},
        {"role": "assistant", "content": "Je regarde.", **thought, "tool_calls": CALLS},
        {"role": "tool", "content": "18", "tool_name": "f"},
        {"role": "assistant", "content": "Non."},
        {"role": "user", "content": "Merci."},
    ]


def probes(folder: Path, name: str, policy: str) -> list[dict[str, t.Any]]:
    """The rows of all spellings as a training with this policy reads them."""
    folder.mkdir()
    entry = {"dataset": MessagesOutput.entry("data.jsonl")}
    (folder / "dataset_info.json").write_text(json.dumps(entry), encoding="utf-8")
    rows = [row(said) for said in SPELLINGS.values()]
    results = render("d", [Source("records", records=rows)], path=str(folder / "data.jsonl")).results
    choice = thinking.choose(policy, name, thinking.ThoughtUse.from_results(results))
    assert choice.policy == policy
    target = folder / "rows"
    assert (
        training_rows.write(str(folder), str(target), name, EOS, BOS, tool_format=TEMPLATE, thinking=policy) is not None
    )
    lines = (target / "data.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {"name": title, "continued": False, **conversations(json.loads(line))[0]}
        for title, line in zip(SPELLINGS, lines)
    ]


@pytest.mark.full
@pytest.mark.parametrize("policy", POLICIES)
def test_rows_are_trained(tmp_path: Path, policy: str) -> None:
    """LLaMA-Factory reads as many tokens as are counted of the rows as they are spelled, padded to a multiple of 8."""
    for workspace in steps_real.prepared(tmp_path):
        dataset = fingerprint("dataset", {"thoughts": 1}, {})
        directory = Path(workspace.layout.artifact("dataset", dataset))
        directory.mkdir(parents=True)
        rows = [row(SPELLINGS["one line"])]
        render("rows", [Source("rows", records=rows)], path=str(directory / "data.jsonl"))
        write_json(str(directory / "dataset_info.json"), {"dataset": MessagesOutput.entry("data.jsonl")})
        declared = {**steps_real.DECLARED, "template": "qwen3", "epochs": 1, "warmup_ratio": 0, "cutoff_len": 1200}
        wanted = hp.normalise({**declared, "thinking": policy})
        ctx = workspace.context(
            "train",
            hp.settings(wanted),
            {"base": steps_real.BASE, "dataset": dataset},
            resolved={**hp.resolved(wanted), "tool_format": TEMPLATE},
            accelerator="cpu",
            name="essai",
        )
        results = workspace.run(TrainStep(), ctx)
        counted = results["too_long"]
        assert counted["exact"] and counted["counted"] == 1
        assert 0 <= results["total_tokens"] - counted["longest"] < 8
        assert results["rewritten"]["thoughts"] == 1
        rendered = json.loads(Path(ctx.work, "probes.json").read_bytes())["probes"]
        assert ("thought" in rendered) is (policy == thinking.KEEP)
        assert rendered["plain"]["text"].endswith(facts_of("qwen3").empty_thought) is (policy == thinking.OFF)


@dataclasses.dataclass(frozen=True)
class Trained:
    """LLaMA-Factory's texts by template and policy, and its vocabulary."""

    results: dict[tuple[str, str], dict[str, t.Any]]
    tokens: list[str]
    merges: list[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("thoughts")
    cases = [(name, policy) for name in NAMES for policy in POLICIES]
    requests = [
        {
            "template": name,
            "arguments": {"enable_thinking": thinking.keeps_prompt_open({"thinking": policy})},
            "probes": probes(folder / f"{name}-{policy}", name, policy),
        }
        for name, policy in cases
    ]
    program = str(Path(__file__).with_name("chat_format_texts.py"))
    python = os.path.join(os.environ["IA_LF_VENV"], "bin", "python")
    subprocess.run(
        [python, program, os.path.dirname(str(render_probes.__file__)), str(folder / "answer.json")],
        input=json.dumps({"special": markers(), "corpus": [], "requests": requests}).encode(),
        env={**os.environ, "DISABLE_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=300,
    )
    found = json.loads((folder / "answer.json").read_bytes())
    return Trained(dict(zip(cases, found["results"])), found["tokens"], found["merges"])


@pytest.fixture(
    scope="module", params=[name for name in ("IA_OLLAMA_BIN", "IA_OLLAMA_OLD_BIN") if os.environ.get(name)]
)
def serving(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make: t.Any, trained: Trained
) -> t.Iterator[tuple[Ollama, str]]:
    """A server, and the digest of its GGUF file."""
    folder = tmp_path_factory.mktemp("serving")
    server = Server(os.environ[request.param], folder, free_port())
    server.start()
    try:
        path = folder / "model.gguf"
        make.model(path, trained.tokens, trained.merges, len(markers()), False)
        digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
        ollama = Ollama(server.url, slow_timeout=120)
        ollama.push_blob(str(path), digest)
        yield ollama, digest
    finally:
        server.stop()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_text_and_tokens(serving: tuple[Ollama, str], trained: Trained, name: str, policy: str) -> None:
    """Every spelling gives the one text that the server renders for the same conversation."""
    ollama, digest = serving
    said = trained.results[name, policy]
    bos = BOS if contains_bos(name) or starts_with_bos(name) else ""
    opened = thinking.keeps_prompt_open({"thinking": policy})
    served = served_format(name, enable_thinking=opened, eos=EOS, bos=bos, date=said["date"])
    model = f"{name}-{policy}"
    parameters = {"stop": list(served.stops)}
    ollama.create(
        model, files={"m.gguf": digest}, template=served.template, parser=served.parser, parameters=parameters
    )
    tools = [{"type": "function", "function": TOOL}]
    rendered = ollama.render(model, request(policy), tools=tools)
    assert set(said["probes"]) == set(SPELLINGS)
    for title, expected in said["probes"].items():
        assert "error" not in expected, expected
        assert proof.compare(title, expected, rendered) is None
    assert ("Je pense." in rendered) is (policy == thinking.KEEP)
    asked = ollama.chat(model, request(policy), {"temperature": 0, "num_predict": 1}, tools=tools)
    assert asked["prompt_eval_count"] == len(said["probes"]["one line"]["ids"])
    if name == "qwen3":
        assert ("thinking" in ollama.show(model)["capabilities"]) is (policy == thinking.KEEP)
    assert rendered.endswith(facts_of(name).empty_thought) is (policy == thinking.OFF)
