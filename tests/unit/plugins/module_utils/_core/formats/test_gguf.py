# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of GGUF files: their content, and that lengths beyond the end of the file are refused.

The files are written here, byte by byte as docs/gguf.md of ggml has it; files of the real converter are read in
tests/real.
"""

from __future__ import annotations

import struct
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError, StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats import gguf
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.gguf import (
    check_complete,
    read_header,
)


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str, kind: int, raw: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + raw


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ENTRIES = [
    entry("general.architecture", 8, text("llama")),
    entry("general.file_type", 4, struct.pack("<I", 15)),
    entry("tokenizer.ggml.model", 8, text("llama")),
    entry(
        "tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 4) + text("<unk>") + text("<s>") + text("</s>") + text("é")
    ),
    entry("tokenizer.ggml.scores", 9, struct.pack("<IQ4f", 6, 4, 0, 0, 0, -1)),
    entry("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 1)),
    entry("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 2)),
    entry("tokenizer.ggml.add_bos_token", 7, b"\x01"),
    entry("llama.rope.freq_base", 6, struct.pack("<f", 10000.0)),
    entry("big", 10, struct.pack("<Q", 2**40)),
    entry("negative", 5, struct.pack("<i", -3)),
]
#: Q4_K: 256 values in 144 bytes; F32: 4 bytes each.
TENSORS = [tensor("token_embd.weight", (256, 8), 12, 0), tensor("output_norm.weight", (256,), 0, 1152)]
DATA = 1152 + 1024


def header(version: int = 3, tensors: int | None = None, entries: int | None = None) -> bytes:
    counts = (len(TENSORS) if tensors is None else tensors, len(ENTRIES) if entries is None else entries)
    return b"GGUF" + struct.pack("<IQQ", version, *counts)


def complete_file(data: int = DATA, **more: int) -> bytes:
    raw = header(**more) + b"".join(ENTRIES) + b"".join(TENSORS)
    return raw + bytes(-len(raw) % 32) + bytes(data)


@pytest.fixture
def write(tmp_path: Path) -> t.Callable[[bytes], str]:
    def write(raw: bytes) -> str:
        path = tmp_path / "model.gguf"
        path.write_bytes(raw)
        return str(path)

    return write


def test_header_fields(write: t.Callable[[bytes], str]) -> None:
    info = read_header(write(complete_file()))
    assert (info.version, info.architecture, info.file_type) == (3, "llama", "Q4_K_M")
    assert info.tensor_count == 2
    assert info.parameters == 256 * 8 + 256
    assert info.metadata["llama.rope.freq_base"] == 10000.0
    assert info.metadata["big"] == 2**40
    assert info.metadata["negative"] == -3
    assert info.metadata["tokenizer.ggml.tokens"].count == 4
    assert [(one.name, one.type_name, one.size) for one in info.tensors] == [
        ("token_embd.weight", "Q4_K", 1152),
        ("output_norm.weight", "F32", 1024),
    ]
    assert info.expected_bytes == info.file_bytes == len(complete_file())
    check_complete(info)


def test_special_tokens(write: t.Callable[[bytes], str]) -> None:
    info = read_header(write(complete_file()))
    assert (info.token("bos"), info.token("eos"), info.token("pad")) == ("<s>", "</s>", "")


def test_version_2_is_read(write: t.Callable[[bytes], str]) -> None:
    assert read_header(write(complete_file(version=2))).version == 2


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is not a GGUF file"),
        (b"PK\x03\x04" + bytes(64), "is not a GGUF file"),
        (complete_file(version=1), "version is 1"),
        (b"GGUF\x00\x00\x00\x03" + bytes(64), "big-endian"),
        (complete_file(tensors=2**40), "1099511627776 tensors"),
        (complete_file(entries=2**40), "1099511627776 metadata entries"),
        (header() + struct.pack("<Q", 2**62) + bytes(64), "a text of"),
        (header(0, 0, 1)[:4] + struct.pack("<IQQ", 3, 0, 1) + entry("x", 99, bytes(8)), "value of type 99"),
        (header(tensors=0, entries=1) + entry("x", 9, struct.pack("<IQ", 8, 2**50)), "texts in x"),
        (header(tensors=0, entries=1) + entry("x", 9, struct.pack("<IQ", 10, 2**50)), "cut off"),
        (header(tensors=0, entries=1) + entry("x", 9, struct.pack("<IQ", 9, 1) + bytes(64)), "items of type 9"),
        (header(tensors=1, entries=0) + tensor("x", (1,) * 5, 0, 0), "5 dimensions"),
        (header(tensors=0, entries=1) + entry("general.alignment", 4, struct.pack("<I", 0)), "alignment is 0"),
    ],
)
def test_invalid_files_are_refused(write: t.Callable[[bytes], str], raw: bytes, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        read_header(write(raw))
    assert caught.value.hint or "can be read" in caught.value.message


def test_truncation_anywhere_in_the_header(write: t.Callable[[bytes], str]) -> None:
    raw = complete_file()
    end = len(header() + b"".join(ENTRIES) + b"".join(TENSORS))
    for size in range(4, end):
        with pytest.raises(StoreError):
            read_header(write(raw[:size]))


def test_truncation_in_the_tensors(write: t.Callable[[bytes], str]) -> None:
    info = read_header(write(complete_file(DATA - 1)))
    with pytest.raises(StoreError, match="cut off") as caught:
        check_complete(info)
    assert caught.value.details["expected_bytes"] - caught.value.details["bytes"] == 1


def test_no_tensors(write: t.Callable[[bytes], str]) -> None:
    info = read_header(write(header(tensors=0) + b"".join(ENTRIES)))
    with pytest.raises(StoreError, match="no tensors"):
        check_complete(info)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError):
        read_header(str(tmp_path / "none.gguf"))
    with pytest.raises(StoreError):
        read_header(str(tmp_path))


def test_eos_outside_the_vocabulary(write: t.Callable[[bytes], str]) -> None:
    raw = complete_file().replace(text("tokenizer.ggml.eos_token_id") + struct.pack("<II", 4, 2), b"", 1)
    assert raw != complete_file()
    wrong = entry("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 4))
    info = read_header(
        write(complete_file().replace(entry("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 2)), wrong))
    )
    with pytest.raises(StoreError, match="EOS token 4"):
        info.token("eos")


def test_unknown_types_are_accepted(write: t.Callable[[bytes], str]) -> None:
    raw = header(tensors=1, entries=1) + entry("general.file_type", 4, struct.pack("<I", 77)) + tensor("x", (8,), 99, 0)
    info = read_header(write(raw + bytes(64)))
    assert info.file_type == "type 77"
    assert info.tensors[0].type_name == "type 99"
    check_complete(info)


@pytest.mark.parametrize(
    ("model", "pre", "flag", "expected"),
    [
        ("llama", "", None, True),
        ("gpt2", "llama-bpe", None, True),
        ("gpt2", "qwen2", None, False),
        ("gpt2", "llama-bpe", False, False),
        ("gpt2", "qwen2", True, True),
        ("t5", "", None, False),
    ],
)
def test_whether_bos_is_added(
    write: t.Callable[[bytes], str], model: str, pre: str, flag: bool | None, expected: bool
) -> None:
    entries = [entry("tokenizer.ggml.model", 8, text(model)), entry("tokenizer.ggml.pre", 8, text(pre))]
    if flag is not None:
        entries.append(entry("tokenizer.ggml.add_bos_token", 7, bytes([flag])))
    info = read_header(write(header(tensors=0, entries=len(entries)) + b"".join(entries)))
    assert info.adds_bos is expected


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(4, len(complete_file()) - DATA), junk=st.binary(min_size=1, max_size=12))
def test_damaged_files_never_crash(write: t.Callable[[bytes], str], position: int, junk: bytes) -> None:
    """A file with arbitrary overwritten bytes is read or refused with an error of the collection, without delay."""
    raw = complete_file()
    try:
        info = read_header(write(raw[:position] + junk + raw[position + len(junk) :]))
        check_complete(info)
        info.token("eos")
    except StoreError:
        pass


def test_block_sizes() -> None:
    """A block of K-quants has 256 values, a block of other quantizations 32, of plain numbers one."""
    for name, values, width in gguf.TENSOR_TYPES.values():
        bits = 8 * width / values
        stated = int("".join(filter(str.isdigit, name.split("_")[0])) or 0)
        assert bits >= stated and bits <= stated + 2.7, name
