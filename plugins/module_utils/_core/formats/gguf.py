# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reader of GGUF headers: describes the model and checks that the file is complete.

The format is that of ``docs/gguf.md`` in ggml, versions 2 and 3, little-endian: magic, version, number of
tensors, number of metadata entries; the entries; name, shape, type and offset of each tensor; padding; the
tensors. Only the header is read, never a tensor, and every length in the file is checked before it is used.
"""

from __future__ import annotations

import dataclasses
import os
import struct
import typing as t

from ..errors import NotReadyError, StoreError

MAGIC = b"GGUF"
_MAX_ENTRIES = 65_536
_MAX_TENSORS = 1_000_000
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_KEY = 65_535  # bytes; docs/gguf.md
_MAX_STRING = 16 * 1024 * 1024  # bytes; chat templates and licences are the longest strings
_DEFAULT_ALIGNMENT = 32

_ARRAY = 9
_STRING = 8
#: Metadata value types by number: struct code, without string (8) and array (9).
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

#: Tensor types by number: name, values per block, bytes per block (``ggml_type`` and its blocks in ggml.h).
TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}

#: ``general.file_type`` by number (``llama_ftype`` in llama.h).
FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}

#: Byte-pair tokenizers to which llama.cpp prepends a BOS if the file does not set the flag (``llama-vocab.cpp``).
BPE_WITH_BOS = frozenset(
    ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken", "chameleon")
)


@dataclasses.dataclass(frozen=True)
class GgufArray:
    """Position of a metadata array; its items are not read (a vocabulary has hundreds of thousands).

    :param item_type: number of the items' type.
    :param count: number of items.
    :param offset: byte offset of the first item in the file.
    """

    item_type: int
    count: int
    offset: int


@dataclasses.dataclass(frozen=True)
class GgufTensor:
    """A tensor as the header describes it.

    :param shape: elements in each dimension, the fastest first.
    :param type_name: such as ``Q4_K``; ``type 99`` for an unknown type.
    :param offset: bytes from the beginning of the data section.
    :param size: bytes; None if the type is unknown.
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    offset: int
    size: int | None


