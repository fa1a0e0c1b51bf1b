# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Valid data: published rows keep the meaning of the source, and equivalent sources have the same fingerprint."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
import typing as t
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import output_formats, source_text
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.json_reader import strict_fault
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.output_formats import (
    BY_KIND,
    AlpacaOutput,
    MessagesOutput,
    TextOutput,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rendering import Rendered, render
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rules.alpaca import AlpacaRules
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rules.conversations import (
    OpenAIRules,
    SharegptRules,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rules.registry import RULES
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rules.text import TextRules
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

ROW = {"instruction": "Qui es-tu ?", "output": "L'assistant."}


def published(sources: t.Sequence[Source], folder: str, **options: t.Any) -> tuple[Rendered, list[dict[str, t.Any]]]:
    """Render and read back."""
    path = os.path.join(folder, "out.jsonl")
    rendered = render("test", sources, path=path, **options)
    raw = Path(path).read_bytes()
    assert len(raw) == rendered.size
    assert render("test", sources, **options) == rendered  # checking without writing gives the same result
    return rendered, [json.loads(line) for line in raw.decode("utf-8").split("\n")[:-1]]


def of_records(rows: list[t.Any], folder: Path, **options: t.Any) -> tuple[Rendered, list[dict[str, t.Any]]]:
    """Render rows in memory."""
    return published([Source("records", records=rows)], str(folder), **options)


def test_alpaca_has_all_fields_in_order(tmp_path: Path) -> None:
    rendered, rows = of_records([{"output": "b", "instruction": "a"}, {**ROW, "system": "s", "input": None}], tmp_path)
    assert [list(row.items()) for row in rows] == [
        [("instruction", "a"), ("input", ""), ("output", "b"), ("system", "")],
        [("instruction", "Qui es-tu ?"), ("input", ""), ("output", "L'assistant."), ("system", "s")],
    ]
    assert rendered.output_format == "alpaca"


def test_golden_fingerprints(tmp_path: Path) -> None:
    """An upgrade of the collection must not change the fingerprint of existing datasets."""
    turns = [{"from": "human", "value": "Qui ?"}, {"from": "gpt", "value": "Moi, l'été."}]
    assert [
        of_records([{**ROW, "system": "Tu es là."}], tmp_path)[0].fingerprint,
        of_records([{"conversations": turns, "system": "Bref."}], tmp_path)[0].fingerprint,
    ] == [
        "9e633a9e63e0aa014657a34845ee5c7cb06be888bdd5bcdb9312407cd1d6453d",
        "ddd31a302110918a902b893bbf04f0b0281c5f842003c5fd45a889f9b55415bb",
    ]


def test_equivalent_sources_have_the_same_fingerprint(tmp_path: Path) -> None:
    """Independent of key order, whitespace, escapes, file type and format of conversations."""
    row = {"instruction": "Été ?\n", "input": "", "output": 'Oui "é"', "system": ""}
    ways = {
        "a.json": json.dumps([row], indent=4),
        "b.json": json.dumps([dict(reversed(row.items()))], ensure_ascii=False),
        "c.jsonl": json.dumps({"output": row["output"], "instruction": row["instruction"]}) + "\r\n\n",
        "d.csv": 'output,instruction\r\n"Oui ""é""","Été ?\n"\r\n',
        "e.csv": 'instruction;output\n"Été ?\n";"Oui ""é"""\n',
        "f.csv": 'instruction\toutput\n"Été ?\n"\t"Oui ""é"""\n',
    }
    fingerprints = {of_records([row], tmp_path)[0].fingerprint}
    for name, text in ways.items():
        (tmp_path / name).write_bytes(text.encode())
        fingerprints.add(published([Source(name, str(tmp_path / name))], str(tmp_path))[0].fingerprint)
    assert len(fingerprints) == 1
    sharegpt = [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"}]
    openai = [
        {
            "messages": [
                {"role": "developer", "content": "s"},
                {"content": "a", "role": "user"},
                {"role": "assistant", "content": "b", "tool_calls": None},
            ]
        }
    ]
    alpaca = [{"instruction": "a", "output": "b", "system": "s", "history": []}]
    assert of_records(sharegpt, tmp_path)[0].fingerprint == of_records(openai, tmp_path)[0].fingerprint
    assert of_records(sharegpt, tmp_path)[0].fingerprint != of_records(alpaca, tmp_path)[0].fingerprint


def test_different_content_has_a_different_fingerprint(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "output": "b"}]
    fingerprints = {of_records(rows, tmp_path)[0].fingerprint, of_records(rows[::-1], tmp_path)[0].fingerprint}
    fingerprints |= {
        of_records([{**ROW, name: "x"}], tmp_path)[0].fingerprint for name in ("output", "input", "system")
    }
    assert len(fingerprints) == 5


def test_a_history_converts_all_rows_to_conversations(tmp_path: Path) -> None:
    """LLaMA-Factory's reader infers a column's type from the first rows; an empty list there fails later."""
    rows = [ROW, {**ROW, "input": "vite", "system": "s", "history": [["a", "b"]]}, {**ROW, "history": None}]
    rendered, published_rows = of_records(rows, tmp_path)
    assert rendered.output_format == "sharegpt"
    assert rendered.results["format"] == "alpaca"
    assert [[turn["value"] for turn in row["conversations"]] for row in published_rows] == [
        ["Qui es-tu ?", "L'assistant."],
        ["a", "b", "Qui es-tu ?\nvite", "L'assistant."],
        ["Qui es-tu ?", "L'assistant."],
    ]
    assert [row["system"] for row in published_rows] == ["", "s", ""]


@pytest.mark.parametrize(
    ("output", "output_format"),
    [
        ("2024-01-01", "sharegpt"),
        ("2024-01-01T10:00:00+01:00", "sharegpt"),
        ("le 2024-01-01", "alpaca"),
        ("20240101", "alpaca"),
        ("12", "alpaca"),
    ],
)
def test_a_column_of_dates_only(output: str, output_format: str, tmp_path: Path) -> None:
    """LLaMA-Factory's reader would convert such a column to timestamps and drop the rows."""
    assert of_records([{"instruction": "Quand ?", "output": output}] * 3, tmp_path)[0].output_format == output_format
    assert of_records([{"instruction": "Quand ?", "output": output}, ROW], tmp_path)[0].output_format == "alpaca"


def test_a_piece_of_dates_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader infers types again in every piece of the file, and the last piece may be short."""
    monkeypatch.setattr(
        "ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rendering.PIECE", 1000
    )
    assert output_formats.PIECE == 10 << 20
    many = [{"instruction": f"{number:0100}", "output": "oui"} for number in range(20)]
    dated = [{"instruction": f"{number:0100}", "output": "2024-01-01"} for number in range(3)]
    assert of_records(many + dated[:1] + many, tmp_path)[0].output_format == "alpaca"
    assert of_records(many + dated * 6, tmp_path)[0].output_format == "sharegpt"
    # a piece ends with the line that crosses its limit
    line = len(json.dumps({**many[0], "input": "", "system": ""}, separators=(",", ":"))) + 1
    rows_per_piece = 1000 // line + 1
    assert of_records(many[:rows_per_piece] + dated[:1], tmp_path)[0].output_format == "sharegpt"
    assert of_records(many[: rows_per_piece - 1] + dated[:1], tmp_path)[0].output_format == "alpaca"


def test_openai_tools(tmp_path: Path) -> None:
    """Calls are converted to LLaMA-Factory's notation; answers of several tools become one turn."""
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
        for name in ("f", "g")
    ]
    calls = [
        {"id": "1", "function": {"name": "f", "arguments": '{"é": 1}'}},
        {"id": "2", "function": {"name": "g", "arguments": {}}},
    ]
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "2", "content": ""},
            {"role": "tool", "tool_call_id": "1", "name": "f", "content": "un"},
            {"role": "assistant", "tool_calls": calls[:1]},
        ],
        "tools": tools,
    }
    rendered, rows = of_records([row], tmp_path)
    assert rendered.results["format"] == "openai"
    assert [(turn["from"], turn["value"]) for turn in rows[0]["conversations"]] == [
        ("human", "a"),
        ("function_call", '[{"name": "f", "arguments": {"é": 1}}, {"name": "g", "arguments": {}}]'),
        ("observation", "un\n</tool_response>\n<tool_response>\n"),
        ("function_call", '{"name": "f", "arguments": {"é": 1}}'),
    ]
    assert json.loads(rows[0]["tools"]) == tools
    assert rendered.results["tools"] == {"rows": 1, "calls": 1, "several": 1, "beside": 0}


