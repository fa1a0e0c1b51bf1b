# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights in safetensors files: checks that files are complete and that weights are finite.

Format: 8 bytes little-endian length of the header, the header as JSON (name → dtype, shape, [begin, end[ relative
to the end of the header), then the data without gaps. Source: the README of github.com/huggingface/safetensors.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..errors import StoreError
from ..json_text import parse_json

#: Upper bound of a header's size that the format defines, in bytes.
_MAX_HEADER = 100_000_000
_SAMPLE = 256 * 1024
#: Bytes that are read at a time; a multiple of the width of every element.
_CHUNK = 4 * 1024 * 1024

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
#: The scoring head of a reward model, stored beside its adapter or weights.
VALUE_HEAD = "value_head.safetensors"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor as described by the header.

    :param dtype: ``BF16``, ``F16``, ``F32``, …
    :param shape: number of elements in each dimension.
    :param begin: first byte, from the start of the file.
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
    """The tensors of a file, if its header and its size show that it is complete.

    :raises StoreError: if the file is missing, truncated, or not in this format.
    """
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or not 0 < length <= min(_MAX_HEADER, size - 8):
                raise StoreError("formats.safetensors_header", path=path, size=size, length=length)
            header = parse_json(stream.read(length).decode("utf-8"))
        start = 8 + length
        tensors = {
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
        raise StoreError("errors.unreadable", path=path, reason=error.strerror) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise StoreError("formats.safetensors_header_unreadable", path=path) from error
    end = max((tensor.end for tensor in tensors.values()), default=start)
    if end != size:
        raise StoreError("formats.safetensors_incomplete", path=path, size=size, expected=end)
    return tensors


def model_files(directory: str) -> list[str]:
    """Paths of the weight files of a model, in order; empty if the directory has no safetensors weights.

    :raises StoreError: if the index cannot be read or refers to a missing file.
    """
    index = os.path.join(directory, INDEX)
    if os.path.exists(index):
        try:
            with open(index, "rb") as stream:
                names = sorted(set(parse_json(stream.read().decode("utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError("errors.unreadable", path=index, reason=error) from error
        missing = [name for name in names if not os.path.isfile(os.path.join(directory, name))]
        if missing:
            raise StoreError("formats.files_missing", directory=directory, files=list(missing))
        return [os.path.join(directory, name) for name in names]
    single = os.path.join(directory, SINGLE)
    return [single] if os.path.isfile(single) else []


def read_model(directory: str) -> dict[str, Tensor]:
    """The tensors of a model, if all its weight files are complete; empty if it has no safetensors weights.

    :raises StoreError: if a file is incomplete, or a tensor of the index is in no file.
    """
    tensors: dict[str, Tensor] = {}
    for path in model_files(directory):
        tensors.update(read_tensors(path))
    index = os.path.join(directory, INDEX)
    if os.path.exists(index):
        with open(index, "rb") as stream:
            weight_map = parse_json(stream.read().decode("utf-8"))["weight_map"]
        missing = [name for name in weight_map if name not in tensors]
        if missing:
            first = missing[0]
            raise StoreError("formats.tensors_missing", directory=directory, count=len(missing), first=first)
    return tensors


def first_not_finite(path: str, sample: int = _SAMPLE) -> str:
    """Name of the first tensor that contains NaN or infinity; empty if none does.

    :param sample: bytes to read at the start, middle and end of each tensor; a NaN spreads over whole tensors within
        one training step, so a sample is enough.
    :raises StoreError: if the file is incomplete.
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
    # element sizes divide 8, so a multiple of 8 is an element boundary for every dtype
    piece = sample // 8 * 8
    for offset in (0, (size - piece) // 2 // 8 * 8, size - piece):
        yield tensor.begin + offset, tensor.begin + offset + piece


def is_zero(raw: bytes, dtype: str) -> bool:
    """Whether every element is zero, with either sign.

    :param raw: complete elements, little-endian.
    """
    if dtype not in _EXPONENTS:
        return not raw.strip(b"\0")
    width = _EXPONENTS[dtype][0]
    # the highest byte of each element has the sign
    signs = raw[width - 1 :: width].strip(b"\0\x80")
    return not signs and not any(raw[place::width].strip(b"\0") for place in range(width - 1))


def all_zero(path: str, names: t.Iterable[str]) -> bool:
    """Whether tensors of a file hold only zeros. Reads them until the first other value.

    :param names: of tensors that the file has.
    :raises StoreError: if the file is incomplete.
    """
    tensors = read_tensors(path)
    with open(path, "rb") as stream:
        for name in names:
            tensor = tensors[name]
            for begin in range(tensor.begin, tensor.end, _CHUNK):
                stream.seek(begin)
                if not is_zero(stream.read(min(_CHUNK, tensor.end - begin)), tensor.dtype):
                    return False
    return True


def _byte_mask(*values: int) -> bytes:
    return bytes(1 if value in values else 0 for value in range(256))


#: By dtype: bytes per element; values of the highest byte that occur in NaN or infinity; and the mask of bits in the
#: next byte that must all be set in that case (IEEE 754 and bfloat16: all bits of the exponent are set).
_EXPONENTS = {
    "F16": (2, _byte_mask(*range(0x7C, 0x80), *range(0xFC, 0x100)), 0),
    "BF16": (2, _byte_mask(0x7F, 0xFF), 0x80),
    "F32": (4, _byte_mask(0x7F, 0xFF), 0x80),
    "F64": (8, _byte_mask(0x7F, 0xFF), 0xF0),
}


def is_finite(raw: bytes, dtype: str) -> bool:
    """Whether no element is NaN or infinite; always True for dtypes without these (integers, packed types).

    :param raw: complete elements, little-endian.
    """
    if dtype not in _EXPONENTS:
        return True
    width, table, mask = _EXPONENTS[dtype]
    # slices and translate() run in C: about 1 ns per byte, where a loop over elements takes 100 ns
    suspects = raw[width - 1 :: width].translate(table)
    next_bytes = raw[width - 2 :: width]
    index = suspects.find(1)
    while index >= 0:
        if next_bytes[index] & mask == mask:
            return False
        index = suspects.find(1, index + 1)
    return True
