# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The progress of a job and its description in one line."""

from __future__ import annotations

import dataclasses
import typing as t

from ..messages.message import Message


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a job.

    :param current: units done so far (steps, bytes, files).
    :param total: total number of units; 0 when unknown.
    :param unit: the unit: ``step``, ``B``, ``file``, or ``%`` when only the percentage is known.
    :param loss: the last training loss.
    :param eval_loss: the last validation loss.
    :param learning_rate: the last learning rate.
    :param epoch: epochs done, with a fraction.
    :param eta_seconds: estimated seconds left.
    :param note: the current activity (``uploading``); None when nothing is known of it.
    """

    current: float = 0
    total: float = 0
    unit: str = "step"
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    epoch: float | None = None
    eta_seconds: float | None = None
    note: Message | None = None

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values, without unknown ones: the note as text in English, and as a message."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {key: value for key, value in fields.items() if value is not None}
        if self.note is not None:
            plain.update(note=str(self.note), note_message=self.note.as_dict())
        return plain

    @classmethod
    def from_dict(cls, value: t.Mapping[str, t.Any]) -> Progress:
        """Create the progress from the result of :meth:`as_dict`; unknown keys are ignored."""
        names = {field.name for field in dataclasses.fields(cls)}
        fields = {key: item for key, item in value.items() if key in names}
        stored = value.get("note_message") or value.get("note")
        return cls(**{**fields, "note": Message.from_stored(stored) if stored else None})

    @property
    def percent(self) -> int | None:
        """Percentage done, rounded down; None when the total is unknown."""
        return int(100 * min(self.current, self.total) / self.total) if self.total else None

    def describe(self) -> str:
        """Describe the progress in one line: ``41%  step 62/150  loss 0.83  ETA 0:01:12``."""
        return str(self.as_message())

    def as_message(self) -> Message:
        """Return :meth:`describe` as a message."""
        parts: list[str | Message] = []
        if self.percent is not None:
            parts.append(f"{self.percent}%")
        if self.total and self.unit != "%":
            parts.append(_format_amount(self.current, self.total, self.unit))
        if self.loss is not None:
            parts.append(Message("runs.progress_loss", loss=self.loss))
        if self.eval_loss is not None:
            parts.append(Message("runs.progress_eval_loss", loss=self.eval_loss))
        if self.eta_seconds is not None:
            parts.append(Message("runs.progress_eta", duration=format_duration(self.eta_seconds)))
        if self.note:
            parts.append(self.note)
        return Message("runs.progress", parts=parts)


def format_duration(seconds: float) -> str:
    """Format a duration as ``H:MM:SS``."""
    rounded = max(0, int(round(seconds)))
    return f"{rounded // 3600}:{rounded // 60 % 60:02d}:{rounded % 60:02d}"


def _format_amount(current: float, total: float, unit: str) -> str | Message:
    if unit == "step":
        return Message("runs.progress_step", current=current, total=total)
    if unit != "B":
        return f"{unit} {current:g}/{total:g}"
    for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if total >= size:
            return f"{current / size:.1f}/{total / size:.1f} {name}"
    return f"{current:g}/{total:g} B"
