# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Safetensors files: complete or truncated, finite or not."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats import safetensors
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors


def test_reads_all_tensors(tmp_path: Path) -> None:
    """Names, types, shapes, offsets."""
    path = write_safetensors(
        tmp_path / "x.safetensors", {"a": ("F32", [2, 3], bytes(24)), "b": ("BF16", [4], bytes(8))}
    )
    tensors = safetensors.read_tensors(path)
    assert tensors["a"].elements == 6
    assert (tensors["b"].dtype, tensors["b"].shape, tensors["b"].end - tensors["b"].begin) == ("BF16", (4,), 8)
    assert tensors["b"].end == Path(path).stat().st_size


@pytest.mark.parametrize("size", [0, 7, 8, 20, -1])
def test_truncated_files_are_refused(tmp_path: Path, size: int) -> None:
    """Truncated in the length, in the header, in the data."""
    path = Path(write_safetensors(tmp_path / "x.safetensors", {"a": ("F32", [4], bytes(16))}))
    raw = path.read_bytes()
    path.write_bytes(raw[:size])
    with pytest.raises(StoreError):
        safetensors.read_tensors(str(path))


@pytest.mark.parametrize(
    "header",
    [b"[]", b"{", b'{"a": 1}', b'{"a": {"dtype": "F32"}}', b'{"a": {"dtype": "F32", "shape": 3}}', b"\xff\xfe"],
)
def test_other_contents(tmp_path: Path, header: bytes) -> None:
    """Other contents are refused with an error, never a crash."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(StoreError):
        safetensors.read_tensors(str(path))


def test_zero_filled_file_is_refused(tmp_path: Path) -> None:
    """After a power failure a file may have the right length and contain only zeros."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(bytes(4096))
    with pytest.raises(StoreError):
        safetensors.read_tensors(str(path))


def test_model_in_several_files(tmp_path: Path) -> None:
    """Every file and every tensor of the index must exist."""
    for number, name in enumerate("ab"):
        write_safetensors(tmp_path / f"model-{number}.safetensors", {name: ("F16", [2], bytes(4))})
    weight_map = {"a": "model-0.safetensors", "b": "model-1.safetensors"}
    index = tmp_path / safetensors.INDEX
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert set(safetensors.read_model(str(tmp_path))) == {"a", "b"}
    index.write_text(json.dumps({"weight_map": {**weight_map, "c": "model-0.safetensors"}}))
    with pytest.raises(StoreError, match="1 tensors of the index"):
        safetensors.read_model(str(tmp_path))
    index.write_text(json.dumps({"weight_map": {**weight_map, "c": "model-2.safetensors"}}))
    with pytest.raises(StoreError, match="model-2.safetensors is missing"):
        safetensors.read_model(str(tmp_path))
    index.write_text("{")
    with pytest.raises(StoreError):
        safetensors.read_model(str(tmp_path))


def test_directory_without_weights(tmp_path: Path) -> None:
    """A directory without weights has no tensors."""
    assert safetensors.read_model(str(tmp_path)) == {}


def bits(value: float, dtype: str) -> bytes:
    """A number encoded in a dtype."""
    if dtype == "BF16":
        return struct.pack("<f", value)[2:]
    return struct.pack({"F16": "<e", "F32": "<f", "F64": "<d"}[dtype], value)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
@given(st.lists(st.floats(width=16), min_size=1, max_size=50))
def test_is_finite_agrees_with_python(dtype: str, values: list[float]) -> None:
    """The result agrees with Python's own arithmetic."""
    raw = b"".join(bits(value, dtype) for value in values)
    assert safetensors.is_finite(raw, dtype) == all(math.isfinite(value) for value in values)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
@given(st.lists(st.sampled_from([0.0, -0.0, 0.0, 1.0, -2.0, 6e-8]) | st.floats(width=16), min_size=1, max_size=20))
def test_is_zero_agrees_with_python(dtype: str, values: list[float]) -> None:
    """Both zeros are zero, and the smallest other number is not."""
    raw = b"".join(bits(value, dtype) for value in values)
    assert safetensors.is_zero(raw, dtype) == all(value == 0 for value in values)


def test_all_zero(tmp_path: Path) -> None:
    """The last element of a tensor of several pieces counts; types that are no floats are compared bytewise."""
    size = 5 * 1024 * 1024
    raw = bytearray(size)
    tensors = {"a": ("BF16", [size // 2], bytes(raw)), "b": ("I8", [1], b"\x80"), "c": ("F32", [1], b"\0\0\0\x80")}
    path = write_safetensors(tmp_path / "x.safetensors", tensors)
    assert safetensors.all_zero(path, ["a", "c"]) and not safetensors.all_zero(path, ["a", "b"])
    raw[-1] = 1
    path = write_safetensors(tmp_path / "x.safetensors", {**tensors, "a": ("BF16", [size // 2], bytes(raw))})
    assert not safetensors.all_zero(path, ["c", "a"])


@pytest.mark.parametrize(("dtype", "value"), [("F32", 3.4e38), ("BF16", 3.3e38), ("F16", 65504.0), ("F64", 1.7e308)])
def test_the_largest_finite_numbers(dtype: str, value: float) -> None:
    """Exponents with all bits but one set are finite."""
    assert safetensors.is_finite(bits(value, dtype), dtype)
    assert safetensors.is_finite(bits(-value, dtype), dtype)


def test_large_tensors_are_sampled(tmp_path: Path) -> None:
    """Start, middle and end of a large tensor are checked; integers are never checked."""
    size = 6 * 8 * 100
    for offset, detected in ((0, True), (size // 2, True), (size - 4, True), (size // 4, False)):
        raw = bytearray(size)
        raw[offset : offset + 4] = struct.pack("<f", math.nan)
        path = write_safetensors(tmp_path / "x.safetensors", {"w": ("F32", [size // 4], bytes(raw))})
        assert safetensors.first_not_finite(path, sample=800) == ("w" if detected else "")
    path = write_safetensors(tmp_path / "x.safetensors", {"w": ("I32", [1], b"\xff\xff\xff\x7f")})
    assert safetensors.first_not_finite(path) == ""
