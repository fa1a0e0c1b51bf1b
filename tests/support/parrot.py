# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model that answers everything with one text: to see what a server makes of an answer that a real model would give.

Its attention and feed-forward layers are zero, so the next token depends on the last one alone: any token of a prompt
is followed by the first piece of the text, each piece by the next one, and the last by EOS.
"""

from __future__ import annotations

import array
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.tests.support.tiny_llama import TinyLlama, filled

#: Characters of a piece, more where that piece occurs twice: parsers have to work across borders of tokens.
_PIECE = 3
_HEAD = 64


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
    if len(pieces) > 1 and (len(pieces[-1]) == 1 or pieces[-1] in pieces[:-1]):
        # one piece with the one before it: it repeats another, or a prompt that ends with it would be taken for the end
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


def write_parrot(path: Path, text: str) -> None:
    """Write the model.

    :param text: its answer to everything; not empty.
    """
    characters = byte_characters()
    chain = ["".join(characters[byte] for byte in piece.encode()) for piece in pieces_of(text)]
    special = ["</s>", "<s>"]
    # single characters are in the vocabulary for prompts, so a piece of one character is not added again
    alphabet = [each for each in characters.values() if each not in chain]
    tokens = filled([*special, *alphabet, *chain])
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
    TinyLlama(tokens, len(special), width, width // _HEAD, context=8192).write(path, embedding, output)
