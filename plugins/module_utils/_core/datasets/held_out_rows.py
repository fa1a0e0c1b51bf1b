# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a share of the questions of a published dataset from its training, to measure the trained model with them.

The question of a row decides, as for :mod:`.validation_split`, but by another digest, and before that split: so both
shares hold, and they are disjoint. A row keeps its side when other rows are added, removed or reordered, and a larger
share only adds rows. Questions that differ in case, white space or the composition of characters alone are the same.

A conversation is trained on at each of its answers. So a row whose earlier turns hold a question that is held out is
kept from the training, too; it is not asked, because its own question is on the other side.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import hashlib
import json
import os
import typing as t

from ..errors import InputError
from ..evaluations.items import normalised
from ..evaluations.shares import LARGEST_SHARE
from ..messages.message import Message
from ..system.disk import disk_error
from ..system.files import read_json, write_json
from .output_formats import ASSISTANT, CALL, DATA_FILE, INFO_FILE
from .statistics import Lengths

#: Makes the digest another than that of the validation split.
_PERSON = b"held out"
#: Sides of a row: trained on; held out by its own question; held out because it holds a question that is.
TRAINED, ASKED, CONTAINING = "trained", "asked", "containing"

#: A row, parsed.
Row = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Counts:
    """The rows on each side.

    :param trained: rows to train on.
    :param asked: rows whose own question is held out.
    :param containing: rows with several questions of which an earlier one is held out.
    """

    trained: int = 0
    asked: int = 0
    containing: int = 0

    @property
    def held_out(self) -> int:
        """Rows that are not trained on."""
        return self.asked + self.containing


def questions(row: Row) -> list[bytes]:
    """Digests of all questions of a published row, which is at least one; its own, the one of its last answer, last.

    The same in every output format. A question is everything said before an answer; the system prompt and the tools
    are no part of it. Plain text is a question itself.
    """
    digest = hashlib.blake2b(digest_size=16, person=_PERSON)

    def add(text: t.Any) -> None:
        digest.update(normalised(str(text)).encode("utf-8", "surrogatepass") + b"\0")

    if "text" in row or "instruction" in row:
        texts = (row["text"],) if "text" in row else (row["instruction"], row["input"])
        add("\n".join(text for text in texts if text))
        return [digest.digest()]
    found: list[bytes] = []
    for number, turn in enumerate(row["conversations"]):
        if number and turn["from"] in (ASSISTANT, CALL):
            found.append(digest.digest())
        add(turn["value"])
    return [*found, digest.digest()] if "chosen" in row else found


def position(question: bytes) -> float:
    """The number of a question, from 0 (inclusive) to 1 (exclusive)."""
    return (int.from_bytes(question[:8], "big") >> 11) / 2.0**53


class Sides:
    """The side of each row of a version. Keeps 16 bytes of each question that is held out, not the rows.

    :param directory: of the version.
    :param share: share of the questions that are held out, between 0 and 1.
    """

    def __init__(self, directory: str, share: float) -> None:
        self._path = os.path.join(directory, DATA_FILE)
        self._share = share

    @functools.cached_property
    def _held_out(self) -> frozenset[bytes]:
        """The questions that are held out; only needed for rows with several questions."""
        with open(self._path, "rb") as stream:
            own = (questions(json.loads(line))[-1] for line in stream)
            return frozenset(question for question in own if position(question) < self._share)

    def side(self, row: Row) -> str:
        """One of :data:`TRAINED`, :data:`ASKED`, :data:`CONTAINING`."""
        *earlier, own = questions(row)
        if position(own) < self._share:
            return ASKED
        return CONTAINING if any(question in self._held_out for question in earlier) else TRAINED

    def is_trained(self, row: Row) -> bool:
        """Whether a row is trained on."""
        return self.side(row) == TRAINED


