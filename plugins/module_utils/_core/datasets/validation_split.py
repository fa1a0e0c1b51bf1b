# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows to validate on, taken from a published dataset, so that each stays on its side as the dataset grows.

Which side a row is on is decided by what it asks, not by its place or its answer: a number made from a digest of the
question, between 0 and 1, lies below the share or does not. So rows that ask the same are on the same side, a row does
not change sides when others come, go or are put in another order, and a larger share only adds rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import typing as t

from ..errors import InputError
from ..system.disk import disk_error
from ..system.files import read_json, write_json
from .output_formats import DATA_FILE

INFO_FILE = "dataset_info.json"
TRAIN, VALIDATION = "train", "validation"


@dataclasses.dataclass(frozen=True)
class Split:
    """How many rows are on each side."""

    train: int
    validation: int


def asked(row: t.Mapping[str, t.Any]) -> str:
    """What a published row asks: the same text in whichever form it was published."""
    if "text" in row:
        return str(row["text"])
    if "instruction" in row:
        return "\n".join(text for text in (row["instruction"], row["input"]) if text)
    turns = [str(turn["value"]) for turn in row["conversations"]]
    return "\0".join(turns if "chosen" in row else turns[:-1])


def position(question: str) -> float:
    """Where a question lies between 0 (included) and 1 (excluded)."""
    raw = hashlib.blake2b(question.encode("utf-8"), digest_size=8).digest()
    # 53 bits are what a float holds exactly
    return (int.from_bytes(raw, "big") >> 11) / 2.0**53


def split(source: str, target: str, share: float) -> Split:
    """Write the two sides as datasets of their own, ``train`` and ``validation``.

    :param source: directory of a published version.
    :param target: directory to write to; made if need be.
    :param share: of the questions to validate on.
    :raises InputError: when one side would be empty.
    :raises NotReadyError: when the disk is full.
    """
    entries = read_json(os.path.join(source, INFO_FILE)) or {}
    entry = next(iter(entries.values()))
    counts = [0, 0]
    least = 1.0
    try:
        os.makedirs(target, exist_ok=True)
        with (
            open(os.path.join(source, DATA_FILE), "rb") as rows,
            open(os.path.join(target, f"{TRAIN}.jsonl"), "wb") as train,
            open(os.path.join(target, f"{VALIDATION}.jsonl"), "wb") as validation,
        ):
            sides = (train, validation)
            for line in rows:
                place = position(asked(json.loads(line)))
                least = min(least, place)
                side = place < share
                counts[side] += 1
                sides[side].write(line)
    except OSError as error:
        raise disk_error(error, target) from error
    if not counts[1]:
        raise InputError(
            f"validation_share {share:g} of {counts[0]} rows leaves no row to validate on.",
            f"The smallest share that takes one is {least + 0.001:.3f}; or add rows, or leave it out.",
        )
    if not counts[0]:
        raise InputError(
            f"validation_share {share:g} of {counts[1]} rows leaves no row to train on.", "Add rows, or leave it out."
        )
    write_json(
        os.path.join(target, INFO_FILE),
        {name: {**entry, "file_name": f"{name}.jsonl"} for name in (TRAIN, VALIDATION)},
    )
    return Split(*counts)
