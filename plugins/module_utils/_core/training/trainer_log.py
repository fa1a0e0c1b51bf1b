# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the progress of a training from LLaMA-Factory's ``trainer_log.jsonl``.

The file has one JSON object per line (``LogCallback`` in ``llamafactory/train/callbacks.py``). It is created with the
first logged step. A resumed training appends to it: steps then occur twice, and the elapsed time starts at zero again.
The last line has no loss. After a kill there may be a truncated line, to which the next line is joined.
"""

from __future__ import annotations

import math
import os
import re
import typing as t

from ..json_text import parse_json
from ..runs.progress import Progress

#: Bytes read from the end of the log: about 230 lines of the usual length.
_TAIL_BYTES = 64 * 1024
_DURATION = re.compile(r"(?:(-?\d+) days?, )?(\d+):(\d\d):(\d\d)(?:\.\d+)?\Z")
_LINE_START = '{"current_steps"'

Entry = dict[str, t.Any]


def parse_duration(text: t.Any) -> float | None:
    """Seconds of a Python timedelta in text form: ``0:01:12``, ``1 day, 2:00:00``; None for anything else."""
    match = _DURATION.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def parse_line(line: str) -> Entry | None:
    """Parse one line; None when it is truncated. Of a truncated line joined to a complete one, the latter is parsed."""
    for text in (line, line[max(line.rfind(_LINE_START), 0) :]):
        try:
            entry = parse_json(text)
        except ValueError:
            continue
        if isinstance(entry, dict) and _number(entry, "current_steps") is not None:
            return entry
    return None


def read_tail(path: str, limit: int = _TAIL_BYTES) -> list[Entry]:
    """The complete lines in the last ``limit`` bytes; empty when the file does not exist yet."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - limit))
            raw = stream.read(limit)
    except (FileNotFoundError, NotADirectoryError):
        return []
    lines = raw.decode("utf-8", "replace").split("\n")
    # the text before the first line end may be the end of a longer line; it cannot be distinguished from a full one
    return _entries(lines[1:] if size > limit else lines)


def read_all(path: str) -> t.Iterator[Entry]:
    """Iterate over all complete lines; empty when the file does not exist."""
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


def _last_value(entries: t.Sequence[Entry], key: str) -> float | None:
    for entry in reversed(entries):
        value = _number(entry, key)
        if value is not None:
            return value
    return None


def attempts(entries: t.Iterable[Entry]) -> list[list[Entry]]:
    """The lines grouped by attempt: a new attempt starts where the step or the elapsed time decreases."""
    groups: list[list[Entry]] = []
    for entry in entries:
        if not groups or _starts_attempt(groups[-1][-1], entry):
            groups.append([])
        groups[-1].append(entry)
    return groups


def _starts_attempt(previous: Entry, entry: Entry) -> bool:
    previous_step, previous_elapsed = previous["current_steps"], parse_duration(previous.get("elapsed_time"))
    elapsed = parse_duration(entry.get("elapsed_time"))
    if previous_elapsed is not None and elapsed is not None and elapsed < previous_elapsed:
        return True
    repeated = entry["current_steps"] == previous_step and "loss" in entry and "loss" in previous
    return bool(entry["current_steps"] < previous_step or repeated)


def progress(path: str) -> Progress | None:
    """Progress of a training from the end of its log; None when nothing was logged yet."""
    entries = read_tail(path)
    if not entries:
        return None
    current, total = entries[-1]["current_steps"], _last_value(entries, "total_steps") or 0
    return Progress(
        current=current,
        total=total,
        unit="step",
        loss=_last_value(entries, "loss"),
        eval_loss=_last_value(entries, "eval_loss"),
        learning_rate=_last_value(entries, "lr"),
        epoch=_last_value(entries, "epoch"),
        eta_seconds=_eta(entries, total - current),
    )


def _eta(entries: t.Sequence[Entry], remaining_steps: float) -> float | None:
    """Estimated remaining seconds; None when unknown.

    After a resume LLaMA-Factory's own figure is far too low: it divides the time since the last start by the steps of
    all attempts. The pace is therefore computed from the lines of the last attempt.

    :param remaining_steps: remaining steps.
    """
    if remaining_steps <= 0:
        return 0.0
    groups = attempts(entries)
    first, last = groups[-1][0], groups[-1][-1]
    start, end = (parse_duration(entry.get("elapsed_time")) for entry in (first, last))
    steps_done: float = last["current_steps"] - first["current_steps"]
    # the elapsed time has a resolution of one second, too coarse for the pace over a short interval
    if start is not None and end is not None and steps_done > 0 and end - start >= 5:
        return round(remaining_steps * (end - start) / steps_done, 1)
    return parse_duration(last.get("remaining_time")) if len(groups) == 1 else None


def totals(path: str) -> dict[str, t.Any]:
    """Totals over the complete log: ``seconds`` of all attempts, number of ``attempts``, last ``eval_loss``, and peak
    ``vram_gib`` reserved; unknown values are omitted."""
    seconds, count = 0.0, 0
    eval_loss: float | None = None
    vram: float | None = None
    previous: Entry | None = None
    for entry in read_all(path):
        if previous is None or _starts_attempt(previous, entry):
            seconds += (parse_duration(previous.get("elapsed_time")) or 0.0) if previous else 0.0
            count += 1
        previous = entry
        eval_loss = _last_value([entry], "eval_loss") if "eval_loss" in entry else eval_loss
        reserved = _number(entry, "vram_reserved")
        vram = max(vram or 0.0, reserved) if reserved is not None and reserved > 0 else vram
    seconds += (parse_duration(previous.get("elapsed_time")) or 0.0) if previous else 0.0
    values = {"seconds": seconds, "attempts": count, "eval_loss": eval_loss, "vram_gib": vram}
    return {key: value for key, value in values.items() if value is not None}
