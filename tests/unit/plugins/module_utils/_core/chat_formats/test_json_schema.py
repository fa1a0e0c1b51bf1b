# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is valid JSON Schema is accepted, what is not is named with its path, and values are compared with it."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.json_schema import (
    MAX_LEVELS,
    schema_faults,
    value_faults,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import limited_regex

TREE = {"type": "object", "properties": {"child": {"$ref": "#"}, "n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"enum": [0, 50, 100, None, True, "x", {"a": []}]},
        {"type": ["string", "null"], "default": None, "examples": [1], "x-own": {"type": 3}},
        {"type": "array", "items": [{"type": "string"}, True], "additionalItems": False},
        {"items": True, "prefixItems": [{}], "uniqueItems": True, "minItems": 0, "maxItems": 2.0},
        {"properties": {"a": True, "b": False}, "required": ["c"], "additionalProperties": {"type": "string"}},
        {"anyOf": [{"type": "string"}, {"const": 1}], "not": {"enum": [2]}, "if": True, "then": {}, "else": {}},
        {"minimum": 0, "exclusiveMinimum": True, "multipleOf": 0.5, "format": "uri", "pattern": r"^\p{L}+$"},
        {"$defs": {"c": {"$anchor": "city", "type": "string"}}, "properties": {"a": {"$ref": "#city"}}},
        {"definitions": {"a/b": {"type": "string"}}, "properties": {"x": {"$ref": "#/definitions/a~1b"}}},
        {"allOf": [{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/x"}], "$defs": {"x": {"type": "string"}}},
        TREE,
    ],
)
def test_valid(schema: t.Any) -> None:
    assert schema_faults(schema, "s") == []


@pytest.mark.parametrize(
    ("schema", "path", "what"),
    [
        ("string", "s", 'it is "string", and no JSON schema'),
        ({"properties": {"n": {"required": True}}}, "s.properties.n.required", "true, and not a list of names"),
        ({"required": ["a", 1]}, "s.required", "not a list of names"),
        ({"properties": ["a"]}, "s.properties", "no object of schemas by name"),
        ({"properties": {"n": None}}, "s.properties.n", "it is null, and no JSON schema"),
        ({"type": "str"}, "s.type", "is no type of JSON Schema"),
        ({"type": "strin"}, "s.type", "is no type of JSON Schema"),
        ({"type": []}, "s.type", "is no type of JSON Schema"),
        ({"type": None}, "s.type", "is no type of JSON Schema"),
        ({"enum": []}, "s.enum", "not a list with something in it"),
        ({"enum": "a"}, "s.enum", "not a list with something in it"),
        ({"anyOf": {"type": "string"}}, "s.anyOf", "not a list with something in it"),
        ({"oneOf": [{}, 1]}, "s.oneOf[1]", "no JSON schema"),
        ({"items": {"minimum": "0"}}, "s.items.minimum", "not a number"),
        ({"minLength": -1}, "s.minLength", "no number of things"),
        ({"maxItems": 1.5}, "s.maxItems", "no number of things"),
        ({"description": ["a"]}, "s.description", "not text"),
        ({"$ref": 1}, "s.$ref", "not text"),
        ({"properties": {"a": {"$ref": "#/$defs/a"}}}, "s.properties.a.$ref", "there is no #/$defs/a"),
        ({"$ref": "city.json#/x"}, "s.$ref", "another document"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}}, "s.$defs.a.$ref", "in a circle: #/$defs/a → #/$defs/a"),
        ({"$ref": "#/x/a", "x": {"a": {"type": 3}}}, "s.x.a.type", "3 is no type"),
        ({"$ref": "#/x/a", "x": {"a": {"items": {"$ref": "#/x/b"}}}}, "s.x.a.items.$ref", "there is no #/x/b"),
        ({"not": {"$ref": "#"}}, "s.not.$ref", "in a circle: # → #"),
    ],
)
def test_invalid(schema: t.Any, path: str, what: str) -> None:
    (fault,) = schema_faults(schema, "s")
    assert fault[0] == path and what in str(fault[1])


def test_circle_outside_of_the_places_of_schemas() -> None:
    schema = {"items": {"$ref": "#/x/a"}, "x": {"a": {"allOf": [{"$ref": "#/x/b"}]}, "b": {"not": {"$ref": "#/x/b"}}}}
    faults = schema_faults(schema, "s")
    assert [path for path, _defect in faults] == ["s.x.a.allOf[0].$ref", "s.x.b.not.$ref"]
    assert all("in a circle: #/x/b → #/x/b" in str(defect) for _path, defect in faults)


def test_schemas_that_are_too_deep() -> None:
    schema: dict[str, t.Any] = {}
    for _level in range(MAX_LEVELS + 1):
        schema = {"items": schema}
    (fault,) = schema_faults(schema, "s")
    assert fault[0] == "s" + ".items" * (MAX_LEVELS + 1) and "levels deep" in str(fault[1])


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1.0, {"type": "integer", "enum": [1, 2]}),
        (None, {"type": ["string", "null"]}),
        ("Brest", {"anyOf": [{"type": "integer"}, {"minLength": 5}]}),
        ([1, "a", "b"], {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}),
        ({"a": 1, "b": 2}, {"properties": {"a": {"type": "integer"}}}),
        ({"n": 1, "child": {"n": 2, "child": {"n": 3}}}, TREE),
        (0.3, {"multipleOf": 0.1}),
        ("é", {"pattern": r"\p{L}", "format": "date"}),
        ({"x-1": "a"}, {"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": False}),
    ],
)
def test_value_as_the_schema_says(value: t.Any, schema: t.Any) -> None:
    assert schema_faults(schema, "s") == []
    assert value_faults(value, schema, "v") == []