@dataclasses.dataclass(frozen=True)
class GgufInfo:
    """The content of a GGUF header.

    :param metadata: scalars and strings by value, arrays as :class:`GgufArray`.
    :param data_offset: byte offset of the tensors.
    :param file_bytes: size of the file in bytes.
    """

    path: str
    version: int
    metadata: dict[str, t.Any]
    tensors: tuple[GgufTensor, ...]
    data_offset: int
    file_bytes: int

    @property
    def tensor_count(self) -> int:
        """Number of tensors; 0 if a conversion found no weights."""
        return len(self.tensors)

    @property
    def architecture(self) -> str:
        """``general.architecture``, such as ``llama``; empty if the file does not set it."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def file_type(self) -> str:
        """Quantization of most tensors, such as ``Q4_K_M``; empty if the file does not set it."""
        number = self.metadata.get("general.file_type")
        return "" if number is None else FILE_TYPES.get(number, f"type {number}")

    @property
    def parameters(self) -> int:
        """Number of weights in all tensors."""
        total = 0
        for tensor in self.tensors:
            total += _elements(tensor.shape)
        return total

    @property
    def expected_bytes(self) -> int:
        """Smallest size in bytes of a file that contains all tensors of the header."""
        ends = [tensor.offset + (tensor.size or 0) for tensor in self.tensors]
        return self.data_offset + max(ends, default=0)

    @property
    def adds_bos(self) -> bool:
        """Whether llama.cpp and Ollama prepend the BOS token to a prompt by default."""
        flag = self.metadata.get("tokenizer.ggml.add_bos_token")
        if flag is not None:
            return bool(flag)
        model = self.metadata.get("tokenizer.ggml.model", "")
        if model == "gpt2":
            return self.metadata.get("tokenizer.ggml.pre", "") in BPE_WITH_BOS
        return model in ("llama", "bert")

    def token(self, name: str) -> str:
        """Text of a special token, such as ``</s>``; empty if the file does not define it.

        :param name: ``bos`` or ``eos``.
        :raises StoreError: if the vocabulary has no such token.
        """
        number = self.metadata.get(f"tokenizer.ggml.{name}_token_id")
        if number is None:
            return ""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        count = tokens.count if isinstance(tokens, GgufArray) and tokens.item_type == _STRING else 0
        if not isinstance(tokens, GgufArray) or not isinstance(number, int) or not 0 <= number < count:
            raise _damaged(self.path, f"its {name.upper()} token {number} is not in its vocabulary")
        with _open(self.path) as stream:
            reader = _Reader(self.path, stream, self.file_bytes)
            reader.seek(tokens.offset)
            for _skipped in range(number):
                reader.skip(reader.length(_MAX_STRING))
            return reader.string(_MAX_STRING)


def read_header(path: str) -> GgufInfo:
    """Read the header of a GGUF file; a vocabulary of 150 000 tokens takes a fraction of a second.

    :raises NotReadyError: if the file does not exist.
    :raises StoreError: if it is not a GGUF file, or its header is damaged or truncated.
    """
    with _open(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        reader = _Reader(path, stream, size)
        if size < len(MAGIC) or reader.bytes(len(MAGIC)) != MAGIC:
            raise StoreError("formats.no_gguf", path=path)
        version = reader.unsigned(4)
        if version not in (2, 3):
            reason = "it is big-endian" if version & 0xFFFF == 0 else f"its version is {version}"
            raise StoreError("formats.gguf_version", path=path, reason=reason)
        tensor_count = reader.count("tensors", _MAX_TENSORS)
        entry_count = reader.count("metadata entries", _MAX_ENTRIES)
        metadata: dict[str, t.Any] = {}
        for _index in range(entry_count):
            key = reader.string(_MAX_KEY)
            value_type = reader.unsigned(4)
            metadata[key] = _value(reader, key, value_type)
        tensor_infos = tuple(_tensor(reader) for _index in range(tensor_count))
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment > 2**20:
            raise _damaged(path, f"its alignment is {alignment!r}")
        data_offset = -(-reader.position // alignment) * alignment
    return GgufInfo(path, version, metadata, tensor_infos, data_offset, size)


def check_complete(info: GgufInfo) -> None:
    """Check that the file has tensors and contains all of them to the last byte.

    :raises StoreError: if it has no tensors or is truncated.
    """
    if not info.tensors:
        raise StoreError("formats.gguf_without_tensors", path=info.path)
    if info.file_bytes < info.expected_bytes:
        raise StoreError(
            "formats.gguf_cut_off",
            path=info.path,
            file_bytes=info.file_bytes,
            expected_bytes=info.expected_bytes,
            details={"bytes": info.file_bytes, "expected_bytes": info.expected_bytes},
        )


class _Reader:
    """Reads values sequentially and rejects every length that exceeds the end of the file."""

    def __init__(self, path: str, stream: t.BinaryIO, size: int) -> None:
        self.path = path
        self.size = size
        self.position = 0
        self._stream = stream

    def bytes(self, count: int) -> bytes:
        """The next bytes."""
        raw = self._stream.read(count) if count <= self.size - self.position else b""
        if len(raw) != count:
            raise _damaged(self.path, f"its header is cut off at byte {self.size}")
        self.position += count
        return raw

    def skip(self, count: int) -> None:
        """Skip bytes."""
        if count > self.size - self.position:
            raise _damaged(self.path, f"its header is cut off at byte {self.size}")
        if count > 4096:
            self._stream.seek(count, os.SEEK_CUR)
        else:  # within the buffer, a read is much cheaper than a seek
            self._stream.read(count)
        self.position += count

    def seek(self, position: int) -> None:
        """Move to a byte offset of the file."""
        self._stream.seek(position)
        self.position = position

    def unsigned(self, width: int) -> int:
        """An unsigned integer of ``width`` bytes."""
        return int.from_bytes(self.bytes(width), "little")

    def length(self, limit: int) -> int:
        """The length of a string, in bytes."""
        length = self.unsigned(8)
        if length > limit:
            raise _damaged(self.path, f"a text of {length} bytes at byte {self.position - 8} (at most {limit})")
        return length

    def string(self, limit: int) -> str:
        """A string; bytes that are not valid UTF-8 are replaced (a token may contain part of a character)."""
        return self.bytes(self.length(limit)).decode("utf-8", "replace")

    def count(self, items: str, limit: int) -> int:
        """The number of ``items`` that follow."""
        count = self.unsigned(8)
        if count > limit:
            raise _damaged(self.path, f"{count} {items} (at most {limit})")
        return count


def _value(reader: _Reader, key: str, value_type: int) -> t.Any:
    if value_type == _STRING:
        return reader.string(_MAX_STRING)
    if value_type == _ARRAY:
        item_type = reader.unsigned(4)
        count = reader.unsigned(8)
        offset = reader.position
        if item_type == _STRING:
            if count > reader.size // 8:  # each string takes at least the 8 bytes of its length
                raise _damaged(reader.path, f"{count} texts in {key}")
            for _index in range(count):
                reader.skip(reader.length(_MAX_STRING))
        elif item_type in _SCALARS:
            reader.skip(count * struct.calcsize("<" + _SCALARS[item_type]))
        else:
            raise _damaged(reader.path, f"items of type {item_type} in {key}")
        return GgufArray(item_type, count, offset)
    if value_type not in _SCALARS:
        raise _damaged(reader.path, f"a value of type {value_type} for {key}")
    code = "<" + _SCALARS[value_type]
    return struct.unpack(code, reader.bytes(struct.calcsize(code)))[0]


def _tensor(reader: _Reader) -> GgufTensor:
    name = reader.string(_MAX_KEY)
    dimensions = reader.unsigned(4)
    if dimensions > _MAX_DIMENSIONS:
        raise _damaged(reader.path, f"{dimensions} dimensions of tensor {name} (at most {_MAX_DIMENSIONS})")
    shape = tuple(reader.unsigned(8) for _index in range(dimensions))
    number = reader.unsigned(4)
    offset = reader.unsigned(8)
    if number not in TENSOR_TYPES:
        return GgufTensor(name, shape, f"type {number}", offset, None)
    type_name, values, width = TENSOR_TYPES[number]
    return GgufTensor(name, shape, type_name, offset, -(-_elements(shape) // values) * width)


def _elements(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _open(path: str) -> t.BinaryIO:
    try:
        return open(path, "rb", buffering=1024 * 1024)
    except FileNotFoundError as error:
        raise NotReadyError("formats.no_file", path=path) from error
    except OSError as error:
        raise StoreError("errors.unreadable", path=path, reason=error.strerror) from error


def _damaged(path: str, defect: str) -> StoreError:
    return StoreError("formats.damaged", path=path, reason=defect, details={"path": path})
