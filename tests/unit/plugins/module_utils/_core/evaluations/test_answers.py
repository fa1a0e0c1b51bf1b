# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers are on the disk one by one, a torn line is dropped, and only their places are in memory."""

from __future__ import annotations

import tracemalloc
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.answers import AnswerStore
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.disk import DiskFullError


def line(digest: str, item: str, text: str = "x") -> dict[str, t.Any]:
    return {"digest": digest, "item": item, "model": "q8_0", "answer": {"text": text}, "scores": {}, "unmet": []}


def test_answers_are_found_by_model_and_question(tmp_path: Path) -> None:
    store = AnswerStore(str(tmp_path / "answers.jsonl"))
    assert len(store) == 0 and store.get("a", "1") is None
    store.add(line("a", "1", "é\nb"))
    store.add_all([line("b", "1"), line("a", "2")])
    again = AnswerStore(str(tmp_path / "answers.jsonl"))
    for each in (store, again):
        assert set(each) == {("a", "1"), ("b", "1"), ("a", "2")} and ("a", "1") in each
        found = each.get("a", "1")
        assert found is not None and found["answer"] == {"text": "é\nb"}
    answers = again.of_model("a", "served")
    assert set(answers) == {"1", "2"} and len(answers) == 2 and "3" not in answers
    assert answers["2"]["model"] == "served"
    with pytest.raises(KeyError):
        answers["3"]


@pytest.mark.parametrize("end", [b'{"digest": "a", "it', b'{"digest": "a"}\n', b"\xff\n", b"[]\n"])
def test_a_torn_end_is_dropped_and_written_over(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "answers.jsonl"
    AnswerStore(str(path)).add(line("a", "1"))
    whole = path.read_bytes()
    path.write_bytes(whole + end)
    assert set(AnswerStore(str(path))) == {("a", "1")}
    assert path.read_bytes() == whole + end, "a reader changes nothing"
    store = AnswerStore(str(path), repair=True)
    assert path.read_bytes() == whole
    store.add(line("a", "2"))
    assert set(AnswerStore(str(path))) == {("a", "1"), ("a", "2")}


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "answers.jsonl"
    store = AnswerStore(str(path))
    store.add(line("a", "1"))
    whole = path.read_bytes()

    def full(_descriptor: int) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(DiskFullError):
            store.add(line("a", "2"))
    assert path.read_bytes() == whole and ("a", "2") not in store
    store.add(line("a", "3"))
    assert set(AnswerStore(str(path))) == {("a", "1"), ("a", "3")}


def test_the_texts_are_not_in_memory(tmp_path: Path) -> None:
    """2 000 answers of 10 kB: 20 MB on the disk, less than 2 MB in memory."""
    path = str(tmp_path / "answers.jsonl")
    AnswerStore(path).add_all(line("a" * 64, f"{number:064d}", "x" * 10_000) for number in range(2000))
    tracemalloc.start()
    store = AnswerStore(path)
    assert len(store) == 2000 and all(
        len(each["answer"]["text"]) == 10_000 for each in store.of_model("a" * 64, "").values()
    )
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