@pytest.mark.parametrize(
    ("value", "schema", "path", "what"),
    [
        ("1", {"type": "integer"}, "v", 'it is "1", and the schema of the tool has integer'),
        (True, {"type": "number"}, "v", "it is true"),
        (1.5, {"type": ["integer", "string"]}, "v", "has integer or string"),
        (True, {"enum": [1]}, "v", "allows 1"),
        (20, {"enum": list(range(20))}, "v", "allows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"),
        (2, {"const": 1}, "v", "allows 1"),
        ({"a": {}}, {"properties": {"a": {"required": ["b"]}}}, "v.a", "the argument 'b' is missing"),
        ({"b": 1}, {"properties": {"bb": {}}, "additionalProperties": False}, "v.b", "has no argument 'b'"),
        ({"b": 1}, {"additionalProperties": {"type": "string"}}, "v.b", "it is 1"),
        ([1, "x"], {"items": {"type": "integer"}}, "v[1]", 'it is "x"'),
        ([1, 1.0], {"uniqueItems": True}, "v", "contains a value twice"),
        ([], {"minItems": 1}, "v", "minItems of the tool is 1"),
        (3, {"anyOf": [{"type": "string"}, {"maximum": 2}]}, "v", "none of the schemas in anyOf"),
        (3, {"oneOf": [{}, {"minimum": 2}]}, "v", "several of the schemas in oneOf"),
        (3, {"exclusiveMinimum": 3}, "v", "exclusiveMinimum of the tool is 3"),
        (3, {"not": {"type": "integer"}}, "v", "excludes it"),
        ({"a": 1}, {"properties": {"a": False}}, "v.a", "excludes it"),
        ("ab", {"pattern": "^b"}, "v", "does not match the pattern ^b"),
        ("ab", {"maxLength": 1}, "v", "maxLength of the tool is 1"),
        ({"n": 1, "child": {"n": "x"}}, TREE, "v.child.n", 'it is "x"'),
    ],
)
def test_value_that_is_not(value: t.Any, schema: t.Any, path: str, what: str) -> None:
    assert schema_faults(schema, "s") == []
    (fault,) = value_faults(value, schema, "v")
    assert fault[0] == path and what in str(fault[1])


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "^(a+)+$"}}},
        {"properties": {"a": {"type": "object", "patternProperties": {"^(a+)+$": {"type": "string"}}}}},
    ],
)
def test_a_pattern_that_takes_exponential_time_ends_with_a_fault(
    schema: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_regex, "SEARCH_SECONDS", 1)
    text = "a" * 60 + "b"
    value = {"a": text if "pattern" in schema["properties"]["a"] else {text: "x"}}
    (fault,) = value_faults(value, schema, "arguments")
    assert fault[0].startswith("arguments.a") and "takes too much time or memory" in str(fault[1])
    good = {"a": "aa" if "pattern" in schema["properties"]["a"] else {"aa": "x"}}
    assert value_faults(good, schema, "arguments") == []


@pytest.mark.parametrize(
    ("pattern", "quick"),
    [
        (r"^\d{4}-\d{2}-\d{2}$", True),
        (r"^[a-z0-9-]+$", True),
        (r"^(low|medium|high)$", True),
        (r"^[^@]+@[^@]+$", True),
        (r"(a+)+$", False),
        (r"(a|a){30}$", False),
        (r"a?a?a?a?a?a?a?a?aaaaaaaa", False),
        (r"(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)b", False),
        (r"a{0,900}a{0,900}a{0,900}b", False),
        ("x" * 1000, False),
    ],
)
def test_only_a_search_of_few_steps_needs_no_child_process(
    pattern: str, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(limited_regex, "run", lambda patterns, *_more: [bool(asked.append(patterns[0]))])
    limited_regex.search(pattern, "a" * 90)
    assert asked == ([] if quick else [pattern])


def test_a_pattern_that_python_does_not_have_is_not_checked() -> None:
    for pattern in (r"^\p{L}+$", r"(\p{L}+)+$", "(" * 400):
        assert value_faults({"a": "b"}, {"properties": {"a": {"pattern": pattern}}}, "arguments") == []


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf"])
def test_a_schema_that_refers_twice_to_itself_takes_no_exponential_time(keyword: str) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {keyword: [{"$ref": "#"}, {"$ref": "#"}]}},
        "required": ["n"],
    }
    value: dict[str, t.Any] = {}
    for _level in range(60):
        value = {"a": value, "n": 1}
    faults = value_faults(value, schema, "arguments")
    assert len(faults) == 1 and "arguments" in faults[0][0]
