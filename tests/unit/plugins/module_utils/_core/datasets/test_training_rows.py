# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows with tools are spelled for a training as the server spells them; other rows keep their bytes."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.house_format import (
    system_with_tools,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import training_rows
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.output_formats import (
    OUTPUT_FORMATS,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

TOOL = {
    "type": "function",
    "function": {
        "description": "Météo",
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "properties": {"days": {"type": ["integer"]}, "city": {"type": "string", "minLength": 1}},
            "type": "object",
            "required": ["city"],
        },
    },
}
CANONICAL = (
    '[{"type": "function", "function": {"name": "get_weather", "description": "Météo", "parameters": {"type": '
    '"object", "required": ["city"], "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}]'
)
LFM2 = ("<|tool_call_start|>", "<|tool_call_end|>")
JOINED = "18 °C\n</tool_response>\n<tool_response>\n12 °C"


def row(*turns: tuple[str, str], tools: str = "", **more: t.Any) -> dict[str, t.Any]:
    conversation = [{"from": role, "value": text} for role, text in turns]
    return {"conversations": conversation, **more, "system": "Tu aides.", "tools": tools}


def call(arguments: t.Any, name: str = "get_weather") -> str:
    return json.dumps({"name": name, "arguments": arguments})


PLAIN = row(("human", "Salut ?"), ("gpt", "Bonjour."))


@pytest.fixture
def spelled(tmp_path: Path) -> t.Callable[..., list[dict[str, t.Any]] | None]:
    def spelled(
        *rows: dict[str, t.Any],
        template: str = "qwen",
        form: str = "sharegpt",
        tool_format: str = "template",
        thinking: str = "from_rows",
    ) -> list[dict[str, t.Any]] | None:
        source = tmp_path / "version"
        source.mkdir(exist_ok=True)
        entry = OUTPUT_FORMATS[form].entry("data.jsonl")
        (source / "dataset_info.json").write_text(json.dumps({"dataset": entry}))
        lines = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n" for each in rows]
        (source / "data.jsonl").write_text("".join(lines), encoding="utf-8")
        target = tmp_path / "rows"
        rewritten = training_rows.write(str(source), str(target), template, tool_format=tool_format, thinking=thinking)
        if rewritten is None:
            assert not target.exists()
            return None
        written = (target / "data.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(written) == len(rows)
        info = json.loads((target / "dataset_info.json").read_text())
        assert info == {"dataset": entry}
        spelled.rewritten = rewritten  # type: ignore[attr-defined]
        return [json.loads(line) for line in written]

    return spelled


def test_rows_without_tools_are_used_as_they_are(spelled: t.Any) -> None:
    assert spelled(PLAIN) is None
    assert spelled(row(("human", '"tools":"" "from":"function_call"'), ("gpt", "x"))) is None
    assert spelled({"instruction": "a", "input": "", "output": "b", "system": ""}, form="alpaca") is None


def test_canonical_rows_are_used_as_they_are(spelled: t.Any) -> None:
    turns = [("human", "?"), ("function_call", call({"city": "Paris", "days": 2})), ("observation", "18 °C")]
    assert spelled(row(*turns, ("gpt", "18"), tools=CANONICAL)) is None


def test_tools_and_arguments_are_spelled_as_the_server_spells_them(spelled: t.Any) -> None:
    turns = [("human", "?"), ("function_call", call({"days": 2.0, "city": "Paris"})), ("observation", "18 °C")]
    first, second, third = spelled(PLAIN, row(*turns, ("gpt", "18"), tools=json.dumps([TOOL])), PLAIN)
    assert (first, third) == (PLAIN, PLAIN)
    assert second["tools"] == CANONICAL
    assert second["conversations"][1]["value"] == '{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}'
    assert second["conversations"][2:] == [
        {"from": "observation", "value": "18 °C"},
        {"from": "gpt", "value": "18"},
    ]
    results = spelled.rewritten.as_results()
    assert results["rows"] == 1 and results["dropped"] == 2
    assert any("row 2: tools[0].function.strict" in each for each in results["examples"])
    first = results["example_messages"][0]
    assert (first["code"], first["text"]) == ("datasets.row_finding", results["examples"][0])
    assert first["parameters"]["problem"]["code"] == "chat_formats.key_unknown"
    assert spelled.rewritten.describe().startswith("1 row with tools is spelled")


@pytest.mark.parametrize(
    ("template", "joined"),
    [
        ("qwen", None),
        ("llama3", "18 °C<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n12 °C"),
        ("mistral", '18 °C}[/TOOL_RESULTS][TOOL_RESULTS] {"content": 12 °C'),
    ],
)
def test_results_are_joined_as_the_template_writes_them(spelled: t.Any, template: str, joined: str | None) -> None:
    turns = [("human", "?"), ("function_call", call({})), ("observation", JOINED), ("gpt", "ok")]
    rows = spelled(row(*turns, tools=CANONICAL), template=template)
    if joined is None:
        assert rows is None
    else:
        assert rows[0]["conversations"][2]["value"] == joined


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (call('{"b": 1, "a": 2}'), '{"name": "get_weather", "arguments": {"a": 2, "b": 1}}'),
        (f"[{call({'b': 1, 'a': 1})}]", '{"name": "get_weather", "arguments": {"a": 1, "b": 1}}'),
        (
            f"[{call({'b': 1, 'a': 1})}, {call({}, 'f')}]",
            '[{"name": "get_weather", "arguments": {"a": 1, "b": 1}}, {"name": "f", "arguments": {}}]',
        ),
        (
            f"<think>\nJe pense.\n</think>\n\n{call({'b': 1, 'a': 1})}",
            '<think>\nJe pense.\n</think>\n\n{"name": "get_weather", "arguments": {"a": 1, "b": 1}}',
        ),
    ],
)
def test_calls(spelled: t.Any, value: str, expected: str) -> None:
    rows = spelled(row(("human", "?"), ("function_call", value), tools=CANONICAL))
    assert rows[0]["conversations"][1]["value"] == expected


