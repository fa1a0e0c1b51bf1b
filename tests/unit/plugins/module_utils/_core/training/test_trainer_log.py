# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads LLaMA-Factory's trainer_log.jsonl: recorded, truncated and long logs."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import trainer_log

RECORDED = Path(__file__).parents[2] / "recorded" / "steps"


def line(step: int, elapsed: str = "0:00:01", total: int = 100, **more: t.Any) -> str:
    """A line as LLaMA-Factory writes it."""
    entry = {"current_steps": step, "total_steps": total, "loss": 1.5, "lr": 1e-4, "epoch": step / 10, **more}
    entry = {**entry, "elapsed_time": elapsed, "remaining_time": "0:00:30"}
    return json.dumps({key: value for key, value in entry.items() if value is not None}) + "\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:00:00", 0.0),
        ("0:01:12", 72.0),
        ("12:34:56", 45296.0),
        ("1 day, 0:00:01", 86401.0),
        ("2 days, 1:00:00", 176400.0),
        ("-1 day, 23:59:59", -1.0),
        ("0:00:01.500000", 1.0),
        ("", None),
        ("soon", None),
        (None, None),
        (12, None),
    ],
)
def test_durations(text: t.Any, seconds: float | None) -> None:
    """All forms of str(timedelta)."""
    assert trainer_log.parse_duration(text) == seconds


def test_nothing_logged_yet(tmp_path: Path) -> None:
    """No file, an empty file, and a file without a complete line."""
    path = tmp_path / "trainer_log.jsonl"
    assert trainer_log.progress(str(path)) is None
    path.write_text("")
    assert trainer_log.progress(str(path)) is None
    path.write_text('{"current_steps": 1, "tot')
    assert trainer_log.progress(str(path)) is None
    assert trainer_log.totals(str(path)) == {"seconds": 0.0, "attempts": 0}


def test_resumed_and_finished() -> None:
    """A recorded training that was stopped and resumed: the last line has no loss, and some steps occur twice."""
    path = str(RECORDED / "trainer_log-resumed.jsonl")
    progress = trainer_log.progress(path)
    assert progress is not None
    assert (progress.current, progress.total, progress.eta_seconds) == (300, 300, 0.0)
    assert progress.loss == pytest.approx(0.001176, rel=1e-3)
    assert progress.learning_rate == pytest.approx(8.22e-8, rel=1e-2)
    assert progress.epoch == 60.0
    parts = trainer_log.attempts(trainer_log.read_all(path))
    assert [(part[0]["current_steps"], part[-1]["current_steps"]) for part in parts] == [(1, 123), (123, 300)]
    assert trainer_log.totals(path) == {"seconds": 6.0 + 8.0, "attempts": 2}


def test_validation() -> None:
    """Validation losses have separate lines."""
    path = str(RECORDED / "trainer_log-early_stopping.jsonl")
    progress = trainer_log.progress(path)
    assert progress is not None
    assert (progress.current, progress.total) == (32, 160)
    assert progress.eval_loss == pytest.approx(1.5865, rel=1e-4)
    assert progress.loss == pytest.approx(0.4570, rel=1e-3)
    totals = trainer_log.totals(path)
    assert totals["attempts"] == 1
    assert totals["eval_loss"] == pytest.approx(1.5865, rel=1e-4)


def test_unfinished_last_line(tmp_path: Path) -> None:
    """An unfinished last line is ignored."""
    path = tmp_path / "trainer_log.jsonl"
    path.write_text(line(1) + line(2) + line(3)[:40])
    progress = trainer_log.progress(str(path))
    assert progress is not None and progress.current == 2


def test_line_joined_to_a_truncated_one(tmp_path: Path) -> None:
    """After a kill the next attempt appends to an unfinished line."""
    path = tmp_path / "trainer_log.jsonl"
    path.write_text(line(61) + line(62)[:33] + line(51, "0:00:00") + line(52))
    assert [entry["current_steps"] for entry in trainer_log.read_all(str(path))] == [61, 51, 52]
    assert trainer_log.totals(str(path))["attempts"] == 2


@given(cut=st.integers(0, 400), glued=st.booleans())
def test_any_truncation(tmp_path_factory: pytest.TempPathFactory, cut: int, glued: bool) -> None:
    """Wherever the log is truncated, only written entries are read."""
    path = tmp_path_factory.mktemp("torn") / "trainer_log.jsonl"
    log = line(1) + line(2)
    path.write_text(log[:cut] + (line(1, "0:00:00") if glued else ""))
    steps = [entry["current_steps"] for entry in trainer_log.read_all(str(path))]
    assert steps in ([], [1], [1, 2], [1, 1], [1, 2, 1])
    assert not glued or steps[-1] == 1


def test_eta_comes_from_the_pace_of_this_attempt(tmp_path: Path) -> None:
    """After a resume at step 90 LLaMA-Factory estimates 10 s for 100 steps, although each takes 1 s."""
    path = tmp_path / "trainer_log.jsonl"
    path.write_text("".join(line(90 + n, f"0:00:{n:02}", total=200, remaining_time="0:00:10") for n in range(11)))
    progress = trainer_log.progress(str(path))
    assert progress is not None and progress.eta_seconds == 100.0


def test_eta_is_unknown_at_first_after_a_resume(tmp_path: Path) -> None:
    """One line is not enough for the pace, and LLaMA-Factory's own estimate is wrong after a resume."""
    path = tmp_path / "trainer_log.jsonl"
    path.write_text(line(95, "0:01:35") + line(91, "0:00:01"))
    progress = trainer_log.progress(str(path))
    assert progress is not None and progress.eta_seconds is None
    path.write_text(line(1, "0:00:01"))
    progress = trainer_log.progress(str(path))
    assert progress is not None and progress.eta_seconds == 30.0


def test_reads_little_of_a_long_log(tmp_path: Path) -> None:
    """Only the end of a log with 100 000 steps is read."""
    path = tmp_path / "trainer_log.jsonl"
    path.write_text("".join(line(n, total=100_000) for n in range(1, 100_001)))
    entries = trainer_log.read_tail(str(path))
    assert 100 < len(entries) < 1000
    assert entries[-1]["current_steps"] == 100_000
    assert [entry["current_steps"] for entry in entries] == list(range(100_001 - len(entries), 100_001))


def test_invalid_numbers_are_ignored(tmp_path: Path) -> None:
    """NaN, text and booleans are not reported as numbers."""
    path = tmp_path / "trainer_log.jsonl"
    path.write_text(
        line(1, loss=2.5) + '{"current_steps": 2, "total_steps": 9, "loss": NaN, "lr": "x", "epoch": true}\n'
    )
    progress = trainer_log.progress(str(path))
    assert progress is not None
    assert (progress.current, progress.loss, progress.learning_rate, progress.epoch) == (2, 2.5, 1e-4, 0.1)


def test_peak_memory(tmp_path: Path) -> None:
    """Peak GPU memory of the complete training; on a CPU the value is -0.0 and is omitted."""
    path = tmp_path / "trainer_log.jsonl"
    path.write_text(line(1, vram_reserved=7.5) + line(2, vram_reserved=8.25) + line(3, vram_reserved=8.0))
    assert trainer_log.totals(str(path))["vram_gib"] == 8.25
    path.write_text(line(1, vram_reserved=-0.0))
    assert "vram_gib" not in trainer_log.totals(str(path))
