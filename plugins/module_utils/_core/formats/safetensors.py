# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights in safetensors files: are they whole, and are they numbers.

Format: 8 bytes little-endian length of the header, the header as JSON (name → dtype, shape, [begin, end[ counted
from the end of the header), then the data without gaps. Source: the README of github.com/huggingface/safetensors.
"""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t

from ..errors import StoreError

#: The format's own bound for a header, in bytes.
_MAX_HEADER = 100_000_000
_SAMPLE = 256 * 1024

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
#: What a reward model scores with, beside its adapter or weights.
VALUE_HEAD = "value_head.safetensors"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor as the header tells it.

    :param dtype: ``BF16``, ``F16``, ``F32``, …
    :param shape: its dimensions.
    :param begin: first byte, counted from the start of the file.
    :param end: byte after the last.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count


def read_tensors(path: str) -> dict[str, Tensor]:
    """The tensors of a file that is whole, as far as header and size can tell.

    :raises StoreError: when it is missing, truncated, or not in this format.
    """
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or not 0 < length <= min(_MAX_HEADER, size - 8):
                raise StoreError(f"{path} is not a whole safetensors file: {size} bytes, header of {length}.")
            header = json.loads(stream.read(length).decode("utf-8"))
        start = 8 + length
        found = {
            name: Tensor(
                entry["dtype"],
                tuple(entry["shape"]),
                start + entry["data_offsets"][0],
                start + entry["data_offsets"][1],
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise StoreError(f"{path} is not a whole safetensors file: its header cannot be read.") from error
    end = max((tensor.end for tensor in found.values()), default=start)
    if end != size:
        raise StoreError(f"{path} is not whole: {size} bytes instead of {end}.")
    return found


def model_files(directory: str) -> list[str]:
    """Paths of the weight files of a model, in order; none when the directory holds no safetensors weights.

    :raises StoreError: when the index names a file that is not there, or cannot be read.
    """
    index = os.path.join(directory, INDEX)
    if os.path.exists(index):
        try:
            with open(index, "rb") as stream:
                names = sorted(set(json.loads(stream.read().decode("utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{index} cannot be read: {error}.") from error
        gone = [name for name in names if not os.path.isfile(os.path.join(directory, name))]
        if gone:
            raise StoreError(f"{directory} is not whole: {', '.join(gone)} is missing.")
        return [os.path.join(directory, name) for name in names]
    single = os.path.join(directory, SINGLE)
    return [single] if os.path.isfile(single) else []


def read_model(directory: str) -> dict[str, Tensor]:
    """The tensors of a model whose weight files are all whole; empty when it has no safetensors weights.

    :raises StoreError: when a file is not whole, or a tensor of the index is in no file.
    """
    found: dict[str, Tensor] = {}
    for path in model_files(directory):
        found.update(read_tensors(path))
    index = os.path.join(directory, INDEX)
    if os.path.exists(index):
        with open(index, "rb") as stream:
            named = json.loads(stream.read().decode("utf-8"))["weight_map"]
        gone = [name for name in named if name not in found]
        if gone:
            raise StoreError(f"{directory} is not whole: {len(gone)} tensors of the index are missing ({gone[0]}, …).")
    return found


def first_not_finite(path: str, sample: int = _SAMPLE) -> str:
    """Name of the first tensor in which NaN or infinity was found; empty when there was none.

    :param sample: of each tensor, so many bytes of its start, middle and end are looked at; a NaN in a training
        spreads over whole tensors within a step.
    :raises StoreError: when the file is not whole.
    """
    tensors = read_tensors(path)
    with open(path, "rb") as stream:
        for name, tensor in tensors.items():
            for begin, end in _pieces(tensor, sample):
                stream.seek(begin)
                if not is_finite(stream.read(end - begin), tensor.dtype):
                    return name
    return ""


def _pieces(tensor: Tensor, sample: int) -> t.Iterator[tuple[int, int]]:
    size = tensor.end - tensor.begin
    if size <= 3 * sample:
        yield tensor.begin, tensor.end
        return
    # a multiple of 8 is at the border of an element of every type
    piece = sample // 8 * 8
    for offset in (0, (size - piece) // 2 // 8 * 8, size - piece):
        yield tensor.begin + offset, tensor.begin + offset + piece


def _table(*matching: int) -> bytes:
    return bytes(1 if value in matching else 0 for value in range(256))


#: By dtype: bytes of an element; which values of its highest byte leave room for NaN or infinity; and the mask of
#: the byte below that must be all ones then (IEEE 754 and bfloat16: all bits of the exponent set).
_EXPONENTS = {
    "F16": (2, _table(*range(0x7C, 0x80), *range(0xFC, 0x100)), 0),
    "BF16": (2, _table(0x7F, 0xFF), 0x80),
    "F32": (4, _table(0x7F, 0xFF), 0x80),
    "F64": (8, _table(0x7F, 0xFF), 0xF0),
}


def is_finite(raw: bytes, dtype: str) -> bool:
    """Whether no element is NaN or infinite; types without these (integers, packed) always are.

    :param raw: whole elements, little-endian.
    """
    if dtype not in _EXPONENTS:
        return True
    width, table, mask = _EXPONENTS[dtype]
    # slices and tables are worked off in C: about 1 ns a byte where a loop over elements takes 100
    suspects = raw[width - 1 :: width].translate(table)
    below = raw[width - 2 :: width]
    at = suspects.find(1)
    while at >= 0:
        if below[at] & mask == mask:
            return False
        at = suspects.find(1, at + 1)
    return True