def require_rows(counts: Counts, share: float, smallest_position: float) -> None:
    """Check that rows are left to train on, and some are held out.

    :param smallest_position: the smallest position of a question.
    :raises InputError: if not.
    """
    rows = counts.trained + counts.held_out
    if not counts.asked:
        smallest = smallest_position + 0.001
        advice = Message("datasets.smallest_share", smallest=smallest)
        if smallest > LARGEST_SHARE:
            advice = Message("datasets.too_few_to_validate", largest=LARGEST_SHARE)
        raise InputError("datasets.nothing_held_out", share=share, rows=rows, advice=advice)
    if not counts.trained:
        raise InputError("datasets.all_held_out", share=share, rows=rows)


def trained_results(
    directory: str | None, results: t.Mapping[str, t.Any], share: float
) -> tuple[dict[str, t.Any], Counts | None]:
    """The statistics of a dataset as they are for the rows that are trained on: ``rows``, ``bytes``, ``lengths``.

    :param directory: of the version, whose rows are read. Without one, or if the rows are not there, rows and bytes are
        estimated from the share.
    :param results: results in the receipt of the dataset.
    :returns: the results, and the rows on each side; None if they were not counted.
    :raises InputError: if one side would be empty.
    """
    if directory is None:
        return _estimated(results, share), None
    lengths, size = Lengths(), 0
    numbers: dict[str, int] = {TRAINED: 0, ASKED: 0, CONTAINING: 0}
    smallest_position = 1.0
    sides = Sides(directory, share)
    try:
        with open(os.path.join(directory, DATA_FILE), "rb") as rows:
            for line in rows:
                row = json.loads(line)
                smallest_position = min(smallest_position, position(questions(row)[-1]))
                side = sides.side(row)
                numbers[side] += 1
                if side == TRAINED:
                    lengths.add([line])
                    size += len(line)
    except (OSError, ValueError, KeyError):  # the step reports a file that is damaged
        return _estimated(results, share), None
    counts = Counts(**numbers)
    require_rows(counts, share, smallest_position)
    return {**results, "rows": counts.trained, "bytes": size, "lengths": lengths.result()}, counts


def _estimated(results: t.Mapping[str, t.Any], share: float) -> dict[str, t.Any]:
    numbers = {name: results[name] for name in ("rows", "bytes") if isinstance(results.get(name), int)}
    return {**results, **{name: max(1, round(number * (1 - share))) for name, number in numbers.items()}}


@dataclasses.dataclass(frozen=True)
class TrainedRows:
    """The copy of a dataset without the rows that are held out.

    :param counts: rows on each side.
    :param numbers: for each row of the copy, its number in the dataset, from 1.
    """

    counts: Counts
    numbers: t.Sequence[int]


def write_trained(source: str, target: str, share: float) -> TrainedRows:
    """Write a copy of a dataset without the rows that are held out.

    :param source: directory of a published version.
    :param target: directory to write to; created if missing.
    :param share: share of the questions that are held out, between 0 and 1.
    :raises InputError: if one side would be empty.
    :raises NotReadyError: if the disk is full.
    """
    name, entry = next(iter((read_json(os.path.join(source, INFO_FILE)) or {}).items()))
    numbers = array.array("Q")
    counted: dict[str, int] = {TRAINED: 0, ASKED: 0, CONTAINING: 0}
    smallest_position = 1.0
    sides = Sides(source, share)
    try:
        os.makedirs(target, exist_ok=True)
        with (
            open(os.path.join(source, DATA_FILE), "rb") as rows,
            open(os.path.join(target, DATA_FILE), "wb") as copy,
        ):
            for number, line in enumerate(rows, 1):
                row = json.loads(line)
                smallest_position = min(smallest_position, position(questions(row)[-1]))
                side = sides.side(row)
                counted[side] += 1
                if side == TRAINED:
                    copy.write(line)
                    numbers.append(number)
    except OSError as error:
        raise disk_error(error, target) from error
    counts = Counts(**counted)
    require_rows(counts, share, smallest_position)
    write_json(os.path.join(target, INFO_FILE), {name: {**entry, "file_name": DATA_FILE}})
    return TrainedRows(counts, numbers)
