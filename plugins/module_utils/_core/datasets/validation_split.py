# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Splits a published dataset into training and validation rows so that each row keeps its side as the dataset grows.

The question of a row decides its side, not its position or its answer: a number between 0 and 1, derived from a digest
of the question, is below the share or not. So rows with the same question are on the same side, a row does not change
sides when other rows are added, removed or reordered, and a larger share only adds validation rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import typing as t

from ..errors import InputError
from ..evaluations.shares import LARGEST_SHARE
from ..messages.message import Message
from ..system.disk import disk_error
from ..system.files import read_json, write_json
from .output_formats import DATA_FILE, INFO_FILE

TRAIN, VALIDATION = "train", "validation"


@dataclasses.dataclass(frozen=True)
class Split:
    """Number of rows on each side."""

    train: int
    validation: int


def question_of(row: t.Mapping[str, t.Any]) -> str:
    """The question of a published row; the same text in every output format."""
    if "text" in row:
        return str(row["text"])
    if "instruction" in row:
        return "\n".join(text for text in (row["instruction"], row["input"]) if text)
    turns = [str(turn["value"]) for turn in row["conversations"]]
    return "\0".join(turns if "chosen" in row else turns[:-1])


def position(question: str) -> float:
    """The number of a question, from 0 (inclusive) to 1 (exclusive)."""
    raw = hashlib.blake2b(question.encode("utf-8"), digest_size=8).digest()
    # a float represents 53 bits exactly
    return (int.from_bytes(raw, "big") >> 11) / 2.0**53


def _require_rows(counts: t.Sequence[int], share: float, smallest_position: float) -> None:
    """Check that both sides have rows.

    :param counts: rows to train and to validate on.
    :param smallest_position: the smallest position of a row.
    :raises InputError: if one has none.
    """
    if not counts[1]:
        smallest = smallest_position + 0.001
        advice = Message("datasets.smallest_share", smallest=smallest)
        if smallest > LARGEST_SHARE:
            advice = Message("datasets.too_few_to_validate", largest=LARGEST_SHARE)
        raise InputError("datasets.nothing_to_validate_on", share=share, rows=counts[0], advice=advice)
    if not counts[0]:
        raise InputError("datasets.nothing_to_train_on", share=share, rows=counts[1])


def check_share(
    source: str, share: float, is_trained: t.Callable[[t.Mapping[str, t.Any]], bool] = lambda row: True
) -> None:
    """Check that a share leaves rows on both sides, before anything is written. Reads until both sides have one.

    :param source: directory of a published version; nothing is checked if its rows are not there.
    :param is_trained: whether a row is among those that are split; others are held out from both sides.
    :raises InputError: if one side would be empty.
    """
    counts, smallest_position = [0, 0], 1.0
    try:
        with open(os.path.join(source, DATA_FILE), "rb") as rows:
            for line in rows:
                row = json.loads(line)
                if not is_trained(row):
                    continue
                row_position = position(question_of(row))
                smallest_position = min(smallest_position, row_position)
                counts[row_position < share] += 1
                if all(counts):
                    return
    except (OSError, ValueError, KeyError):
        return
    _require_rows(counts, share, smallest_position)


def split(source: str, target: str, share: float) -> Split:
    """Write both sides as separate datasets, ``train`` and ``validation``.

    :param source: directory of a published version.
    :param target: directory to write to; created if missing.
    :param share: share of the questions to validate on, between 0 and 1.
    :raises InputError: if one side would be empty.
    :raises NotReadyError: if the disk is full.
    """
    entries = read_json(os.path.join(source, INFO_FILE)) or {}
    entry = next(iter(entries.values()))
    counts = [0, 0]
    smallest_position = 1.0
    try:
        os.makedirs(target, exist_ok=True)
        with (
            open(os.path.join(source, DATA_FILE), "rb") as rows,
            open(os.path.join(target, f"{TRAIN}.jsonl"), "wb") as train,
            open(os.path.join(target, f"{VALIDATION}.jsonl"), "wb") as validation,
        ):
            sides = (train, validation)
            for line in rows:
                row_position = position(question_of(json.loads(line)))
                smallest_position = min(smallest_position, row_position)
                side = row_position < share
                counts[side] += 1
                sides[side].write(line)
    except OSError as error:
        raise disk_error(error, target) from error
    _require_rows(counts, share, smallest_position)
    write_json(
        os.path.join(target, INFO_FILE),
        {name: {**entry, "file_name": f"{name}.jsonl"} for name in (TRAIN, VALIDATION)},
    )
    return Split(*counts)
