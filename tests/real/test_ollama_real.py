# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client on real Ollama servers: the current version, and the oldest that is supported."""

from __future__ import annotations

import os
import re
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import served_format
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama import client as ollama_client
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.syntax import (
    modelfile,
    modelfile_blobs,
    parse_parameters,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.register import differences
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import both_servers

pytestmark = both_servers

TEMPLATE = served_format("qwen").template
SYSTEM = 'Tu es l\'assistant du « homelab ».\n\nRéponds en "français" : {{ .Content }} \\n 日本\u00a0!\n'
PARAMETERS = {
    "stop": ["<|im_end|>", 'Q:\n"\\', "｜fin｜"],
    "temperature": 0.0,
    "top_p": 1e-06,
    "num_ctx": 2048,
    "repeat_penalty": 1.05,
    "use_mmap": True,
}
ASK = [{"role": "user", "content": "Bonjour"}]


def test_file_is_uploaded_once(ollama: Ollama, ollama_server: t.Any, make: t.Any, tmp_path: Path) -> None:
    gguf = make.small(tmp_path / "once.gguf", False, "once")
    assert not ollama.has_blob(gguf.digest)
    told: list[tuple[int, int]] = []
    assert ollama.push_blob(gguf.path, gguf.digest, lambda sent, total: told.append((sent, total)))
    size = os.path.getsize(gguf.path)
    assert told[-1] == (size, size)
    assert ollama.has_blob(gguf.digest)
    assert not ollama.push_blob(gguf.path, gguf.digest)
    where = f"/api/blobs/{gguf.digest}"
    assert ollama_server.requests("POST", where) == [201]
    assert ollama_server.requests("HEAD", where)[:2] == [404, 404]
    assert set(ollama_server.requests("HEAD", where)[2:]) == {200}


def test_show_returns_what_was_created(ollama: Ollama, gguf: t.Any) -> None:
    ollama.push_blob(gguf.path, gguf.digest)
    said: list[str] = []
    ollama.create(
        "shown:1",
        files={"model.gguf": gguf.digest},
        template=TEMPLATE,
        system=SYSTEM,
        parameters=PARAMETERS,
        on_status=said.append,
    )
    assert said[0] == "parsing GGUF" and said[-1] == "success"
    shown = ollama.show("shown:1")
    assert shown["template"] == TEMPLATE
    assert shown["system"] == SYSTEM
    assert parse_parameters(shown["parameters"]) == PARAMETERS
    assert differences(shown, TEMPLATE, SYSTEM, PARAMETERS) == []
    assert differences(shown, TEMPLATE, SYSTEM + " ", {**PARAMETERS, "temperature": 1.0}) == [
        "system prompt",
        "parameters",
    ]
    (stored,) = modelfile_blobs(shown["modelfile"])["FROM"]
    # From 0.30 on, the server keeps what llama-quantize writes from the file.
    assert ollama.has_blob(stored) and (stored == gguf.digest) is (ollama.version() == "0.24.0")
    found = ollama.find("shown:1")
    assert found is not None and re.fullmatch("[0-9a-f]{64}", found["digest"])


def test_model_answers_and_is_unloaded(ollama: Ollama, make: t.Any, tmp_path: Path) -> None:
    # a file of its own: of models with the same file, only the name that was loaded first is listed
    gguf = make.small(tmp_path / "model.gguf", False, "asked")
    ollama.push_blob(gguf.path, gguf.digest)
    ollama.create("asked", files={"model.gguf": gguf.digest}, template=TEMPLATE, parameters={"stop": ["<|im_end|>"]})
    reply = ollama.chat("asked", ASK, {"temperature": 0})
    assert reply["done"] and reply["message"]["content"] == ""
    pieces = list(ollama.chat_stream("asked", ASK, {"temperature": 0}))
    assert pieces[-1]["done"]

    def is_loaded() -> bool:
        # models of other tests may be loaded as well
        asked = ollama_client.full_name("asked")
        return any(ollama_client.full_name(model["name"]) == asked for model in ollama.ps())

    assert is_loaded()
    ollama.unload("asked")
    end = time.monotonic() + 60
    while is_loaded() and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_loaded()


def test_modelfile_creates_an_equal_model(ollama: Ollama, ollama_server: t.Any, gguf: t.Any, tmp_path: Path) -> None:
    """Read by the real program; without the no-break space, which its reader drops."""
    system = SYSTEM.replace("\u00a0", " ")
    path = tmp_path / "Modelfile"
    path.write_text(modelfile(gguf.path, TEMPLATE, system, {**PARAMETERS, "stop": PARAMETERS["stop"][::2]}), "utf-8")
    environment = {"HOME": str(tmp_path), "OLLAMA_HOST": ollama.url, "PATH": os.environ["PATH"]}
    subprocess.run(
        [ollama_server.program, "create", "by-file", "-f", str(path)],
        env=environment,
        check=True,
        capture_output=True,
        timeout=60,
    )
    shown = ollama.show("by-file")
    assert differences(shown, TEMPLATE, system, {**PARAMETERS, "stop": PARAMETERS["stop"][::2]}) == []


def test_names_are_parsed_as_by_the_server(ollama: Ollama, gguf: t.Any) -> None:
    ollama.push_blob(gguf.path, gguf.digest)
    ollama.create("Case-Model:Q4_x", files={"model.gguf": gguf.digest}, template=TEMPLATE)
    for name in ("case-model:q4_X", "library/Case-Model:Q4_x", "registry.ollama.ai/library/CASE-MODEL:q4_x"):
        assert ollama.show(name)["template"] == TEMPLATE
        assert ollama.digest(name)
    ollama.copy("case-model:q4_x", "CASE-model")
    assert ollama.digest("case-model:latest") == ollama.digest("Case-Model:Q4_x")


def test_missing_models_and_blobs(ollama: Ollama) -> None:
    assert ollama.find("never-made") is None
    assert ollama.digest("never-made") == ""
    assert not ollama.delete("never-made")
    with pytest.raises(
        RemoteError, match="could not show never-made: model 'never-made(:latest)?' not found"
    ) as caught:
        ollama.show("never-made")
    assert caught.value.details["status"] == 404
    with pytest.raises(RemoteError, match="could not copy never-made"):
        ollama.copy("never-made", "other")
    with pytest.raises(RemoteError, match="could not answer with never-made"):
        ollama.chat("never-made", ASK)


def test_model_is_deleted(ollama: Ollama, gguf: t.Any) -> None:
    ollama.push_blob(gguf.path, gguf.digest)
    ollama.create("gone", files={"model.gguf": gguf.digest}, template=TEMPLATE)
    ollama.copy("gone", "stays")
    assert ollama.delete("gone")
    assert ollama.find("gone") is None
    assert ollama.show("stays")["template"] == TEMPLATE


def test_files_that_are_not_models_are_refused(ollama: Ollama, gguf: t.Any, make: t.Any, tmp_path: Path) -> None:
    """The error contains the server's message and a hint."""
    whole = Path(gguf.path).read_bytes()
    for name, raw, words in (
        ("junk.gguf", b"no model" * 100, "unknown|not in GGUF|invalid"),
        ("cut.gguf", whole[:-100], "exceeds file size"),
        ("header.gguf", whole[:200], "EOF"),
    ):
        path = tmp_path / name
        path.write_bytes(raw)
        ollama.push_blob(str(path), make.file(path).digest)
        with pytest.raises(RemoteError, match=f"could not create broken: .*({words})") as caught:
            ollama.create("broken", files={"model.gguf": make.file(path).digest}, template=TEMPLATE)
        assert "make it again" in caught.value.hint, caught.value.message
    assert ollama.find("broken") is None


def test_file_with_wrong_digest_is_refused(ollama: Ollama, make: t.Any, tmp_path: Path) -> None:
    path = tmp_path / "changed.gguf"
    path.write_bytes(b"x" * 5_000_000)
    digest = make.file(path).digest
    path.write_bytes(b"y" * 5_000_000)
    with pytest.raises(RemoteError, match="digest mismatch"):
        ollama.push_blob(str(path), digest)
    assert not ollama.has_blob(digest)


def test_invalid_template_is_refused(ollama: Ollama, gguf: t.Any) -> None:
    ollama.push_blob(gguf.path, gguf.digest)
    with pytest.raises(RemoteError, match="could not create bad-template: .*template"):
        ollama.create("bad-template", files={"model.gguf": gguf.digest}, template="{{ if }}")


def test_server_killed_during_upload(
    tmp_path_factory: pytest.TempPathFactory, ollama_server: t.Any, big: t.Any
) -> None:
    """The upload fails with a reason; a new upload succeeds."""
    server = ollama_server.another(tmp_path_factory.mktemp("killed"))
    server.start()
    try:
        client = Ollama(server.url)

        def kill_half_way(sent: int, total: int) -> None:
            if sent > total // 2 and server.process is not None:
                server.stop(hard=True)

        with pytest.raises(RemoteError, match="ended the connection|cannot be reached") as caught:
            client.push_blob(big.path, big.digest, kill_half_way)
        assert caught.value.hint
        with pytest.raises(RemoteError, match="No Ollama server answers"):
            client.has_blob(big.digest)
        server.start()
        assert not client.has_blob(big.digest)
        assert client.push_blob(big.path, big.digest)
        assert client.has_blob(big.digest)
    finally:
        server.stop()
