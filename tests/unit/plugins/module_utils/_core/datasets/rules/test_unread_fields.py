# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields that no rule reads: the advice for them leads to the right rows, and empty ones lose nothing."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rendering import Rendered, render
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

ASKED = {"role": "user", "content": "Un film ?"}
GOOD, BAD = {"role": "assistant", "content": "Lequel ?"}, {"role": "assistant", "content": "Non."}
TURNS = [{"from": "human", "value": "Un film ?"}, {"from": "gpt", "value": "Lequel ?"}]
ROW = {"instruction": "Un film ?", "output": "Lequel ?"}


def published(rows: list[t.Any], folder: Path, **options: t.Any) -> tuple[Rendered, list[dict[str, t.Any]]]:
    """Render and read back."""
    path = folder / "out.jsonl"
    rendered = render("test", [Source("records", records=rows)], path=str(path), **options)
    return rendered, [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


def fixes(rows: list[t.Any], folder: Path, **options: t.Any) -> list[str]:
    """The fixes of all problems of the rows."""
    with pytest.raises(InputError) as caught:
        published(rows, folder, **options)
    return [problem["fix"] for problem in caught.value.details["problems"]]


#: Rows as LLaMA-Factory's demo data and trl write them, the kind they are of, and the columns.
SHAPES: dict[str, tuple[dict[str, t.Any], str, dict[str, str]]] = {
    "demo of kto": ({"messages": [ASKED, BAD], "label": False}, "kto", {"kto_tag": "label"}),
    "trl, unpaired": (
        {"prompt": "Un film ?", "completion": "Non.", "label": False},
        "kto",
        {"prompt": "prompt", "response": "completion", "kto_tag": "label"},
    ),
    "trl, unpaired, conversation": (
        {"completion": [ASKED, BAD], "label": False},
        "kto",
        {"messages": "completion", "kto_tag": "label"},
    ),
    "trl, preference": (
        {"prompt": "Un film ?", "chosen": "Oui.", "rejected": "Non."},
        "preference",
        {"prompt": "prompt"},
    ),
    "trl, preference, conversation": (
        {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
        "preference",
        {"messages": "prompt"},
    ),
    "trl, prompt and completion": (
        {"prompt": "Un film ?", "completion": "Lequel ?"},
        "sft",
        {"prompt": "prompt", "response": "completion"},
    ),
    "system prompt": ({**ROW, "system_prompt": "Bref."}, "sft", {"system": "system_prompt"}),
    "tools": ({"conversations": TURNS, "functions": "[]"}, "sft", {"tools": "functions"}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_advice_names_the_columns(name: str, tmp_path: Path) -> None:
    """What the message says is declared, and gives rows of the right kind."""
    row, kind, columns = SHAPES[name]
    if name == "tools":
        row = {**row, "functions": '[{"name": "f", "parameters": {"type": "object", "properties": {}}}]'}
    advice = fixes([row], tmp_path)
    assert not [fix for fix in advice if "ignore_fields" in fix]
    found = [yaml.safe_load(match[1]) for fix in advice if (match := re.match(r"Set columns to (\{.*\})\.\Z", fix))]
    assert found and all(each == columns for each in found), advice
    rendered, rows = published([row], tmp_path, columns=columns)
    assert rendered.results["kind"] == kind
    if kind == "kto":
        assert rows[0]["kto_tag"] is False
        assert rows[0]["conversations"][-1]["value"] == "Non."


def test_declared_columns_are_part_of_the_advice(tmp_path: Path) -> None:
    row = {"question": "a", "2: réponse": "b", "label": True}
    advice = fixes([row], tmp_path, columns={"response": "2: réponse"})
    assert advice[0] == 'Set columns to {response: "2: réponse", prompt: question, kto_tag: label}.'
    assert published([row], tmp_path, columns=yaml.safe_load(advice[0][15:-1]))[0].results["kind"] == "kto"


@pytest.mark.parametrize(
    "field",
    [{"label": True}, {"label": 0}, {"kto_tag": False}, {"chosen": "a"}, {"tools": [{}]}, {"images": ["x"]}],
)
def test_a_field_of_known_meaning_is_never_to_be_ignored(field: dict[str, t.Any], tmp_path: Path) -> None:
    """Ignored, it would change what is learnt: disliked answers would be good ones."""
    for first in ({"kto_tag": True}, {}):
        advice = fixes([{**ROW, **first}, {**ROW, **first, **field}], tmp_path) if {**first, **field} != field else []
        advice += fixes([ROW, {**ROW, **field}], tmp_path)
        assert advice
        assert not [fix for fix in advice if "ignore_fields" in fix]


@pytest.mark.parametrize("nothing", [None, "", "  ", [], {}])
@pytest.mark.parametrize("field", ["images", "videos", "audios", "tools", "history", "label", "chosen", "messages"])
def test_fields_that_hold_nothing_lose_nothing(field: str, nothing: t.Any, tmp_path: Path) -> None:
    expected = published([ROW], tmp_path)[0].fingerprint
    if field == "history" and nothing == {}:
        nothing = []
    assert published([ROW, ROW], tmp_path)[0].output_format == "alpaca"
    rendered = published([{**ROW, field: nothing}], tmp_path, declared="alpaca")[0]
    assert (rendered.fingerprint, rendered.output_format) == (expected, "alpaca")


def test_a_null_of_an_unknown_field_loses_nothing(tmp_path: Path) -> None:
    """Exports of tables have every column in every row."""
    expected = published([ROW], tmp_path)[0].fingerprint
    assert published([{**ROW, "date": None, "kto_tag": None}], tmp_path)[0].fingerprint == expected
    assert "no such field" in str(pytest.raises(InputError, published, [{**ROW, "date": ""}], tmp_path).value)


@pytest.mark.parametrize("tools", [None, "", " \n", "[]", []])
def test_tools_of_blanks_are_no_tools(tools: t.Any, tmp_path: Path) -> None:
    rows = published([{"conversations": TURNS, "tools": tools, "images": []}], tmp_path)[1]
    assert rows == [{"conversations": TURNS, "system": "", "tools": ""}]


def test_empty_cells_are_no_history(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("instruction,output,history,images,tools,\nUn film ?,Lequel ?,, ,,\n")
    assert render("a", [Source("a.csv", str(path))]).fingerprint == published([ROW], tmp_path)[0].fingerprint


def test_weights_of_openai(tmp_path: Path) -> None:
    """1 is the same as none; 0 on a turn that is never trained on is so, too."""
    plain = published([{"messages": [ASKED, GOOD]}], tmp_path)[0].fingerprint
    weighted = {"messages": [{**ASKED, "weight": 0}, {**GOOD, "weight": 1}]}
    assert published([weighted], tmp_path)[0].fingerprint == plain
    for key, value in (("weight", 0), ("loss_weight", 0.0)):
        (fix,) = fixes([{"messages": [ASKED, {**GOOD, key: value}]}], tmp_path)
        assert "mask_history" in fix


def test_rows_of_the_next_format_of_llamafactory(tmp_path: Path) -> None:
    """Its demo data has parts with a value, and the weight of each turn."""

    def turn(message: dict[str, str], weight: float) -> dict[str, t.Any]:
        content = [{"type": "text", "value": message["content"]}]
        return {"role": message["role"], "content": content, "loss_weight": weight}

    plain = published([{"messages": [ASKED, GOOD]}], tmp_path)[0].fingerprint
    assert published([{"messages": [turn(ASKED, 0.0), turn(GOOD, 1.0)]}], tmp_path)[0].fingerprint == plain
    pair = {"chosen_messages": [ASKED, GOOD], "rejected_messages": [ASKED, BAD]}
    advice = fixes([pair], tmp_path)
    assert "one turn each in chosen and rejected" in advice[-1]
    assert not [fix for fix in advice if "ignore_fields" in fix]


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_a_content_of_one_text_is_that_text(kind: str, tmp_path: Path) -> None:
    def parts(message: dict[str, str]) -> dict[str, t.Any]:
        return {**message, "content": [{"type": kind, "text": message["content"], "annotations": []}]}

    system = {"role": "system", "content": "Bref."}
    plain = published([{"messages": [system, ASKED, GOOD]}], tmp_path)[0].fingerprint
    assert published([{"messages": [parts(system), parts(ASKED), parts(GOOD)]}], tmp_path)[0].fingerprint == plain
    with_field = {"messages": [parts(system), ASKED, parts(GOOD)], "system": "Bref."}
    assert published([with_field], tmp_path)[0].fingerprint == plain


def test_keys_of_answers_of_the_api_that_hold_nothing(tmp_path: Path) -> None:
    answer = {**GOOD, "refusal": None, "annotations": [], "audio": None, "tool_calls": []}
    assert published([{"messages": [ASKED, answer]}], tmp_path)[1][0]["conversations"] == TURNS


def test_nan_in_an_ignored_field_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"instruction": "Un film ?", "output": "Lequel ?", "score": NaN, "more": {"x": [-Infinity]}}\n')
    sources = [Source("a.jsonl", str(path))]
    rendered = render("a", sources, ignored=["score", "more"])
    assert rendered.fingerprint == published([ROW], tmp_path)[0].fingerprint
    with pytest.raises(InputError, match=r"field more\.x\[0\]: -?(NaN|Infinity) is not a value of JSON"):
        render("a", sources, ignored=["score"])


def test_an_unnamed_column_can_be_ignored_by_the_name_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",instruction,output\n0,Un film ?,Lequel ?\n")
    sources = [Source("a.csv", str(path))]
    with pytest.raises(InputError, match="field column 1") as caught:
        render("a", sources)
    assert caught.value.details["problems_total"] == 1
    rendered = render("a", sources, ignored=["column 1"])
    assert rendered.fingerprint == published([ROW], tmp_path)[0].fingerprint


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ('"instruction","output","a;b;c;d"', ","),
        ('"instruction";"output";"a,b,c"', ";"),
        ('\ninstruction\toutput\t"a, b; c"', "\t"),
        ('instruction,output,"a ""quoted"";\n;;;"', ","),
    ],
)
def test_the_separator_is_looked_for_outside_of_quotes(header: str, separator: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n{separator.join(('Un film ?', 'Lequel ?', 'x'))}\n")
    ignored = ["a;b;c;d", "a,b,c", "a, b; c", 'a "quoted";\n;;;']
    rendered = render("a", [Source("a.csv", str(path))], ignored=ignored)
    assert rendered.fingerprint == published([ROW], tmp_path)[0].fingerprint


@pytest.mark.parametrize(
    ("text", "row", "line"),
    [
        ('[\n{"instruction": "a",\n "output": "b"},\n\n{"instruction": 1,\n"output": "b"}]', 2, 5),
        ('[{"instruction": "a",\n\n "output": b}]', 1, 3),
        ('[\n{"instruction": "a", "output": "b"}\n{"instruction": "a"}]', 1, 3),
        ('[\n{"instruction": "a", "output": "b"},\n]', 1, 2),
        ('[\n{"instruction": "a", "output": "b"}]\n\n[]', 1, 4),
        ('[\n{"instruction": "a", "output": "b"},\n{"instruction"', 2, 3),
    ],
)
def test_defects_of_a_list_have_a_line(text: str, row: int, line: int, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        render("a", [Source("a.json", str(path))])
    problem = caught.value.details["problems"][0]
    assert (problem["row"], problem["line"]) == (row, line), problem


def test_lines_are_counted_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    rows = [json.dumps(ROW)] * 200
    path.write_text("[\n" + ",\n".join([*rows, '{"instruction": 1, "output": "b"}']) + "]")
    for module in ("source_text", "json_reader"):
        monkeypatch.setattr(
            f"ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.{module}.CHUNK", 100
        )
    with pytest.raises(InputError) as caught:
        render("a", [Source("a.json", str(path))])
    assert [(each["row"], each["line"]) for each in caught.value.details["problems"]] == [(201, 202)]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({"role": "tool", "content": "x"}, ["'assistant'"]),
        ({"role": "user", "content": "x"}, ["'assistant'"]),
    ],
)
def test_only_roles_of_the_format_are_offered(second: dict[str, str], expected: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        published([{"messages": [ASKED, second, GOOD]}], tmp_path)
    problem = caught.value.details["problems"][0]
    assert problem["parameters"]["expected"] == expected
    assert ("Write the call in front of it" in problem["fix"]) == (second["role"] == "tool")
    assert "function_call" not in str(caught.value)


def test_a_result_is_expected_after_a_call_of_openai(tmp_path: Path) -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    with pytest.raises(InputError) as caught:
        published([{"messages": [ASKED, call, ASKED, GOOD]}], tmp_path)
    assert "'assistant' with a call comes before it" in str(caught.value)
    assert "Write the result of the call in front of it" in str(caught.value)
    assert "function_call" not in str(caught.value)
    roles = [{"role": "function_call", "content": "{}"}]
    assert fixes([{"messages": [ASKED, *roles]}], tmp_path)[0].startswith("Did you mean 'assistant'?")
