# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in LLaMA-Factory's environment: loads datasets with its own loader and reports the training samples.

Standard input: ``{"work": …, "datasets": {label: {"dir": …, "name": …}}}``. Standard output, last line:
``{label: [{"text": …, "learned": …}]}``, the text of each sample, and the part on which the loss is computed.
"""

from __future__ import annotations

import json
import sys
import typing as t

from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_tokenizer() -> t.Any:
    """A tokenizer with a token for each byte and some for long runs of a letter; it is lossless."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    runs = [letter * length for letter in "qr" for length in (1, 2, 4, 8, 16, 32)]
    pieces = [*SPECIAL, *letters, *(run + run for run in runs)]
    merges = [(run, run) for run in runs]
    inner = Tokenizer(models.BPE(vocab={piece: at for at, piece in enumerate(pieces)}, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=SPECIAL[0], pad_token=SPECIAL[0], additional_special_tokens=list(SPECIAL[1:])
    )


def main() -> None:
    asked = json.load(sys.stdin)
    told = {}
    for label, where in asked["datasets"].items():
        tokenizer = byte_tokenizer()
        model_args, data_args, training_args, _finetuning, _generating = get_train_args(
            {
                "stage": "sft",
                "do_train": True,
                "finetuning_type": "lora",
                "model_name_or_path": "none",
                "template": "qwen",
                "dataset": where["name"],
                "dataset_dir": where["dir"],
                "cutoff_len": 1_000_000,
                "output_dir": asked["work"],
                "cache_dir": asked["work"],
                "report_to": "none",
                "use_cpu": True,
            }
        )
        template = get_template_and_fix_tokenizer(tokenizer, data_args)
        found = get_dataset(template, model_args, data_args, training_args, "sft", tokenizer)["train_dataset"]
        told[label] = [
            {
                "text": tokenizer.decode(row["input_ids"]),
                "learned": tokenizer.decode([label for label in row["labels"] if label >= 0]),
            }
            for row in found
        ]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
