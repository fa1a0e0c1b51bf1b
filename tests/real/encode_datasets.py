# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads and encodes datasets with LLaMA-Factory as a training does. Runs in LLaMA-Factory's virtual environment.

Usage: encode_datasets.py DIRECTORY_OF_THE_PROGRAMS ANSWER. Reads from standard input a JSON list of ``{"arguments",
"conversations"}``: the arguments of a training, and the conversations of each of its rows for ``count_rendered``.
Writes, for each, ``{"error"}`` if LLaMA-Factory raises one, or ``{"lengths", "trained", "texts", "counted"}``: for each
row the number of its tokens, how many of them are in the loss, their text, and the number that ``count_rendered`` has.

The base has no processor of pictures, which LLaMA-Factory asks for under some templates and does not use for rows
without pictures: an object without a function takes its place.
"""

from __future__ import annotations

import json
import sys
import typing as t
from unittest import mock


def encode(request: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The rows of a training as LLaMA-Factory gives them to the model."""
    import count_rendered
    import render_probes
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    arguments = dict(request["arguments"])
    model_args, data_args, training_args, _finetuning, _generating = get_train_args(dict(arguments))
    loaded = load_tokenizer(model_args)
    tokenizer = loaded["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    loaded["processor"] = loaded["processor"] or mock.MagicMock(full_image_sequence="", image_seq_length=0)
    rows = get_dataset(template, model_args, data_args, training_args, stage="sft", **loaded)["train_dataset"]
    counting = render_probes.load_template(str(arguments["template"]), tokenizer, {})
    return {
        "lengths": [len(row["input_ids"]) for row in rows],
        "trained": [sum(label >= 0 for label in row["labels"]) for row in rows],
        "texts": [render_probes.text_of(tokenizer, row["input_ids"]) for row in rows],
        "counted": [count_rendered.count(counting, tokenizer, each) for each in request["conversations"]],
    }


def main() -> None:
    """Answer the requests."""
    sys.path.insert(0, sys.argv[1])
    answers: list[dict[str, t.Any]] = []
    for request in json.load(sys.stdin):
        try:
            answers.append(encode(request))
        except Exception as error:  # LLaMA-Factory raises whatever its formatters do, and a training ends there
            answers.append({"error": f"{type(error).__name__}: {error}"})
    with open(sys.argv[2], "w", encoding="utf-8") as stream:
        json.dump(answers, stream)


if __name__ == "__main__":
    main()
