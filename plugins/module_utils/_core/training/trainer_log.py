# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LLaMA-Factory's ``trainer_log.jsonl``: how far a training is.

One JSON object a line (``LogCallback`` in ``llamafactory/train/callbacks.py``). The file appears with the first
logged step, is appended to when a training is resumed (steps then stand in it twice, the clock starts anew), ends
with a line without a loss, and after a kill holds a torn line that the next one is glued to.
"""

from __future__ import annotations

import json
import math
import os
import re
import typing as t

from ..runs.progress import Progress

NAME = "trainer_log.jsonl"

#: About 230 lines of the usual length.
_TAIL = 64 * 1024
_DURATION = re.compile(r"(?:(-?\d+) days?, )?(\d+):(\d\d):(\d\d)(?:\.\d+)?\Z")
_START = '{"current_steps"'

Entry = dict[str, t.Any]


def parse_duration(text: t.Any) -> float | None:
    """Seconds in the text of a Python timedelta: ``0:01:12``, ``1 day, 2:00:00``; None when it is none."""
    found = _DURATION.match(text) if isinstance(text, str) else None
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def parse_line(line: str) -> Entry | None:
    """One line; None when it is torn. Of a torn line with the next one glued to it, the whole one is read."""
    for text in (line, line[max(line.rfind(_START), 0) :]):
        try:
            entry = json.loads(text)
        except ValueError:
            continue
        if isinstance(entry, dict) and _number(entry, "current_steps") is not None:
            return entry
    return None


def read_tail(path: str, limit: int = _TAIL) -> list[Entry]:
    """The whole lines among the last ``limit`` bytes; none when the file is not there yet."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - limit))
            raw = stream.read(limit)
    except (FileNotFoundError, NotADirectoryError):
        return []
    lines = raw.decode("utf-8", "replace").split("\n")
    # what stands before the first line end may be the rest of a line, and cannot be told from a torn one
    return _entries(lines[1:] if size > limit else lines)


def read_all(path: str) -> t.Iterator[Entry]:
    """All whole lines, one at a time; none when the file is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                yield from _entries([line])
    except (FileNotFoundError, NotADirectoryError):
        return


def _entries(lines: t.Iterable[str]) -> list[Entry]:
    return [entry for entry in (parse_line(line) for line in lines if line.strip()) if entry is not None]


def _number(entry: t.Mapping[str, t.Any], key: str) -> float | None:
    value: t.Any = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return t.cast(float, value)


def _last(entries: t.Sequence[Entry], key: str) -> float | None:
    for entry in reversed(entries):
        found = _number(entry, key)
        if found is not None:
            return found
    return None


def attempts(entries: t.Iterable[Entry]) -> list[list[Entry]]:
    """The lines of each attempt: a new one begins where steps or the clock go back."""
    found: list[list[Entry]] = []
    for entry in entries:
        if not found or _begins(found[-1][-1], entry):
            found.append([])
        found[-1].append(entry)
    return found


def _begins(before: Entry, entry: Entry) -> bool:
    steps, clock = before["current_steps"], parse_duration(before.get("elapsed_time"))
    now = parse_duration(entry.get("elapsed_time"))
    if clock is not None and now is not None and now < clock:
        return True
    again = entry["current_steps"] == steps and "loss" in entry and "loss" in before
    return bool(entry["current_steps"] < steps or again)


def progress(path: str) -> Progress | None:
    """How far a training is, from the end of its log; None when nothing was logged yet."""
    entries = read_tail(path)
    if not entries:
        return None
    current, total = entries[-1]["current_steps"], _last(entries, "total_steps") or 0
    return Progress(
        current=current,
        total=total,
        unit="step",
        loss=_last(entries, "loss"),
        eval_loss=_last(entries, "eval_loss"),
        learning_rate=_last(entries, "lr"),
        epoch=_last(entries, "epoch"),
        eta_seconds=_eta(entries, total - current),
    )


def _eta(entries: t.Sequence[Entry], left: float) -> float | None:
    """Seconds left. LLaMA-Factory's own figure divides by all steps the time since the last start: too low by far
    after a resume. So the pace is taken from the lines of the last attempt."""
    if left <= 0:
        return 0.0
    seen = attempts(entries)
    first, last = seen[-1][0], seen[-1][-1]
    since, until = (parse_duration(entry.get("elapsed_time")) for entry in (first, last))
    done: float = last["current_steps"] - first["current_steps"]
    # the clock has whole seconds: over a short time it says nothing about the pace
    if since is not None and until is not None and done > 0 and until - since >= 5:
        return round(left * (until - since) / done, 1)
    return parse_duration(last.get("remaining_time")) if len(seen) == 1 else None


def totals(path: str) -> dict[str, t.Any]:
    """What the whole log tells at the end: ``seconds`` spent in all attempts, ``attempts``, last ``eval_loss``,
    most ``vram_gib`` reserved; what is not known is left out."""
    seconds, count = 0.0, 0
    eval_loss: float | None = None
    vram: float | None = None
    before: Entry | None = None
    for entry in read_all(path):
        if before is None or _begins(before, entry):
            seconds += (parse_duration(before.get("elapsed_time")) or 0.0) if before else 0.0
            count += 1
        before = entry
        eval_loss = _last([entry], "eval_loss") if "eval_loss" in entry else eval_loss
        reserved = _number(entry, "vram_reserved")
        vram = max(vram or 0.0, reserved) if reserved is not None and reserved > 0 else vram
    seconds += (parse_duration(before.get("elapsed_time")) or 0.0) if before else 0.0
    found = {"seconds": seconds, "attempts": count, "eval_loss": eval_loss, "vram_gib": vram}
    return {key: value for key, value in found.items() if value is not None}
