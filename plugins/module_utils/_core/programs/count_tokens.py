# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts tokens with the tokenizer of a base model. Run by the Python of LLaMA-Factory's environment.

Standard input: a line of JSON for each row, pairs of a text and a number of tokens to add. Standard output: a JSON list
of the most tokens of each row.
"""

from __future__ import annotations

import json
import os
import sys
import typing as t

Count = t.Callable[[str], int]


def counter(base: str) -> Count:
    """How the base's tokenizer counts, special tokens in the text taken as such, none added."""
    path = os.path.join(base, "tokenizer.json")
    if os.path.exists(path):
        # a second where transformers takes five
        import tokenizers

        tokenizer: t.Any = tokenizers.Tokenizer.from_file(path)
        tokenizer.no_truncation()
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
    import transformers

    other: t.Any = transformers.AutoTokenizer.from_pretrained(base)
    return lambda text: len(other.encode(text, add_special_tokens=False))


def main(base: str) -> None:
    """Count what comes in."""
    count = counter(base)
    found = [max(count(text) + more for text, more in json.loads(line)) for line in sys.stdin]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
