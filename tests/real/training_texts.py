# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders conversations as LLaMA-Factory does in training. Runs in LLaMA-Factory's virtual environment.

Reads ``{"special", "corpus", "templates", "conversations"}`` from standard input, trains a small byte-level
vocabulary on the corpus, and writes the vocabulary, and for each template and conversation the token ids and the
text before the last answer, to the file named as its argument (LLaMA-Factory's log goes to
standard output).
"""

from __future__ import annotations

import json
import sys
import types

from llamafactory.data.template import get_template_and_fix_tokenizer
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
    tokens = [AddedToken(text, special=True, normalized=False) for text in special]
    made.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=6000,
            min_frequency=1,
            special_tokens=tokens,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return made


def main() -> None:
    """Answer the one request."""
    request = json.load(sys.stdin)
    made = make_vocabulary(request["special"], request["corpus"])
    model = json.loads(made.to_str())["model"]
    size = made.get_vocab_size()
    answer = {
        "tokens": [made.id_to_token(number) for number in range(size)],
        "merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]],
        "templates": {},
    }
    for name, enable_thinking in request["templates"]:
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
        arguments = types.SimpleNamespace(
            template=name,
            train_on_prompt=False,
            tool_format=None,
            default_system=None,
            enable_thinking=enable_thinking,
            preserve_thinking=False,
        )
        template = get_template_and_fix_tokenizer(tokenizer, arguments)
        assert len(tokenizer) == size, f"{name} added tokens"
        prompts = []
        for talk in request["conversations"]:
            pairs = template.encode_multiturn(tokenizer, talk["messages"], talk["system"] or None, None)
            ids = [number for source, target in pairs[:-1] for number in (*source, *target)] + pairs[-1][0]
            prompts.append(
                {
                    "ids": ids,
                    "text": tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False),
                    "answer": tokenizer.decode(
                        pairs[-1][1], skip_special_tokens=False, clean_up_tokenization_spaces=False
                    ),
                    "together": tokenizer.encode(
                        tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False),
                        add_special_tokens=False,
                    ),
                }
            )
        answer["templates"][f"{name}/{enable_thinking}"] = {
            "default_system": template.default_system,
            "stops": tokenizer.convert_ids_to_tokens(template.get_stop_token_ids(tokenizer)),
            "prompts": prompts,
        }
    with open(sys.argv[1], "w", encoding="utf-8") as stream:
        json.dump(answer, stream)


if __name__ == "__main__":
    main()
