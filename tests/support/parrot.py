# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model that answers everything with one text: to see what a server makes of an answer that a real model would give.

Its attention and feed-forward layers are zero, so the next token depends on the last one alone: any token of a prompt
is followed by the first piece of the text, each piece by the next one, and the last by EOS.
"""

from __future__ import annotations

import array
import typing as t
from pathlib import Path

#: Characters of a piece, more where that piece occurs twice: parsers have to work across borders of tokens.
_PIECE = 3
_HEAD = 64

WriteGguf = t.Callable[..., None]


def pieces_of(text: str) -> list[str]:
    """The text in pieces that are all different."""
    pieces: list[str] = []
    start = 0
    while start < len(text):
        size = _PIECE
        while start + size < len(text) and text[start : start + size] in pieces:
            size += 1
        pieces.append(text[start : start + size])
        start += size
    if len(set(pieces)) < len(pieces):
        # the last one repeats another: one piece with the one before it
        pieces[-2:] = ["".join(pieces[-2:])]
    return pieces


def byte_characters() -> dict[int, str]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {
        **{byte: chr(byte) for byte in printable},
        **{byte: chr(256 + number) for number, byte in enumerate(others)},
    }


def write_parrot(write_gguf: WriteGguf, path: Path, text: str) -> None:
    """Write the model.

    :param write_gguf: writes a GGUF file (``write_gguf`` of ``tests/real/conftest.py``).
    :param text: its answer to everything; not empty.
    """
    characters = byte_characters()
    chain = ["".join(characters[byte] for byte in piece.encode()) for piece in pieces_of(text)]
    special = ["</s>", "<s>"]
    # single characters are in the vocabulary for prompts, so a piece of one character is not added again
    alphabet = [each for each in characters.values() if each not in chain]
    tokens = [*special, *alphabet, *chain]
    tokens += [f"<unused{number}>" for number in range(-len(tokens) % 8)]
    width = _HEAD * (len(chain) // _HEAD + 1)
    assert len(set(tokens)) == len(tokens) and len(chain) < width
    first = tokens.index(chain[0])
    embedding = array.array("f", bytes(4 * width * len(tokens)))
    output = array.array("f", bytes(4 * width * len(tokens)))
    for number in range(len(tokens)):
        # dimension 0: anything that is no piece of the text
        position = number - first + 1 if first <= number < first + len(chain) else 0
        embedding[number * width + position] = 1.0
    for position in range(len(chain) + 1):
        following = first + position if position < len(chain) else 0
        output[following * width + position] = 1.0
    metadata = {
        "general.architecture": "llama",
        "general.file_type": 0,
        "llama.block_count": 1,
        "llama.context_length": 8192,
        "llama.embedding_length": width,
        "llama.feed_forward_length": 64,
        "llama.attention.head_count": width // _HEAD,
        "llama.attention.head_count_kv": width // _HEAD,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": _HEAD,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if number < len(special) else 1 for number in range(len(tokens))],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.add_bos_token": False,
    }
    block = {
        "attn_norm": (width,),
        "attn_q": (width, width),
        "attn_k": (width, width),
        "attn_v": (width, width),
        "attn_output": (width, width),
        "ffn_norm": (width,),
        "ffn_gate": (width, 64),
        "ffn_up": (width, 64),
        "ffn_down": (64, width),
    }
    tensors: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (width, len(tokens)),
        "output_norm.weight": (width,),
        "output.weight": (width, len(tokens)),
        **{f"blk.0.{name}.weight": shape for name, shape in block.items()},
    }
    ones = array.array("f", [1.0]) * width
    values = {"token_embd.weight": embedding, "output_norm.weight": ones, "output.weight": output}
    write_gguf(path, metadata, tensors, values)
