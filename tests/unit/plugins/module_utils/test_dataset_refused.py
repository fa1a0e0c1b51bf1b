# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad data: each piece is refused with its file, row and field, and what was there before stays to the byte."""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._dataset import Declaration, apply, load
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._dataset_problems import COUNTED, SHOWN
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._dataset_sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._dataset_text import CHUNK, ROW_LIMIT
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._layout import Layout

GOOD = {"instruction": "Qui es-tu ?", "output": "L'assistant."}
GOOD_LINE = json.dumps(GOOD)


@dataclasses.dataclass(frozen=True)
class Bad:
    """A file (or rows) that is refused, and how.

    :param name: of the file; ``records`` for rows.
    :param data: bytes, text, or rows.
    """

    name: str
    data: bytes | str | list[t.Any]
    row: int | None
    field: str
    what: str
    format: str = "auto"


def alpaca(row: t.Any, field: str, what: str) -> Bad:
    """A bad alpaca row after a good one."""
    return Bad("records", [GOOD, row], 2, field, what, "alpaca")


def turns(*messages: t.Any, field: str, what: str, **more: t.Any) -> Bad:
    """A bad sharegpt row after a good one."""
    good = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    row = {"conversations": [say(*one) if isinstance(one, tuple) else one for one in messages], **more}
    return Bad("records", [good, row], 2, field, what, "sharegpt")


def say(role: t.Any, text: t.Any) -> dict[str, t.Any]:
    """A turn of sharegpt."""
    return {"from": role, "value": text}


def chat(*messages: t.Any, field: str, what: str, **more: t.Any) -> Bad:
    """A bad row of OpenAI's form after a good one."""
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    row = {"messages": [{"role": one[0], "content": one[1]} if isinstance(one, tuple) else one for one in messages]}
    return Bad("records", [good, {**row, **more}], 2, field, what, "openai")


def lines(second: str, row: int | None, field: str, what: str) -> Bad:
    """A bad line after a good one."""
    return Bad("a.jsonl", f"{GOOD_LINE}\n{second}\n{GOOD_LINE}\n", row, field, what)


def listed(second: str, row: int | None, field: str, what: str) -> Bad:
    """A bad element of a list after a good one."""
    return Bad("a.json", f"[{GOOD_LINE}, {second}, {GOOD_LINE}]", row, field, what)


def call(**function: t.Any) -> dict[str, t.Any]:
    """An assistant's turn that calls a tool."""
    return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}


DEEP = "[" * 100_000
TOOL = {"name": "f", "parameters": {"type": "object", "properties": {}}}

