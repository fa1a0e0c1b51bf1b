# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of an evaluation, one JSON object in each line of ``answers.jsonl``, found by model and question.

A line is on the disk before the next question is asked, so a kill loses at most the answer to the question in flight. A
line without its end, which a kill or a full disk leaves, is dropped. Only the places of the lines are in memory, so
that the size of the answers does not matter.
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from ..json_text import parse_json
from ..system.disk import disk_error

#: A line: ``item``, ``model`` (label), ``digest``, ``answer``, ``scores``, ``unmet``.
Line = dict[str, t.Any]
#: Digest of a model, and id of an item.
Key = tuple[str, str]


class AnswerStore:
    """The answers in one file.

    :param path: the file; it is created with the first answer.
    :param repair: whether a damaged end is cut off, so that answers can be added. A reader leaves the file as it is.
    """

    def __init__(self, path: str, repair: bool = False) -> None:
        self._path = path
        self._places: dict[Key, tuple[int, int]] = {}
        end = self._read_index()
        self._size = end
        if repair and os.path.exists(path) and os.path.getsize(path) > end:
            os.truncate(path, end)

    def _read_index(self) -> int:
        """Find the places of the lines; returns the end of the last intact line."""
        end = 0
        try:
            stream = open(self._path, "rb")
        except FileNotFoundError:
            return 0
        with stream:
            for raw in stream:
                line = _parse(raw)
                if line is None:
                    break
                self._places[_key(line)] = (end, len(raw))
                end += len(raw)
        return end

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: Key) -> bool:
        return key in self._places

    def __iter__(self) -> t.Iterator[Key]:
        return iter(self._places)

    def get(self, digest: str, item: str) -> Line | None:
        """The answer of a model to a question; None if there is none.

        :param digest: of the model.
        :param item: id of the question.
        """
        place = self._places.get((digest, item))
        if place is None:
            return None
        with open(self._path, "rb") as stream:
            stream.seek(place[0])
            return _parse(stream.read(place[1]))

    def add(self, line: Line) -> None:
        """Append an answer; it is on the disk when this returns.

        :raises NotReadyError: if the disk is full.
        """
        self.add_all([line])

    def add_all(self, lines: t.Iterable[Line]) -> None:
        """Append answers; they are on the disk when this returns.

        :raises NotReadyError: if the disk is full. None of them is added then.
        """
        places, end = {}, self._size
        try:
            with open(self._path, "ab") as stream:
                for line in lines:
                    raw = (json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n").encode("utf-8")
                    stream.write(raw)
                    places[_key(line)] = (end, len(raw))
                    end += len(raw)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._path, self._size)
            raise disk_error(error, self._path) from error
        self._places.update(places)
        self._size = end

    def of_model(self, digest: str, label: str) -> ModelAnswers:
        """The answers of one model, by id of the item.

        :param label: name of the model in this evaluation; one that was asked under another name keeps its answers.
        """
        return ModelAnswers(self, digest, label)

    def ids(self, digest: str) -> t.Iterator[str]:
        """Ids of the items that a model has answered."""
        return (item for asked, item in self._places if asked == digest)


class ModelAnswers(t.Mapping[str, Line]):
    """The answers of one model, each read from the disk when it is looked up."""

    def __init__(self, store: AnswerStore, digest: str, label: str) -> None:
        self._store, self._digest, self._label = store, digest, label

    def __getitem__(self, item: str) -> Line:
        line = self._store.get(self._digest, item)
        if line is None:
            raise KeyError(item)
        return {**line, "model": self._label}

    def __contains__(self, item: object) -> bool:
        return isinstance(item, str) and (self._digest, item) in self._store

    def __iter__(self) -> t.Iterator[str]:
        return self._store.ids(self._digest)

    def __len__(self) -> int:
        return sum(1 for _item in self._store.ids(self._digest))


def _key(line: Line) -> Key:
    return str(line["digest"]), str(line["item"])


def _parse(raw: bytes) -> Line | None:
    """The object in a line; None for a line that is not complete."""
    if not raw.endswith(b"\n"):
        return None
    try:
        line = parse_json(raw.decode("utf-8"))
    except ValueError:
        return None
    return line if isinstance(line, dict) and "digest" in line and "item" in line else None
