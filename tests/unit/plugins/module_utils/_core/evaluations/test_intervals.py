# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confidence intervals: closed forms, published values, and how often they contain the true value."""

from __future__ import annotations

import math
import random

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.intervals import (
    fewest_for,
    paired_bootstrap,
    wilson,
)


@pytest.mark.parametrize(
    ("met", "asked", "low", "high"),
    [
        # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998),
        # table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals_of_shares(met: int, asked: int, low: float, high: float) -> None:
    found = wilson(met, asked)
    assert (found.value, round(found.low, 4), round(found.high, 4)) == (met / asked, low, high)


def test_bounds_solve_the_equation_that_defines_them() -> None:
    z = 1.959963984540054
    for asked in (1, 10, 50):
        for met in range(1, asked):
            for bound in wilson(met, asked)[1:]:
                distance = abs(met / asked - bound)
                assert distance == pytest.approx(z * math.sqrt(bound * (1 - bound) / asked), rel=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 0.9, 0.99])
def test_fewest_questions_for_a_share(share: float) -> None:
    fewest = fewest_for(share)
    assert wilson(fewest, fewest).low >= share
    assert fewest == 1 or wilson(fewest - 1, fewest - 1).low < share


def test_a_share_of_one_cannot_be_proven() -> None:
    with pytest.raises(ValueError):
        fewest_for(1.0)


@pytest.mark.parametrize(("share", "asked"), [(0.5, 20), (0.9, 40), (0.98, 100)])
def test_intervals_of_shares_contain_the_truth(share: float, asked: int) -> None:
    generator = random.Random(7)
    contained = 0
    for _trial in range(1000):
        met = sum(generator.random() < share for _question in range(asked))
        found = wilson(met, asked)
        contained += found.low <= share <= found.high
    assert contained >= 920


def test_differences_that_are_all_equal_have_no_width() -> None:
    assert paired_bootstrap([1.0, 1.0, 1.0]) == (1.0, 1.0, 1.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    generator = random.Random(5)
    differences = [generator.gauss(0.0, 1.0) for _question in range(30)]
    assert paired_bootstrap(differences) == paired_bootstrap(differences)
    assert paired_bootstrap(differences) != paired_bootstrap(differences, seed=1)


def test_width_of_a_bootstrap_is_that_of_the_normal_distribution() -> None:
    """With many questions, half of it is 1.96 standard errors."""
    generator = random.Random(3)
    differences = [generator.gauss(0.3, 1.0) for _question in range(400)]
    found = paired_bootstrap(differences)
    mean = sum(differences) / 400
    error = math.sqrt(sum((each - mean) ** 2 for each in differences) / 400) / math.sqrt(400)
    assert found.value == pytest.approx(mean)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.06)


def test_intervals_of_differences_contain_the_truth() -> None:
    generator = random.Random(11)
    contained = 0
    for trial in range(100):
        differences = [generator.choice([1.0, 0.0, 0.0, -1.0, 0.0, 1.0]) for _question in range(60)]
        found = paired_bootstrap(differences, seed=trial, samples=500)
        contained += found.low <= 1 / 6 <= found.high
    assert contained >= 88
