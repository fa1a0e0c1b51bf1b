# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Computes chrF with sacrebleu. Run by the Python of the converter's environment, which has it.

Standard input: one line of JSON per pair, a list of the answer and its reference. Standard output: one line for each,
its chrF (0 to 100), and a last one with ``corpus``, chrF of all pairs together, and ``signature``, sacrebleu's
description of the measure. Pairs are read one at a time.

Source of the measure: M. Popović, "chrF: character n-gram F-score for automatic MT evaluation", Proceedings of the
Tenth Workshop on Statistical Machine Translation (2015), pages 392-395. Parameters are sacrebleu's defaults.
"""

from __future__ import annotations

import json
import sys
import typing as t


def scores(lines: t.Iterable[str]) -> t.Iterator[t.Any]:
    """chrF of each pair, and at the end a dictionary with that of all pairs."""
    from sacrebleu.metrics.chrf import CHRF

    measure: t.Any = CHRF()
    totals: list[int] = []
    for line in lines:
        answer, reference = json.loads(line)
        yield float(measure.sentence_score(answer, [reference]).score)
        # what a corpus score is made of: the counts of matching n-grams, which add up
        counts = measure._extract_corpus_statistics([answer], [[reference]])[0]
        totals = [one + other for one, other in zip(totals, counts)] if totals else list(counts)
    if not totals:
        return
    corpus = measure._compute_score_from_stats(totals)
    yield {"corpus": float(corpus.score), "signature": str(measure.get_signature())}


def main() -> None:
    """Answer the pairs on standard input."""
    for score in scores(sys.stdin):
        sys.stdout.write(json.dumps(score) + "\n")


if __name__ == "__main__":
    main()
