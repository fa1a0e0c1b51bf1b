# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GGUF files of Llama models of one layer, whose attention and feed-forward layers are zero: the embeddings decide."""

from __future__ import annotations

import array
import dataclasses
import struct
import typing as t
from pathlib import Path


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


def filled(tokens: t.Sequence[str]) -> list[str]:
    """Tokens and unused ones, up to a multiple of eight."""
    return [*tokens, *(f"<unused{number}>" for number in range(-len(tokens) % 8))]


@dataclasses.dataclass
class TinyLlama:
    """A model without weights.

    :param tokens: its vocabulary, of GPT-2's kind, in a multiple of eight; the first is EOS, the second BOS.
    :param special: number of special tokens at the beginning.
    :param width: of the embeddings, a multiple of ``heads``.
    :param inner: width of the feed-forward layer.
    """

    tokens: t.Sequence[str]
    special: int
    width: int
    heads: int
    inner: int = 64
    merges: t.Sequence[str] = ("a b",)
    add_bos: bool = False
    context: int = 4096

    def write(self, path: Path, embedding: array.array[float], output: array.array[float] | None = None) -> None:
        """Write the file.

        :param embedding: ``width`` numbers for each token.
        :param output: the same for what is predicted; None takes those of ``embedding``.
        """
        size = len(self.tokens)
        metadata = {
            "general.architecture": "llama",
            "general.file_type": 0,
            "llama.block_count": 1,
            "llama.context_length": self.context,
            "llama.embedding_length": self.width,
            "llama.feed_forward_length": self.inner,
            "llama.attention.head_count": self.heads,
            "llama.attention.head_count_kv": self.heads,
            "llama.attention.layer_norm_rms_epsilon": 1e-5,
            "llama.rope.dimension_count": self.width // self.heads,
            "llama.vocab_size": size,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "llama-bpe",
            "tokenizer.ggml.tokens": list(self.tokens),
            "tokenizer.ggml.token_type": [3 if number < self.special else 1 for number in range(size)],
            "tokenizer.ggml.merges": list(self.merges),
            "tokenizer.ggml.eos_token_id": 0,
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.add_bos_token": self.add_bos,
        }
        width, inner = self.width, self.inner
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
        tensors: dict[str, tuple[int, ...]] = {"token_embd.weight": (width, size), "output_norm.weight": (width,)}
        values = {"token_embd.weight": embedding, "output_norm.weight": array.array("f", [1.0]) * width}
        if output is not None:
            tensors["output.weight"] = (width, size)
            values["output.weight"] = output
        tensors.update({f"blk.0.{name}.weight": shape for name, shape in block.items()})
        write_gguf(path, metadata, tensors, values)
