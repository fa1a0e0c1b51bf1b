# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sample of the rows of a dataset, in the form in which LLaMA-Factory's templates take them.

The digest of a row decides whether it is in the sample, not its position: the sample covers the whole dataset, and a
few more rows change little of it.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import typing as t

from ..json_text import parse_json
from ..system.disk import disk_error
from ..system.files import read_json, write_json
from . import held_out_rows
from .output_formats import DATA_FILE, INFO_FILE
from .truncation import conversations
from .validation_split import position, question_of

#: Maximum size of a row that is read into a sample, in bytes: longer ones are truncated in training anyway.
_MAX_ROW_BYTES = 4 * 1024 * 1024


#: Whether a row is wanted.
Filter = t.Callable[[t.Mapping[str, t.Any]], bool]


def every(row: t.Mapping[str, t.Any]) -> bool:
    """Every row is wanted."""
    del row
    return True


def in_training(validation_share: float) -> Filter:
    """Return whether a row is trained on, and not validated on.

    :param validation_share: share of the questions that the training validates on.
    """
    return lambda row: position(question_of(row)) >= validation_share


def in_validation(validation_share: float) -> Filter:
    """Return whether a row is one of those that the training validates on."""
    return lambda row: position(question_of(row)) < validation_share


def held_out(directory: str, share: float) -> Filter:
    """Return whether the question of a row is held out from the training.

    :param directory: of the version; :param share: share of the questions that are held out.
    """
    sides = held_out_rows.Sides(directory, share)
    return lambda row: sides.side(row) == held_out_rows.ASKED


def not_held_out(directory: str, share: float) -> Filter:
    """Return whether a training reads a row, as far as rows are held out from it."""
    return held_out_rows.Sides(directory, share).is_trained if share else every


def not_trained_on(directory: str) -> Filter:
    """Return whether the question of a row is in no row of another dataset.

    :param directory: of the version that is trained on. 16 bytes of each question are kept.
    """
    with open(os.path.join(directory, DATA_FILE), "rb") as stream:
        trained = {question for line in stream for question in held_out_rows.questions(parse_json(line))}
    return lambda row: held_out_rows.questions(row)[-1] not in trained


def write_some(source: str, target: str, wanted: Filter) -> None:
    """Write a copy of a dataset with some of its rows.

    :param source: directory of a dataset; :param target: directory to write to; created if missing.
    :raises NotReadyError: if the disk is full.
    """
    name, entry = next(iter((read_json(os.path.join(source, INFO_FILE)) or {}).items()))
    try:
        os.makedirs(target, exist_ok=True)
        with (
            open(os.path.join(source, DATA_FILE), "rb") as rows,
            open(os.path.join(target, DATA_FILE), "wb") as copy,
        ):
            copy.writelines(line for line in rows if wanted(parse_json(line)))
    except OSError as error:
        raise disk_error(error, target) from error
    write_json(os.path.join(target, INFO_FILE), {name: {**entry, "file_name": DATA_FILE}})


def write(source: str, target: str, count: int, wanted: Filter) -> int:
    """Write a sample of rows as JSONL: ``{"system", "messages", "tools"}``, or ``{"text"}``.

    :param source: directory of a dataset; :param target: file to write.
    :param count: maximum number of rows.
    :param wanted: whether a row may be in the sample.
    :returns: number of rows written.
    """
    path = os.path.join(source, DATA_FILE)
    with open(path, "rb") as stream:
        chosen = heapq.nsmallest(count, _places(stream, wanted))
    with open(path, "rb") as stream, open(target, "w", encoding="utf-8") as output:
        for _digest, place in chosen:
            stream.seek(place)
            output.write(json.dumps(as_conversation(parse_json(stream.readline()))) + "\n")
    return len(chosen)


def _places(stream: t.BinaryIO, wanted: Filter) -> t.Iterator[tuple[bytes, int]]:
    """Digest and offset of each row that is wanted; without answers that the model is to avoid."""
    place = 0
    for line in stream:
        if len(line) <= _MAX_ROW_BYTES:
            row = parse_json(line)
            if row.get("kto_tag") is not False and wanted(row):
                yield hashlib.blake2b(line, digest_size=8).digest(), place
        place += len(line)


def as_conversation(row: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return a published row as it is trained on; of a pair of answers the preferred one."""
    if "text" in row:
        return {"text": str(row["text"])}
    if "instruction" in row:
        question = "\n".join(text for text in (row["instruction"], row["input"]) if text)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": str(row["output"])}]
        return {"system": row.get("system") or "", "tools": row.get("tools") or "", "messages": messages}
    return conversations(row)[0]
