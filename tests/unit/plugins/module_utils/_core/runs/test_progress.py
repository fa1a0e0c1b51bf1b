# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The progress of a job as values, as a percentage and as a line."""

from __future__ import annotations

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.progress import (
    Progress,
    format_duration,
)


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(), ""),
        (Progress(note=Message.from_stored("loading")), "loading"),
        (Progress(62, 150, loss=0.83141, eta_seconds=72), "41%  step 62/150  loss 0.8314  ETA 0:01:12"),
        (Progress(1, 3, eval_loss=12345.6), "33%  step 1/3  eval loss 1.235e+04"),
        (Progress(0, 4), "0%  step 0/4"),
        (Progress(5, 4), "100%  step 5/4"),
        (Progress(41, 100, "%", note=Message.from_stored("quantizing")), "41%  quantizing"),
        (Progress(1.5, 3, "file"), "50%  file 1.5/3"),
        (Progress(512, 999, "B"), "51%  512/999 B"),
        (Progress(512, 1000, "B"), "51%  0.5/1.0 kB"),
        (Progress(1e6, 2.5e6, "B"), "40%  1.0/2.5 MB"),
        (Progress(1e6, 15.2e9, "B", note=Message.from_stored("uploading")), "0%  0.0/15.2 GB  uploading"),
    ],
)
def test_one_line(progress: Progress, line: str) -> None:
    assert progress.describe() == line


def test_the_percentage_is_rounded_down_and_unknown_without_a_total() -> None:
    assert Progress(999, 1000).percent == 99
    assert Progress(7).percent is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (-3, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"), (90000, "25:00:00")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_unknown_values_are_left_out_and_unknown_keys_ignored() -> None:
    progress = Progress(3, 4, loss=0.0, epoch=1.5)
    assert progress.as_dict() == {"current": 3, "total": 4, "unit": "step", "loss": 0.0, "epoch": 1.5}, "0.0 is known"
    assert Progress.from_dict({**progress.as_dict(), "of_a_later_version": 1}) == progress