def test_pairs_of_answers_are_spelled_too(spelled: t.Any) -> None:
    chosen = {"from": "function_call", "value": call({"b": 1, "a": 1})}
    pair = row(("human", "?"), chosen=chosen, rejected={"from": "gpt", "value": "Non."}, tools=CANONICAL)
    rows = spelled(pair, form="preference")
    assert rows[0]["chosen"]["value"] == '{"name": "get_weather", "arguments": {"a": 1, "b": 1}}'
    assert rows[0]["rejected"] == {"from": "gpt", "value": "Non."}


def test_tools_that_are_none_are_refused_with_their_row(spelled: t.Any) -> None:
    with pytest.raises(InputError, match="Row 2 of the dataset: .*no name of a function"):
        spelled(PLAIN, row(("human", "?"), ("gpt", "x"), tools='[{"description": "x"}]'))
    with pytest.raises(InputError, match="Row 1 of the dataset"):
        spelled(row(("human", "?"), ("gpt", "x"), tools="[{"))


def test_house_format(spelled: t.Any) -> None:
    """Tools stand in the system prompt, that of the template where the row has none; calls are answers."""
    turns = [
        ("human", "?"),
        ("function_call", f"Je regarde.<tool_call>[{call({'b': 1, 'a': 2})}, {call({})}]</tool_call>"),
        ("observation", JOINED),
        ("gpt", "ok"),
    ]
    one = row(*turns, tools=json.dumps([TOOL]))
    first, second, third = spelled(one, {**one, "system": ""}, PLAIN, template="llama3", tool_format="house")
    assert first["system"] == system_with_tools("Tu aides.", json.loads(CANONICAL))
    assert second["system"] == system_with_tools("", json.loads(CANONICAL))
    assert first["tools"] == second["tools"] == "" and third == PLAIN
    assert first["conversations"][1] == {
        "from": "gpt",
        "value": 'Je regarde.<tool_call>\n{"name": "get_weather", "arguments": {"a": 2, "b": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>',
    }
    assert "ipython" in first["conversations"][2]["value"]
    (qwen,) = spelled({**one, "system": ""}, tool_format="house")
    assert qwen["system"].startswith("You are Qwen")


@pytest.mark.parametrize(("template", "words"), [("qwen", ("<tool_call>", "</tool_call>")), ("lfm2", LFM2)])
def test_text_beside_a_call_stands_before_the_words_of_the_template(
    spelled: t.Any, template: str, words: tuple[str, str]
) -> None:
    text = f"Je regarde.<tool_call>{call({'b': '</tool_call>', 'a': 2})}</tool_call>"
    (found,) = spelled(row(("human", "?"), ("function_call", text), tools=CANONICAL), template=template)
    before, _begin, rest = found["conversations"][1]["value"].partition(words[0])
    assert before == "Je regarde." and rest.endswith(words[1])
    assert json.loads(rest.removesuffix(words[1]))["arguments"] == {"a": 2, "b": "</tool_call>"}
    if template == "qwen":
        assert rest.count(words[1]) == 1


