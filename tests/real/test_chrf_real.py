# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sacrebleu in the converter's environment computes chrF as its definition says."""

from __future__ import annotations

import collections
import os
import random
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import chrf
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain

VENV = os.environ.get("IA_CONV_VENV", "")
pytestmark = pytest.mark.skipif(not VENV, reason="needs the tools: ./test.sh tools real")

Counts = list[tuple[int, int, int]]


def ngrams(text: str, order: int) -> t.Counter[str]:
    letters = "".join(text.split())
    return collections.Counter(letters[begin : begin + order] for begin in range(len(letters) - order + 1))


def counts(answer: str, reference: str) -> Counts:
    """n-grams of the answer, those of the reference, and those of both, for each order from 1 to 6."""
    made = []
    for order in range(1, 7):
        one, other = ngrams(answer, order), ngrams(reference, order)
        made.append((sum(one.values()) if other else 0, sum(other.values()), sum((one & other).values())))
    return made


def score(of: Counts) -> float:
    """F with a beta of 2 of mean precision and mean recall, over the orders that both texts have."""
    orders = [(match / one, match / other) for one, other, match in of if one and other]
    if not orders:
        return 0.0
    precision = sum(each for each, _recall in orders) / len(orders)
    recall = sum(each for _precision, each in orders) / len(orders)
    return 100 * 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0


def test_scores_are_those_of_the_definition(tmp_path: Path) -> None:
    assert chrf.unavailable(Toolchain(converter_venv=VENV)) is None
    generator = random.Random(1)
    words = ["le", "chat", "noir", "été", "Où", "n'est-ce", "pas", "12,5", "€", "日本語", "👩\u200d👧"]
    pairs = [
        ("Le chat dort.", "Le chat dort."),
        ("abc", "xyz"),
        ("", "Le chat dort."),
        ("42", "42"),
        ("a\nb\r\n\u2028c", "a b c"),
        *(
            (" ".join(generator.choices(words, k=generator.randint(1, 9))), " ".join(generator.sample(words, 5)))
            for _pair in range(40)
        ),
    ]
    found, corpus, signature = chrf.of_pairs(os.path.join(VENV, "bin", "python"), iter(pairs), str(tmp_path))
    assert found == pytest.approx([score(counts(*pair)) for pair in pairs])
    assert found[:4] == [100.0, 0.0, 0.0, 100.0]
    sums: Counts = [
        (sum(each[0] for each in order), sum(each[1] for each in order), sum(each[2] for each in order))
        for order in zip(*(counts(*pair) for pair in pairs))
    ]
    assert corpus == pytest.approx(score(sums))
    assert "version:2.6.0" in signature
    assert not list(tmp_path.iterdir())
