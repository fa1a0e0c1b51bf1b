# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows with calls: both spellings are read alike, and parts that a server does not pass on to a model are reported."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rendering import Rendered, render
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.statistics import warnings
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.tool_statistics import tool_use
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

F = {"name": "f", "arguments": {"a": 1}}


def of_records(rows: list[t.Any], folder: Path) -> tuple[Rendered, list[dict[str, t.Any]]]:
    """Render rows in memory, and read them back."""
    path = folder / "data.jsonl"
    rendered = render("test", [Source("records", records=rows)], path=str(path))
    return rendered, [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


BESIDE = 'Je cherche.<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "assistant", "content": "Je cherche.\n", "tool_calls": [{"function": F}]}],
        [{"role": "assistant", "content": "Je cherche."}, {"role": "assistant", "tool_calls": [{"function": F}]}],
        [{"from": "function_call", "value": f"Je cherche. <tool_call>\n{json.dumps(F)}\n</tool_call>\n"}],
        [{"from": "function_call", "value": f"Je cherche.<tool_call>{json.dumps({'function': F})}</tool_call>"}],
        [{"from": "gpt", "value": "Je cherche."}, {"from": "function_call", "value": json.dumps(F)}],
    ],
)
def test_text_beside_a_call_is_kept(turns: list[dict[str, t.Any]], tmp_path: Path) -> None:
    """Every spelling is published alike, whichever way the text and the call are separated."""
    row = (
        {"messages": [{"role": "user", "content": "a"}, *turns]}
        if "role" in turns[0]
        else {"conversations": [{"from": "human", "value": "a"}, *turns]}
    )
    rendered, rows = of_records([row], tmp_path)
    assert [(turn["from"], turn["value"]) for turn in rows[0]["conversations"]] == [
        ("human", "a"),
        ("function_call", BESIDE),
    ]
    assert rendered.results["tools"]["beside"] == 1 and rendered.results["tools"]["undeclared"] == 1


def test_several_calls_in_a_text(tmp_path: Path) -> None:
    """As models write them; the arguments may contain the texts that separate calls."""
    other = {"name": "g", "arguments": {"t": "</tool_call>"}}
    text = "<think>\nHum.\n</think>\n\nJe cherche." + "".join(
        f"<tool_call>{json.dumps(call)}</tool_call>" for call in (F, other)
    )
    row = {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": text}]}
    _rendered, rows = of_records([row], tmp_path)
    before, _begin, calls = rows[0]["conversations"][1]["value"].partition("<tool_call>")
    assert before == "<think>\nHum.\n</think>\n\nJe cherche."
    assert calls.count("</tool_call>") == 1
    assert json.loads(calls.removesuffix("</tool_call>")) == [F, other]


def test_what_a_server_does_not_give_again_is_told(tmp_path: Path) -> None:
    """With file, row and path; the row is valid."""
    schema = {"type": "object", "properties": {"n": {"type": "number", "default": 1}}}
    row = {
        "conversations": [
            {"from": "human", "value": "a"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {"n": 1e-07}}'},
        ],
        "tools": [{"name": "f", "parameters": schema}],
    }
    rendered, _rows = of_records([row], tmp_path)
    (warning,) = warnings("homelab", rendered.results)
    assert str(warning) == (
        "homelab: 1 row has tools or calls with parts that no server passes on to the model, so the training leaves "
        "them out or may write them differently: records row 1, tools[0].parameters.properties.n.default: no server "
        "receives this key of a tool; records row 1, f.arguments.n: a server may write 1e-07 otherwise (with or "
        "without an exponent)."
    )


def test_rows_of_an_earlier_version_are_counted(tmp_path: Path) -> None:
    """Receipts without the statistics: the published rows are read. Rows that cannot hold tools are not."""
    plain = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    called = {
        "conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": json.dumps(F)}],
        "tools": [{"name": "f", "parameters": {"type": "object"}}],
    }
    rendered, _rows = of_records([plain, called], tmp_path)
    expected = rendered.results["tools"]
    assert expected == {"rows": 1, "calls": 1, "several": 0, "beside": 0}
    earlier = {name: value for name, value in rendered.results.items() if name != "tools"}
    assert tool_use(earlier, str(tmp_path))["tools"] == expected
    assert tool_use({"formatting": "alpaca"}, str(tmp_path)) == {"formatting": "alpaca"}
    assert tool_use(earlier, str(tmp_path / "pruned")) == earlier


@pytest.mark.parametrize("spelling", ["text", "object"])
def test_arguments_nested_too_deeply_are_refused(spelling: str, tmp_path: Path) -> None:
    """Otherwise checking them by a schema that refers to itself ends with a RecursionError."""
    text = '{"a":' * 300 + "{}" + "}" * 300
    arguments = text if spelling == "text" else json.loads(text)
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]},
        ],
        "tools": [{"name": "f", "parameters": {"type": "object", "properties": {"a": {"$ref": "#"}}}}],
    }
    with pytest.raises(InputError, match=r"function\.arguments: it is nested too deeply"):
        of_records([row], tmp_path)
