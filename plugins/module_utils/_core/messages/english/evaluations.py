# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``evaluations``."""

from __future__ import annotations

from ..text import Texts

TEXTS: Texts = {
    "evaluations.line": "{parts}",
    "evaluations.line_unmet": "{parts}; not met: {names}",
    "evaluations.met": "{measure} {met}/{asked}",
    "evaluations.value": "{measure} {value:.1f}",
    "evaluations.versus": "vs {against} {differences}",
    "evaluations.difference": "{difference:+.1f} ± {margin:.1f}",
    "evaluations.difference_of": "{measure} {difference:+.1f} ± {margin:.1f}",
    "evaluations.nothing_measured": "nothing was measured",
    "evaluations.better": "better",
    "evaluations.worse": "worse",
    "evaluations.undecided": "undecided",
    "evaluations.share": "{met}/{asked} = {percent:.1f} % ({low:.1f} to {high:.1f})",
    "evaluations.mean": "{value:.1f} ({low:.1f} to {high:.1f}, {asked} {asked:answer|answers})",
    "evaluations.bound": " (bound {bound})",
    "evaluations.requirement_met": "{model}: {name} is {value}{bound}, as required ({wanted}).",
    "evaluations.requirement_unmet": "{model}: {name} is {value}{bound}, but {wanted} is required.",
    "evaluations.judged": (
        "{judge} preferred {model} to {against} in {wins} of {asked} {asked:question|questions}, and {against} in "
        "{losses}; {ties} {ties:tie|ties}. It contradicted itself in {disagreements}."
    ),
    "evaluations.judge_habits": (
        "Of its verdicts, {judge} gave {position:.0f} % to the answer that it read first and {longer:.0f} % to the "
        "longer one."
    ),
}
