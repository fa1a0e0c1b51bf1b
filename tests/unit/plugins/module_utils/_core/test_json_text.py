# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON that is nested too deeply is refused wherever a file or an answer is read, and ends no job."""

from __future__ import annotations

import json
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.facts import facts_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.thinking import FROM_ROWS
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import training_rows
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.safetensors import read_tensors
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.json_text import (
    is_too_deep,
    parse_json,
    parse_strict_json,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json, read_record
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import checkpoints, trainer_log

DEPTHS = [5_000, 60_000]


def nested(depth: int) -> t.Any:
    value: t.Any = 1
    for _level in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("text", ["[" * 60_000 + "]" * 60_000, '{"a":' * 60_000 + "1" + "}" * 60_000, "[" * 60_000])
def test_it_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(text)
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_strict_json(text)


@pytest.mark.parametrize(
    ("text", "reason"), [("[NaN]", "NaN is not JSON"), ("-Infinity", "Infinity"), ('{"a": 1, "a": 1}', "given twice")]
)
def test_strict_json_has_no_numbers_beyond_json_and_no_key_twice(text: str, reason: str) -> None:
    parse_json(text)
    with pytest.raises(ValueError, match=reason):
        parse_strict_json(text)


def test_too_deep_counts_the_levels() -> None:
    assert not is_too_deep(1, 0) and not is_too_deep({"a": [1]}, 2)
    assert is_too_deep([1], 0) and is_too_deep({"a": [{"b": 1}]}, 2)
    assert not is_too_deep(nested(100)) and is_too_deep(nested(101)) and is_too_deep(nested(90_000))


@pytest.mark.parametrize("depth", DEPTHS)
def test_files_that_are_nested_too_deeply_are_damaged(tmp_path: Path, depth: int) -> None:
    text = '{"a": ' + "[" * depth + "]" * depth + "}"
    path = tmp_path / "file.json"
    path.write_text(text)
    assert read_record(str(path)) is None
    with pytest.raises(StoreError):
        read_json(str(path))
    with pytest.raises(StoreError):
        checkpoints.read_object(str(path))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(struct.pack("<Q", len(text)) + text.encode())
    with pytest.raises(StoreError):
        read_tensors(str(weights))


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_line_of_a_training_log_that_is_nested_too_deeply_is_left_out(tmp_path: Path, depth: int) -> None:
    log = tmp_path / "trainer_log.jsonl"
    bad = '{"current_steps": 1, "x": ' + "[" * depth + "]" * depth + "}"
    log.write_text(f'{bad}\n{{"current_steps": 2}}\n')
    assert [entry["current_steps"] for entry in trainer_log.read_all(str(log))] == [2]


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_call_that_is_nested_too_deeply_is_refused_with_its_row(depth: int) -> None:
    turn = {"from": "function_call", "value": "[" * depth + "]" * depth}
    line = json.dumps({"conversations": [turn], "tools": "[]"}).encode() + b"\n"
    with pytest.raises(InputError, match="7.*nested too deeply"):
        training_rows._Writer("\n", facts_of("qwen"), FROM_ROWS).line(line, 7)