CORPUS: dict[str, Bad] = {
    # what a row is
    "row is text": alpaca("x", "", "text ('x'), not an object"),
    "row is null": alpaca(None, "", "null, not an object"),
    "row is a number": alpaca(3, "", "a number (3), not an object"),
    "row is a list": alpaca(["a", "b"], "", "a list of 2, not an object"),
    "row is empty": alpaca({}, "instruction", "missing"),
    # fields of alpaca
    "no output": alpaca({"instruction": "a"}, "output", "missing"),
    "no instruction": alpaca({"input": "a", "output": "b"}, "instruction", "missing"),
    "output is a number": alpaca({"instruction": "a", "output": 42}, "output", "a number (42), not text"),
    "output is a float": alpaca({"instruction": "a", "output": 1.5}, "output", "a number (1.5), not text"),
    "output is true": alpaca({"instruction": "a", "output": True}, "output", "a boolean (true), not text"),
    "output is null": alpaca({"instruction": "a", "output": None}, "output", "null, not text"),
    "output is a list": alpaca({"instruction": "a", "output": ["b"]}, "output", "a list of 1, not text"),
    "output is an object": alpaca({"instruction": "a", "output": {"b": 1}}, "output", "an object, not text"),
    "output is a huge number": alpaca({"instruction": "a", "output": 10**5000}, "output", "a huge one"),
    "output is empty": alpaca({"instruction": "a", "output": ""}, "output", "empty"),
    "output is blank": alpaca({"instruction": "a", "output": " \n\t"}, "output", "empty"),
    "instruction is a number": alpaca({"instruction": 1, "output": "b"}, "instruction", "a number (1), not text"),
    "instruction is null": alpaca({"instruction": None, "output": "b"}, "instruction", "null, not text"),
    "instruction is empty": alpaca({"instruction": "", "output": "b"}, "instruction", "empty"),
    "instruction and input are blank": alpaca(
        {"instruction": " ", "input": "\n", "output": "b"}, "instruction", "empty"
    ),
    "input is a list": alpaca({"instruction": "a", "input": [], "output": "b"}, "input", "a list of 0, not text"),
    "system is a number": alpaca({"instruction": "a", "output": "b", "system": 0}, "system", "a number (0), not text"),
    "misspelt output": alpaca({"instruction": "a", "ouput": "b", "output": "b"}, "ouput", "no such field"),
    "unknown field": alpaca({**GOOD, "id": "1"}, "id", "no such field"),
    "field of a preference": alpaca({**GOOD, "chosen": "x"}, "chosen", "preference data"),
    "field of a picture": alpaca({**GOOD, "images": ["x"]}, "images", "not trained on here"),
    "field of another format": alpaca({**GOOD, "messages": []}, "messages", "does not belong to the format alpaca"),
    "field without a name": alpaca({**GOOD, "": "x"}, "(empty)", "no such field"),
    "NUL in output": alpaca({"instruction": "a", "output": "b\0c"}, "output", "a NUL character"),
    "NUL in instruction": alpaca({"instruction": "\0", "output": "b"}, "instruction", "a NUL character"),
    "half a pair in output": alpaca({"instruction": "a", "output": "b\ud83d"}, "output", "(U+D83D) at character 2"),
    "half a pair in system": alpaca({**GOOD, "system": "\udc00"}, "system", "(U+DC00) at character 1"),
    "history is text": alpaca({**GOOD, "history": "a"}, "history", "not a list"),
    "history of texts": alpaca({**GOOD, "history": ["a", "b"]}, "history[0]", "not a pair"),
    "history of three": alpaca({**GOOD, "history": [["a", "b", "c"]]}, "history[0]", "not a pair"),
    "history of one": alpaca({**GOOD, "history": [["a", "b"], ["a"]]}, "history[1]", "not a pair"),
    "history of numbers": alpaca({**GOOD, "history": [["a", 2]]}, "history[0][1]", "a number (2), not text"),
    "history without an answer": alpaca({**GOOD, "history": [["a", ""]]}, "history[0][1]", "empty"),
    # conversations
    "no conversations": Bad("records", [{"system": "s"}], 1, "conversations", "missing", "sharegpt"),
    "conversations are text": Bad("records", [{"conversations": "a"}], 1, "conversations", "not a list", "sharegpt"),
    "conversations are empty": turns(field="conversations", what="empty"),
    "turn is text": turns("a", ("gpt", "b"), field="conversations[0]", what="not an object"),
    "turn without role": turns({"value": "a"}, ("gpt", "b"), field="conversations[0].from", what="missing"),
    "turn without text": turns({"from": "human"}, ("gpt", "b"), field="conversations[0].value", what="missing"),
    "turn with a number": turns(("human", "a"), ("gpt", 1), field="conversations[1].value", what="a number (1)"),
    "turn with null": turns(("human", None), ("gpt", "b"), field="conversations[0].value", what="null"),
    "turn is empty": turns(("human", "a"), ("gpt", ""), field="conversations[1].value", what="empty"),
    "role of another format": turns(("user", "a"), ("gpt", "b"), field="conversations[0].from", what="no role 'user'"),
    "role is a number": turns((1, "a"), ("gpt", "b"), field="conversations[0].from", what="a number (1), not text"),
    "role in capitals": turns(("Human", "a"), ("gpt", "b"), field="conversations[0].from", what="no role 'Human'"),
    "answer first": turns(("gpt", "b"), ("human", "a"), field="conversations[0].from", what="it is the first"),
    "two questions": turns(
        ("human", "a"), ("human", "b"), ("gpt", "c"), field="conversations[1].from", what="'human' comes before it"
    ),
    "two answers": turns(
        ("human", "a"), ("gpt", "b"), ("gpt", "c"), field="conversations[2].from", what="'gpt' comes before it"
    ),
    "ends with a question": turns(
        ("human", "a"), ("gpt", "b"), ("human", "c"), field="conversations[2].from", what="not the assistant's"
    ),
    "only a question": turns(("human", "a"), field="conversations[0].from", what="not the assistant's"),
    "only a system prompt": turns(("system", "a"), field="conversations[0].from", what="not the assistant's"),
    "system in the middle": turns(
        ("human", "a"), ("system", "s"), ("gpt", "b"), field="conversations[1].from", what="only at the beginning"
    ),
    "two system prompts": turns(
        ("system", "s"), ("human", "a"), ("gpt", "b"), field="system", what="differs", system="other"
    ),
    "unknown key of a turn": turns(
        {**say("human", "a"), "weight": 1}, ("gpt", "b"), field="conversations[0].weight", what="no such key"
    ),
    "observation without a call": turns(
        ("human", "a"),
        ("gpt", "b"),
        ("observation", "o"),
        ("gpt", "c"),
        field="conversations[2].from",
        what="'gpt' comes before it",
    ),
    "call is not JSON": turns(
        ("human", "a"), ("function_call", "f(1)"), field="conversations[1].value", what="a call is JSON"
    ),
    "call without arguments": turns(
        ("human", "a"), ("function_call", '{"name": "f"}'), field="conversations[1].value", what="name and arguments"
    ),
    "call of nothing": turns(
        ("human", "a"), ("function_call", "[]"), field="conversations[1].value", what="calls nothing"
    ),
    "half a pair in a turn": turns(
        ("human", "\ud800"), ("gpt", "b"), field="conversations[0].value", what="half of a surrogate pair"
    ),
    "NUL in a turn": turns(("human", "a"), ("gpt", "\0"), field="conversations[1].value", what="a NUL character"),
    "tools are not JSON": turns(("human", "a"), ("gpt", "b"), tools="f()", field="tools", what="not JSON"),
    "tools are an object": turns(("human", "a"), ("gpt", "b"), tools='{"name": "f"}', field="tools", what="not a list"),
    "tool without a name": turns(("human", "a"), ("gpt", "b"), tools=[{}], field="tools[0].name", what="null"),
    "tool without parameters": turns(
        ("human", "a"), ("gpt", "b"), tools=[{"name": "f"}], field="tools[0].parameters", what="no JSON schema"
    ),
    "tool is text": turns(("human", "a"), ("gpt", "b"), tools=[TOOL, "f"], field="tools[1]", what="not an object"),
    "tool with infinity": turns(
        ("human", "a"),
        ("gpt", "b"),
        tools=[{**TOOL, "x": float("inf")}],
        field="tools",
        what="cannot be written as JSON",
    ),
    # OpenAI's messages
    "message is text": chat("a", ("assistant", "b"), field="messages[0]", what="not an object"),
    "message without role": chat({"content": "a"}, ("assistant", "b"), field="messages[0].role", what="missing"),
    "role of sharegpt": chat(("human", "a"), ("assistant", "b"), field="messages[0].role", what="no role 'human'"),
    "role function": chat(
        ("user", "a"), ("function", "b"), ("assistant", "c"), field="messages[1].role", what="no role 'function'"
    ),
    "message without content": chat(("user", "a"), {"role": "assistant"}, field="messages[1].content", what="missing"),
    "content is null": chat(("user", "a"), ("assistant", None), field="messages[1].content", what="null, not text"),
    "content is empty": chat(("user", ""), ("assistant", "b"), field="messages[0].content", what="empty"),
    "content of parts": chat(
        ("user", [{"type": "text", "text": "a"}]), ("assistant", "b"), field="messages[0].content", what="list of parts"
    ),
    "message with a weight": chat(
        ("user", "a"),
        {"role": "assistant", "content": "b", "weight": 0},
        field="messages[1].weight",
        what="no such key",
    ),
    "message with a name": chat(
        {"role": "user", "content": "a", "name": "x"}, ("assistant", "b"), field="messages[0].name", what="no such key"
    ),
    "assistant first": chat(("assistant", "a"), field="messages[0].role", what="it is the first"),
    "two users": chat(
        ("user", "a"), ("user", "b"), ("assistant", "c"), field="messages[1].role", what="'user' comes before it"
    ),
    "ends with a user": chat(
        ("user", "a"), ("assistant", "b"), ("user", "c"), field="messages[2].role", what="not the assistant's"
    ),
    "ends with a tool": chat(
        ("user", "a"),
        call(name="f", arguments="{}"),
        ("tool", "b"),
        field="messages[2].role",
        what="not the assistant's",
    ),
    "system at the end": chat(
        ("user", "a"), ("assistant", "b"), ("system", "s"), field="messages[2].role", what="only at the beginning"
    ),
    "tool without a call": chat(
        ("user", "a"),
        ("assistant", "b"),
        ("tool", "c"),
        ("assistant", "d"),
        field="messages[2].role",
        what="comes before",
    ),
    "text beside a call": chat(
        ("user", "a"),
        {**call(name="f", arguments="{}"), "content": "b"},
        field="messages[1].content",
        what="would be lost in training",
    ),
    "call without a name": chat(
        ("user", "a"), call(arguments="{}"), field="messages[1].tool_calls[0].function", what="no name"
    ),
    "arguments are not JSON": chat(
        ("user", "a"),
        call(name="f", arguments="{x"),
        field="messages[1].tool_calls[0].function.arguments",
        what="not JSON",
    ),
    "arguments are a list": chat(
        ("user", "a"),
        call(name="f", arguments="[1]"),
        field="messages[1].tool_calls[0].function.arguments",
        what="not an object",
    ),
    "calls are an object": chat(
        ("user", "a"),
        {"role": "assistant", "tool_calls": {"function": {}}},
        field="messages[1].tool_calls",
        what="not a list",
    ),
    # JSON lines
    "broken line": lines('{"instruction": "a", "output": "b"', 2, "", "not valid JSON"),
    "single quotes": lines("{'instruction': 'a'}", 2, "", "not valid JSON"),
    "trailing comma": lines('{"instruction": "a", "output": "b",}', 2, "", "not valid JSON"),
    "two rows in a line": lines(f"{GOOD_LINE} {GOOD_LINE}", 2, "", "something stands after the row"),
    "comma after a line": lines(f"{GOOD_LINE},", 2, "", "something stands after the row"),
    "comment": lines("// oui", 2, "", "not valid JSON"),
    "list in a line": lines('["a", "b"]', 2, "", "a list of 2, not an object"),
    "bare tab in a text": lines('{"instruction": "a\tb", "output": "b"}', 2, "", "invalid control character"),
    "NaN": lines('{"instruction": "a", "output": NaN}', 2, "", "NaN is not a value of JSON"),
    "Infinity": lines('{"instruction": "a", "output": "b", "input": -Infinity}', 2, "", "-Infinity is not a value"),
    "key twice": lines('{"instruction": "a", "output": "b", "output": "c"}', 2, "output", "given twice"),
    "key twice, escaped": lines('{"instruction": "a", "output": "b", "out\\u0070ut": "c"}', 2, "output", "given twice"),
    "key twice, nulls before": lines(
        '{"instruction": "a", "input": null, "input": "", "output": "c\\\\"}', 2, "input", "given twice"
    ),
    "key twice, ends with backslashes": lines(
        '{"instruction": "\\\\", "instruction": "\\\\", "input": "\\\\", "output": "\\\\"}',
        2,
        "instruction",
        "given twice",
    ),
    "key twice, inside": Bad(
        "a.jsonl",
        '{"conversations": [{"from": "human", "from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}',
        1,
        "from",
        "given twice",
    ),
    "escaped half a pair": lines('{"instruction": "a", "output": "\\ud83d"}', 2, "output", "half of a surrogate pair"),
    "escaped NUL": lines('{"instruction": "a", "output": "b\\u0000"}', 2, "output", "a NUL character"),
    "deeply nested line": lines(DEEP, 2, "", "nested too deeply"),
    "huge number in a line": lines('{"instruction": "a", "output": ' + "9" * 10_000 + "}", 2, "output", "a number"),
    "not UTF-8 in a line": Bad(
        "a.jsonl", GOOD_LINE.encode() + b'\n{"instruction": "\xe9t\xe9"}\n', 2, "", "byte 0xe9 at offset"
    ),
    "overlong UTF-8": Bad("a.jsonl", GOOD_LINE.encode() + b"\n\xc0\xaf\n", 2, "", "byte 0xc0 at offset"),
    "surrogate as UTF-8": Bad(
        "a.jsonl", b'{"instruction": "\xed\xa0\x80", "output": "b"}', 1, "", "byte 0xed at offset 17 is not UTF-8"
    ),
    "UTF-8 cut at the end": Bad("a.jsonl", GOOD_LINE.encode() + b'\n{"a": "\xc3', 2, "", "byte 0xc3 at offset"),
    "mark of the byte order": Bad("a.jsonl", b"\xef\xbb\xbf" + GOOD_LINE.encode(), 1, "", "byte order mark"),
    "UTF-16": Bad("a.jsonl", GOOD_LINE.encode("utf-16"), 1, "", "UTF-16"),
    "UTF-16 without a mark": Bad("a.jsonl", GOOD_LINE.encode("utf-16-le"), 1, "", "UTF-16"),
    "bare NULs": Bad("a.jsonl", b"\0" * 100, 1, "", "UTF-16, UTF-32 or not text at all"),
    "huge line": Bad(
        "a.jsonl", GOOD_LINE + "\n" + '{"instruction": "' + "a" * (ROW_LIMIT + 2 * CHUNK), 2, "", "longer than"
    ),
    "huge line that ends": Bad(
        "a.jsonl", '{"instruction": "a", "output": "' + "a" * ROW_LIMIT + '"}\n', 1, "", "longer than"
    ),
    "indented object": Bad("a.json", json.dumps(GOOD, indent=2), 1, "", "not valid JSON"),
    "object of rows": Bad("a.json", json.dumps({"data": [GOOD]}), 1, "instruction", "missing"),
    # JSON lists
    "list is cut": Bad("a.json", f"[{GOOD_LINE}, {GOOD_LINE}", 2, "", "ends in the list"),
    "list is cut after a comma": Bad("a.json", f"[{GOOD_LINE}, ", 2, "", "ends in the list"),
    "list is cut in a row": Bad("a.json", f'[{GOOD_LINE}, {{"instruction": "a', 2, "", "ends in the row"),
    "list is cut in a key": Bad("a.json", f'[{GOOD_LINE}, {{"instr', 2, "", "ends in the row"),
    "bracket alone": Bad("a.json", "[", 1, "", "ends in the list"),
    "comma at the end of a list": Bad("a.json", f"[{GOOD_LINE},]", 1, "", "a comma stands after the last row"),
    "two commas": Bad("a.json", f"[{GOOD_LINE},,{GOOD_LINE}]", 2, "", "not valid JSON"),
    "no comma": Bad("a.json", f"[{GOOD_LINE} {GOOD_LINE}]", 1, "", "a comma or ] was expected"),
    "text after a list": Bad("a.json", f"[{GOOD_LINE}] x", 1, "", "stands after the end of the list"),
    "two lists": Bad("a.json", f"[{GOOD_LINE}][{GOOD_LINE}]", 1, "", "stands after the end of the list"),
    "number in a list": listed("12", 2, "", "a number (12), not an object"),
    "null in a list": listed("null", 2, "", "null, not an object"),
    "list in a list": listed("[]", 2, "", "a list of 0, not an object"),
    "NaN in a list": listed('{"instruction": "a", "output": NaN}', 2, "", "NaN is not a value of JSON"),
    "key twice in a list": listed('{"instruction": "a", "instruction": "a", "output": "b"}', 2, "instruction", "twice"),
    "broken word in a list": listed("nul", 2, "", "not valid JSON"),
    "deeply nested list": Bad("a.json", DEEP, 1, "", "nested too deeply"),
    "not UTF-8 in a list": Bad(
        "a.json", f"[{GOOD_LINE}, ".encode() + b'{"instruction": "\xff"}]', 2, "", "byte 0xff at offset"
    ),
    "UTF-8 cut in a list": Bad("a.json", f"[{GOOD_LINE}, ".encode() + b'{"a": "\xe2\x82', 2, "", "byte 0xe2 at offset"),
    "not UTF-8 after a list": Bad("a.json", f"[{GOOD_LINE}]".encode() + b"\xff", 1, "", "byte 0xff at offset"),
    "mark before a list": Bad("a.json", b"\xef\xbb\xbf[]", 1, "", "byte order mark"),
    "huge row in a list": Bad("a.json", '[{"instruction": "' + "a" * (ROW_LIMIT + 2), 1, "", "longer than"),
    "huge row in a list that ends": Bad(
        "a.json", '[{"instruction": "a", "output": "' + "a" * ROW_LIMIT + '"}]', 1, "", "longer than"
    ),
    "bad row behind a window": Bad(
        "a.json", "[" + f"{GOOD_LINE}, " * 30_000 + '{"instruction": 1, "output": "b"}]', 30_001, "instruction", "(1)"
    ),
    # CSV
    "ragged row": Bad("a.csv", "instruction,output\na,b\nc\n", 2, "", "1 cells, and the header has 2"),
    "too many cells": Bad("a.csv", "instruction,output\na,b\nc,d,e\n", 2, "", "3 cells, and the header has 2"),
    "open quote": Bad("a.csv", 'instruction,output\na,b\n"c,d\n', 2, "", "not valid CSV"),
    "text after a quote": Bad("a.csv", 'instruction,output\n"a"b,c\n', 1, "", "not valid CSV"),
    "empty cell": Bad("a.csv", "instruction,output\na,\n", 1, "output", "empty"),
    "no header": Bad("a.csv", "Qui ?,Moi.\nEt ?,Rien.\n", None, "instruction", "missing"),
    "unknown column": Bad("a.csv", "instruction,output,id\na,b,1\n", None, "id", "no such field"),
    "column twice": Bad("a.csv", "instruction,output,output\na,b,c\n", None, "output", "the header has it twice"),
    "column without a name": Bad("a.csv", "instruction,output,\na,b,\n", None, "(empty)", "no such field"),
    "NUL in CSV": Bad("a.csv", "instruction,output\na,b\nc,\0\n", 2, "", "a NUL character"),
    "not UTF-8 in CSV": Bad("a.csv", "instruction,output\na,é\n".encode("latin-1"), 1, "", "byte 0xe9 at offset 21"),
    "mark before CSV": Bad("a.csv", "\ufeffinstruction,output\na,b\n", 1, "", "byte order mark"),
    "history in CSV": Bad("a.csv", 'instruction,output,history\na,b,"[]"\n', 1, "history", "not a list"),
    "quote that swallows the file": Bad(
        "a.csv", 'instruction,output\na,"b\n' + f"{'c,d' * 1000}\n" * (ROW_LIMIT // 2000), 1, "", "never closed"
    ),
    "old line ends": Bad("a.csv", "instruction,output\ra,b\r", None, "", "not valid CSV"),
    # nothing there
    "no rows": Bad("records", [], None, "", "it holds no row"),
    "empty list": Bad("a.json", "[]", None, "", "it holds no row"),
    "empty list with blanks": Bad("a.json", " [ \n ] \n", None, "", "it holds no row"),
    "blank lines": Bad("a.jsonl", "\n \n\t\n", None, "", "it holds no row"),
    "only a header": Bad("a.csv", "instruction,output\n", None, "", "it holds no row"),
    "empty file": Bad("a.json", "", None, "", "it is empty"),
    # names of files
    "name without an extension": Bad("prompts", GOOD_LINE, None, "", "no extension"),
    "Parquet": Bad("a.parquet", b"PAR1", None, "", "*.parquet is not read"),
    "YAML on the host": Bad("a.yml", "- {}", None, "", "YAML is read on the controller only"),
    # only dates
    "conversations of dates": turns(
        ("human", "2024-01-01"), ("gpt", "2024-01-02 10:00"), field="value", what="is a date and nothing else"
    ),
}
# a good conversation before it would hold something else than dates
CORPUS["conversations of dates"] = dataclasses.replace(
    CORPUS["conversations of dates"], data=t.cast("list[t.Any]", CORPUS["conversations of dates"].data)[1:], row=None
)


def tree(root: str) -> dict[str, bytes]:
    """Every file below a directory."""
    return {
        os.path.join(folder, name): Path(folder, name).read_bytes()
        for folder, _dirs, names in os.walk(root)
        for name in names
    }


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A data directory with a good dataset in it, for all of them to leave alone."""
    layout = Layout(str(tmp_path_factory.mktemp("data")))
    apply(layout, Declaration("homelab"), [Source("records", records=[GOOD])])
    return layout


def refuse(layout: Layout, source: Source, declared: str = "auto") -> InputError:
    """The error for a source, by apply and by check alike."""
    before = tree(layout.root)
    errors = []
    for check in (True, False):
        with pytest.raises(InputError) as caught:
            apply(layout, Declaration("homelab", declared), [source], check=check)
        errors.append(caught.value)
        assert tree(layout.root) == before
    assert str(errors[0]) == str(errors[1])
    assert load(layout, "homelab").rows == 1
    return errors[0]


@pytest.mark.parametrize("name", CORPUS)
def test_is_refused(name: str, layout: Layout, tmp_path: Path) -> None:
    bad = CORPUS[name]
    if isinstance(bad.data, list):
        source = Source("records", records=bad.data)
    else:
        path = tmp_path / bad.name
        path.write_bytes(bad.data if isinstance(bad.data, bytes) else bad.data.encode("utf-8", "surrogatepass"))
        source = Source(bad.name, str(path))
    error = refuse(layout, source, bad.format)
    problem = error.details["problems"][0]
    assert problem["file"] == bad.name
    assert (problem["row"], problem["field"]) == (bad.row, bad.field), problem
    assert bad.what in problem["what"], problem
    assert problem["fix"].endswith(".")
    # a person reads it in the message, too
    assert bad.name in error.message and bad.what in error.message
    assert bad.row is None or f"row {bad.row}" in error.message
    assert len(str(error)) < 2000


def test_corpus_is_large() -> None:
    assert len(CORPUS) >= 150


def special_files(folder: Path) -> t.Iterator[tuple[str, str]]:
    """Files that are none."""
    outside = folder / "outside"
    inside = folder / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "real.jsonl").write_text(GOOD_LINE)
    (inside / "out.jsonl").symlink_to(outside / "real.jsonl")
    yield "out.jsonl", "a link that leads out of its directory"
    (inside / "up.jsonl").symlink_to("../outside/real.jsonl")
    yield "up.jsonl", "a link that leads out of its directory"
    (inside / "loop.jsonl").symlink_to("loop.jsonl")
    yield "loop.jsonl", "a link to itself"
    (inside / "gone.jsonl").symlink_to("nothing.jsonl")
    yield "gone.jsonl", "no such file"
    os.mkfifo(inside / "fifo.jsonl")
    yield "fifo.jsonl", "not a regular file"
    (inside / "folder.jsonl").mkdir()
    yield "folder.jsonl", "a directory"
    (inside / "device.jsonl").symlink_to("/dev/zero")
    yield "device.jsonl", "a link that leads out of its directory"
    yield "missing.jsonl", "no such file"


def test_special_files_are_refused(layout: Layout, tmp_path: Path) -> None:
    for name, what in special_files(tmp_path):
        problem = refuse(layout, Source(name, str(tmp_path / "inside" / name))).details["problems"][0]
        assert (problem["file"], problem["row"]) == (name, None)
        assert what in problem["what"], problem


def test_a_device_is_refused(layout: Layout) -> None:
    assert "not a regular file" in refuse(layout, Source("zero.jsonl", "/dev/zero")).message


def test_a_link_that_stays_is_followed(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").write_text(GOOD_LINE)
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    assert not apply(
        layout, Declaration("homelab"), [Source("link.jsonl", str(tmp_path / "link.jsonl"))], check=True
    ).changed


def test_all_problems_are_told_once(layout: Layout, tmp_path: Path) -> None:
    """Each of two files, several in a row, in the order they stand; then the count."""
    (tmp_path / "a.jsonl").write_text(f'{{"instruction": 1, "output": ""}}\nx\n{GOOD_LINE}\n')
    (tmp_path / "b.csv").write_text("instruction,output\na,b\nc\n")
    sources = [Source(name, str(tmp_path / name)) for name in ("a.jsonl", "b.csv")]
    with pytest.raises(InputError) as caught:
        apply(layout, Declaration("two"), sources)
    places = [(problem["file"], problem["row"], problem["field"]) for problem in caught.value.details["problems"]]
    assert places == [("a.jsonl", 1, "instruction"), ("a.jsonl", 1, "output"), ("a.jsonl", 2, ""), ("b.csv", 2, "")]
    assert caught.value.details["problems_total"] == 4
    assert "4 problems" in caught.value.message
    assert "And 1 more." in caught.value.message


def test_very_many_problems_are_bounded(layout: Layout) -> None:
    error = refuse(layout, Source("records", records=[GOOD] + [{"instruction": "a"}] * (5 * COUNTED)))
    assert len(error.details["problems"]) == SHOWN
    assert error.details["problems_total"] == COUNTED
    assert f"at least {COUNTED} problems" in error.message


def test_lines_are_told_where_they_differ_from_rows(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"\n{GOOD_LINE}\n\n\nx\n")
    error = refuse(layout, Source("a.jsonl", str(tmp_path / "a.jsonl")))
    assert "a.jsonl, row 2 (line 5)" in error.message


@pytest.mark.parametrize(
    ("declared", "columns", "ignored", "what"),
    [
        ("alpacca", {}, (), "Did you mean 'alpaca'?"),
        ("alpaca", {"prompts": "question"}, (), "Did you mean 'prompt'?"),
        ("sharegpt", {"prompt": "question"}, (), "no column 'prompt'"),
        ("alpaca", {"prompt": "output"}, (), "'output' is named twice"),
        ("alpaca", {}, ("system",), "'system' is named twice"),
    ],
)
def test_declarations_that_cannot_be(
    declared: str, columns: dict[str, str], ignored: tuple[str, ...], what: str, layout: Layout
) -> None:
    with pytest.raises(InputError) as caught:
        apply(layout, Declaration("homelab", declared, columns, ignored), [Source("records", records=[GOOD])])
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("row", "fix"),
    [
        ({"instruction": "a", "ouput": "b"}, "Did you mean 'output'?"),
        ({"question": "a", "output": "b"}, "Set columns to {prompt: question}"),
        ({"instruction": "a", "output": "b", "Systeme": "s"}, "Did you mean 'system'?"),
        ({"instruction": "a", "output": "b", "date": "s"}, "name it in ignore_fields"),
    ],
)
def test_what_to_do_about_a_strange_field(row: dict[str, str], fix: str, layout: Layout) -> None:
    problems = refuse(layout, Source("records", records=[GOOD, row]), "alpaca").details["problems"]
    assert any(fix in problem["fix"] for problem in problems), problems
