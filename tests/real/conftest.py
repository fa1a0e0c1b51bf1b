# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Ollama server for the tests, and tiny GGUF files."""

from __future__ import annotations

import array
import hashlib
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab, install_core
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port, program_of
from ansible_collections.ia_homelab.llamafactory.tests.support.tiny_llama import TinyLlama, filled, write_gguf


@pytest.fixture(scope="session")
def ollama_servers(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[t.Callable[[str], Server]]:
    """The servers of the session by name, started when they are first needed."""
    servers: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in servers:
            servers[name] = Server(program_of(name), tmp_path_factory.mktemp(f"ollama-{name}"), free_port())
            servers[name].start()
        return servers[name]

    yield get
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="session")
def ollama_server(request: pytest.FixtureRequest, ollama_servers: t.Callable[[str], Server]) -> Server:
    """A server for the session, of the current version without ``both_servers``. Each test uses its own model names."""
    return ollama_servers(getattr(request, "param", "current"))


@pytest.fixture
def ollama(ollama_server: Server) -> Ollama:
    """A client of the server."""
    return Ollama(ollama_server.url, slow_timeout=120)


@pytest.fixture(scope="session")
def installed_core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed core to copy into data directories."""
    return install_core(tmp_path_factory.mktemp("core"))


@pytest.fixture
def lab(tmp_path: Path, installed_core: Path) -> t.Iterator[Lab]:
    """An engine with its own data directory; processes that are left at the end are ended."""
    made = Lab(tmp_path, installed_core)
    yield made
    made.close()


def write_model(
    path: Path, tokens: t.Sequence[str], merges: t.Sequence[str], special: int, add_bos: bool, inner: int = 128
) -> None:
    """Write a Llama model of one layer whose answers are empty: its most likely token is always EOS.

    :param special: number of special tokens at the beginning; the first is EOS, the second BOS.
    :param inner: width of the feed-forward layer; 768 bytes of the file for each unit.
    """
    model = TinyLlama(filled(tokens), special, width=64, heads=2, inner=inner, merges=merges, add_bos=add_bos)
    # all embeddings are equal except that of EOS, which is larger; input and output embeddings are tied
    embedding = array.array("f", [1.0]) * (model.width * len(model.tokens))
    embedding[: model.width] = array.array("f", [2.0]) * model.width
    model.write(path, embedding)


class File(t.NamedTuple):
    """A GGUF file on the disk, and its digest as Ollama writes it."""

    path: str
    digest: str


class Maker:
    """Creates GGUF files for tests."""

    gguf = staticmethod(write_gguf)
    model = staticmethod(write_model)

    @staticmethod
    def file(path: Path) -> File:
        """An existing file."""
        return File(str(path), "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest())

    def small(self, path: Path, add_bos: bool = False, *more: str, inner: int = 128) -> File:
        """A model with empty answers.

        :param more: tokens in addition to its alphabet.
        :param inner: as in :func:`write_model`.
        """
        alphabet = [*map(chr, range(0x100, 0x144)), *map(chr, range(33, 127)), "ab", *more]
        special = ["</s>", "<s>", "<|im_start|>", "<|im_end|>"]
        write_model(path, [*special, *alphabet], ["a b"], len(special), add_bos, inner)
        return self.file(path)


@pytest.fixture(scope="session")
def make() -> Maker:
    """A factory of GGUF files."""
    return Maker()


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory, make: Maker) -> File:
    """A model with empty answers."""
    return make.small(tmp_path_factory.mktemp("gguf") / "model.gguf")


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory, make: Maker) -> t.Iterator[File]:
    """A model of 400 MB, whose upload takes a moment."""
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    yield make.small(path, inner=1 << 19)
    path.unlink()
