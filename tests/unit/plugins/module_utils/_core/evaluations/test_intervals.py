# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confidence intervals: closed forms, published values, and how often they contain the true value."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import intervals
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.intervals import (
    DEGREES,
    bootstrap_mean,
    bounds_of_mean,
    fewest_for,
    most_unseen,
    paired_bootstrap,
    tail,
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
        # scipy.stats.binomtest(met, asked).proportion_ci(method="wilson") of scipy 1.17.1
        (9, 10, 0.5958, 0.9821),
        (10, 10, 0.7225, 1.0),
        (48, 50, 0.8654, 0.9890),
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


def binomial_quantile(trials: int, chance: float, share: float) -> int:
    """The fewest successes whose cumulative probability reaches a share."""
    total = 0.0
    for successes in range(trials + 1):
        total += math.comb(trials, successes) * chance**successes * (1 - chance) ** (trials - successes)
        if total >= share:
            return successes
    return trials


@pytest.mark.parametrize(("met", "asked"), [(3, 10), (12, 40), (45, 50)])
def test_a_bootstrap_of_right_and_wrong_answers_is_binomial(met: int, asked: int) -> None:
    """The mean of samples with replacement of ``met`` ones and zeros is binomial, so that its quantiles are known."""
    values = [1.0] * met + [0.0] * (asked - met)
    found = bootstrap_mean(values, samples=20_000)
    outside = tail(0.95, asked)
    for bound, share in ((found.low, outside), (found.high, 1 - outside)):
        assert abs(bound * asked - binomial_quantile(asked, met / asked, share)) <= 1
    shifted = bootstrap_mean([3 * value - 1 for value in values], samples=20_000)
    assert shifted == pytest.approx([3 * each - 1 for each in found])


@pytest.mark.parametrize(
    ("confidence", "count", "student"),
    [(0.95, 5, 2.776445), (0.95, 10, 2.262157), (0.95, 30, 2.045230), (0.99, 10, 3.249836), (0.8, 10, 1.383029)],
)
def test_few_values_have_the_width_of_student(confidence: float, count: int, student: float) -> None:
    """Quantiles of Student's t, as ``scipy.stats.t.ppf((1 + confidence) / 2, count - 1)`` of scipy 1.17.1 has them."""
    normal = statistics.NormalDist()
    expected = normal.cdf(-student * math.sqrt(count / (count - 1)))
    assert tail(confidence, count) == pytest.approx(expected, rel=0.02)
    assert tail(confidence, 100_000) == pytest.approx((1 - confidence) / 2, rel=1e-3)


def test_few_scores_contain_the_truth() -> None:
    """Ten scores: a plain percentile interval contains the truth in 89 % of cases."""
    contained = 0
    for seed in range(300):
        generator = random.Random(1000 + seed)
        scores = [4 + generator.uniform(-5, 5) - generator.uniform(-5, 5) for _answer in range(10)]
        found = bootstrap_mean(scores, samples=600)
        contained += found.low <= 4 <= found.high
    assert contained >= 0.915 * 300


def test_a_bootstrap_is_that_of_scipy() -> None:
    """``scipy.stats.bootstrap((values,), numpy.mean, method="percentile", n_resamples=20000)`` of scipy 1.17.1.

    For 40 values, the expanded interval is as wide as the percentile interval but for one of these multiples.
    """
    found = paired_bootstrap([1.0] * 9 + [0.0] * 18 + [-1.0] * 13, samples=20_000)
    # both bounds are multiples of 1/40, the mean of as many answers
    assert found == pytest.approx((-0.1, -0.325, 0.125), abs=1 / 40 + 1e-9)


def test_bounds_of_every_degree_come_from_the_same_samples() -> None:
    generator = random.Random(9)
    values = [generator.uniform(0, 100) for _answer in range(25)]
    mean, bounds = bounds_of_mean(values)
    assert mean == pytest.approx(sum(values) / 25) and list(bounds) == ["0.8", "0.9", "0.95", "0.99"]
    for degree in DEGREES:
        assert tuple(bounds[str(degree)]) == bootstrap_mean(values, degree)[1:]
    lows, highs = zip(*bounds.values())
    assert list(lows) == sorted(lows, reverse=True) and list(highs) == sorted(highs)
    assert min(values) <= lows[-1] and highs[-1] <= max(values)
    assert bounds_of_mean([2.5] * 4) == (2.5, {str(degree): [2.5, 2.5] for degree in DEGREES})


@pytest.mark.parametrize("asked", [20, 50, 150])
def test_intervals_contain_the_truth_in_17_of_20_evaluations(asked: int) -> None:
    """Two models answer questions of different difficulty: shares, and their differences question by question."""
    shares, differences, means = 0, 0, 0
    for seed in range(20):
        generator = random.Random(f"{asked} {seed}")
        answers = []
        for _question in range(asked):
            ease = generator.random()  # drawn from all questions that could be asked, on average one half
            answers.append((float(generator.random() < 0.4 + 0.6 * ease), float(generator.random() < 0.1 + 0.8 * ease)))
        share = wilson(round(sum(one for one, _other in answers)), asked)
        shares += share.low <= 0.7 <= share.high
        difference = paired_bootstrap([one - other for one, other in answers])
        differences += difference.low <= 0.2 <= difference.high
        texts = bootstrap_mean([generator.betavariate(2, 1) * 100 for _question in range(asked)])
        means += texts.low <= 200 / 3 <= texts.high
    assert min(shares, differences, means) >= 17, (shares, differences, means)


def test_what_was_never_seen_may_still_be_there() -> None:
    for asked in (1, 10, 300):
        share = most_unseen(asked)
        assert (1 - share) ** asked == pytest.approx(0.05), "that share stays unseen in one of twenty cases"
    assert most_unseen(10) == pytest.approx(0.2589, abs=1e-4)
    assert most_unseen(300) == pytest.approx(3 / 300, rel=0.01)


@pytest.mark.parametrize("numbers", [(250, 90, 60), (395, 3, 2), (398, 2, 0), (10, 190, 200)])
def test_many_answers_are_sampled_as_few_are(numbers: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where drawing each answer takes long, numbers of answers are drawn: the quantiles are the same."""
    values = [value for value, number in zip((0.0, 1.0, -1.0), numbers) for _answer in range(number)]
    _mean, quick = bounds_of_mean(values, samples=20_000)
    monkeypatch.setattr(intervals, "_MANY", 10**9)
    _mean, plain = bounds_of_mean(values, samples=4_000)
    deviation = math.sqrt(sum(value * value for value in values)) / 400
    for degree in DEGREES:
        assert quick[str(degree)] == pytest.approx(plain[str(degree)], abs=0.25 * deviation + 1 / 400)


@pytest.mark.parametrize(("count", "decided"), [(1, False), (4, False), (5, True), (20, True)])
def test_a_few_equal_differences_decide_nothing(count: int, decided: bool) -> None:
    """Samples of them are equal, so that a bootstrap would call one failed question a proof."""
    mean, bounds = bounds_of_mean([-1.0] * count, reach=1.0)
    low, high = bounds["0.95"]
    assert (mean, low) == (-1.0, -1.0) and (high < 0) is decided
    assert bounds_of_mean([0.0] * count, reach=1.0) == (0.0, {str(degree): [0.0, 0.0] for degree in DEGREES})
    _mean, of_texts = bounds_of_mean([50.0] * count, reach=100.0)
    assert -100 <= of_texts["0.95"][0] < 50 < of_texts["0.95"][1] <= 100