def test_sharegpt_calls(tmp_path: Path) -> None:
    call = '<think>\nOn demande.\n</think>\n{"name": "f", "arguments": {}}'
    turns = [("human", "a"), ("function_call", call), ("observation", ""), ("gpt", "b")]
    row = {"conversations": [{"from": role, "value": text} for role, text in turns], "tools": "[]"}
    _rendered, rows = of_records([row, {**row, "tools": None}], tmp_path)
    assert [(turn["from"], turn["value"]) for turn in rows[0]["conversations"]] == turns
    assert rows[0] == rows[1]
    assert rows[0]["tools"] == ""


@pytest.mark.parametrize(
    ("row", "columns", "format_found"),
    [
        (ROW, {}, "alpaca"),
        ({"question": "a", "answer": "b"}, {"prompt": "question", "response": "answer"}, "alpaca"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, {}, "sharegpt"),
        ({"messages": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, {}, "sharegpt"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, {}, "openai"),
        ({"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, {}, "openai"),
        (
            {"dialog": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            {"messages": "dialog"},
            "sharegpt",
        ),
    ],
)
def test_the_format_is_detected_from_the_first_row(
    row: dict[str, t.Any], columns: dict[str, str], format_found: str, tmp_path: Path
) -> None:
    assert of_records([row], tmp_path, columns=columns)[0].results["format"] == format_found


def test_ignored_fields_are_left_out(tmp_path: Path) -> None:
    rendered, rows = of_records([{**ROW, "id": 7, "tags": ["x"]}], tmp_path, ignored=["id", "tags", "other"])
    assert rendered.fingerprint == of_records([ROW], tmp_path)[0].fingerprint
    assert set(rows[0]) == {"instruction", "input", "output", "system"}


def test_several_files_are_concatenated(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text(json.dumps({"instruction": "b", "output": "b"}))
    (tmp_path / "a.csv").write_text("instruction,output\na,a\n")
    sources = [Source(name, str(tmp_path / name)) for name in ("b.jsonl", "a.csv")]
    assert [row["output"] for row in published(sources, str(tmp_path))[1]] == ["b", "a"]


def test_statistics_of_the_rows(tmp_path: Path) -> None:
    rows = [{**ROW, "system": system} for system in ("s", "r", "s", "")] + [{**ROW, "output": "é" * 500}]
    results = of_records(rows, tmp_path)[0].results
    assert results["rows"] == 5
    assert results["systems"] == {"most_common": "s", "rows": 2, "distinct": 2, "exact": True, "without": 2}
    assert (results["longest_row"]["file"], results["longest_row"]["row"]) == ("records", 5)
    assert results["formatting"] == "alpaca"
    assert results["columns"] == ["instruction", "input", "output", "system"]
    assert results["bytes"] == os.path.getsize(tmp_path / "out.jsonl")


def test_system_prompts_are_counted_in_bounded_memory(tmp_path: Path) -> None:
    systems = ["commun"] * 3 + [str(number) for number in range(3000)]
    statistics = of_records([{**ROW, "system": system} for system in systems], tmp_path)[0].results["systems"]
    assert statistics == {"most_common": "commun", "rows": 3, "distinct": 1001, "exact": False, "without": 0}


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ROW) + "\n")

    class Writer:
        """Another process that writes to the file."""

        def restart(self) -> None:
            """Nothing to do."""

        def add_line(self, line: str) -> None:
            """Append another row."""
            with open(path, "a") as stream:
                stream.write(line)

    with pytest.raises(InputError, match="changed while it was read"):
        render("test", [Source("a.jsonl", str(path))], observer=Writer())


# ---------------------------------------------------------------- arbitrary rows

any_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
text = any_text.filter(lambda value: bool(value) and not value.isspace())
alpaca_row = st.fixed_dictionaries(
    {"instruction": text, "output": text},
    optional={
        "input": st.none() | any_text,
        "system": st.none() | any_text,
    },
)
history = st.lists(st.tuples(text, text).map(list), max_size=2)


@st.composite
def conversation(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Alternating questions and answers."""
    pairs = draw(st.lists(st.tuples(text, text), min_size=1, max_size=3))
    return [turn for question, answer in pairs for turn in (("human", question), ("gpt", answer))]


def published_meaning(row: dict[str, t.Any]) -> tuple[t.Any, ...]:
    """System prompt and texts of a published row, in either output format."""
    if "conversations" in row:
        return row["system"], [turn["value"] for turn in row["conversations"]]
    question = "\n".join(part for part in (row["instruction"], row["input"]) if part)
    return row["system"], [question, row["output"]]


def source_meaning(row: dict[str, t.Any]) -> tuple[t.Any, ...]:
    """The same of an alpaca row in the source."""
    question = "\n".join(part for part in (row["instruction"], row.get("input")) if part)
    before = [part for pair in row.get("history") or [] for part in pair]
    return row.get("system") or "", [*before, question, row["output"]]


@given(st.lists(alpaca_row | alpaca_row.flatmap(lambda row: history.map(lambda h: {**row, "history": h})), min_size=1))
@settings(max_examples=60, deadline=None)
def test_alpaca_rows_keep_their_meaning_in_every_file_type(rows: list[dict[str, t.Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "a.json": json.dumps(rows),
            "b.json": json.dumps(rows, ensure_ascii=False, indent=1),
            "c.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            "d.jsonl": "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        }
        fingerprints = {published([Source("records", records=rows)], folder)[0].fingerprint}
        for name, written in ways.items():
            path = os.path.join(folder, name)
            Path(path).write_bytes(written.encode())
            rendered, published_rows = published([Source(name, path)], folder)
            fingerprints.add(rendered.fingerprint)
            assert [published_meaning(row) for row in published_rows] == [source_meaning(row) for row in rows]
        assert len(fingerprints) == 1


@given(st.lists(alpaca_row, min_size=1))
@settings(max_examples=50, deadline=None)
def test_csv_rows_keep_their_meaning(rows: list[dict[str, t.Any]]) -> None:
    # the csv module treats a bare carriage return as the end of a row
    assume(not any("\r" in value for row in rows for value in row.values() if value))
    out = io.StringIO()
    writer = csv.DictWriter(out, ["system", "output", "instruction", "input"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.csv")
        Path(path).write_bytes(out.getvalue().encode())
        _rendered, published_rows = published([Source("a.csv", path)], folder)
    assert [published_meaning(row) for row in published_rows] == [source_meaning(row) for row in rows]


@given(st.lists(st.tuples(conversation(), any_text), min_size=1))
@settings(max_examples=50, deadline=None)
def test_conversations_keep_their_meaning(talks: list[tuple[list[tuple[str, str]], str]]) -> None:
    names = {"human": "user", "gpt": "assistant"}
    sharegpt = [
        {"conversations": [{"from": role, "value": text} for role, text in turns], "system": system}
        for turns, system in talks
    ]
    openai = [
        {
            "messages": [{"role": "system", "content": system}]
            + [{"content": text, "role": names[role]} for role, text in turns]
        }
        for turns, system in talks
    ]
    assume(not any(output_formats._DATE.match(text) for turns, _system in talks for _role, text in turns))
    assume(not all(output_formats._DATE.match(system) for _turns, system in talks))
    with tempfile.TemporaryDirectory() as folder:
        fingerprints = set()
        for rows in (sharegpt, openai):
            rendered, published_rows = published([Source("records", records=rows)], folder)
            fingerprints.add(rendered.fingerprint)
            assert [published_meaning(row) for row in published_rows] == [
                (system, [text for _role, text in turns]) for turns, system in talks
            ]
        assert len(fingerprints) == 1


any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
odd_turn = st.dictionaries(
    st.sampled_from(["from", "value", "role", "content", "x"]),
    st.sampled_from(["human", "gpt", "system", "observation", "user", "assistant", "tool", " ", "\0", "\ud800"])
    | any_value,
    max_size=3,
)
odd_row = st.dictionaries(
    st.sampled_from(
        ["instruction", "input", "output", "system", "history", "conversations", "messages", "tools", "text", "x"]
    ),
    any_value | text | st.lists(odd_turn, max_size=4) | st.sampled_from(["\ud800", "\0", "\\", '"', "\\\\", " "]),
    max_size=5,
)


@given(odd_row, st.sampled_from(sorted(RULES)), st.booleans())
@settings(max_examples=600, deadline=None)
def test_the_quick_path_accepts_only_valid_rows(row: t.Any, name: tuple[str, str], from_text: bool) -> None:
    """It also renders the same line."""
    rules = RULES[name]({})
    output_format = AlpacaOutput() if name == ("alpaca", "sft") else BY_KIND[rules.kind]()
    written = json.dumps(row) if from_text else None
    rendered_row = rules.quick(output_format, row, written, 0, len(written or ""))
    if rendered_row is None:
        return
    try:
        rendered_row[0].encode()
    except UnicodeEncodeError:
        assert rules.check(row)  # the caller calls check() in this case
        return
    assert rules.check(row) == []
    if isinstance(output_format, AlpacaOutput):
        flat = t.cast(AlpacaRules, rules).flat(row)
        assert flat is not None
        assert rendered_row == (output_format.line(*flat), flat[3], rules.sample(row).key)
    else:
        sample = rules.sample(row)
        assert rendered_row == (output_format.line(sample), sample.system, sample.key)


@given(
    st.lists(
        st.tuples(st.sampled_from(["instruction", "input", "output", "system"]), st.none() | any_text), max_size=6
    ),
    st.booleans(),
)
@settings(max_examples=500, deadline=None)
def test_a_duplicate_key_never_takes_the_quick_path(pairs: list[tuple[str, str | None]], ascii_only: bool) -> None:
    written = "{" + ", ".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=ascii_only)}" for k, v in pairs) + "}"
    row = json.loads(written)
    twice = len(row) != len(pairs)
    assert bool(strict_fault(written, 0, row)) == twice
    if AlpacaRules({}).quick(AlpacaOutput(), row, written, 0, len(written)):
        assert not twice


def test_plain_rows_take_the_quick_path() -> None:
    """Guards the speed: plain rows, of which a dataset may have a million, must take the quick path."""
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    messages = [{"role": role, "content": f"{role}\n"} for role in ("system", "user", "assistant")]
    rows: list[tuple[t.Any, t.Any, dict[str, t.Any]]] = [
        (AlpacaRules({}), AlpacaOutput(), {**ROW, "input": "", "system": "s"}),
        (AlpacaRules({}), AlpacaOutput(), {**ROW, "output": 'Avec "guillemets",\n à la ligne'}),
        (SharegptRules({}), MessagesOutput(), {"conversations": turns}),
        (OpenAIRules({}), MessagesOutput(), {"messages": messages}),
        (TextRules({}), TextOutput(), {"text": "Il était une fois"}),
    ]
    for rules, output_format, row in rows:
        written = json.dumps(row, ensure_ascii=False)
        assert rules.quick(output_format, row, written, 0, len(written))


@given(st.lists(alpaca_row, min_size=1, max_size=6), st.integers(1, 40), st.data())
@settings(max_examples=60, deadline=None)
def test_chunk_boundaries_do_not_matter(rows: list[dict[str, t.Any]], size: int, data: st.DataObject) -> None:
    """A file is read in chunks: of a few bytes here, so that characters and rows are split everywhere."""
    written = data.draw(
        st.sampled_from(
            [
                json.dumps(rows, ensure_ascii=False),
                json.dumps(rows, indent=3),
                "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
            ]
        )
    )
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = os.path.join(folder, "a.json")
        Path(path).write_bytes(written.encode())
        expected, _rows = published([Source("a.json", path)], folder)
        for module in ("source_text", "json_reader"):
            patch.setattr(f"{source_text.__package__}.{module}.CHUNK", size)
        assert published([Source("a.json", path)], folder)[0].fingerprint == expected.fingerprint
