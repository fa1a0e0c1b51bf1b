# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of tools: what is refused with its path, the conversion of what an MCP server lists, names in rows."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.canonical import (
    canonical_tools,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.json_schema import MAX_LEVELS
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import tool_sets
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import (
    Declaration,
    Outcome,
    apply,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

FILES = Path(__file__).resolve().parents[6] / "playbooks" / "files"


def tool(properties: t.Any = None, name: str = "ping", **schema: t.Any) -> dict[str, t.Any]:
    parameters = {"type": "object", "properties": properties if properties is not None else {}, **schema}
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}}


def read(value: t.Any) -> list[tool_sets.Tool]:
    return tool_sets.read_tools(json.dumps(value).encode(), "t.json")


@pytest.mark.parametrize(
    "properties",
    [
        {"level": {"enum": [0, 50, 100]}},
        {"tags": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
        {"when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}},
        {"any": {}, "kinds": {"type": ["string", "null"]}},
        {"deep": {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}, "required": ["a"]}},
        {"map": {"type": "object", "additionalProperties": {"type": "integer"}}},
        {"anything": True, "nothing": False, "pair": {"items": [{"type": "string"}, {"type": "integer"}]}},
        {"free": {"type": "object", "required": ["a"], "properties": {"b": {}}}, "least": {"exclusiveMinimum": True}},
    ],
)
def test_valid_schemas_are_read_as_they_are(properties: dict[str, t.Any]) -> None:
    assert read([tool(properties)]) == [tool(properties)]


def test_a_function_may_stand_alone() -> None:
    alone = [tool({"host": {"type": "string"}})["function"], {"name": "all", "parameters": {"type": "object"}}]
    assert read(alone) == alone


@pytest.mark.parametrize("given", [{}, {"parameters": {}}, {"parameters": None}])
def test_a_function_may_have_no_parameters(given: dict[str, t.Any]) -> None:
    """As OpenAI's interface describes it: a function without ``parameters`` has an empty list of them."""
    assert read([{"name": "ping", **given}]) == [{"name": "ping", **given}]
    (made,) = canonical_tools([{"name": "ping", **given}], "tools")[0]
    assert made["function"] == {"name": "ping", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "are an object, not a list"),
        ([], "has no tools"),
        ([3], "[0]: it is a number (3), not an object"),
        ([{"type": "function"}], "[0].function: it is null"),
        ([tool(name="a b")], "[0].function.name: 'a b' is not a valid name of a function"),
        ([tool(name="")], "[0].function.name: it is text ('')"),
        ([tool(), tool()], "[1]: there is a tool 'ping' already"),
        ([{"name": "ping", "parameters": []}], "[0].parameters: it is no JSON schema of an object"),
        ([{"name": "ping", "parameters": {"title": "a"}}], "[0].parameters: it is no JSON schema of an object"),
        ([tool({}, type="string")], "[0].function.parameters: it is no JSON schema of an object"),
        (
            [tool({"a": {"type": "str"}})],
            "parameters.properties.a.type: \"str\" is no type of JSON Schema. Did you mean 'string'?",
        ),
        (
            [tool({"a": {"type": "string", "required": True}})],
            "properties.a.required: it is true, and not a list of names",
        ),
        ([tool({"a": "string"})], 'properties.a: it is "string", and no JSON schema. Write an object, true or false.'),
        (
            [tool({"a": {"enum": []}})],
            "properties.a.enum: it is [], and not a list with something in it. Write a list.",
        ),
        ([tool({"a": {"items": [{}, 1]}})], "properties.a.items[1]: it is 1, and no JSON schema"),
        ([tool({"a": {"anyOf": []}})], "properties.a.anyOf: it is []"),
        ([tool({"a": {"anyOf": [{}, {"type": 3}]}})], "properties.a.anyOf[1].type: 3 is no type"),
        ([tool({"a": {"description": 3}})], "properties.a.description: it is 3, and not text. Write a text."),
        ([tool({"a": {"minimum": "3"}})], 'properties.a.minimum: it is "3", and not a number. Write a number.'),
        ([tool({"a": {"properties": []}})], "properties.a.properties: it is [], and no object of schemas by name"),
        (
            [tool({"a": {"$ref": "#/$defs/A"}})],
            "properties.a.$ref: there is no #/$defs/A. Write what it refers to below $defs.",
        ),
        (
            [tool({"a": {"$ref": "https://example.org/a.json"}})],
            "properties.a.$ref: https://example.org/a.json refers to another document, and a model sees none. Write",
        ),
        (
            [tool({"a": {"$ref": "#/$defs/A"}}, **{"$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}})],
            "function.parameters.properties.a.items.$ref: it refers to itself: #/$defs/A → #/$defs/A. Write the levels",
        ),
    ],
)
def test_faults_are_named_with_their_path(value: t.Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(value)
    assert message in str(caught.value)


def test_half_a_file_is_no_json() -> None:
    text = json.dumps([tool({"host": {"type": "string"}})])
    for end in (1, len(text) // 2, len(text) - 1):
        with pytest.raises(InputError, match=r"The tools in t\.json are not JSON"):
            tool_sets.read_tools(text[:end].encode(), "t.json")
    with pytest.raises(InputError, match="not JSON"):
        tool_sets.read_tools(b"\xff\xfe", "t.json")
    with pytest.raises(InputError, match="a key is given twice"):
        tool_sets.read_tools(b'[{"name": "a", "name": "b"}]', "t.json")


def test_a_schema_deeper_than_any_model_uses_is_refused() -> None:
    schema: dict[str, t.Any] = {"type": "string"}
    for _level in range(MAX_LEVELS):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InputError, match="more than 64 levels deep. Write a flatter schema."):
        read([tool({"a": schema})])


def test_references_that_multiply_are_refused() -> None:
    """Twenty definitions of two references each are a million schemas."""
    definitions: dict[str, t.Any] = {"D0": {"type": "string"}}
    for level in range(1, 20):
        reference = {"$ref": f"#/$defs/D{level - 1}"}
        definitions[f"D{level}"] = {"type": "object", "properties": {"a": reference, "b": reference}}
    with pytest.raises(InputError, match="more than 2000 schemas"):
        read([tool({"a": {"$ref": "#/$defs/D19"}}, **{"$defs": definitions})])


def test_references_that_make_a_schema_too_deep_are_refused() -> None:
    """A thousand definitions, each of one level, that refer to the next."""
    definitions = {f"D{level}": {"items": {"$ref": f"#/$defs/D{level + 1}"}} for level in range(1000)}
    definitions["D1000"] = {}
    with pytest.raises(InputError, match="more than 64 levels deep once the references are replaced"):
        read([tool({"a": {"$ref": "#/$defs/D0"}}, **{"$defs": definitions})])


def listed(name: str = "ping", **schema: t.Any) -> dict[str, t.Any]:
    return {"name": name, "description": "d", "inputSchema": {"type": "object", **schema}}


def test_what_a_server_lists_becomes_the_file() -> None:
    definitions = {
        "Host": {"title": "Host", "type": "object", "properties": {"name": {"type": "string", "default": "x"}}},
        "Any": True,
    }
    schema = {
        "title": "pingArguments",
        "$defs": definitions,
        "properties": {
            "to": {"$ref": "#/$defs/Host", "description": "Machine"},
            "free": True,
            "any": {"$ref": "#/$defs/Any"},
        },
    }
    tools, lost = tool_sets.from_mcp([listed("zeta"), listed(**schema)], "http://x/mcp")
    assert [each["function"]["name"] for each in tools] == ["ping", "zeta"], "sorted, whatever order a server has"
    assert tools[0]["function"]["parameters"]["properties"] == {
        "any": {},
        "free": {},
        "to": {"type": "object", "description": "Machine", "properties": {"name": {"type": "string"}}},
    }
    assert lost == ["ping.to.properties.name.default: no server receives this key of a tool"]
    text = tool_sets.file_text(tools)
    assert tool_sets.read_tools(text.encode(), "t.json") == tools
    assert not tool_sets.difference(tools, tool_sets.from_mcp([listed(**schema), listed("zeta")], "x")[0])


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ([{"description": "d"}], "Tool 1 of http://x/mcp is no tool"),
        ([{"name": "ping"}], "The tool ping of http://x/mcp has no inputSchema of type object"),
        ([{"name": "ping", "inputSchema": {"properties": {}}}], "has no inputSchema of type object"),
        ([listed(properties={"a": {"type": "st"}})], "invalid at ping.inputSchema.properties.a.type"),
        ([listed(properties={"a": {"$ref": "#/$defs/A"}})], "properties.a.$ref: there is no #/$defs/A"),
        (
            [listed(properties={"a": {"$ref": "#"}})],
            "at ping.inputSchema.properties.a.properties.a.$ref: it refers to itself",
        ),
        (
            [
                listed(
                    properties={"a": {"$ref": "#/$defs/A"}},
                    **{"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}},
                )
            ],
            "the references lead in a circle: #/$defs/A → #/$defs/B → #/$defs/A",
        ),
    ],
)
def test_a_tool_that_is_none_is_refused_by_name(tools: list[t.Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        tool_sets.from_mcp(tools, "http://x/mcp")
    assert message in str(caught.value)
    assert tool_sets.from_mcp([*tools, listed("other")], "x", ["other"])[0] if "name" in tools[0] else True


def test_differences_are_named() -> None:
    before = [tool(name="a"), tool(name="b"), tool({"x": {"type": "string"}}, name="c")]
    after = [tool({"x": {"type": "integer"}}, name="c"), tool(name="b")["function"], tool(name="d")]
    found = tool_sets.difference(before, after)
    assert (found.added, found.removed, found.changed) == (["d"], ["a"], ["c"]) and found
    assert [str(part) for part in found.parts()] == ["added d", "removed a", "changed c"]
    assert not tool_sets.difference(before, list(reversed(before)))


# -- names in rows -----------------------------------------------------------------------------------------------------

TALK = [
    {"role": "user", "content": "Le NAS répond-il ?"},
    {"role": "assistant", "tool_calls": [{"function": {"name": "ping", "arguments": {"host": "nas"}}}]},
    {"role": "tool", "content": "1 ms"},
    {"role": "assistant", "content": "Oui."},
]
PLAIN = {"instruction": "Qui es-tu ?", "input": "", "output": "L'assistant.", "system": ""}


def publish(layout: Layout, tools: tool_sets.ToolSets, *files: list[t.Any], **more: t.Any) -> Outcome:
    sources = [Source(f"records{number or ''}", records=rows) for number, rows in enumerate(files)]
    return apply(layout, Declaration("rows", tools=tools), sources, **more)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


def rows_of(outcome: Outcome) -> list[dict[str, t.Any]]:
    assert outcome.dataset is not None
    return [json.loads(line) for line in Path(outcome.dataset.data_file).read_text(encoding="utf-8").splitlines()]


def test_a_name_stands_for_the_tools(layout: Layout) -> None:
    tools = [tool({"host": {"type": "string"}})]
    named = publish(layout, {"homelab": tools}, [{"tools": "homelab", "messages": TALK}])
    assert named.dataset is not None
    assert json.loads(rows_of(named)[0]["tools"]) == tools
    assert named.dataset.results["tool_sets"] == {"homelab": {"sha256": tool_sets.digest_of(tools), "count": 1}}
    written = publish(layout, {}, [{"tools": tools, "messages": TALK}])
    assert written.dataset is not None and written.dataset.fingerprint == named.dataset.fingerprint


def test_changed_tools_are_the_reason_for_new_rows(layout: Layout) -> None:
    rows = [{"tools": "homelab", "messages": TALK}]
    first = publish(layout, {"homelab": [tool({"host": {"type": "string"}})]}, rows)
    assert not publish(layout, {"homelab": [tool({"host": {"type": "string"}})]}, rows).changed
    again = publish(layout, {"homelab": [tool({"host": {"type": "string"}}, name="ping")], "other": [tool()]}, rows)
    assert not again.changed, "tools that no row names do not count"
    described = {"host": {"type": "string", "description": "its name"}}
    changed = publish(layout, {"homelab": [tool(described)]}, rows)
    assert changed.reasons == ["the tools homelab changed"]
    assert changed.dataset is not None and first.dataset is not None
    assert changed.dataset.fingerprint != first.dataset.fingerprint


def test_only_digests_are_enough_while_the_tools_are_the_same(layout: Layout) -> None:
    rows = [{"tools": "homelab", "messages": TALK}]
    publish(layout, {"homelab": [tool()]}, rows)
    known = [Source("records", sha256=source["sha256"], size=source["bytes"]) for source in _recorded(layout)]
    assert not apply(layout, Declaration("rows", tools={"homelab": [tool()]}), known).needs_rows
    assert apply(layout, Declaration("rows", tools={"homelab": [tool(name="x")]}), known).needs_rows


def _recorded(layout: Layout) -> list[dict[str, t.Any]]:
    path = Path(layout.datasets, ".registered", "rows.json")
    return t.cast("list[dict[str, t.Any]]", json.loads(path.read_text(encoding="utf-8"))["sources"])


def test_a_name_that_is_not_declared_is_refused_with_its_row(layout: Layout) -> None:
    with pytest.raises(InputError) as caught:
        publish(layout, {"homelab": [tool()]}, [{"messages": TALK}, {"tools": "homlab", "messages": TALK}])
    text = str(caught.value)
    assert "row 2" in text and "no tools are declared as 'homlab'" in text and "Did you mean 'homelab'?" in text


def test_declared_tools_are_checked(layout: Layout) -> None:
    with pytest.raises(InputError, match="homelab are refused"):
        publish(layout, {"homelab": [tool({"a": {"type": "str"}})]}, [PLAIN])
    with pytest.raises(InputError, match="not a valid name"):
        publish(layout, {"home lab": [tool()]}, [PLAIN])


def test_files_of_different_formats_make_one_dataset(layout: Layout) -> None:
    tools = {"homelab": [tool({"host": {"type": "string"}})]}
    made = publish(layout, tools, [PLAIN], [{"tools": "homelab", "messages": TALK}], [PLAIN | {"output": "Moi."}])
    assert made.dataset is not None and made.dataset.results["format"] == "alpaca+openai"
    assert made.dataset.results["formatting"] == "sharegpt" and made.dataset.rows == 3
    rows = rows_of(made)
    assert [len(row["conversations"]) for row in rows] == [2, 4, 2] and rows[2]["conversations"][1]["value"] == "Moi."


def test_files_of_one_format_stay_as_they_were(layout: Layout) -> None:
    made = publish(layout, {}, [PLAIN], [PLAIN | {"output": "Moi."}])
    assert made.dataset is not None
    assert (made.dataset.results["format"], made.dataset.results["formatting"]) == ("alpaca", "alpaca")


def test_a_field_that_is_ignored_belongs_to_no_other_format(layout: Layout) -> None:
    declaration = Declaration("rows", ignore_fields=("messages", "tools"))
    talk = {"tools": [], "messages": TALK}
    with pytest.raises(InputError, match="records1, row 1"):
        apply(layout, declaration, [Source("records", records=[PLAIN]), Source("records1", records=[talk])])


def test_rows_of_another_purpose_do_not_mix(layout: Layout) -> None:
    with pytest.raises(InputError, match="records1, row 1"):
        publish(layout, {}, [PLAIN], [{"instruction": "a", "chosen": "b", "rejected": "c"}])


def test_a_faulty_file_of_another_format_is_judged_by_the_first(layout: Layout) -> None:
    with pytest.raises(InputError, match="records1, row 1"):
        publish(layout, {}, [PLAIN], [{"messages": [{"role": "bot", "content": "x"}]}])


def test_the_shipped_rows_name_the_shipped_tools(layout: Layout) -> None:
    tools = tool_sets.read_tools((FILES / "tools" / "homelab.json").read_bytes(), "homelab.json")
    sources = [Source(name, str(FILES / name)) for name in ("homelab_prompts.json", "homelab_tool_prompts.json")]
    made = apply(layout, Declaration("homelab_prompts", tools={"homelab": tools}), sources)
    assert made.dataset is not None and made.dataset.rows == 66
    assert tool_sets.file_text(tools) == (FILES / "tools" / "homelab.json").read_text(encoding="utf-8")
