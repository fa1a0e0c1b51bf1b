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
from .output_formats import DATA_FILE
from .truncation import conversations
from .validation_split import position, question_of

#: Maximum size of a row that is read into a sample, in bytes: longer ones are truncated in training anyway.
_MAX_ROW_BYTES = 4 * 1024 * 1024


def in_training(validation_share: float) -> t.Callable[[t.Mapping[str, t.Any]], bool]:
    """Whether a row is trained on, as a function of the row.

    :param validation_share: share of the questions that the training validates on.
    """
    return lambda row: position(question_of(row)) >= validation_share


def in_validation(validation_share: float) -> t.Callable[[t.Mapping[str, t.Any]], bool]:
    """Whether a row is one of those that the training validates on, as a function of the row."""
    return lambda row: position(question_of(row)) < validation_share


def write(source: str, target: str, count: int, wanted: t.Callable[[t.Mapping[str, t.Any]], bool]) -> int:
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


def _places(stream: t.BinaryIO, wanted: t.Callable[[t.Mapping[str, t.Any]], bool]) -> t.Iterator[tuple[bytes, int]]:
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