def test_values_that_the_default_format_cannot_write(spelled: t.Any) -> None:
    """LLaMA-Factory joins ``enum`` as texts, and takes ``items`` for an object; a server prints them as they are."""
    properties = {
        "a": {"type": "number", "enum": [0, 50, 100, 0.5, None, True, 1e21, 1000000, 123456, 0.00001]},
        "b": {"type": "array", "items": [{"type": "string"}]},
        "c": {"type": "array", "items": {"type": ["string", "null"]}},
    }
    tools = [{"name": "f", "parameters": {"type": "object", "properties": properties}}]
    (found,) = spelled(row(("human", "?"), ("gpt", "x"), tools=json.dumps(tools)), template="zephyr")
    written = json.loads(found["tools"])[0]["function"]["parameters"]["properties"]
    assert written["a"]["enum"] == [
        *("0", "50", "100", "0.5", "<nil>", "true", "1e+21", "1e+06", "123456", "1e-05"),
    ]
    assert (written["b"]["items"], written["c"]["items"]) == ({"type": ""}, {"type": "[string null]"})
    (kept,) = spelled(row(("human", "?"), ("gpt", "x"), tools=json.dumps(tools)), template="qwen")
    assert json.loads(kept["tools"])[0]["function"]["parameters"]["properties"]["a"]["enum"][:3] == [0, 50, 100]


TEMPLATE_THOUGHT = "<think>\nJe pense.\n</think>\n\n"


def answers(rows: list[dict[str, t.Any]] | None) -> list[str]:
    assert rows is not None
    return [turn["value"] for each in rows for turn in each["conversations"] if turn["from"] != "human"]


def test_thoughts_are_spelled_as_the_template_spells_them(spelled: t.Any) -> None:
    """Also in answers before the last one, and before calls; what is spelled so already stays byte for byte."""
    exact = row(("human", "Salut ?"), ("gpt", TEMPLATE_THOUGHT + "Bonjour."))
    other = row(
        ("human", "Salut ?"),
        ("gpt", "<thought>Je pense.</thought>Bonjour."),
        ("human", "Météo ?"),
        ("function_call", "<think>Je pense.</think>" + call({"city": "Paris"})),
        ("observation", "18 °C"),
        ("gpt", "Je pense.\n</think>\nIl fait 18 °C."),
    )
    assert spelled(exact, PLAIN, template="qwen3", thinking="keep") is None
    assert spelled(exact, other, template="qwen3") is None
    first, second, third = spelled(exact, other, PLAIN, template="qwen3", thinking="keep")
    assert (first, third) == (exact, PLAIN)
    assert answers([second]) == [
        TEMPLATE_THOUGHT + "Bonjour.",
        TEMPLATE_THOUGHT + call({"city": "Paris"}),
        "18 °C",
        TEMPLATE_THOUGHT + "Il fait 18 °C.",
    ]
    assert (spelled.rewritten.rows, spelled.rewritten.thoughts, spelled.rewritten.tools) == (1, 1, 0)
    assert spelled.rewritten.describe() == "The thoughts of 1 row are spelled as the chat template spells them."
    assert spelled.rewritten.as_results()["thoughts"] == 1


@pytest.mark.parametrize("tool_format", ["template", "house"])
def test_thought_before_a_text_and_a_call(spelled: t.Any, tool_format: str) -> None:
    value = f"<thinking>Je pense.</thinking>Je regarde.<tool_call>{call({'city': 'Paris'})}</tool_call>"
    one = row(("human", "Météo ?"), ("function_call", value))
    kept = answers(spelled(one, template="seed_oss", tool_format=tool_format, thinking="keep"))[0]
    removed = answers(spelled(one, template="seed_oss", tool_format=tool_format, thinking="off"))[0]
    assert kept == "<seed:think>Je pense.</seed:think>" + removed
    assert removed.startswith("Je regarde.") and "Je pense" not in removed and '"city"' in removed


def test_thoughts_are_removed(spelled: t.Any) -> None:
    alpaca = {"instruction": "Salut ?", "input": "", "output": TEMPLATE_THOUGHT + "Bonjour.", "system": ""}
    plain = {**alpaca, "output": "Bonjour."}
    assert spelled(plain, template="qwen3", form="alpaca", thinking="off") is None
    assert spelled(alpaca, plain, template="qwen", form="alpaca", thinking="off") == [plain, plain]
    assert spelled.rewritten.describe() == "The thoughts of 1 row are removed."
    pair = {
        **row(("human", "Salut ?")),
        "chosen": {"from": "gpt", "value": "<think>A</think>Oui."},
        "rejected": {"from": "gpt", "value": "<think></think>Non."},
    }
    (both,) = spelled(pair, template="qwen3", form="preference", thinking="off") or []
    assert (both["chosen"]["value"], both["rejected"]["value"]) == ("Oui.", "Non.")
    (both,) = spelled(pair, template="qwen3", form="preference", thinking="keep") or []
    assert both["chosen"]["value"] == "<think>\nA\n</think>\n\nOui."
    assert both["rejected"]["value"] == "Non.", "LLaMA-Factory writes the empty thought"


def test_a_word_of_a_thought_in_a_question_stays(spelled: t.Any) -> None:
    asked = row(("human", "<think>Quoi ?</think> Salut ?"), ("gpt", "Une balise <thought>."))
    assert spelled(asked, template="qwen3", thinking="off") is None
