# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences between two versions of a dataset: rows added, removed, and with another answer. Bounded in memory."""

from __future__ import annotations

import json
import typing as t

#: Maximum number of rows that are compared one by one (about 30 MB); beyond it, ``compared`` is false.
COMPARED = 200_000
#: Rows shown of each kind, and characters shown of each text.
SHOWN = 20
_WIDTH = 160


def _question_and_answer(line: str) -> tuple[str, str]:
    """The last answer of a published row, and the question with everything that precedes it."""
    row = json.loads(line)
    if "text" in row:
        return f"\0\0{row['text']}", ""
    if "conversations" not in row:
        question = "\n".join(text for text in (row["instruction"], row["input"]) if text)
        return f"{row['system']}\0\0{question}", row["output"]
    turns = [turn["value"] for turn in row["conversations"]]
    if "chosen" in row:
        return (
            f"{row['system']}\0{row['tools']}\0" + "\0".join(turns),
            f"{row['chosen']['value']} (rather than {row['rejected']['value']})",
        )
    if "kto_tag" in row:
        turns[-1] += " (liked)" if row["kto_tag"] else " (not liked)"
    return f"{row['system']}\0{row['tools']}\0" + "\0".join(turns[:-1]), turns[-1]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


class Changes:
    """Collects the lines of the new version and reports the differences from the old one.

    :param old: ``data.jsonl`` of the previous version; empty if there is none.
    """

    def __init__(self, old: str) -> None:
        self.old = old
        #: hash of a question → hashes of its answers without a match in the new version, in file order
        self._unmatched: dict[int, list[int]] = {}
        self.old_rows = 0
        self.compared = True
        self._load()
        self.restart()

    def _load(self) -> None:
        for line in self._old_lines():
            self.old_rows += 1
            if self.old_rows > COMPARED:
                self.compared = False
                self._unmatched = {}
                return
            question, answer = _question_and_answer(line)
            self._unmatched.setdefault(hash(question), []).append(hash(answer))

    def _old_lines(self) -> t.Iterator[str]:
        if self.old:
            with open(self.old, encoding="utf-8", newline="\n") as stream:
                yield from stream

    def restart(self) -> None:
        """Discard the collected lines: rendering starts again with the first row."""
        self._new: list[tuple[int, int]] = []
        self._texts: dict[tuple[int, int], tuple[str, str]] = {}

    def add_line(self, line: str) -> None:
        """Add one line of the new version."""
        if not self.compared:
            return
        if len(self._new) == COMPARED:
            self.compared = False
            self._new = []
            return
        question, answer = _question_and_answer(line)
        key = (hash(question), hash(answer))
        self._new.append(key)
        if len(self._texts) < 3 * SHOWN and key[1] not in self._unmatched.get(key[0], ()):
            self._texts[key] = (_short(question.rpartition("\0")[2]), _short(answer))

    def result(self) -> dict[str, t.Any]:
        """``compared``, the counts ``added``, ``removed``, ``changed``, and the texts ``before`` and ``after``."""
        if not self.compared:
            return {"compared": False, "added": 0, "removed": 0, "changed": 0, "before": [], "after": []}
        unmatched = {question: list(answers) for question, answers in self._unmatched.items()}
        new_keys = []
        for question, answer in self._new:
            answers = unmatched.get(question)
            if answers and answer in answers:
                answers.remove(answer)
            else:
                new_keys.append((question, answer))
        added: list[tuple[int, int]] = []
        changed: list[tuple[int, int]] = []
        replaced: list[tuple[int, int]] = []
        for key in new_keys:
            answers = unmatched.get(key[0])
            if answers:
                changed.append(key)
                replaced.append((key[0], answers.pop(0)))
            else:
                added.append(key)
        removed = [(question, answer) for question, answers in unmatched.items() for answer in answers]
        after = self._lines("changed", changed, self._texts) + self._lines("added", added, self._texts)
        old_texts = self._old_texts({*replaced[:SHOWN], *removed[:SHOWN]})
        before = self._lines("changed", replaced, old_texts) + self._lines("removed", removed, old_texts)
        return {
            "compared": True,
            "added": len(added),
            "removed": len(removed),
            "changed": len(changed),
            "before": before,
            "after": after,
        }

    def _old_texts(self, keys: set[tuple[int, int]]) -> dict[tuple[int, int], tuple[str, str]]:
        texts: dict[tuple[int, int], tuple[str, str]] = {}
        if keys:
            for line in self._old_lines():
                question, answer = _question_and_answer(line)
                key = (hash(question), hash(answer))
                if key in keys:
                    texts[key] = (_short(question.rpartition("\0")[2]), _short(answer))
        return texts

    @staticmethod
    def _lines(
        kind: str, keys: t.Sequence[tuple[int, int]], texts: t.Mapping[tuple[int, int], tuple[str, str]]
    ) -> list[str]:
        lines = []
        for key in keys[:SHOWN]:
            if key in texts:
                lines.append(f"{kind}: {texts[key][0]} → {texts[key][1]}")
        if len(keys) > len(lines):
            lines.append(f"{kind}: {len(keys) - len(lines)} more")
        return lines
