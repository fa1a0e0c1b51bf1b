# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad files: JSON lines, JSON lists, CSV, encodings, names."""

from __future__ import annotations

import json

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.source_text import CHUNK, ROW_LIMIT
from ansible_collections.ia_homelab.llamafactory.tests.support.bad_data import (
    DEEP,
    GOOD,
    GOOD_LINE,
    Bad,
    lines,
    listed,
)

FILES: dict[str, Bad] = {
    # JSON lines
    "broken line": lines('{"instruction": "a", "output": "b"', 2, "", "not valid JSON"),
    "single quotes": lines("{'instruction': 'a'}", 2, "", "not valid JSON"),
    "trailing comma": lines('{"instruction": "a", "output": "b",}', 2, "", "not valid JSON"),
    "two rows in a line": lines(f"{GOOD_LINE} {GOOD_LINE}", 2, "", "something stands after the row"),
    "comma after a line": lines(f"{GOOD_LINE},", 2, "", "something stands after the row"),
    "comment": lines("// oui", 2, "", "not valid JSON"),
    "list in a line": lines('["a", "b"]', 2, "", "a list of 2, not an object"),
    "bare tab in a text": lines('{"instruction": "a\tb", "output": "b"}', 2, "", "invalid control character"),
    "NaN": lines('{"instruction": "a", "output": NaN}', 2, "output", "NaN is not a value of JSON"),
    "NaN inside": Bad(
        "a.jsonl", '{"conversations": [{"from": NaN}]}', 1, "conversations[0].from", "NaN is not a value"
    ),
    "Infinity": lines(
        '{"instruction": "a", "output": "b", "input": -Infinity}', 2, "input", "-Infinity is not a value"
    ),
    "mark inside": lines(f"\ufeff{GOOD_LINE}", 2, "", "a byte order mark (U+FEFF) stands in front of it"),
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
    "object of rows": Bad("a.json", json.dumps({"data": [GOOD]}), 1, "data", "the rows stand in this field"),
    "indented object of rows": Bad(
        "a.json", json.dumps({"version": 1, "rows": [GOOD]}, indent=2), 1, "rows", "the rows stand in this field"
    ),
    "indented conversation": Bad(
        "a.json", json.dumps({"messages": [{"role": "user", "content": "a"}]}, indent=2), 1, "", "not valid JSON"
    ),
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
    "mark in a list": listed("\ufeff{}", 2, "", "a byte order mark (U+FEFF) stands in front of it"),
    "mark after a row": Bad("a.json", f"[{GOOD_LINE}\ufeff]", 1, "", "a byte order mark"),
    "mark after a list": Bad("a.json", f"[{GOOD_LINE}]\ufeff[]", 1, "", "a byte order mark"),
    "NaN in a list": listed('{"instruction": "a", "output": NaN}', 2, "output", "NaN is not a value of JSON"),
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
    "column without a name": Bad("a.csv", "instruction,output,\na,b,c\n", None, "column 3", "no such field"),
    "column of numbers without a name": Bad("a.csv", ",instruction,output\n0,a,b\n", None, "column 1", "no such field"),
    "separators in quotes": Bad("a.csv", '"instruction","output","a;b;c;d"\na,b,c\n', None, "a;b;c;d", "no such field"),
    "mark in CSV": Bad("a.csv", "instruction,output\na,b\n\ufeffinstruction,output\n", 2, "instruction", "byte order"),
    "label in CSV": Bad("a.csv", "instruction,output,label\na,b,True\n", 1, "label", "LLaMA-Factory calls kto_tag"),
    "pictures in CSV": Bad("a.csv", "instruction,output,images\na,b,\nc,d,x.png\n", 2, "images", "not trained on here"),
    "NUL in CSV": Bad("a.csv", "instruction,output\na,b\nc,\0\n", 2, "", "a NUL character"),
    "not UTF-8 in CSV": Bad("a.csv", "instruction,output\na,é\n".encode("latin-1"), 1, "", "byte 0xe9 at offset 21"),
    "mark before CSV": Bad("a.csv", "\ufeffinstruction,output\na,b\n", 1, "", "byte order mark"),
    "history in CSV": Bad("a.csv", 'instruction,output,history\na,b,"[]"\n', 1, "history", "text ('[]'), not a list"),
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
}
