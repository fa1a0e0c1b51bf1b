# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders conversations as LLaMA-Factory does in training. Runs in LLaMA-Factory's virtual environment.

Usage: chat_format_texts.py DIRECTORY_OF_THE_PROGRAMS ANSWER. Reads from standard input ``{"special": [TOKEN],
"corpus": [TEXT], "requests": [{"template", "arguments", "probes"}]}``. It renders all requests, trains a small
byte-level vocabulary on the texts and the corpus, with merges across the borders of all messages, and renders them
again. Writes ``{"tokens", "merges", "registry", "results"}``; a result is that of ``render_probes.render``, each probe
with ``whole``: whether the tokens of the messages are those of the whole text; ``registry`` is the output of
``list_llamafactory_templates``.
"""

from __future__ import annotations

import json
import sys
import typing as t

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

# How Llama 3 and all later byte-pair tokenizers split a text; llama.cpp calls it llama-bpe.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_vocabulary(special: list[str], corpus: list[str]) -> Tokenizer:
    """A byte-level byte-pair tokenizer with merges for the complete corpus."""
    made = Tokenizer(BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=30000,
            min_frequency=1,
            special_tokens=[AddedToken(text, special=True, normalized=False) for text in special],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return made


def render_all(made: Tokenizer, requests: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The results of all requests with one vocabulary."""
    import render_probes

    results = []
    for request in requests:
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
        result = render_probes.render(request, tokenizer)
        for probe in result["probes"].values():
            if "text" in probe:
                probe["whole"] = probe["ids"] == tokenizer.encode(probe["text"], add_special_tokens=False)
        results.append(result)
    return results


def main() -> None:
    """Answer the one request."""
    sys.path.insert(0, sys.argv[1])
    import list_llamafactory_templates

    request = json.load(sys.stdin)
    first = render_all(make_vocabulary(request["special"], ["x"]), request["requests"])
    texts = [probe["text"] for result in first for probe in result["probes"].values() if "text" in probe]
    made = make_vocabulary(request["special"], [*texts, *request["corpus"]] * 2)
    model = json.loads(made.to_str())["model"]
    answer = {
        "tokens": [made.id_to_token(number) for number in range(made.get_vocab_size())],
        "merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]],
        "registry": list_llamafactory_templates.registry(),
        "results": render_all(made, request["requests"]),
    }
    with open(sys.argv[2], "w", encoding="utf-8") as stream:
        json.dump(answer, stream)


if __name__ == "__main__":
    main()
