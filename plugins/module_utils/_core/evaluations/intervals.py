# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confidence intervals of shares, and of differences between two models that answered the same questions.

Sources: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the American
Statistical Association 22 (1927), pages 209-212; B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap"
(1993), section 13.3 (percentile intervals); T. C. Hesterberg, "What Teachers Should Know About the Bootstrap", The
American Statistician 69 (2015), pages 371-386 (expanded percentile intervals); M. Abramowitz and I. A. Stegun,
"Handbook of Mathematical Functions" (1964), 26.7.5 (quantiles of Student's t).
"""

from __future__ import annotations

import array
import bisect
import collections
import functools
import itertools
import math
import random
import statistics
import typing as t

CONFIDENCE = 0.95

#: The degrees of confidence that a requirement may ask for.
DEGREES = (0.8, 0.9, 0.95, 0.99)

#: Samples of a bootstrap: the bounds of a 95 % interval are its 50th and 1950th.
SAMPLES = 2000

#: Number of values above which drawing each of them in every sample takes noticeably long.
_MANY = 300


class Interval(t.NamedTuple):
    """A value with the bounds of its confidence interval."""

    value: float
    low: float
    high: float


def wilson(met: int, asked: int, confidence: float = CONFIDENCE) -> Interval:
    """The share ``met / asked`` with Wilson's score interval.

    With ``p = met / asked``, ``n = asked`` and the quantile ``z`` of the normal distribution, its centre is
    ``(p + z²/2n) / (1 + z²/n)`` and its half width ``z / (1 + z²/n) · √(p(1-p)/n + z²/4n²)``. Unlike the normal
    approximation, it stays within 0 and 1 and is valid for few questions and for shares of 0 or 1.

    :param met: from 0 to ``asked``.
    :param asked: at least 1.
    :param confidence: between 0 and 1, both exclusive.
    """
    if not 0 <= met <= asked or asked < 1:
        raise ValueError(f"{met} of {asked}")
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    share, square = met / asked, z * z / asked
    centre = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / asked + square / (4 * asked))
    # exact at both ends, where rounding would leave a bound slightly inside
    low = 0.0 if met == 0 else centre - half
    high = 1.0 if met == asked else centre + half
    return Interval(share, low, high)


def fewest_for(share: float, confidence: float = CONFIDENCE) -> int:
    """The fewest questions with which the lower bound can reach a share: all of them answered right.

    With every answer right the lower bound is ``n / (n + z²)``, so ``n ≥ z² · share / (1 - share)``.

    :param share: from 0 (inclusive) to 1 (exclusive); no number of questions proves 1.
    """
    if not 0 <= share < 1:
        raise ValueError(share)
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    fewest = max(1, math.ceil(z * z * share / (1 - share)))
    while wilson(fewest, fewest, confidence).low < share:  # the ceiling of a rounded quotient may be one too low
        fewest += 1
    return fewest


def most_unseen(asked: int, confidence: float = CONFIDENCE) -> float:
    """The largest share of something that may well be seen in none of ``asked`` questions.

    It is ``s`` where ``(1 - s)^asked = 1 - confidence``.
    A bootstrap cannot tell it: samples of equal differences are equal. About ``3/n`` for 95 %: J. A. Hanley and
    A. Lippman-Hand, "If Nothing Goes Wrong, Is Everything All Right?", JAMA 249 (1983), pages 1743-1745.

    :param asked: at least 1.
    """
    return 1 - math.pow(1 - confidence, 1 / asked)


def paired_bootstrap(
    differences: t.Sequence[float], confidence: float = CONFIDENCE, samples: int = SAMPLES, seed: int = 0
) -> Interval:
    """The mean of differences between two models, question by question, with its expanded percentile interval.

    Questions are drawn with replacement, as often as there are questions, and the mean is taken; ``samples`` times. The
    bounds are quantiles of these means (:func:`tail`). The pairs stay together, so that hard questions, which both
    models fail, do not widen the interval.

    :param differences: at least one; score of the one model minus that of the other, of each question.
    :param samples: at least 100.
    :param seed: the same seed gives the same interval.
    """
    means = _sampled_means(differences, samples, seed)
    return Interval(math.fsum(differences) / len(differences), *_between(means, confidence, len(differences)))


def bootstrap_mean(
    values: t.Sequence[float], confidence: float = CONFIDENCE, samples: int = SAMPLES, seed: int = 0
) -> Interval:
    """The mean of scores, such as chrF of each answer; interval and parameters are those of
    :func:`paired_bootstrap`.
    """
    return paired_bootstrap(values, confidence, samples, seed)


def bounds_of_mean(
    values: t.Sequence[float], samples: int = SAMPLES, seed: int = 0, reach: float | None = None
) -> tuple[float, dict[str, list[float]]]:
    """The mean of scores or differences, and its bounds for every degree of :data:`DEGREES`.

    The bounds are those of :func:`bootstrap_mean`, and all of them come from the same samples. Equal differences other
    than 0, of which samples show nothing, have the bounds that differences which were not seen leave
    (:func:`most_unseen`): the one question that a model fails proves nothing.

    :param reach: of differences, the largest that one can be; None for other values.
    :returns: the mean; lower and upper bound by degree as text, such as ``"0.95"``.
    """
    if reach is not None and values[0] and min(values) == max(values):
        value = values[0]
        unseen = {degree: most_unseen(len(values), degree) for degree in DEGREES}
        return value, {
            str(degree): [value - share * (value + reach), value + share * (reach - value)]
            for degree, share in unseen.items()
        }
    means = _sampled_means(values, samples, seed)
    return math.fsum(values) / len(values), {
        str(degree): list(_between(means, degree, len(values))) for degree in DEGREES
    }


def _sampled_means(values: t.Sequence[float], samples: int, seed: int) -> list[float]:
    """The means of samples with replacement, in ascending order; the mean alone if all values are equal."""
    count = len(values)
    if min(values) == max(values):
        return [math.fsum(values) / count]
    generator = random.Random(seed)
    numbers = collections.Counter(values)
    if count > _MANY and len(numbers) <= 3:  # right and wrong answers, and their differences
        return sorted(_sum_of_sample(numbers.most_common(), count, generator) / count for _sample in range(samples))
    return sorted(math.fsum(generator.choices(values, k=count)) / count for _sample in range(samples))


def _sum_of_sample(numbers: t.Sequence[tuple[float, int]], count: int, generator: random.Random) -> float:
    """The sum of a sample of ``count`` values, without drawing each.

    How often each value is drawn is multinomial: binomial for the first one, and for the others given those before.

    :param numbers: each value and how often there is one.
    """
    total, left, among = 0.0, count, count
    for value, number in numbers[:-1]:
        start, cumulated = _binomial(left, number, among)
        drawn = min(left, start + bisect.bisect_left(cumulated, generator.random() * cumulated[-1]))
        total += value * drawn
        left -= drawn
        among -= number
    return total + numbers[-1][0] * left


@functools.lru_cache(maxsize=512)
def _binomial(trials: int, number: int, among: int) -> tuple[int, array.array[float]]:
    """The cumulated binomial distribution of ``trials`` draws with a chance of ``number / among`` each.

    It is cut ten standard deviations from the mean.

    :returns: the first number of successes, and the cumulated probabilities from it on.
    """
    if not trials:
        return 0, array.array("d", [1.0])
    chance = number / among
    reach = 10 * math.sqrt(trials * chance * (1 - chance)) + 10
    start, end = max(0, math.floor(trials * chance - reach)), min(trials, math.ceil(trials * chance + reach))
    whole = math.lgamma(trials + 1)
    probabilities = (
        math.exp(
            whole
            - math.lgamma(successes + 1)
            - math.lgamma(trials - successes + 1)
            + successes * math.log(chance)
            + (trials - successes) * math.log1p(-chance)
        )
        for successes in range(start, end + 1)
    )
    return start, array.array("d", itertools.accumulate(probabilities))


def _between(means: t.Sequence[float], confidence: float, count: int) -> tuple[float, float]:
    """The bounds among the sorted means of samples of ``count`` values."""
    outside = tail(confidence, count)
    return _quantile(means, outside), _quantile(means, 1 - outside)


def tail(confidence: float, count: int) -> float:
    """The share of the sampled means outside of each bound, for ``n = count`` values: ``Φ(-t · √(n/(n-1)))``.

    It is less than ``(1 - confidence) / 2``: means of samples vary by ``√((n-1)/n)`` less than means of new questions
    do, and their deviation is itself an estimate. With the quantile ``t`` of Student's distribution with ``n - 1``
    degrees of freedom, the interval of a mean is as wide as that of Student's test.
    """
    normal = statistics.NormalDist()
    z = normal.inv_cdf((1 + confidence) / 2)
    if count < 2:
        return normal.cdf(-z)
    degrees = count - 1
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    quantile = sum(term / degrees**power for power, term in enumerate(terms))
    return normal.cdf(-quantile * math.sqrt(count / degrees))


def _quantile(ordered: t.Sequence[float], share: float) -> float:
    """The quantile of ordered values, interpolated between its neighbours."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
