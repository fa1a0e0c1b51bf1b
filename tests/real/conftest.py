# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Ollama server for the tests, and tiny GGUF files."""

from __future__ import annotations

import array
import hashlib
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab, install_core
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port, program_of


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


def _text(value: str) -> bytes:
    raw = value.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _entry(key: str, value: t.Any) -> bytes:
    head = _text(key)
    if isinstance(value, bool):
        return head + struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return head + struct.pack("<II", 4, value)
    if isinstance(value, float):
        return head + struct.pack("<If", 6, value)
    if isinstance(value, str):
        return head + struct.pack("<I", 8) + _text(value)
    if isinstance(value[0], str):
        return head + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    return head + struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)


def write_gguf(
    path: Path,
    metadata: dict[str, t.Any],
    tensors: dict[str, tuple[int, ...]],
    values: t.Mapping[str, array.array[float]] | None = None,
) -> None:
    """Write a GGUF file, version 3, of F32 tensors (sizes divisible by 8, so that each is aligned to 32 bytes).

    :param values: content of tensors; others are zero.
    """
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    parts += [_entry(key, value) for key, value in metadata.items()]
    offset = 0
    filled: dict[int, bytes] = {}
    for name, shape in tensors.items():
        parts.append(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset))
        size = 4
        for count in shape:
            size *= count
        if values and name in values:
            filled[offset] = values[name].tobytes()
        offset += size
    head = b"".join(parts)
    with open(path, "wb") as stream:
        begin = stream.write(head + bytes(-len(head) % 32))
        stream.truncate(begin + offset)
        for position, raw in filled.items():
            stream.seek(begin + position)
            stream.write(raw)


def write_model(
    path: Path, tokens: t.Sequence[str], merges: t.Sequence[str], special: int, add_bos: bool, inner: int = 128
) -> None:
    """Write a Llama model of one layer whose answers are empty: its most likely token is always EOS.

    :param special: number of special tokens at the beginning; the first is EOS, the second BOS.
    :param inner: width of the feed-forward layer; 768 bytes of the file for each unit.
    """
    pieces = [*tokens, *(f"<unused{number}>" for number in range(-len(tokens) % 8))]
    width = 64
    metadata = {
        "general.architecture": "llama",
        "general.file_type": 0,
        "llama.block_count": 1,
        "llama.context_length": 4096,
        "llama.embedding_length": width,
        "llama.feed_forward_length": inner,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": 32,
        "llama.vocab_size": len(pieces),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": [3 if number < special else 1 for number in range(len(pieces))],
        "tokenizer.ggml.merges": list(merges),
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.add_bos_token": add_bos,
    }
    block = {
        "attn_norm": (width,),
        "attn_q": (width, width),
        "attn_k": (width, width),
        "attn_v": (width, width),
        "attn_output": (width, width),
        "ffn_norm": (width,),
        "ffn_gate": (width, inner),
        "ffn_up": (width, inner),
        "ffn_down": (inner, width),
    }
    tensors: dict[str, tuple[int, ...]] = {"token_embd.weight": (width, len(pieces)), "output_norm.weight": (width,)}
    tensors.update({f"blk.0.{name}.weight": shape for name, shape in block.items()})
    # all embeddings are equal except that of EOS, which is larger; input and output embeddings are tied
    embedding = array.array("f", [1.0]) * (width * len(pieces))
    embedding[:width] = array.array("f", [2.0]) * width
    ones = array.array("f", [1.0]) * width
    write_gguf(path, metadata, tensors, {"token_embd.weight": embedding, "output_norm.weight": ones})


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
