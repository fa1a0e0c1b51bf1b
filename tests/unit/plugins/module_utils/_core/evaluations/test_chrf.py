# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""chrF from the program that computes it; a stand-in for sacrebleu compares lengths. tests/real has the real one."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import chrf
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.items import Item
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.requirements import Requirements
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain

SACREBLEU = """
import types
class CHRF:
    def sentence_score(self, answer, references):
        return types.SimpleNamespace(score=100.0 * (len(answer) == len(references[0])))
    def _extract_corpus_statistics(self, answers, references):
        return [[len(answers[0]), len(references[0][0])]]
    def _compute_score_from_stats(self, stats):
        return types.SimpleNamespace(score=float(stats[0] / stats[1]))
    def get_signature(self):
        return "nrefs:1"
"""


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter that finds the stand-in."""
    package = tmp_path / "lib" / "sacrebleu" / "metrics"
    package.mkdir(parents=True)
    for directory in (package, package.parent):
        (directory / "__init__.py").touch()
    (package / "chrf.py").write_text(SACREBLEU, encoding="utf-8")
    made = tmp_path / "python"
    made.write_text(f'#!/bin/sh\nshift\nPYTHONPATH={tmp_path}/lib exec {sys.executable} "$@"\n', encoding="utf-8")
    made.chmod(0o755)
    return str(made)


def row(number: int, content: str) -> Item:
    return Item(str(number), "held_out", ({"role": "user", "content": "?"},), reference={"content": content})


def line(text: str, **more: t.Any) -> dict[str, t.Any]:
    return {"answer": {"text": text, "ended": True, **more}}


def test_answers_and_references_are_paired(python: str, tmp_path: Path) -> None:
    items = [row(1, "été"), row(2, "{}"), row(3, "deux"), row(4, "x"), row(5, "\ud83d")]
    answers = {
        "1": line("eté"),
        "2": line("{}"),
        "3": line("<think>\nHm.\n</think>\n\nun"),
        "5": line("y", calls=[{"name": "a", "arguments": {}}]),
    }
    found = chrf.of_answers(python, iter(items), answers, str(tmp_path))
    assert found == chrf.Texts({"1": 100.0, "3": 0.0, "5": 0.0}, 5 / 8, "nrefs:1")


def test_without_texts_nothing_is_run(tmp_path: Path) -> None:
    assert chrf.of_answers("/nonexistent", [row(1, "{}")], {"1": line("{}")}, str(tmp_path)) == chrf.Texts()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"sacrebleu.*Run the role llamafactory again") as caught:
        chrf.of_pairs(sys.executable, [("a", "b")], str(tmp_path))
    assert caught.value.code == "evaluations.chrf_failed"
    with pytest.raises(NotReadyError, match="/nonexistent"):
        chrf.of_pairs("/nonexistent", [("a", "b")], str(tmp_path))


def test_an_output_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    short = tmp_path / "python"
    short.write_text("#!/bin/sh\necho 50.0\n", encoding="utf-8")
    short.chmod(0o755)
    with pytest.raises(NotReadyError, match="1 lines for 1 pairs"):
        chrf.of_pairs(str(short), [("a", "b")], str(tmp_path))


def test_where_it_is_available(tmp_path: Path) -> None:
    (tmp_path / "lib" / "python3.11" / "site-packages" / "sacrebleu").mkdir(parents=True)
    required = Requirements({"text": 50.0})
    there = Toolchain(converter_venv=str(tmp_path))
    assert chrf.unavailable(there) is None and chrf.refusal(there, required) is None
    for toolchain, code in (
        (Toolchain(llama_cpp_image="llama-cpp:1"), "evaluations.chrf_in_container"),
        (Toolchain(converter_venv=str(tmp_path / "other")), "evaluations.chrf_not_installed"),
        (Toolchain(), "evaluations.chrf_not_installed"),
    ):
        reason = chrf.unavailable(toolchain)
        assert reason is not None and reason.code == code
        refusal = chrf.refusal(toolchain, required)
        assert refusal is not None and reason.text in str(refusal) and "require same instead" in refusal.hint
        assert chrf.refusal(toolchain, Requirements({"same": 0.5})) is None
