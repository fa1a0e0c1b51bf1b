# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes rows as the text that LLaMA-Factory trains on, and runs programs of llama.cpp on it.

Run by the Python of LLaMA-Factory's environment: ``render_rows.py REQUEST``. The request is a JSON object:

* ``template``, ``tokenizer``, ``arguments``: as for ``render_probes.py``;
* ``rows``: JSONL file; a row is ``{"system", "messages", "tools"}`` in LLaMA-Factory's form, or ``{"text"}``;
* ``cutoff_len``: maximum tokens of a row; ``tokens``: number of tokens after which no further row is taken;
* ``minimum``: number of tokens without which nothing is measured; ``context``: maximum tokens of a piece;
* ``text``, ``report``: files to write;
* ``commands``: list of ``{"label", "argv", "output"}``; ``{context}`` and ``{chunks}`` in an argument stand for the
  tokens of a piece and the number of pieces. ``output`` is the file for what the program prints.

The report has ``rows``, ``skipped`` (rows that LLaMA-Factory cannot render), ``tokens`` and ``context``.
"""

from __future__ import annotations

import importlib
import json
import os

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import sys
import typing as t

#: The smallest piece of text, in tokens.
SMALLEST_CONTEXT = 64


def context_for(tokens: int, largest: int) -> int:
    """Tokens of a piece: a power of two with which the text has at least two pieces, as llama.cpp asks for.

    :param tokens: tokens of the text; :param largest: the largest piece.
    """
    context = largest
    while context > SMALLEST_CONTEXT and tokens < 2 * context:
        context //= 2
    return context


def tokens_of(template: t.Any, tokenizer: t.Any, row: t.Mapping[str, t.Any]) -> list[int]:
    """The tokens of a row in training."""
    if "text" in row:
        ids: list[int] = tokenizer.encode(str(row["text"]), add_special_tokens=True)
        return [*ids, tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else ids
    pairs = template.encode_multiturn(tokenizer, row["messages"], row["system"] or None, row["tools"] or None)
    ids = [number for source, target in pairs for number in (*source, *target)]
    return [*ids, tokenizer.eos_token_id] if template.efficient_eos else ids


def write_text(request: t.Mapping[str, t.Any]) -> dict[str, int]:
    """Write the text of the rows.

    :returns: the report.
    """
    render_probes = importlib.import_module("render_probes")  # beside this file, which is no package here
    arguments = dict(request.get("arguments") or {})
    tokenizer = render_probes.load_tokenizer(str(request["tokenizer"]), arguments)
    template = render_probes.load_template(str(request["template"]), tokenizer, arguments)
    report = {"rows": 0, "skipped": 0, "tokens": 0}
    with open(request["rows"], encoding="utf-8") as rows, open(request["text"], "w", encoding="utf-8") as text:
        for line in rows:
            if report["tokens"] >= request["tokens"]:
                break
            try:
                ids = tokens_of(template, tokenizer, json.loads(line))[: request["cutoff_len"]]
            except Exception:  # LLaMA-Factory raises whatever its formatters do
                report["skipped"] += 1
                continue
            text.write(render_probes.text_of(tokenizer, ids))
            report["rows"] += 1
            report["tokens"] += len(ids)
    return report


def run(commands: t.Sequence[t.Mapping[str, t.Any]], values: t.Mapping[str, int]) -> int:
    """Run programs one after the other.

    :param values: what stands for the names in their arguments.
    :returns: the exit status of the first one that fails; 0 if none does.
    """
    for number, command in enumerate(commands, 1):
        print(f"Measuring {command['label']} ({number} of {len(commands)})", flush=True)
        argv = [str(part).format(**values) if str(part).startswith("{") else str(part) for part in command["argv"]]
        with open(command["output"], "wb") as output:
            status = subprocess.call(argv, stdout=output, stderr=subprocess.STDOUT)
        if status:
            with open(command["output"], encoding="utf-8", errors="replace") as printed:
                sys.stderr.write("".join(printed.readlines()[-20:]))
            return status if status > 0 else 1
    return 0


def main(path: str) -> int:
    """Answer a request.

    :returns: the exit status.
    """
    os.environ.setdefault("DISABLE_VERSION_CHECK", "1")
    with open(path, encoding="utf-8") as stream:
        request = json.load(stream)
    print("Rendering the rows", flush=True)
    report = write_text(request)
    report["context"] = context_for(report["tokens"], int(request["context"]))
    with open(request["report"], "w", encoding="utf-8") as stream:
        json.dump(report, stream)
    if report["tokens"] < request["minimum"]:
        sys.stderr.write(f"The rows have {report['tokens']} tokens, fewer than {request['minimum']}.\n")
        return 1
    # the tokenizer of the file may make a few tokens more or less of the same text
    chunks = max(1, min(report["tokens"], request["tokens"]) // report["context"])
    return run(request["commands"], {"context": report["context"], "chunks": chunks})


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
