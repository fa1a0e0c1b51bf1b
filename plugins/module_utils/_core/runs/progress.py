# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a job is, and the line that tells it."""

from __future__ import annotations

import dataclasses
import typing as t


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a job is.

    :param current: units done so far (steps, bytes, files).
    :param total: units in all; 0 when not known.
    :param unit: what is counted: ``step``, ``B``, ``file``, or ``%`` where only the share is known.
    :param loss: the last training loss.
    :param eval_loss: the last validation loss.
    :param learning_rate: the last learning rate.
    :param epoch: epochs done, with a fraction.
    :param eta_seconds: seconds left, estimated.
    :param note: a word on what is being done (``uploading``).
    """

    current: float = 0
    total: float = 0
    unit: str = "step"
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    epoch: float | None = None
    eta_seconds: float | None = None
    note: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        """Plain values; what is not known is left out."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value not in (None, "")}

    @classmethod
    def from_dict(cls, value: t.Mapping[str, t.Any]) -> Progress:
        """The progress that :meth:`as_dict` gave; unknown keys are passed over."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: item for key, item in value.items() if key in names})

    @property
    def percent(self) -> int | None:
        """Whole percent done, rounded down; None when the total is not known."""
        return int(100 * min(self.current, self.total) / self.total) if self.total else None

    def words(self) -> str:
        """The progress in a few words: ``41%  step 62/150  loss 0.83  ETA 0:01:12``."""
        parts = []
        if self.percent is not None:
            parts.append(f"{self.percent}%")
        if self.total and self.unit != "%":
            parts.append(_amount(self.current, self.total, self.unit))
        if self.loss is not None:
            parts.append(f"loss {self.loss:.4g}")
        if self.eval_loss is not None:
            parts.append(f"eval loss {self.eval_loss:.4g}")
        if self.eta_seconds is not None:
            parts.append(f"ETA {clock(self.eta_seconds)}")
        if self.note:
            parts.append(self.note)
        return "  ".join(parts)


def clock(seconds: float) -> str:
    """A duration as ``H:MM:SS``."""
    whole = max(0, int(round(seconds)))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _amount(current: float, total: float, unit: str) -> str:
    if unit != "B":
        return f"{unit} {current:g}/{total:g}"
    for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if total >= size:
            return f"{current / size:.1f}/{total / size:.1f} {name}"
    return f"{current:g}/{total:g} B"
