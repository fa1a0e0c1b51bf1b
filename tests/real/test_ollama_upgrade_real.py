# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An upgrade in place, from the oldest supported Ollama to the current one: the directory of models stays."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import served_format
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.syntax import modelfile_blobs
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.register import differences
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port, program_of

TEMPLATE = served_format("qwen").template
SYSTEM = "Tu es l'assistant du « homelab »."
PARAMETERS = {"stop": ["<|im_end|>"], "temperature": 0.0}
TAGS = ("served:1", "served:latest", "other:1")
ASK = [{"role": "user", "content": "Bonjour"}]


@dataclasses.dataclass
class Seen:
    """What a server says of a model, and does with it."""

    digest: str
    blobs: dict[str, list[str]]
    differences: list[str]
    rendered: str
    prompt_tokens: int
    answer: str


def look(ollama: Ollama, tag: str) -> Seen:
    shown = ollama.show(tag)
    answer = ollama.chat(tag, ASK, {"temperature": 0})
    return Seen(
        ollama.digest(tag),
        modelfile_blobs(shown["modelfile"]),
        differences(shown, TEMPLATE, SYSTEM, PARAMETERS),
        ollama.render(tag, ASK),
        int(answer["prompt_eval_count"]),
        str(answer["message"]["content"]),
    )


@pytest.fixture
def server(tmp_path: Path) -> t.Iterator[Server]:
    """A server of the oldest version."""
    made = Server(program_of("old"), tmp_path, free_port())
    made.start()
    yield made
    made.stop()


def test_models_of_the_old_server_are_served_by_the_current_one(server: Server, gguf: t.Any) -> None:
    ollama = Ollama(server.url, slow_timeout=120)
    assert ollama.version() == "0.24.0"
    ollama.push_blob(gguf.path, gguf.digest)
    for tag in ("served:1", "other:1"):
        ollama.create(tag, files={"model.gguf": gguf.digest}, template=TEMPLATE, system=SYSTEM, parameters=PARAMETERS)
    ollama.copy("served:1", "served:latest")
    before = {tag: look(ollama, tag) for tag in TAGS}
    assert before["served:latest"].differences == [] and before["served:latest"].prompt_tokens > 0
    assert before["served:latest"].blobs == {"FROM": [gguf.digest]}

    server.upgrade(program_of("current"))
    assert ollama.version() != "0.24.0"
    assert {tag: look(ollama, tag) for tag in TAGS} == before
    # Tags move and models are made and removed as before.
    ollama.copy("other:1", "served:latest")
    assert ollama.digest("served:latest") == before["other:1"].digest
    ollama.push_blob(gguf.path, gguf.digest)
    ollama.create("new:1", files={"model.gguf": gguf.digest}, template=TEMPLATE, system=SYSTEM, parameters=PARAMETERS)
    made = look(ollama, "new:1")
    assert (made.rendered, made.prompt_tokens) == (before["served:1"].rendered, before["served:1"].prompt_tokens)
    assert ollama.delete("other:1") and look(ollama, "served:latest").answer == before["served:1"].answer
