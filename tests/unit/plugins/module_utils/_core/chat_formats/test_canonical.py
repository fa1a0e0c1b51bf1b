# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The spelling of tools and arguments that every server can write again. tests/real compares with a server."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.canonical import (
    CHANGED,
    DROPPED,
    UNCERTAIN,
    as_text,
    canonical_arguments,
    canonical_tools,
    join_of_results,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.facts import names
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError


def one_property(value: dict[str, t.Any]) -> tuple[dict[str, t.Any], set[tuple[str, str]]]:
    """The canonical spelling of a property, and the path and kind of each finding."""
    tools, findings = canonical_tools([{"name": "f", "parameters": {"type": "object", "properties": {"p": value}}}])
    found = {(each.path.rpartition("properties.p")[2], each.kind) for each in findings}
    return tools[0]["function"]["parameters"]["properties"]["p"], found


def test_order_and_form_of_a_tool() -> None:
    tool = {
        "parameters": {"required": ["b"], "properties": {"b": {"description": "B", "type": "string"}, "a": {}}},
        "name": "f",
        "strict": True,
        "description": "F",
    }
    tools, findings = canonical_tools([tool])
    assert as_text(tools) == (
        '[{"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object", '
        '"required": ["b"], "properties": {"a": {}, "b": {"type": "string", "description": "B"}}}}}]'
    )
    assert {(each.path, each.kind) for each in findings} == {
        ("tools[0].strict", DROPPED),
        ("tools[0].parameters.properties", CHANGED),
    }
    # spelled once, a tool stays as it is, and its own values are not touched
    assert canonical_tools(tools) == (tools, [])
    assert list(tool) == ["parameters", "name", "strict", "description"]


def test_keys_of_a_property() -> None:
    value = {
        "title": "T",
        "additionalProperties": False,
        "type": ["integer"],
        "description": "",
        "enum": [2.0, 1.5],
        "default": 1,
    }
    made, found = one_property(value)
    assert json.dumps(made) == '{"type": "integer", "enum": [2, 1.5]}'
    assert found == {
        (".title", DROPPED),
        (".additionalProperties", DROPPED),
        (".default", DROPPED),
        (".description", DROPPED),
        (".type", CHANGED),
        (".enum[0]", CHANGED),
    }


def test_nested_properties() -> None:
    made, found = one_property(
        {"anyOf": [{"format": "x", "type": "string"}], "properties": {"z": {}, "y": {"type": ["string", "null"]}}}
    )
    assert made == {"anyOf": [{"type": "string"}], "properties": {"y": {"type": ["string", "null"]}, "z": {}}}
    assert list(made["properties"]) == ["y", "z"]
    assert (".anyOf[0].format", DROPPED) in found


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("f", "is a text and not a JSON object"),
        ({"type": "function", "function": {"description": "x"}}, r"tools\[0\].function has no name"),
        ({"name": ""}, "has no name"),
        ({"name": "f", "parameters": ["x"]}, "is a list and not a JSON schema"),
        ({"name": "f", "parameters": {"properties": []}}, None),
        ({"name": "f", "parameters": {"properties": ["x"]}}, "not a JSON object of properties"),
        ({"name": "f", "parameters": {"properties": {"p": "string"}}}, "properties.p is a text"),
        ({"name": "f", "parameters": {"type": ["string"]}}, "not the name of a type"),
        ({"name": "f", "parameters": {"required": "p"}}, "required is not a list of texts"),
    ],
)
def test_what_is_no_tool(tool: t.Any, message: str | None) -> None:
    if message is None:
        assert canonical_tools([tool])[0][0]["function"]["parameters"]["properties"] == {}
        return
    with pytest.raises(InputError, match=message):
        canonical_tools([tool])


def test_arguments() -> None:
    made, findings = canonical_arguments({"b": {"d": 1.0, "c": [True, None, 2.5]}, "a": "é"})
    assert as_text(made) == '{"a": "é", "b": {"c": [true, null, 2.5], "d": 1}}'
    assert {(each.path, each.kind) for each in findings} == {
        ("arguments", CHANGED),
        ("arguments.b", CHANGED),
        ("arguments.b.d", CHANGED),
    }
    assert str(findings[0]).startswith("arguments: the keys are sorted")
    assert canonical_arguments(made) == (made, [])


@pytest.mark.parametrize(
    ("value", "uncertain"),
    [
        (2**53, False),
        (2**53 + 1, True),
        (-(2**53) - 1, True),
        (1e-4, False),
        (9e-5, True),
        (1e16, True),
        (1e21, True),
        (0.0, False),
        (-0.0, False),
        (0.1, False),
        (1e15 + 0.5, False),
    ],
)
def test_numbers(value: float, uncertain: bool) -> None:
    made, findings = canonical_arguments({"n": value})
    assert any(each.kind == UNCERTAIN for each in findings) is uncertain
    assert made["n"] == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_values_that_json_does_not_have(value: t.Any) -> None:
    with pytest.raises(InputError, match="which JSON does not have"):
        canonical_arguments({"n": value})
    with pytest.raises(InputError, match="is a list and not a JSON object of arguments"):
        canonical_arguments([value])  # type: ignore[arg-type]


def test_depth() -> None:
    value: t.Any = 1
    for _level in range(14):
        value = {"a": value}
    # tools are indented by two templates, arguments by none
    assert canonical_arguments(value)[1] == []
    assert {each.kind for each in canonical_tools([{"name": "f", "parameters": {"$defs": value}}])[1]} == {UNCERTAIN}


def test_join_of_results() -> None:
    assert join_of_results("qwen") == "\n</tool_response>\n<tool_response>\n"
    assert join_of_results("mistral").startswith("}[/TOOL_RESULTS]")
    assert join_of_results("zephyr", "</s>") == "</s><|user|>\n"
    assert join_of_results("llama3") == "<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n"
    assert all(join_of_results(name, "</s>", "<s>") for name in names())
    with pytest.raises(InputError):
        join_of_results("qwen4")
