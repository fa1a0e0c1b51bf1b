# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts tokens with the tokenizer of a base model. Run by the Python of LLaMA-Factory's environment.

Standard input: one line of JSON per row, with pairs of a text and a number of tokens to add. Standard output: a JSON
list with the maximum number of tokens of each row.
"""

from __future__ import annotations

import json
import os
import sys
import typing as t

Count = t.Callable[[str], int]


def counter(base: str) -> Count:
    """A token counter with the base's tokenizer: special tokens in the text are recognised, and none are added."""
    path = os.path.join(base, "tokenizer.json")
    if os.path.exists(path):
        # loads in one second; transformers takes five
        import tokenizers

        tokenizer: t.Any = tokenizers.Tokenizer.from_file(path)
        tokenizer.no_truncation()
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
    import transformers

    slow_tokenizer: t.Any = transformers.AutoTokenizer.from_pretrained(base)
    return lambda text: len(slow_tokenizer.encode(text, add_special_tokens=False))


def main(base: str) -> None:
    """Count the tokens of the rows on standard input."""
    count = counter(base)
    maxima = [max(count(text) + added for text, added in json.loads(line)) for line in sys.stdin]
    json.dump(maxima, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
