# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files whose content does not match their name, or that were damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile

from ansible_collections.ia_homelab.llamafactory.tests.support.bad_data import GOOD_LINE, Bad

_BYTES = GOOD_LINE.encode()
_PROMPT = '{"instruction": "Où est l\'œuvre ?", "output": "Là-bas, à côté."}\n'


def _zip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.jsonl", GOOD_LINE)
    return made.getvalue()


#: Content by name.
OTHER: dict[str, bytes] = {
    "gzip": gzip.compress(_BYTES, mtime=0),
    "bzip2": bz2.compress(_BYTES),
    "xz": lzma.compress(_BYTES),
    "zip": _zip(),
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "SQLite": b"SQLite format 3\0\x10\0",
    "ELF": b"\x7fELF\x02\x01\x01\0",
    "pickle": b"\x80\x04\x95\x10\0\0\0",
    "HTML": b"<!DOCTYPE html><html></html>",
    "XML": b'<?xml version="1.0"?><rows/>',
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    "merge conflict": b"<<<<<<< HEAD\n" + _BYTES + b"\n=======\n",
    "error page": b"404: Not Found",
    "Python": b"rows = [dict(instruction='a', output='b')]",
    "YAML": b"- instruction: a\n  output: b\n",
    "TOML": b'[[rows]]\ninstruction = "a"\n',
    "CSV": b"instruction,output\na,b\n",
    "vault": b"$ANSIBLE_VAULT;1.1;AES256\n6162\n",
    "single byte": b"\xff",
    "escape": b"\x1b[0m" + _BYTES,
    "JSON5": b"{instruction: 'a', output: 'b'}",
    "JSON with comments": b'/* prompts */ [{"instruction": "a", "output": "b"}]',
    "JSONP": b'rows([{"instruction": "a", "output": "b"}])',
    "record separators": b"\x1e" + _BYTES + b"\n\x1e" + _BYTES + b"\n",
}
_WIDE = ("utf-16", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_NARROW = ("latin-1", "cp1252", "iso8859-15", "mac-roman", "cp437")


def _encoded(name: str) -> bytes:
    return _PROMPT.replace("œ", "oe").encode(name) if name in ("latin-1", "cp437") else _PROMPT.encode(name)


BYTES: dict[str, Bad] = {
    **{f"{name} as JSON lines": Bad("a.jsonl", raw, 1, "", "") for name, raw in OTHER.items()},
    **{f"{name} text": Bad("a.jsonl", _encoded(name), 1, "", "UTF-") for name in _WIDE},
    **{f"{name} text": Bad("a.jsonl", _encoded(name), 1, "", "is not UTF-8") for name in _NARROW},
    # truncated at any place, as by a partial download
    **{
        f"list cut after {size} bytes": Bad("a.json", f"[{GOOD_LINE}]".encode()[:size], 1, "", "")
        for size in range(1, len(GOOD_LINE) + 2, 3)
    },
    **{
        f"line cut after {size} bytes": Bad("a.jsonl", _BYTES + b"\n" + _BYTES[:size], 2, "", "not valid JSON")
        for size in range(1, len(GOOD_LINE), 6)
    },
    # one character too many or wrong
    **{
        f"{sign!r} before a row": Bad("a.jsonl", f"{GOOD_LINE}\n{sign}{GOOD_LINE}\n", 2, "", "")
        for sign in (",", "}", "]", ":", '"', "\ufeff", "\u00a0", "\x0b", "null ", "- ", "1 ")
    },
    **{
        f"value {value}": Bad(
            "a.jsonl", f'{GOOD_LINE}\n{{"instruction": "a", "output": {value}}}\n', 2, "", "not valid JSON"
        )
        for value in (
            "True",
            "None",
            "undefined",
            "'b'",
            "+1",
            "01",
            "1.",
            ".5",
            "0x10",
            "1e",
            "`b`",
            '"\\x41"',
            '"\\u12"',
        )
    },
    **{
        f"number {value}": Bad(
            "a.jsonl", f'{GOOD_LINE}\n{{"instruction": "a", "output": {value}}}\n', 2, "output", "a number"
        )
        for value in ("-0", "1e400", "1E-400", "12345678901234567890")
    },
    **{
        f"{ending!r} between rows": Bad("a.jsonl", ending.join([GOOD_LINE, GOOD_LINE]), 1, "", "stands after the row")
        for ending in ("\r", "\t", " ", "\u2028", "\x85")
    },
    "rows in an object by number": Bad("a.json", json.dumps({"0": {"instruction": "a"}}), 1, "instruction", "missing"),
    "list of lists": Bad("a.json", json.dumps([["instruction", "output"], ["a", "b"]]), 1, "", "a list of 2"),
    "list of texts": Bad("a.json", json.dumps([GOOD_LINE]), 1, "", "not an object"),
    "columns": Bad("a.json", json.dumps({"instruction": ["a"], "output": ["b"]}), 1, "instruction", "a list of 1"),
    "list in a list of rows": Bad("a.json", json.dumps([[{"instruction": "a", "output": "b"}]]), 1, "", "a list of 1"),
    "text alone": Bad("a.json", '"prompts"', 1, "", "not an object"),
    "number alone": Bad("a.json", "42", 1, "", "not an object"),
    "CSV with another quote": Bad("a.csv", "instruction,output\n'a, b',c\n", 1, "", "3 cells"),
    "CSV with pipes": Bad("a.csv", "instruction|output\na|b\n", None, "instruction", "missing"),
    "CSV of one column": Bad("a.csv", "instruction\na\n", None, "output", "missing"),
    "CSV with a line of commas": Bad("a.csv", "instruction,output\na,b\n,\n", 2, "output", "empty"),
    "CSV with a title": Bad("a.csv", "Prompts\ninstruction,output\na,b\n", None, "instruction", "missing"),
    "CSV with an empty header": Bad("a.csv", ",\na,b\n", None, "instruction", "missing"),
    "CSV in capitals": Bad("a.csv", "Instruction,Output\na,b\n", None, "instruction", "missing"),
    "CSV with a formula's separator": Bad("a.csv", "sep=;\ninstruction;output\na;b\n", None, "instruction", "missing"),
    "CSV that ends in a quote": Bad("a.csv", 'instruction,output\na,"b', 1, "", "not valid CSV"),
}
#: Names of files that are not read at all.
NAMES: dict[str, Bad] = {
    f"called {name}": Bad(name, _BYTES, None, "", "is not read")
    for name in (
        "a.txt", "a.xlsx", "a.tsv", "a.arrow", "a.feather", "a.gz", "a.jsonl.gz", "a.zip", "a.md", "a.json5", "a.pdf",
        "a.py", "a.sqlite", "a.pkl", "a.jsonl~", "a.csv.bak",
    )
}  # fmt: skip
