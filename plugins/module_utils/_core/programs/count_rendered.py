# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the tokens of rows as LLaMA-Factory renders them. Run by the Python of LLaMA-Factory's environment.

For rows with tools: the text about tools, and how calls are written, is LLaMA-Factory's own. Standard input:
``{"template": NAME, "tokenizer": DIRECTORY, "arguments": {…}, "rows": [[{"system", "messages", "tools"}, …], …]}``: a
list of conversations for each row, the arguments those of ``render_probes.py``. Standard output: a JSON list with the
number of tokens of the longest conversation of each row; null for a row that LLaMA-Factory cannot render.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import typing as t


def count(template: t.Any, tokenizer: t.Any, conversation: t.Mapping[str, t.Any]) -> int:
    """The number of tokens of a conversation in training."""
    pairs = template.encode_multiturn(
        tokenizer, conversation["messages"], conversation["system"] or None, conversation["tools"] or None
    )
    return sum(len(source) + len(target) for source, target in pairs) + bool(template.efficient_eos)


def main() -> None:
    """Answer the request on standard input."""
    output, sys.stdout = sys.stdout, sys.stderr  # messages of the imports must not get into the JSON
    os.environ.setdefault("DISABLE_VERSION_CHECK", "1")
    render_probes = importlib.import_module("render_probes")  # beside this file, which is no package here
    request = json.load(sys.stdin)
    arguments = dict(request.get("arguments") or {})
    tokenizer = render_probes.load_tokenizer(str(request["tokenizer"]), arguments)
    template = render_probes.load_template(str(request["template"]), tokenizer, arguments)
    counts: list[int | None] = []
    for conversations in request["rows"]:
        try:
            counts.append(max(count(template, tokenizer, each) for each in conversations))
        except Exception:  # LLaMA-Factory raises whatever its formatters do, and training ends there
            counts.append(None)
    json.dump(counts, output)


if __name__ == "__main__":
    main()
