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
    :param unit: what is counted: ``step``, ``B``, ``file``.
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
